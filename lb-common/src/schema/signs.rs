// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Passive signs: packets which show that a real does not serve.

use super::layout;
use crate::ids::RealId;

/// Value of the only element of `SIGNS`: the tick at which a sign of each real was last seen. Reals whose ids differ by
/// a multiple of [`Signs::PLACES`] share a place. The programs write whole words, and the daemon never clears them: a word
/// that differs from the one that the daemon last read is a new sign, whether one packet caused it or thousands.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct Signs(pub [u32; Signs::PLACES as usize]);
layout!(Signs, size: 16_384, align: 4);

impl Signs {
    /// Number of places, a power of two.
    pub const PLACES: u32 = 4096;

    /// Returns the place of a real.
    #[inline(always)]
    #[must_use]
    pub const fn place(real: RealId) -> u32 {
        real.0 & (Self::PLACES - 1)
    }
}
