// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! The phases of an entry's life: the state of its flow, and whether the flow has proven that it lives.

use crate::{
    packet::tcp_flags,
    schema::{Load, Timeouts},
    ticks::Tick,
    track::State,
};

/// The state of a flow and its evidence. A flow is proven once its client has sent packets in more than one window
/// ([`Seen::WINDOW`]): a flood of packets with random sources proves no flow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Phase {
    /// UDP, proven.
    Udp = 0,
    /// The client has sent SYNs only.
    SynReceived = 1,
    /// Established, proven.
    Established = 2,
    /// The client has sent a FIN.
    FinWait = 3,
    /// The connection was reset.
    Close = 4,
    /// UDP, all packets in one window so far.
    NewUdp = 5,
    /// Established, all packets in one window so far.
    NewEstablished = 6,
    /// The entry is free.
    Dead = 7,
}

impl Phase {
    /// All phases, by number.
    pub const ALL: [Self; 8] = [
        Self::Udp,
        Self::SynReceived,
        Self::Established,
        Self::FinWait,
        Self::Close,
        Self::NewUdp,
        Self::NewEstablished,
        Self::Dead,
    ];

    /// Returns the phase with this number, of which the lower three bits count.
    #[inline(always)]
    #[must_use]
    pub const fn from_number(number: u64) -> Self {
        match number & 7 {
            0 => Self::Udp,
            1 => Self::SynReceived,
            2 => Self::Established,
            3 => Self::FinWait,
            4 => Self::Close,
            5 => Self::NewUdp,
            6 => Self::NewEstablished,
            _ => Self::Dead,
        }
    }

    /// Returns the phase of a flow after its first packet.
    #[inline(always)]
    #[must_use]
    pub const fn first(protocol: u8, tcp_flags: u8) -> Self {
        Self::unproven(State::first(protocol, tcp_flags))
    }

    const fn unproven(state: State) -> Self {
        match state {
            State::Udp => Self::NewUdp,
            State::SynReceived => Self::SynReceived,
            State::Established => Self::NewEstablished,
            State::FinWait => Self::FinWait,
            State::Close => Self::Close,
        }
    }

    /// Returns the state of the flow; that of a dead entry is [`State::Close`].
    #[inline(always)]
    #[must_use]
    pub const fn state(self) -> State {
        match self {
            Self::Udp | Self::NewUdp => State::Udp,
            Self::SynReceived => State::SynReceived,
            Self::Established | Self::NewEstablished => State::Established,
            Self::FinWait => State::FinWait,
            Self::Close | Self::Dead => State::Close,
        }
    }

    /// Returns whether the flow has proven that it lives.
    #[inline(always)]
    #[must_use]
    pub const fn is_proven(self) -> bool {
        matches!(self, Self::Udp | Self::Established)
    }

    /// Returns the phase after another packet of the client. `later` is whether the packet is in another window than
    /// the last recorded one.
    ///
    /// The director does not know the sequence numbers, so that anybody can forge a reset. A client that has reset its
    /// connection is silent: one that goes on in another window has not, and its connection is established.
    #[inline(always)]
    #[must_use]
    pub const fn next(self, tcp_flags: u8, later: bool) -> Self {
        const ENDS: u8 = tcp_flags::SYN | tcp_flags::FIN | tcp_flags::RST;
        if matches!(self, Self::Close) && later && tcp_flags & ENDS == 0 {
            return Self::Established;
        }
        match (self.state().next(tcp_flags), later || self.is_proven()) {
            (State::Udp, true) => Self::Udp,
            (State::Established, true) => Self::Established,
            (state, _) => Self::unproven(state),
        }
    }

    /// Returns the phase after a packet of the real, which may end the flow, and proves nothing.
    #[inline(always)]
    #[must_use]
    pub const fn after_reply(self, tcp_flags: u8) -> Self {
        let (old, new) = (self.state(), self.state().after_reply(tcp_flags));
        if old as u32 == new as u32 { self } else { Self::unproven(new) }
    }

