// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! The rule of slots: the real of an untracked flow.
//!
//! A hashing scheduler needs no flow table while its pool does not change: the slot of the flow's hash
//! determines the real. A pool change endangers only flows in slots that it moved. Only those flows are
//! tracked, until none is left that the move could hurt. (Tracking only endangered flows is from JET, "Just
//! Enough Tracking", `CoNEXT` 2021; this is an exact variant on Maglev tables.)
//!
//! A slot is *steady*: its flows are on `now`. Or it is *moved*, that is in transition: `now` gets new flows,
//! `base` has the older flows that are not tracked, and `since` is the tick of the last move. Let T be the
//! idle timeout:
//!
//! - moved, for less than T: a tracked flow stays on its real. An untracked SYN begins a new flow, which goes
//!   to `now` and is tracked. Any other untracked packet is of an older flow, which goes to `base` and is
//!   tracked. After T, every older flow that still lives has sent a packet.
//! - moved, for more than T: a tracked flow stays. Any other flow goes to `now`: older flows that were idle
//!   for longer than T have timed out. New flows are not tracked.
//! - *settled*: moved for more than T, and no living flow of the slot is tracked on another real than `now`:
//!   the slot is steady again.

use crate::{schema::UNSET, ticks};

/// Flag of a slot in transition; the other bits of the slot are the id of its real.
pub const MOVED: u32 = 1 << 31;

/// [`crate::schema::Move::since`] of a slot that was moved longer ago than T.
pub const LONG_AGO: u32 = 0;

/// The real of an untracked flow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Choice {
    /// Id of the real.
    pub real: u32,
    /// Whether the flow must be tracked.
    pub record: bool,
}

/// Returns the real of an untracked flow in a slot in transition. `tick` is the current time, `timeout` is T,
/// and `opens` is whether the packet is a SYN.
#[inline(always)]
#[must_use]
pub const fn choose(now: u32, base: u32, since: u32, tick: u32, timeout: u32, opens: bool) -> Choice {
    if since == LONG_AGO || ticks::age(since, tick) > timeout {
        return Choice { real: now, record: false };
    }
    Choice { real: if opens { now } else { base }, record: true }
}

/// Returns a tick as the `since` of a slot: never [`LONG_AGO`].
#[must_use]
pub const fn since(tick: u32) -> u32 {
    if tick == LONG_AGO { 1 } else { tick }
}

/// A slot in userspace.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Slot {
    /// Id of the real of new flows.
    pub now: u32,
    /// Id of the real of untracked flows; equals `now` in a steady slot.
    pub base: u32,
    /// Tick of the last move; `None` in a steady slot.
    pub moved: Option<u32>,
}

impl Slot {
    /// Returns a steady slot.
    #[must_use]
    pub const fn steady(real: u32) -> Self {
        Self { now: real, base: real, moved: None }
    }

    /// Moves the slot to another real at `tick`.
    #[must_use]
    pub const fn moved_to(self, real: u32, tick: u32, timeout: u32) -> Self {
        if self.now == real {
            return self;
        }
        if self.now == UNSET && self.moved.is_none() {
            // There was no real, so there are no flows.
            return Self::steady(real);
        }
        let base = match self.moved {
            // Older flows may not have sent a packet yet: they are still on the old base.
            Some(at) if at != LONG_AGO && ticks::age(at, tick) <= timeout => self.base,
            // All untracked flows are on `now`.
            _ => self.now,
        };
        Self { now: real, base, moved: Some(since(tick)) }
    }

    /// Returns the slot without its `base`, after the last flow on that real has ended.
    #[must_use]
    pub const fn without_base(self) -> Self {
        Self { base: self.now, ..self }
    }

    /// Returns the slot at `tick`. `elsewhere` is whether a living flow of the slot is tracked on another
    /// real than `now`.
    #[must_use]
    pub const fn aged(self, tick: u32, timeout: u32, elsewhere: bool) -> Self {
        match self.moved {
            Some(at) if at == LONG_AGO || ticks::age(at, tick) > timeout => {
                if elsewhere {
                    Self { moved: Some(LONG_AGO), ..self }
                } else {
                    Self::steady(self.now)
                }
            }
            _ => self,
        }
    }
}

#[cfg(test)]
mod tests;
