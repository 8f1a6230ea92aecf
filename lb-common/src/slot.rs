// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Which real a flow belongs to when nobody has written it down: the rule of slots.
//!
//! A scheduler that hashes needs no flow table while its pool stands still: the slot of the flow's hash says
//! the real. Only flows whose slot was moved by a pool change are endangered, and only those are tracked,
//! until none is left that the move could hurt. (Tracking only endangered flows is from JET, "Just Enough
//! Tracking", `CoNEXT` 2021; this is an exact variant on Maglev tables.)
//!
//! A slot is *steady*: its flows are on `now`. Or it is *moved*: `now` takes new flows, `base` has the flows of
//! before that nobody wrote down, and `since` tells when the last move was. Let T be the idle timeout:
//!
//! - moved, younger than T: a flow that is written down stays where it is. A SYN that is not is a new flow: it
//!   goes to `now` and is written down. Anything else is an old flow: to `base`, and written down. When T is
//!   over, every old flow that still lives has spoken.
//! - moved, older than T: a flow that is written down stays. Any other goes to `now`: whoever was silent for
//!   longer than T has timed out. Nothing is written down.
//! - *settled*: older than T, and no living flow of the slot is written down on another real than `now`: the
//!   slot is steady again.

use crate::track;

/// A slot of a table is a real's id, with this bit set while the slot is moved.
pub const MOVED: u32 = 1 << 31;

/// [`crate::schema::Move::since`] of a slot that was moved longer ago than T.
pub const LONG_AGO: u32 = 0;

/// Where a flow goes that is not written down.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Choice {
    /// The real's id.
    pub real: u32,
    /// Whether the flow must be written down.
    pub record: bool,
}

/// The real of a flow in a moved slot that is not written down. `tick` is the current time, `timeout` is T, and
/// `opens` says that the packet is a SYN.
#[inline(always)]
#[must_use]
pub const fn choose(now: u32, base: u32, since: u32, tick: u32, timeout: u32, opens: bool) -> Choice {
    if since == LONG_AGO || track::age(since, tick) > timeout {
        return Choice { real: now, record: false };
    }
    Choice { real: if opens { now } else { base }, record: true }
}

/// A tick as a slot's `since`: never [`LONG_AGO`].
#[must_use]
pub const fn since(tick: u32) -> u32 {
    if tick == LONG_AGO { 1 } else { tick }
}

/// A slot as userspace moves it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Slot {
    /// The real that new flows go to.
    pub now: u32,
    /// The real of flows that are not written down; the same as `now` in a steady slot.
    pub base: u32,
    /// When the last move was; `None` in a steady slot.
    pub moved: Option<u32>,
}

impl Slot {
    /// A slot that stands still.
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
        let base = match self.moved {
            // Old flows may not have spoken yet: they are still on the old base.
            Some(at) if at != LONG_AGO && track::age(at, tick) <= timeout => self.base,
            // Whoever is not written down is on `now`.
            _ => self.now,
        };
        Self { now: real, base, moved: Some(since(tick)) }
    }

    /// The slot when its `base` is gone: nobody's flows are left there.
    #[must_use]
    pub const fn without_base(self) -> Self {
        Self { base: self.now, ..self }
    }

    /// The slot at `tick`, when `elsewhere` says whether a living flow of it is written down on another real
    /// than `now`.
    #[must_use]
    pub const fn aged(self, tick: u32, timeout: u32, elsewhere: bool) -> Self {
        match self.moved {
            Some(at) if at == LONG_AGO || track::age(at, tick) > timeout => {
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