    /// The numbers of the states by phase, four bits each.
    pub(super) const STATES: u64 = {
        let mut states = 0;
        let mut phase = 0;
        while phase < Self::ALL.len() {
            states |= (Self::ALL[phase].state() as u64) << (4 * phase);
            phase += 1;
        }
        states
    };

    /// Returns a bit for each phase with this load.
    pub(super) const fn with_load(load: u64) -> u64 {
        let mut phases = 0;
        let mut phase = 0;
        while phase < Self::ALL.len() {
            phases |= ((Self::ALL[phase].load() == load) as u64) << phase;
            phase += 1;
        }
        phases
    }

    /// Returns the share of a flow in this phase in the load of its real.
    #[must_use]
    pub const fn load(self) -> u64 {
        match self {
            Self::SynReceived | Self::Established | Self::NewEstablished => Load::ACTIVE,
            Self::Udp | Self::FinWait | Self::Close | Self::NewUdp => Load::INACTIVE,
            Self::Dead => 0,
        }
    }
}

/// The time of an entry's last recorded packet, in units of 64 ticks (67 ms). It wraps around after 13 days, so that
/// ages up to half of that are right.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Seen(u32);

impl Seen {
    /// Number of bits of a time.
    pub const BITS: u32 = 24;

    /// The highest age: half the period of the clock.
    pub const MAX_AGE: u32 = (1 << (Self::BITS - 1)) - 1;

    /// The window of evidence, and the silence after which the time of an entry is written again: 1.007 s. A write at
    /// each packet would move the entry's cache line between CPUs for nothing.
    pub const WINDOW: u32 = 15;

    /// Returns the time of a tick.
    #[inline(always)]
    #[must_use]
    pub const fn of(now: Tick) -> Self {
        Self::from_number((now.0 >> 6) as u64)
    }

    /// Returns the time with this number, of which the lower bits count.
    #[inline(always)]
    #[must_use]
    pub const fn from_number(number: u64) -> Self {
        Self(number as u32 & ((1 << Self::BITS) - 1))
    }

    /// Returns the number of the time.
    #[inline(always)]
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0 as u64
    }

    /// Returns the age at `now`. A time that another CPU wrote a moment ahead of `now` has age 0.
    #[inline(always)]
    #[must_use]
    pub const fn age(self, now: Self) -> u32 {
        let age = now.0.wrapping_sub(self.0) & ((1 << Self::BITS) - 1);
        if age > Self::MAX_AGE { 0 } else { age }
    }
}

/// The highest ages at which flows live, by phase.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    by_phase: [u32; 8],
}

impl Limits {
    /// Returns the limits of the idle timeouts, rounded up to the clock of the entries. Longer ones than the clock
    /// can tell are six days.
    #[must_use]
    pub const fn of(timeouts: &Timeouts) -> Self {
        let mut by_phase = [0; 8];
        let mut number = 0;
        while number < 8 {
            let age = Phase::ALL[number].state().timeout(timeouts).0.div_ceil(64);
            by_phase[number] = if age < Seen::MAX_AGE { age } else { Seen::MAX_AGE };
            number += 1;
        }
        Self { by_phase }
    }

    /// Returns the limit of a phase by its number, of which the lower three bits count.
    #[inline(always)]
    #[must_use]
    pub const fn of_phase(&self, number: u64) -> u32 {
        self.by_phase[(number & 7) as usize]
    }

    /// Returns whether a flow is over when this packet arrives, so that the packet begins a new flow: it was silent
    /// for too long, or a SYN reuses the ports of a closing connection.
    #[inline(always)]
    #[must_use]
    pub const fn is_over(&self, phase: Phase, seen: Seen, now: Seen, tcp_flags: u8) -> bool {
        let reused = tcp_flags & tcp_flags::SYN != 0 && matches!(phase, Phase::FinWait | Phase::Close);
        reused || seen.age(now) > self.of_phase(phase as u64)
    }
}
