// SPDX-License-Identifier: MIT OR Apache-2.0
//! A model of the rules by which packets are forwarded: plain, slow, and without a line of the programs'
//! code.
//!
//! It is written from docs/forwarding.md, docs/reasons.md and docs/architecture.md, the RFCs that they name
//! and the schedulers of IPVS, and is compared with the programs (`tests/tests/packet/differential`). It
//! shares only names with them: the reasons, and the layout of the maps from which it reads the desired
//! state.
//!
//! - [`bytes`], [`checksum`]: numbers and checksums in packets
//! - [`frame`], [`parse`]: parsers of frames and packets
//! - [`world`]: services, reals and tables
//! - [`state`]: the state that lasts from packet to packet
//! - [`director`]: the path of a packet, and the reason if it is not forwarded
//! - [`select`], [`schedule`], [`connection`], [`hash`]: selection of the real
//! - [`forward`], [`translate`], [`tunnel`]: forwarding
//! - [`reply`] - replies of reals
//! - [`icmp`], [`answer`]: errors about flows, and errors of the director itself
#![expect(clippy::missing_panics_doc, reason = "whatever goes wrong here is to fail the test")]
#![expect(clippy::must_use_candidate, clippy::return_self_not_must_use, reason = "questions, most of them")]

pub mod answer;
pub mod bytes;
pub mod checksum;
pub mod connection;
pub mod director;
pub mod forward;
pub mod frame;
pub mod hash;
pub mod icmp;
pub mod parse;
pub mod reply;
pub mod schedule;
pub mod select;
pub mod state;
pub mod translate;
pub mod tunnel;
pub mod world;

use std::{collections::VecDeque, net::SocketAddr};

use lb_common::reason::Reason;
pub use state::State;
pub use world::World;

use crate::packet::Action;

/// The version of a packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the numbers say it")]
pub enum Version {
    V4,
    V6,
}

impl Version {
    const fn number(self) -> u8 {
        match self {
            Self::V4 => 4,
            Self::V6 => 6,
        }
    }

    /// Returns the `EtherType` of frames of this version.
    pub const fn ether_type(self) -> [u8; 2] {
        match self {
            Self::V4 => [0x08, 0x00],
            Self::V6 => [0x86, 0xdd],
        }
    }

    /// Bytes of its header without options or extension headers.
    pub const fn header_length(self) -> usize {
        match self {
            Self::V4 => 20,
            Self::V6 => 40,
        }
    }

    /// Bytes of its addresses.
    pub const fn address_length(self) -> usize {
        match self {
            Self::V4 => 4,
            Self::V6 => 16,
        }
    }

    /// Returns the offset of the time to live, or hop limit.
    pub const fn hops(self) -> usize {
        match self {
            Self::V4 => 8,
            Self::V6 => 7,
        }
    }

    /// Returns the protocol number of ICMP in this version.
    pub const fn icmp(self) -> u8 {
        match self {
            Self::V4 => parse::number::ICMP,
            Self::V6 => parse::number::ICMPV6,
        }
    }

    /// Returns the version of an address.
    pub const fn of(address: std::net::IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

/// Protocol and ends: what a flow is known by.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Tuple {
    /// IANA number of the protocol.
    pub protocol: u8,
    /// Source address and port.
    pub source: SocketAddr,
    /// Destination address and port.
    pub destination: SocketAddr,
}

impl Tuple {
    /// Returns the other direction.
    pub const fn reversed(self) -> Self {
        Self { protocol: self.protocol, source: self.destination, destination: self.source }
    }
}

/// Random choices, which the model takes from the trace of the programs.
#[derive(Clone, Debug, Default)]
pub struct Chance {
    /// Random numbers, in their order. None left is 0.
    pub random: VecDeque<u32>,
    /// The SNAT port of a `fnat` flow. The model takes the first free port if this one is not free.
    pub port: Option<u16>,
}

/// The outcome of a packet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Outcome {
    /// The XDP action.
    pub action: Action,
    /// The frame that leaves, or is passed.
    pub frame: Vec<u8>,
    /// The reason.
    pub reason: Reason,
    /// The real that it was sent to, or came from.
    pub real: Option<u32>,
}

/// A director: the desired state, and the state of its tables.
#[derive(Clone, Debug)]
pub struct Model {
    /// The desired state.
    pub world: World,
    /// The state of the tables.
    pub state: State,
}
