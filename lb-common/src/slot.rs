// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! The rule of slots: the real of an untracked flow.
//!
//! A hashing scheduler needs no flow table while its pool does not change: the slot of the flow's hash
//! determines the real. A pool change endangers only flows in slots that it moved. Only those flows are
//! tracked, until none is left that the move could hurt. (Tracking only endangered flows is from JET, "Just
//! Enough Tracking", `CoNEXT` 2021; this is an exact variant on Maglev tables.)
//!
//! A slot is *steady*: its flows are on `current`. Or it is *moved*, that is in transition: `current` gets new flows,
//! `base` has the older flows that are not tracked, and `since` is the tick of the last move. Let T be the
//! idle timeout:
//!
//! - moved, for less than T: a tracked flow stays on its real. An untracked SYN begins a new flow, which goes
//!   to `current` and is tracked. Any other untracked packet is of an older flow, which goes to `base` and is
//!   tracked. After T, every older flow that still lives has sent a packet.
//! - moved, for more than T: a tracked flow stays. Any other flow goes to `current`: older flows that were idle
//!   for longer than T have timed out. New flows are not tracked.
//! - *settled*: moved for more than T, and no living flow of the slot is tracked on another real than `current`:
//!   the slot is steady again.

use crate::{
    ids::RealId,
    ticks::{Tick, Ticks},
};

/// Flag of a slot in transition; the other bits of the slot are the id of its real.
pub const MOVED: u32 = 1 << 31;

/// [`crate::schema::Move::since`] of a slot that was moved longer ago than T.
pub const LONG_AGO: Tick = Tick(0);

/// The real of an untracked flow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Choice {
    /// Id of the real.
    pub real: RealId,
    /// Whether the flow must be tracked.
    pub record: bool,
}

/// Returns the real of an untracked flow in a slot in transition from `base` to `current` since `since`.
/// `timeout` is T, and `opens` is whether the packet is a SYN.
#[inline(always)]
#[must_use]
pub const fn choose(
    current: RealId,
    base: RealId,
    since: Tick,
    now: Tick,
    timeout: Ticks,
    opens: bool,
) -> Choice {
    if is_older(since, now, timeout) {
        return Choice { real: current, record: false };
    }
    Choice { real: if opens { current } else { base }, record: true }
}

/// Returns whether a slot moved longer than T ago.
#[inline(always)]
const fn is_older(since: Tick, now: Tick, timeout: Ticks) -> bool {
    since.0 == LONG_AGO.0 || since.age(now).exceeds(timeout)
}

/// Returns a tick as the `since` of a slot: never [`LONG_AGO`].
#[must_use]
pub const fn since(tick: Tick) -> Tick {
    if tick.0 == LONG_AGO.0 { Tick(1) } else { tick }
}

/// A slot in userspace.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Slot {
    /// Id of the real of new flows.
    pub current: RealId,
    /// Id of the real of untracked flows; equals `current` in a steady slot.
    pub base: RealId,
    /// Tick of the last move; `None` in a steady slot.
    pub moved: Option<Tick>,
}

impl Slot {
    /// Returns a steady slot.
    #[must_use]
    pub const fn steady(real: RealId) -> Self {
        Self { current: real, base: real, moved: None }
    }

    /// Moves the slot to another real at `now`.
    #[must_use]
    pub const fn moved_to(self, real: RealId, now: Tick, timeout: Ticks) -> Self {
        if self.current.is(real) {
            return self;
        }
        if self.current.is_none() && self.moved.is_none() {
            // There was no real, so there are no flows.
            return Self::steady(real);
        }
        let base = match self.moved {
            // Older flows may not have sent a packet yet: they are still on the old base.
            Some(at) if !is_older(at, now, timeout) => self.base,
            // All untracked flows are on `current`.
            _ => self.current,
        };
        Self { current: real, base, moved: Some(since(now)) }
    }

    /// Returns the slot after another director has announced a flow of it on `real`. A flow of a steady slot is not looked
    /// up: the slot becomes one that was moved long ago, and stays so while such a flow lives.
    #[must_use]
    pub const fn announced(self, real: RealId) -> Self {
        if self.moved.is_some() || self.current.is(real) {
            return self;
        }
        Self { base: self.current, moved: Some(LONG_AGO), ..self }
    }

    /// Returns the slot without its `base`, after the last flow on that real has ended.
    #[must_use]
    pub const fn without_base(self) -> Self {
        Self { base: self.current, ..self }
    }

    /// Returns the slot at `now`. `elsewhere` is whether a living flow of the slot is tracked on another
    /// real than `current`.
    #[must_use]
    pub const fn aged(self, now: Tick, timeout: Ticks, elsewhere: bool) -> Self {
        match self.moved {
            Some(at) if is_older(at, now, timeout) => {
                if elsewhere {
                    Self { moved: Some(LONG_AGO), ..self }
                } else {
                    Self::steady(self.current)
                }
            }
            _ => self,
        }
    }
}

#[cfg(test)]
mod tests;
