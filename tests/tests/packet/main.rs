// SPDX-License-Identifier: MIT OR Apache-2.0
//! Single frames through the real programs in the real kernel, compared byte by byte.
//!
//! Nothing here skips: without root a test panics with the reason.

mod answers; //   ICMP errors that the director makes
mod any_bytes; // damage at random
mod bench; //     the benchmark still measures
mod changes; //   what the daemon writes counts at once
mod decap; //     the decapsulator of real servers
mod devices; //   out of another device than it came by
mod doc; //       what docs/forwarding.md shows
mod dry; //       copies of the programs that only tell
mod executed; // the work for a packet, counted in instructions
mod flows; //     who gets a new connection, and that it stays there
mod fnat; //      both ends change
mod fragments; // the first decides, later ones follow
mod ftp; //       data connections follow their control connection
mod health; //    reals that are down
mod icmp; //      pings, and errors about flows
mod ipv6; //      what only IPv6 has, and one version within the other
mod methods; //   connections stay on the method that they began with
mod persistence; // the connections of a client stay together
mod removal; //   what becomes of the connections of a removed real
mod replies; //   a nat real's packets on their way back
mod requests; //  from a client to a real, by each method
mod samples; //   what the tracing build tells
mod scene; //     services that many tests use
mod schedulers; // who gets a new connection, by each rule
mod sctp; //      where no port changes
mod signs; //     what shows that a real does not serve
mod sources; //   what no client can have sent
mod storm; //     the flow table on all CPUs
mod truncated; // shorter than it says, at every length
mod tunnels; //   GRE and GUE
mod untouched; // what is none of ours
mod verify; //    what the verifier makes of the programs
mod vlan; //      802.1Q and 802.1ad tags
