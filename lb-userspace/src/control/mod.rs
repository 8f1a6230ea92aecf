// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the director should do, and making it so.

mod announce; //      gratuitous ARP and neighbour advertisements
pub mod neighbours; // next hops of the reals
pub mod vips; //       VIPs on the ingress interface
