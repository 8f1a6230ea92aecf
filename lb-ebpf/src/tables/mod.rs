// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Every map, and the only code that accesses maps, in one file per topic. The functions are the vocabulary of the
//! other modules.
//!
//! The sizes here are minimums: the daemon chooses the sizes when it creates the maps.
#![expect(unsafe_code, reason = "pointers to values of maps, and helpers of the kernel")]

#[macro_use]
mod settings; // Options known at load time
mod addresses; // Uses of addresses: VIPs, reals, forbidden sources, ends of tunnels
mod atomic; // Atomic additions and barriers
mod clients; // Persistence, and the destinations of `lblc` and `lblcr`
mod clock; // The clock of the programs, and idle timeouts
mod counters; // Counters, and the rate limit of ICMP errors
mod family; // The maps of each IP family
mod flows; // The flow table and the half-open table
mod fragments; // Real and return path of the later fragments of a datagram
mod nat; // The service that a reply of a real belongs to
mod probes; // Health probes, and the replies to them
mod programs; // Tail calls and redirects
mod reals; // Real servers, and their connection counts
mod return_path; // Interfaces, MAC addresses and tags by which replies reach clients
#[cfg_attr(not(feature = "samples"), path = "no_samples.rs")]
mod sample; // Samples of packets, for `xvs trace`
mod scratch; // Per-CPU memory for one packet, beside the stack
mod services; // Services, and the per-CPU cache of services
mod signs; // Passive signs, for the health checks
mod slots; // Slot tables of the schedulers
mod snat; // Source addresses and ports of `fnat`
mod stack; // Packets left to the stack, for the guard
mod trace; // Steps of the last packet, for `xvs explain`

pub use self::{
    addresses::*, clients::*, clock::*, counters::*, family::*, flows::*, fragments::*, nat::*, probes::*,
    programs::*, reals::*, return_path::*, sample::*, scratch::*, services::*, settings::*, signs::*,
    slots::*, snat::*, stack::*, trace::*,
};
