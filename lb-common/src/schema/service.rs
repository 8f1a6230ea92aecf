// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Virtual services, and the tables by which they choose a real.

use super::{BLOCK, layout};
use crate::{
    packet::Ip,
    wire::{Be16, Be32, Be128},
};

/// Key of `SERVICES` and, with addresses of 128 bits, of `SERVICES6`: a virtual service as it appears on the wire.
///
/// | offset | field      | encoding           |
/// |-------:|------------|--------------------|
/// | 0      | `address`  | network byte order |
/// | 4, 16  | `port`     | network byte order, 0 = every port |
/// | 6, 18  | `protocol` | IANA number, the machine's order |
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ServiceKey<A: Ip = Be128> {
    /// The VIP.
    pub address: A,
    /// The port, or 0 for every port.
    pub port: Be16,
    /// TCP or UDP.
    pub protocol: u16,
    /// Zero.
    pub reserved: A::Padding,
}
layout!(ServiceKey<Be32>, size: 8, align: 4);
layout!(ServiceKey<Be128>, size: 24, align: 8);

impl<A: Ip> ServiceKey<A> {
    /// A key from the fields of a packet or of a configuration.
    #[inline(always)]
    #[must_use]
    pub fn new(address: A, port: Be16, protocol: u8) -> Self {
        Self { address, port, protocol: protocol.into(), reserved: A::Padding::default() }
    }
}

/// Value of `SERVICES`. The daemon writes it whole; the programs only read.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Service {
    /// Which reals and which counters are this service's. Never 0.
    pub id: u32,
    /// The first block of its table.
    pub first: u32,
    /// How many entries of the table are in use; 0 when no real can take a connection.
    pub slots: u32,
    /// How a new connection picks a real: a [`Scheduler`].
    pub scheduler: u32,
    /// Which flows are written down: a [`Tracking`].
    pub tracking: u32,
    /// Ticks for which a client is kept on its real; 0: it is not.
    pub persistent: u32,
    /// How many bits of a client's address, taken as 128, name it: all of `/32` and of `/128` is 128.
    pub prefix: u32,
    /// [`Service::PORTS`], [`Service::FALLBACK`], [`Service::ONE_PACKET`], [`Service::FTP`].
    pub flags: u32,
}
layout!(Service, size: 32, align: 4);

impl Service {
    /// The hash covers ports: `mh-port`, `sh-port`.
    pub const PORTS: u32 = 1;
    /// Another real where the hashed one is overloaded: `mh-fallback`, `sh-fallback`.
    pub const FALLBACK: u32 = 2;
    /// Each datagram of UDP is scheduled by itself.
    pub const ONE_PACKET: u32 = 4;
    /// The control connections of FTP: a client's data connections to its VIP go to the same real (`IP_VS_SVC_F_PERSISTENT`
    /// with `FTPPORT` in `ip_vs_core.c`).
    pub const FTP: u32 = 8;

    /// Whether a flag is set.
    #[inline(always)]
    #[must_use]
    pub const fn is(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }
}

/// Which flows of a service are written down in `FLOWS`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub enum Tracking {
    /// Those that a pool change could hurt (see [`crate::slot`]), and those of nat reals that services share, whose
    /// replies do not name the service. Only for schedulers that hash.
    Auto = 0,
    /// Every flow.
    Full = 1,
    /// None, but those of shared nat reals: a pool change moves living flows. Only for schedulers that hash.
    None = 2,
}

/// How a new connection picks a real; the names are those of IPVS.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub enum Scheduler {
    /// The slot of the flow's hash in a Maglev table: anyone can tell the real from the packet alone.
    Mh = 0,
    /// The slot of the client's hash.
    Sh = 1,
    /// The slot of the VIP's hash.
    Dh = 2,
    /// The next turn of the service's table (`rr`, `wrr`).
    Rotate = 3,
    /// From here on the table is the pool, and the load of each real decides: see [`crate::schedule`].
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
    /// The same with replication.
    Lblcr = 12,
}

impl Scheduler {
    /// Whether the scheduler of that number tells the real from the packet alone.
    #[inline(always)]
    #[must_use]
    pub const fn hashes(number: u32) -> bool {
        number <= Self::Dh as u32
    }
}

/// Value of `TABLES`: a part of a service's table, which is as many blocks in a row from [`Service::first`] on as hold its
/// [`Service::slots`] entries. An entry is a real's id. The daemon rewrites them in place, so that a packet sees
/// either the old or the new real. An id with [`crate::slot::MOVED`] set has an entry in [`MoveBlock`].
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct Block(pub [u32; BLOCK as usize]);
layout!(Block, size: 16_384, align: 4);

/// Value of `POSITIONS`, an array by service id: where a scheduler that takes turns is in its table.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Position {
    /// The next turn, counted without end. The programs add to it.
    pub next: u64,
    /// What `next` was after the last pool change. Written by the daemon alone.
    pub start: u64,
}
layout!(Position, size: 16, align: 8);

/// A moved slot, see [`crate::slot`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Move {
    /// The real of flows that are not written down.
    pub base: u32,
    /// The tick of the last move, or [`crate::slot::LONG_AGO`].
    pub since: u32,
}
layout!(Move, size: 8, align: 4);

/// Value of `MOVES`: the moves of the slots in the block of the same number. Written by the daemon alone, each
/// slot's move before the slot itself; what no slot is marked for means nothing.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct MoveBlock(pub [Move; BLOCK as usize]);
layout!(MoveBlock, size: 32_768, align: 4);
