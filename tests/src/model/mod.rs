// SPDX-License-Identifier: MIT OR Apache-2.0
//! The rules by which packets are forwarded, once more: plain, slow, and without a line of the programs' code.
//!
//! It is written from docs/forwarding.md, docs/reasons.md and docs/architecture.md, the RFCs that they name and the schedulers
//! of IPVS, to be compared with the programs (`tests/tests/packet/differential`). What it shares with them is names: the
//! reasons, and the layout of the maps that it reads the operator's wishes from.
//!
//! - [`bytes`], [`checksum`]: numbers and checksums in packets
//! - [`frame`], [`parse`]: what a frame says
//! - [`world`]: services, reals and tables
//! - [`state`]: what is remembered from packet to packet
//! - [`director`]: the way of a packet, and why it is not forwarded
//! - [`select`], [`schedule`], [`connection`], [`hash`]: which real
//! - [`forward`], [`translate`], [`tunnel`]: how it gets there
//! - [`reply`]: and how its answer comes back
//! - [`icmp`], [`answer`]: errors about flows, and errors that are made
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
    /// The protocol.
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
    /// The port of the director that a flow by `fnat` got. The model takes the first that is free if that is not.
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

/// A director: what it is told to do, and what it remembers.
#[derive(Clone, Debug)]
pub struct Model {
    /// The desired state.
    pub world: World,
    /// The state of the tables.
    pub state: State,
}
