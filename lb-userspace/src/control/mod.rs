// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the director should do, and making it so: desired state → image → plan → apply.

mod announce; //      gratuitous ARP and neighbour advertisements
pub mod apply; //      carrying out a plan
pub mod bounds; //    numbers that are too small or too large
pub mod claim; //      whether other machines have an address
pub mod config; //     the config file
pub mod dips; //       addresses and ports that flows by full NAT come from
pub mod effective; //  what the network lets a service be
pub mod evidence; //   the state as the maps tell it
pub mod ids; //        which ids and blocks are whose
pub mod image; //      what the maps should hold
pub mod neighbours; // next hops of the reals
pub mod options; //    what an operator can say of a service or a real
pub mod own_addresses; // addresses that no client can have
pub mod plan; //       what must change, in which order
pub mod same_network; // reals by nat whose replies bypass the director
pub mod slots; //      moving the slots of a hashing scheduler without moving living flows
pub mod state; //      the state file
pub mod state_file; // how that file is replaced
pub mod state_lock; // one daemon per state file
pub mod tunnel_sources; // networks that the outer sources of tunnels are taken from
pub mod validate; //   what can be asked
pub mod vips; //       VIPs on the ingress interface
