// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Bloom filter of addresses (Bloom 1970) in blocks of one word (Putze, Sanders, Singler 2007): two bits, and
//! one access to memory. Most packets need no lookup, because their addresses are certainly not in a table.

use super::layout;
use crate::packet::Ip;

/// Elements of `ADDRESS_FILTER` and `SOURCE_FILTER`: two bits for each address, by [`Ip::mark`]. If one of
/// the bits is 0, the address is not in `ADDRESSES` or `ADDRESSES6` with certain uses; if both are 1, it may
/// be. The uses are those by which packets to the address are forwarded (`ADDRESS_FILTER`), or those that
/// forbid it as a client's address (`SOURCE_FILTER`). The daemon writes the bits before the addresses, and
/// again after them.
///
/// `ADDRESS_FILTER` has one element. The first element of `SOURCE_FILTER` holds the networks of the
/// addresses, see
/// [`Ip::network`]: reals are many, but their networks are few, so that most packets of clients cost one access to 8
/// KB. The other elements hold the addresses; their number is a power of two, chosen at load time by the
/// number of reals.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AddressFilter(pub [u64; AddressFilter::WORDS]);
layout!(AddressFilter, size: 8192, align: 8);

impl AddressFilter {
    /// Bits of an element. Its 8 KB stay in the first-level cache of a CPU.
    pub const BITS: u32 = 1 << 16;
    /// Number of 64-bit words of an element.
    pub const WORDS: usize = (Self::BITS / 64) as usize;
    /// The filter of no address.
    pub const NONE: Self = Self([0; Self::WORDS]);

    /// Returns the index of the element of `SOURCE_FILTER` that has the bits of an address. `mask + 1`
    /// elements hold addresses, a power of two up to 16.
    #[inline(always)]
    #[must_use]
    pub fn element(address: impl Ip, mask: u32) -> u32 {
        1 + (address.mark() >> 6 & mask)
    }

    /// Returns whether both bits of an address are set in its element.
    #[inline(always)]
    #[must_use]
    pub fn has(&self, address: impl Ip) -> bool {
        let [word, first, second] = Self::places(address);
        let word = self.0[word as usize % Self::WORDS];
        (word >> first) & (word >> second) & 1 != 0
    }

    /// Sets the bits of an address.
    pub fn set(&mut self, address: impl Ip) {
        let [word, first, second] = Self::places(address);
        self.0[word as usize % Self::WORDS] |= 1 << first | 1 << second;
    }

    /// Sets the bits of an address and of its network. `elements` are all elements of `SOURCE_FILTER`.
    ///
    /// # Panics
    /// If there are fewer than two elements.
    pub fn set_source(elements: &mut [Self], address: impl Ip) {
        let element = Self::element(address, elements.len() as u32 - 2);
        elements[0].set(address.network());
        elements[element as usize].set(address);
    }

    /// Returns the index of the word that has the bits of an address, and the numbers of both bits.
    #[inline(always)]
    fn places(address: impl Ip) -> [u32; 3] {
        let mark = address.mark();
        [mark >> 22, mark >> 16 & 63, mark >> 10 & 63]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Be32, Be128};

    fn v4(n: u32) -> Be32 {
        Be32((0x0a00_0000 + n).to_be())
    }

    fn v6(n: u32) -> Be128 {
        Be128([0xfd_u64, u64::from(n).to_be()])
    }

    #[test]
    fn an_address_in_use_is_marked_and_few_others_are() {
        let mut marks = AddressFilter::NONE;
        for n in 0..500 {
            marks.set(v4(n));
            marks.set(v6(n));
        }
        assert!((0..500).all(|n| marks.has(v4(n)) && marks.has(v6(n))));
        let strangers = (500..10_500).filter(|&n| marks.has(v4(n))).count();
        let strangers6 = (500..10_500).filter(|&n| marks.has(v6(n))).count();
        // 2,000 of 65,536 bits are set: one unused address in 500 passes, as both bits are in one word.
        assert!(strangers < 60 && strangers6 < 60, "{strangers} {strangers6} of 10000");
    }

    /// Counts the addresses that share bits with 32,768 addresses of each version: of 10,000 addresses
    /// elsewhere, and of as many in the networks of the 32,768.
    fn strangers(elements: usize) -> [usize; 4] {
        let mut marks = vec![AddressFilter::NONE; elements];
        for n in (0..65_536).step_by(2) {
            AddressFilter::set_source(&mut marks, v4(n));
            AddressFilter::set_source(&mut marks, v6(n));
        }
        let network = |address: &dyn Fn(u32) -> Be32, n| marks[0].has(address(n).network());
        let mask = elements as u32 - 2;
        let one = |address| marks[AddressFilter::element(address, mask) as usize].has(address);
        let one6 = |address| marks[AddressFilter::element(address, mask) as usize].has(address);
        assert!((0..65_536).step_by(2).all(|n| network(&v4, n) && one(v4(n)) && one6(v6(n))));
        assert!(marks[0].has(v6(0).network()));
        let far = |n: u32| 0x1000_0000 + n * 4099;
        [
            (0..10_000).filter(|&n| network(&v4, far(n))).count(),
            (0..10_000_u64).filter(|&n| marks[0].has(Be128([n, 1]).network())).count(),
            (0..10_000).filter(|&n| one(v4(2 * n + 1))).count(),
            (0..10_000).filter(|&n| one6(v6(2 * n + 1))).count(),
        ]
    }

    #[test]
    fn clients_elsewhere_are_told_by_their_network_and_neighbours_by_their_address() {
        // 256 networks; 16 bits for each of 65,536 addresses.
        let [far, far6, near, near6] = strangers(1 + 16);
        assert!(far < 20 && far6 < 20 && near < 400 && near6 < 400, "{far} {far6} {near} {near6} of 10000");
        // One element is not enough to distinguish neighbouring addresses.
        let [far, far6, near, near6] = strangers(1 + 1);
        assert!(far < 20 && far6 < 20 && near > 5000 && near6 > 5000, "{far} {far6} {near} {near6} of 10000");
    }
}
