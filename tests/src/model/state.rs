// SPDX-License-Identifier: MIT OR Apache-2.0
//! The tables of a director: its memory of earlier packets.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    ops::Range,
};

use lb_common::{reason::Reason, schema::Counters};

use super::{Tuple, connection::State as Connection, frame::Macs};

/// A tracked flow.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Flow {
    /// Id of the real.
    pub real: u32,
    /// State of the connection.
    pub state: Connection,
    /// The return path to the client.
    pub back: ReturnPath,
    /// The SNAT port of a `fnat` flow.
    pub dip: Option<u16>,
}

/// The return path to a client, by its last packet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ReturnPath {
    /// Ifindex of the interface.
    pub device: u32,
    /// Destination and source of frames.
    pub macs: Macs,
    /// Their VLAN tags.
    pub tags: Vec<[u8; 4]>,
}

/// The identity of a fragmented datagram. In IPv6 it does not include the protocol (RFC 8200, section 4.5).
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Datagram {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Identification.
    pub id: u32,
    /// Protocol, in IPv4.
    pub protocol: Option<u8>,
}

/// The decision on the first fragment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Decision {
    /// To a real; with `fnat` from this port of the director.
    Request {
        /// Id of the real.
        real: u32,
        /// The SNAT port, with `fnat`.
        dip: Option<u16>,
    },
    /// Back to a client.
    Reply {
        /// The real that it came from.
        real: u32,
        /// The address that it came from, for the client.
        vip: IpAddr,
        /// The client, where the packet was for the director.
        client: Option<IpAddr>,
        /// The return path to the client.
        back: ReturnPath,
    },
}

impl Decision {
    /// Returns the real to which the datagram goes, or from which it comes.
    pub const fn real(&self) -> u32 {
        match self {
            Self::Request { real, .. } | Self::Reply { real, .. } => *real,
        }
    }
}

/// The parts of a fragmented datagram that have arrived: up to four ranges of words of eight bytes, or all
/// possible parts after an overlap (RFC 5722).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Come {
    ranges: Vec<Range<usize>>,
    spoilt: bool,
}

impl Come {
    /// Ranges that are remembered.
    const MOST: usize = 4;

    /// Returns the parts after a first fragment of `bytes` bytes.
    pub fn first(bytes: usize) -> Self {
        let all = 0..bytes.div_ceil(8);
        Self { ranges: vec![all], spoilt: false }
    }

    /// Adds a later fragment of `bytes` bytes. Returns whether it may pass.
    pub fn add(&mut self, start: usize, bytes: usize) -> bool {
        let end = start + bytes.div_ceil(8);
        if self.spoilt {
            return false;
        }
        if let Some(before) = self.ranges.iter().find(|before| start < before.end && before.start < end) {
            self.spoilt = start < before.start || before.end < end;
            return false;
        }
        if let Some(next) = self.ranges.iter_mut().find(|next| next.end == start || next.start == end) {
            *next = next.start.min(start)..next.end.max(end);
        } else if self.ranges.len() < Self::MOST {
            self.ranges.push(start..end);
        }
        true
    }
}

/// Connection counts of a real.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Load {
    /// Opening and established ones.
    pub active: i32,
    /// Closing ones, and those of UDP.
    pub inactive: i32,
    /// True if the real was above its thresholds at the last check.
    pub overloaded: bool,
}

/// All that is remembered. Within a test nothing is forgotten: that takes seconds at least.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Flows by their tuple as the client sends it.
    pub flows: BTreeMap<Tuple, Flow>,
    /// Fragmented datagrams.
    pub datagrams: BTreeMap<Datagram, (Decision, Come)>,
    /// The service of the replies to a flow, by the reply's tuple, if services share a `nat` real.
    pub replies: BTreeMap<Tuple, SocketAddr>,
    /// Return paths of clients of `nat` reals whose flows are not tracked.
    pub ways_back: BTreeMap<IpAddr, ReturnPath>,
    /// Replies to clients that contacted a `nat` real directly.
    pub direct: BTreeSet<Tuple>,
    /// The `fnat` flows, by the tuple of their replies.
    pub translations: BTreeMap<Tuple, Tuple>,
    /// The real and the SNAT port that a client's tuple had last with `fnat`.
    pub leases: BTreeMap<Tuple, (u32, u16)>,
    /// The real that a client is kept on, by service and network.
    pub clients: BTreeMap<(u32, Vec<u8>), u32>,
    /// The reals of a destination, by service; 0 is no real.
    pub localities: BTreeMap<(u32, IpAddr), [u32; 8]>,
    /// The next turn of each service.
    pub turns: BTreeMap<u32, u64>,
    /// Connection counts by real id.
    pub loads: BTreeMap<u32, Load>,
    /// Counters by real id.
    pub counters: BTreeMap<u32, Counters>,
    /// Number of packets by service and reason.
    pub reasons: BTreeMap<(u32, Reason), u64>,
}

impl State {
    /// Counts a packet that ended for a reason.
    pub fn count_reason(&mut self, service: u32, reason: Reason) {
        *self.reasons.entry((service, reason)).or_default() += 1;
    }

    /// Counts at a real.
    pub fn count(&mut self, real: u32) -> &mut Counters {
        self.counters.entry(real).or_default()
    }

    /// Adds a connection to a real's load, or takes one away.
    pub fn load(&mut self, real: u32, state: Connection, add: i32) {
        let load = self.loads.entry(real).or_default();
        *(if state.is_active() { &mut load.active } else { &mut load.inactive }) += add;
    }
}
