// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Virtual services, and the tables by which they select a real.

use super::{BLOCK, layout};
use crate::{
    ids::{RealId, ServiceId},
    packet::Ip,
    ticks::{Tick, Ticks},
    wire::{Be16, Be32, Be128},
};

/// Key of `SERVICES` and, with addresses of 128 bits, of `SERVICES6`: a virtual service in the encoding of
/// the wire.
///
/// | offset | field      | encoding           |
/// |-------:|------------|--------------------|
/// | 0      | `address`  | network byte order |
/// | 4, 16  | `port`     | network byte order, 0 = every port |
/// | 6, 18  | `protocol` | IANA number, the machine's byte order |
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ServiceKey<A: Ip = Be128> {
    /// The VIP.
    pub address: A,
    /// The port, or 0 for every port, network byte order.
    pub port: Be16,
    /// IANA number of TCP, UDP or SCTP.
    pub protocol: u16,
    /// Zero.
    pub reserved: A::Padding,
}
layout!(ServiceKey<Be32>, size: 8, align: 4);
layout!(ServiceKey<Be128>, size: 24, align: 8);

impl<A: Ip> ServiceKey<A> {
    /// Returns a key from the fields of a packet or of a configuration.
    #[inline(always)]
    #[must_use]
    pub fn new(address: A, port: Be16, protocol: u8) -> Self {
        Self { address, port, protocol: protocol.into(), reserved: A::Padding::default() }
    }
}

/// Value of `SERVICES` and `SERVICES6`. The daemon writes it as a whole; the programs only read it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Service {
    /// Id of the service, which also selects its reals and counters. Never 0.
    pub id: ServiceId,
    /// The first block of the slot table.
    pub first: u32,
    /// Number of entries of the table that are in use; 0 if no real accepts connections.
    pub slots: u32,
    /// The scheduler of new connections: a [`Scheduler`].
    pub scheduler: u32,
    /// The flows that get an entry in the flow table: a [`Tracking`].
    pub tracking: u32,
    /// Persistence timeout; 0: no persistence.
    pub persistent: Ticks,
    /// Prefix length by which clients are grouped for persistence, of an address of 128 bits: 128 for both
    /// `/32` of IPv4 and `/128`.
    pub prefix: u16,
    /// The number of this VIP, port and protocol in the keys of the flow table ([`crate::flow_table::Wide`]). Never 0.
    pub number: u16,
    /// [`Service::PORTS`], [`Service::FALLBACK`], [`Service::ONE_PACKET`], [`Service::FTP`].
    pub flags: u32,
}
layout!(Service, size: 32, align: 4);

impl Service {
    /// The hash includes ports: `mh-port`, `sh-port`.
    pub const PORTS: u32 = 1;
    /// A new connection goes to another real if the hashed one is overloaded: `mh-fallback`, `sh-fallback`.
    pub const FALLBACK: u32 = 2;
    /// One-packet scheduling: each UDP datagram is scheduled on its own.
    pub const ONE_PACKET: u32 = 4;
    /// A service of FTP control connections: a client's data connections to the VIP go to the same real
    /// (`IP_VS_SVC_F_PERSISTENT` with `FTPPORT` in `ip_vs_core.c`).
    pub const FTP: u32 = 8;
    /// A packet that no real can take is dropped, rather than answered with "port unreachable".
    pub const DROP: u32 = 16;

    /// Returns whether a flag is set.
    #[inline(always)]
    #[must_use]
    pub const fn is(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }
}

/// The flows of a service that get an entry in the flow table.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub enum Tracking {
    /// Flows in slots in transition (see [`crate::slot`]), and flows whose replies need an entry: those of
    /// `fnat` reals and of nat reals that several services share. Only for hashing schedulers.
    Auto = 0,
    /// Every flow.
    Full = 1,
    /// No flow, except those whose replies need an entry; a pool change moves living flows. Only for hashing
    /// schedulers.
    None = 2,
}

/// The rule that selects the real of a new connection; the names are those of IPVS.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub enum Scheduler {
    /// By the slot of the flow's hash in a Maglev table: the packet alone determines the real.
    Mh = 0,
    /// By the slot of the client's hash.
    Sh = 1,
    /// By the slot of the VIP's hash.
    Dh = 2,
    /// By the next turn of the service's table (`rr`, `wrr`).
    Rotate = 3,
    /// Least connections. From this number on the table is the pool, and the load of each real decides: see
    /// [`crate::schedule`].
    Lc = 4,
    /// Weighted least connections.
    Wlc = 5,
    /// Shortest expected delay.
    Sed = 6,
    /// Never queue.
    Nq = 7,
    /// Weighted failover.
    Fo = 8,
    /// Weighted overflow.
    Ovf = 9,
    /// The less loaded of two random turns.
    Twos = 10,
    /// Locality-based least connections.
    Lblc = 11,
    /// Locality-based least connections with replication.
    Lblcr = 12,
}

impl Scheduler {
    /// Returns whether the scheduler with this number determines the real from the packet alone.
    #[inline(always)]
    #[must_use]
    pub const fn hashes(number: u32) -> bool {
        number <= Self::Dh as u32
    }
}

/// Value of `TABLES`: one block of a slot table. The [`Service::slots`] entries of a service occupy
/// consecutive blocks from [`Service::first`] on. An entry is the id of a real. The daemon rewrites entries
/// in place, so that a packet gets either the old or the new real. An id with [`crate::slot::MOVED`] set has
/// an entry in [`MoveBlock`].
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct Block(pub [u32; BLOCK as usize]);
layout!(Block, size: 16_384, align: 4);

/// Value of `POSITIONS`, an array by service id: the position of a rotating scheduler in its table.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Position {
    /// The next turn, which increases endlessly. The programs add to it.
    pub next: u64,
    /// The value of `next` after the last pool change. Only the daemon writes it.
    pub start: u64,
}
layout!(Position, size: 16, align: 8);

/// The last move of a slot in transition, see [`crate::slot`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Move {
    /// Id of the real of untracked flows.
    pub base: RealId,
    /// Tick of the last move, or [`crate::slot::LONG_AGO`].
    pub since: Tick,
}
layout!(Move, size: 8, align: 4);

/// Value of `MOVES`: the moves of the slots in the block with the same number. Only the daemon writes it,
/// each move before its slot. The value of a slot that is not marked has no meaning.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct MoveBlock(pub [Move; BLOCK as usize]);
layout!(MoveBlock, size: 32_768, align: 4);
