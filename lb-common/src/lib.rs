// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! The interface between the xvs programs and their userspace, and all logic that can run in both.
//!
//! - [`wire`]: numbers in network byte order
//! - [`packet`]: headers, and the parser of frames
//! - [`checksum`]: incremental updates of Internet checksums
//! - [`hash`]: the flow hash, stable across versions
//! - [`schedule`]: the choice of the real for a new connection, by the load of each real
//! - [`slot`]: the owner of a flow while a slot is in transition
//! - [`ticks`]: the unit of time of the maps
//! - [`track`]: the begin, the states and the end of a flow
//! - [`schema`]: the keys and values of every map
//! - [`reason`]: the fate of a packet, and the reason
//! - [mod@bench]: the interface between the programs of the benchmark and their runner
#![cfg_attr(not(any(test, feature = "user")), no_std)]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

pub mod bench;
pub mod checksum;
pub mod ecn;
pub mod flow_key;
pub mod hash;
mod layout;
pub mod mix;
pub mod packet;
pub mod reason;
pub mod schedule;
pub mod schema;
pub mod slot;
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
