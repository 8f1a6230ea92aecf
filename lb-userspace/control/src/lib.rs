// SPDX-License-Identifier: MIT OR Apache-2.0
//! The configuration, and its way into the maps: desired state → image → plan → apply.
// The print macros panic if stdout or stderr is closed.
#![deny(clippy::print_stderr, clippy::print_stdout)]

mod announce; //           gratuitous ARP and neighbour advertisements
pub mod apply; //          execution of a plan
pub mod bounds; //         bounds of numbers
pub mod claim; //          probes for VIPs on other machines
pub mod config; //         the config file
pub mod dips; //           SNAT addresses and ports of `fnat`
pub mod effective; //      effects of the network on a service
pub mod evidence; //       state according to the maps
pub mod flow_growth; //    decisions about the size of the flow table
pub mod ids; //            allocation of ids and blocks
pub mod image; //          desired contents of the maps
pub mod ipvs; //           translation of IPVS's rules
pub mod journal; //        changes since the state file was written
pub mod neighbours; //     next hops of the reals
pub mod options; //        options of services and reals
pub mod own_addresses; //  addresses that no client can have
pub mod plan; //           steps of a change, in order
pub mod pool; //           effects of health on a service
pub mod readiness; //      whether a director can take over traffic
pub mod same_network; //   `nat` reals whose replies bypass the director
pub mod slots; //          slot moves that keep living flows in place
pub mod state; //          the state file
pub mod state_file; //     safe replacement of the state file
pub mod state_lock; //     lock of the state file
pub mod sync; //           connections that directors announce
pub mod tunnel_sources; // outer source addresses of tunnels
pub mod validate; //       validation of services
pub mod vips; //           VIPs on the interfaces
