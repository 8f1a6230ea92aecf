// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Which addresses are certainly of no use here: what is not ours is passed after two looks at a bit each.

use super::layout;
use crate::packet::Ip;

/// Value of the one element of `MARKS`: a bit for every value of [`Ip::mark`]. If it is 0, no address with that mark is in
/// `ADDRESSES` or `ADDRESSES6` as a VIP or as that of a real by `nat` or `fnat`; if it is 1, one may be. Written by the
/// daemon, before the addresses and after them. `SOURCE_MARKS` is the same for addresses that clients cannot have.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Marks(pub [u64; Marks::WORDS]);
layout!(Marks, size: 8192, align: 8);

impl Marks {
    /// Words of 64 marks each.
    pub const WORDS: usize = 1 << (Self::BITS - 6);
    /// Bits of a mark. 8 KB stay in a CPU's cache of the first level.
    pub const BITS: u32 = 16;
    /// Of no address.
    pub const NONE: Self = Self([0; Self::WORDS]);

    /// Whether an address with that mark may be in use.
    #[inline(always)]
    #[must_use]
    pub const fn has(&self, mark: u32) -> bool {
        self.0[(mark >> 6) as usize % Self::WORDS] >> (mark & 63) & 1 != 0
    }

    /// Marks an address as in use.
    pub fn set(&mut self, address: impl Ip) {
        let mark = address.mark();
        self.0[(mark >> 6) as usize % Self::WORDS] |= 1 << (mark & 63);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Be32, Be128};

    #[test]
    fn an_address_in_use_is_marked_and_few_others_are() {
        let mut marks = Marks::NONE;
        let v4 = |n: u32| Be32((0x0a00_0000 + n).to_be());
        let v6 = |n: u32| Be128([0xfd_u64, u64::from(n).to_be()]);
        (0..500).for_each(|n| marks.set(v4(n)));
        (0..500).for_each(|n| marks.set(v6(n)));
        assert!((0..500).all(|n| marks.has(v4(n).mark()) && marks.has(v6(n).mark())));
        let strangers = (500..10_500).filter(|&n| marks.has(v4(n).mark())).count();
        let strangers6 = (500..10_500).filter(|&n| marks.has(v6(n).mark())).count();
        // 1,000 of 65,536 marks: one stranger in 65, unless the marks of neighbours fall together.
        assert!(strangers < 400 && strangers6 < 400, "{strangers} {strangers6} of 10000");
    }
}
