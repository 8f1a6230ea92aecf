// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! The value word of an entry.

use super::{Limits, Phase, Seen, opaque::opaque};
use crate::{ids::RealId, packet::tcp_flags, schema::Load};

/// The value word of an entry.
///
/// | bits | content |
/// |---|---|
/// | 0–7 | generation: that of the key word, or the value belongs to another key |
/// | 8–27 | id of the real |
/// | 28–51 | [`Seen`] |
/// | 52–54 | [`Phase`] |
/// | 55 | whether another director has announced the entry, and no packet has renewed it since |
/// | 56–63 | place of the return path's gateway; 0: none |
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Value(
    /// The word.
    pub u64,
);

impl Value {
    /// The bits of a generation, in a key word and in a value.
    pub const GENERATION: u64 = 0xff;
    /// The highest id of a real that fits.
    pub const MAX_REAL: u32 = (1 << 20) - 1;
    const REAL: u32 = 8;
    const SEEN: u32 = 28;
    const PHASE: u32 = 52;
    const ANNOUNCED: u32 = 55;
    const GATEWAY: u32 = 56;

    /// The value of no flow: its real is [`RealId::NONE`].
    pub const NONE: Self = Self(0);

    /// Creates a value of generation 0.
    #[inline(always)]
    #[must_use]
    pub const fn new(real: RealId, seen: Seen, phase: Phase) -> Self {
        let real = (real.0 & Self::MAX_REAL) as u64;
        Self((phase as u64) << Self::PHASE | seen.number() << Self::SEEN | real << Self::REAL)
    }

    /// Returns the value of a dead entry.
    #[inline(always)]
    #[must_use]
    pub const fn dead(generation: u64) -> Self {
        Self((Phase::Dead as u64) << Self::PHASE | generation & Self::GENERATION)
    }

    /// Returns the value of a connection that is cut: its entry lives as long as that of an established one, so that each of
    /// its packets is answered with a reset.
    #[must_use]
    pub const fn cut(self) -> Self {
        Self::new(RealId::CUT, self.seen(), Phase::Established).at_generation(self.generation())
    }

    /// Returns the value with another generation.
    #[inline(always)]
    #[must_use]
    pub const fn at_generation(self, generation: u64) -> Self {
        Self(self.0 & !Self::GENERATION | generation & Self::GENERATION)
    }

    /// Returns the generation.
    #[inline(always)]
    #[must_use]
    pub const fn generation(self) -> u64 {
        self.0 & Self::GENERATION
    }

    /// Returns the id of the real.
    #[inline(always)]
    #[must_use]
    pub const fn real(self) -> RealId {
        RealId((self.0 >> Self::REAL) as u32 & Self::MAX_REAL)
    }

    /// Returns the time of the last recorded packet.
    #[inline(always)]
    #[must_use]
    pub const fn seen(self) -> Seen {
        Seen::from_number(self.0 >> Self::SEEN)
    }

    /// Returns the number of the phase.
    #[inline(always)]
    #[must_use]
    pub const fn phase_number(self) -> u64 {
        self.0 >> Self::PHASE & 7
    }

    /// Returns the phase.
    #[inline(always)]
    #[must_use]
    pub const fn phase(self) -> Phase {
        Phase::from_number(self.phase_number())
    }

    /// Returns whether the entry is free.
    #[inline(always)]
    #[must_use]
    pub const fn is_dead(self) -> bool {
        self.phase_number() == Phase::Dead as u64
    }

    /// Returns whether another director has announced the entry, and no packet has renewed it since.
    #[inline(always)]
    #[must_use]
    pub const fn is_announced(self) -> bool {
        self.0 >> Self::ANNOUNCED & 1 == 1
    }

    /// Returns the value with the mark that another director has announced it, or without.
    #[inline(always)]
    #[must_use]
    pub const fn with_announced(self, announced: bool) -> Self {
        Self(self.0 & !(1 << Self::ANNOUNCED) | (announced as u64) << Self::ANNOUNCED)
    }

    /// Returns the place of the gateway of the client's return path; 0 if there is none.
    #[inline(always)]
    #[must_use]
    pub const fn gateway(self) -> u8 {
        (self.0 >> Self::GATEWAY) as u8
    }

    /// Returns the value with another gateway.
    #[inline(always)]
    #[must_use]
    pub const fn with_gateway(self, place: u8) -> Self {
        Self(self.0 << 8 >> 8 | (place as u64) << Self::GATEWAY)
    }

    /// Returns the value with another phase and time, after a packet that this director has seen: the entry is no longer
    /// one that only another director has announced.
    #[inline(always)]
    #[must_use]
    pub const fn at_phase(self, phase: Phase, seen: Seen) -> Self {
        let kept = !(7 << Self::PHASE | ((1 << Seen::BITS) - 1) << Self::SEEN | 1 << Self::ANNOUNCED);
        Self(self.0 & kept | (phase as u64) << Self::PHASE | seen.number() << Self::SEEN)
    }

    /// Returns the value after another packet of the client. It is the same value if nothing needs to be written: the
    /// state is unchanged, and the recorded time is not older than a window.
    #[inline(always)]
    #[must_use]
    pub const fn after(self, tcp_flags: u8, now: Seen) -> Self {
        let later = self.seen().age(now) >= Seen::WINDOW;
        let phase = self.phase().next(tcp_flags, later);
        if later || phase as u64 != self.phase_number() { self.at_phase(phase, now) } else { self }
    }

    /// Returns whether [`Self::after`] and [`Self::after_reply`] surely return the same value. The test has few branches,
    /// and is true for most packets.
    #[inline(always)]
    #[must_use]
    pub const fn is_steady(self, tcp_flags: u8, now: Seen) -> bool {
        const CHANGES: u8 = tcp_flags::SYN | tcp_flags::FIN | tcp_flags::RST;
        tcp_flags & CHANGES == 0
            && self.phase_number() != Phase::SynReceived as u64
            && self.seen().age(now) < Seen::WINDOW
    }

    /// Returns the value after a packet of the real, as [`Self::after`]. The time of a flow that its client has yet to
    /// prove is written less often: the client's next packet must be in another window than the recorded time.
    #[inline(always)]
    #[must_use]
    pub const fn after_reply(self, tcp_flags: u8, now: Seen) -> Self {
        let phase = self.phase().after_reply(tcp_flags);
        let windows = if self.phase().is_proven() { 1 } else { 8 };
        let later = self.seen().age(now) >= windows * Seen::WINDOW;
        if later || phase as u64 != self.phase_number() { self.at_phase(phase, now) } else { self }
    }

    /// Returns whether the flow is over when this packet arrives.
    #[inline(always)]
    #[must_use]
    pub const fn is_over(self, limits: &Limits, now: Seen, tcp_flags: u8) -> bool {
        limits.is_over(self.phase(), self.seen(), now, tcp_flags)
    }

    /// Returns the number of the flow's state, as [`Phase::state`] does, without branches.
    #[inline(always)]
    #[must_use]
    pub fn state_number(self) -> u32 {
        (Phase::STATES >> (4 * opaque(self.phase_number())) & 0xf) as u32
    }

    /// Returns the share of the entry in the load of its real, as [`Phase::load`] does, without branches.
    #[inline(always)]
    #[must_use]
    pub fn load(self) -> u64 {
        const ACTIVE: u64 = Phase::with_load(Load::ACTIVE);
        const INACTIVE: u64 = Phase::with_load(Load::INACTIVE);
        let phase = opaque(self.phase_number());
        (ACTIVE >> phase & 1) * Load::ACTIVE + (INACTIVE >> phase & 1) * Load::INACTIVE
    }
}
