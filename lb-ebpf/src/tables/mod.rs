// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Every map, and the only code that touches one: a file by topic. The functions are the vocabulary of the other modules.
//!
//! Sizes here are the least that works: the daemon chooses them when it creates the maps.

#[macro_use]
mod settings; // Options known at load time
mod addresses; // Uses of addresses: VIPs, reals, forbidden sources, ends of tunnels
mod atomic; // Atomic additions and barriers
mod clients; // Persistence, and the destinations of `lblc` and `lblcr`
mod clock; // The clock of the programs, and idle timeouts
mod counters; // Counters, and the limit of ICMP errors
mod family; // The maps of each IP family
mod flows; // The flow table and the half-open table
mod fragments; // Where later fragments of a datagram go
mod nat; // Which service a reply of a real belongs to
mod programs; // Tail calls and redirects
mod reals; // Real servers, and their numbers of connections
mod return_path; // Interfaces, MAC addresses and tags by which replies reach clients
mod scratch; // Memory of one CPU for one packet, beside the stack
mod services; // Services, and what each CPU looked up last
mod slots; // Tables of the schedulers
mod snat; // Source addresses and ports of `fnat`
mod stack; // Packets left to the stack, for the guard
mod trace; // Steps of the last packet, for `xvs explain`

pub use self::{
    addresses::*, clients::*, clock::*, counters::*, family::*, flows::*, fragments::*, nat::*, programs::*,
    reals::*, return_path::*, scratch::*, services::*, settings::*, slots::*, snat::*, stack::*, trace::*,
};
