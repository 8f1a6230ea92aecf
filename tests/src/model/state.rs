// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a director remembers of the packets that it has seen.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    ops::Range,
};

use lb_common::{reason::Reason, schema::Counters};

use super::{Tuple, connection::State as Connection, frame::Macs};

/// A flow that is written down.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Flow {
    /// Its real.
    pub real: u32,
    /// How far it is.
    pub state: Connection,
    /// How its client is reached.
    pub back: WayBack,
    /// The port of the director that it has, by `fnat`.
    pub dip: Option<u16>,
}

/// How to send to a client: as its last packet came.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct WayBack {
    /// The device.
    pub device: u32,
    /// Destination and source of frames.
    pub macs: Macs,
    /// Their VLAN tags.
    pub tags: Vec<[u8; 4]>,
}

/// What names a fragmented datagram. In IPv6 the protocol does not (RFC 8200, section 4.5).
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Datagram {
    /// Where it comes from.
    pub source: IpAddr,
    /// Where it goes to.
    pub destination: IpAddr,
    /// Its identification.
    pub id: u32,
    /// Its protocol, in IPv4.
    pub protocol: Option<u8>,
}

/// Where the first fragment went.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Decision {
    /// To a real, by `fnat` from that port of the director.
    Request {
        /// The real.
        real: u32,
        /// The port.
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
        /// How the client is reached.
        back: WayBack,
    },
}

impl Decision {
    /// The real that the datagram goes to, or comes from.
    pub const fn real(&self) -> u32 {
        match self {
            Self::Request { real, .. } | Self::Reply { real, .. } => *real,
        }
    }
}

/// What has come of a fragmented datagram: up to four ranges of words of eight bytes, or all that may ever be once
/// something has come twice and brought more (RFC 5722).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Come {
    ranges: Vec<Range<usize>>,
    spoilt: bool,
}

impl Come {
    /// Ranges that are remembered.
    const MOST: usize = 4;

    /// The first fragment, of so many bytes.
    pub fn first(bytes: usize) -> Self {
        let all = 0..bytes.div_ceil(8);
        Self { ranges: vec![all], spoilt: false }
    }

    /// A later one of so many bytes comes. Whether it may pass.
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

/// How many connections a real has.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Load {
    /// Opening and established ones.
    pub active: i32,
    /// Closing ones, and those of UDP.
    pub inactive: i32,
    /// Whether it was above its thresholds when somebody last looked.
    pub overloaded: bool,
}

/// All that is remembered. Within a test nothing is forgotten: that takes seconds at least.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Flows by their tuple as the client sends it.
    pub flows: BTreeMap<Tuple, Flow>,
    /// Fragmented datagrams.
    pub datagrams: BTreeMap<Datagram, (Decision, Come)>,
    /// Whose the replies to a flow are, by the reply's tuple, where services share a real by `nat`.
    pub replies: BTreeMap<Tuple, SocketAddr>,
    /// How clients of reals by `nat` are reached whose flows are not written down.
    pub ways_back: BTreeMap<IpAddr, WayBack>,
    /// Replies to clients that spoke to a real by `nat` itself.
    pub direct: BTreeSet<Tuple>,
    /// Flows by `fnat`, by the tuple of their replies.
    pub translations: BTreeMap<Tuple, Tuple>,
    /// The real that a client is kept on, by service and network.
    pub clients: BTreeMap<(u32, Vec<u8>), u32>,
    /// The reals of a destination, by service; 0 is no real.
    pub localities: BTreeMap<(u32, IpAddr), [u32; 8]>,
    /// The next turn of each service.
    pub turns: BTreeMap<u32, u64>,
    /// How many connections each real has.
    pub loads: BTreeMap<u32, Load>,
    /// What was counted at each real.
    pub counters: BTreeMap<u32, Counters>,
    /// How many packets ended for a reason, by service.
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
