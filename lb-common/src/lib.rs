// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! The interface between the xvs programs and their userspace, and all logic that runs on both sides.
//!
//! The BPF programs (`lb-ebpf`) and the daemon (`lb-userspace`) share nothing but maps. This crate defines
//! what both must agree on: the formats of packets, keys and values of the maps, and the pure rules over
//! them. It compiles for the BPF target (`no_std`, no allocation, no panics on the path of a packet) and for
//! the host, where it is tested.
//!
//! # Where to begin
//!
//! - [`packet::parse`] turns a frame into a [`packet::Parsed`], the facts of a packet that all later stages
//!   use.
//! - [`hash::slot`] maps a flow to a slot of its service's table, and [`slot::choose`] decides which real
//!   owns the flow while the slot is in transition.
//! - [`schema`] lists the maps; every layout is checked at compile time.
//! - [`reason::Reason`] names every fate of a packet.
//!
//! # Modules
//!
//! | module | content |
//! |---|---|
//! | [`wire`] | numbers in network byte order, MAC addresses, VLAN tags |
//! | [`packet`] | headers, and the parser of frames; the trait [`packet::Ip`] selects the IP version |
//! | [`checksum`] | incremental updates of Internet checksums (RFC 1624) |
//! | [`ecn`] | congestion marks at the end of a tunnel (RFC 6040) |
//! | [`flow_key`] | the 5-tuple of a flow |
//! | [`flow_table`] | the table of tracked flows: entries, their rank, and the protocol of changes |
//! | [`mix`], [`hash`] | the flow hash, stable across versions |
//! | [`schedule`] | the choice of the real for a new connection, by the load of each real |
//! | [`slot`] | the owner of an untracked flow |
//! | `sync` | the synchronisation protocol of IPVS; not for the programs |
//! | [`ticks`] | the unit of time of the maps |
//! | [`track`] | the beginning, the states and the end of a tracked flow |
//! | [`schema`] | keys and values of every map |
//! | [`reason`] | the fate of a packet, and the reason |
//!
//! # Example
//!
//! The program parses a frame and looks its flow up in a table of 4,096 slots. The frame may be any object
//! that implements [`packet::Packet`]:
//!
//! ```
//! use std::cell::RefCell;
//!
//! use etherparse::PacketBuilder;
//! use lb_common::{
//!     hash,
//!     packet::{self, Ip, Ipv4, Packet},
//!     reason::Reason,
//!     ids::RealId,
//!     slot,
//!     ticks::{Tick, Ticks},
//! };
//!
//! struct Frame(RefCell<Vec<u8>>);
//!
//! impl Packet for Frame {
//!     fn at<const N: usize>(&self, offset: usize) -> Result<*mut [u8; N], Reason> {
//!         let mut bytes = self.0.borrow_mut();
//!         let range = bytes.get_mut(offset..offset + N).ok_or(Reason::Truncated)?;
//!         Ok(range.as_mut_ptr().cast())
//!     }
//!
//!     fn len(&self) -> usize {
//!         self.0.borrow().len()
//!     }
//! }
//!
//! let mut bytes = Vec::new();
//! let packet = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([192, 0, 2, 10], [192, 0, 2, 100], 64);
//! packet.tcp(40_000, 80, 1, 65_535).ack(1).write(&mut bytes, b"GET / HTTP/1.1").unwrap();
//! let frame = Frame(RefCell::new(bytes));
//!
//! assert_eq!(packet::ether_type(&frame), Ipv4::ETHER_TYPE);
//! let parsed = packet::parse::<Ipv4>(&frame).unwrap();
//! assert_eq!(parsed.flow.destination_port.get(), 80);
//!
//! let seed = 0;
//! let slot = hash::reduce(hash::flow(&parsed.flow, seed), 4096);
//! assert_eq!(slot, 2393);
//!
//! // A second ago, a pool change moved this slot from real 1 to real 2. The packet is no SYN, so its connection is
//! // older than the change: it stays on real 1, and the flow gets a flow table entry.
//! let [current, base] = [RealId(2), RealId(1)];
//! let now = Tick(1_000_000);
//! let since = slot::since(now.before(Ticks::of_seconds(1)));
//! let timeout = Ticks::of_seconds(900);
//! let choice = slot::choose(current, base, since, now, timeout, false);
//! assert_eq!(choice, slot::Choice { real: base, record: true });
//! // A new connection goes to real 2.
//! assert_eq!(slot::choose(current, base, since, now, timeout, true).real, current);
//! ```
#![cfg_attr(not(any(test, feature = "user")), no_std)]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]
// A rule of forwarding names every case.
#![warn(clippy::wildcard_enum_match_arm)]
#![cfg_attr(not(test), warn(unused_crate_dependencies))]

pub mod checksum;
pub mod ecn;
pub mod flow_key;
pub mod flow_table;
pub mod hash;
pub mod ids;
mod layout;
pub mod mix;
pub mod packet;
pub mod reason;
pub mod schedule;
pub mod schema;
pub mod slot;
#[cfg(not(target_arch = "bpf"))]
pub mod sync;
pub mod ticks;
pub mod track;
pub mod wire;

/// IANA protocol numbers that xvs uses.
pub mod protocol {
    /// Internet Control Message Protocol (RFC 792).
    pub const ICMP: u8 = 1;
    /// IP in IP (RFC 2003).
    pub const IPIP: u8 = 4;
    /// Transmission Control Protocol (RFC 9293).
    pub const TCP: u8 = 6;
    /// User Datagram Protocol (RFC 768).
    pub const UDP: u8 = 17;
    /// Generic Routing Encapsulation (RFC 2784).
    pub const GRE: u8 = 47;
    /// IPv6 in IP (RFC 2473).
    pub const IPV6: u8 = 41;
    /// Internet Control Message Protocol for IPv6 (RFC 4443).
    pub const ICMPV6: u8 = 58;
    /// Stream Control Transmission Protocol (RFC 9260).
    pub const SCTP: u8 = 132;
}
