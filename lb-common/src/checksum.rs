// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Incremental updates of Internet checksums (RFC 1624, equation 3: `HC' = ~(~HC + ~m + m')`).
//!
//! A checksum is never computed over a payload: a correct checksum stays correct, and a wrong one stays
//! wrong, so that the receiver still detects the damage.
//!
//! Words are read in memory order as integers of the machine: a one's complement sum does not depend on the
//! byte order, as long as all words are read alike (RFC 1071, section 2).

/// The change of a one's complement sum: the words that were removed from it and added to it. Words of 32
/// bits are added in 64 bits, which are folded once, at the end.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[must_use]
pub struct Delta(u64);

impl Delta {
    /// Returns a change of nothing.
    pub const fn new() -> Self {
        Self(0)
    }

    /// Replaces a 16-bit field.
    #[inline(always)]
    pub const fn replace16(self, old: u16, new: u16) -> Self {
        Self(self.0 + (!old) as u64 + new as u64)
    }

    /// Replaces a 32-bit field, such as an IPv4 address.
    #[inline(always)]
    pub const fn replace32(self, old: u32, new: u32) -> Self {
        Self(self.0 + (!old) as u64 + new as u64)
    }

    /// Replaces a 64-bit field, such as half an IPv6 address.
    #[inline(always)]
    pub const fn replace64(self, old: u64, new: u64) -> Self {
        self.replace32(old as u32, new as u32).replace32((old >> 32) as u32, (new >> 32) as u32)
    }

    /// Returns the sum of both changes.
    #[inline(always)]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    /// Returns the change in 16 bits, for storage. [`Delta::from_folded`] restores an equivalent change.
    #[inline(always)]
    #[must_use]
    pub const fn folded(self) -> u16 {
        fold(self.0)
    }

    /// Restores a change from 16 bits.
    #[inline(always)]
    pub const fn from_folded(folded: u16) -> Self {
        Self(folded as u64)
    }

    /// Applies the change to a checksum field.
    #[inline(always)]
    #[must_use]
    pub const fn apply(self, checksum: u16) -> u16 {
        !fold(self.0 + (!checksum) as u64)
    }

    /// Applies the change to the checksum field of UDP, in which 0 means "none" (RFC 768).
    #[inline(always)]
    #[must_use]
    pub const fn apply_udp(self, checksum: u16) -> u16 {
        if checksum == 0 {
            return 0;
        }
        let new = self.apply(checksum);
        if new == 0 { 0xffff } else { new }
    }
}

/// A one's complement sum of words in memory order, for new headers.
#[derive(Clone, Copy, Debug, Default)]
#[must_use]
pub struct Sum(u64);

impl Sum {
    /// Returns an empty sum.
    pub const fn new() -> Self {
        Self(0)
    }

    /// Adds a 32-bit word, in memory order.
    #[inline(always)]
    pub const fn word(self, word: u32) -> Self {
        Self(self.0 + word as u64)
    }

    /// Returns a sum from one that was computed elsewhere, folded or not.
    #[inline(always)]
    pub const fn from_words(sum: u32) -> Self {
        Self(sum as u64)
    }

    /// Returns the checksum of all words that were added.
    #[inline(always)]
    #[must_use]
    pub const fn checksum(self) -> u16 {
        !fold(self.0)
    }
}

/// Folds a sum of fewer than 2^16 words of 32 bits to 16 bits.
#[inline(always)]
const fn fold(sum: u64) -> u16 {
    // At most 2^32 - 1 + 2^16 - 1, then 2^17 - 2, then 2^16 - 1.
    let once = (sum & 0xffff_ffff) + (sum >> 32);
    let twice = (once & 0xffff) + (once >> 16);
    ((twice & 0xffff) + (twice >> 16)) as u16
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Returns a checksum by the simplest algorithm (RFC 1071).
    fn plain(bytes: &[u8]) -> u16 {
        let mut sum = 0u64;
        for pair in bytes.chunks(2) {
            sum += u64::from(u16::from_ne_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
        }
        while sum >> 16 != 0 {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    #[test]
    fn the_example_of_rfc_1624() {
        // Section 4: HC = 0xdd2f, m = 0x5555, m' = 0x3285, HC' = 0x0000.
        let be = u16::to_be;
        let delta = Delta::new().replace16(be(0x5555), be(0x3285));
        assert_eq!(delta.apply(be(0xdd2f)), 0);
        assert_eq!(delta.apply_udp(be(0xdd2f)), 0xffff, "UDP never gets a zero by computation");
    }

    #[test]
    fn udp_without_a_checksum_stays_without() {
        assert_eq!(Delta::new().replace32(1, 2).apply_udp(0), 0);
    }

    proptest! {
        #[test]
        fn an_update_is_what_a_new_sum_would_be(
            mut bytes in proptest::collection::vec(any::<u8>(), 20..=20), address: [u8; 4], port: [u8; 2]
        ) {
            // A constant non-zero word, which every real header has: a sum of zeros has two representations.
            bytes[0] = 0x45;
            let before = plain(&bytes);
            let delta = Delta::new()
                .replace32(u32::from_ne_bytes(bytes[12..16].try_into().unwrap()), u32::from_ne_bytes(address))
                .and(Delta::new().replace16(
                    u16::from_ne_bytes(bytes[18..20].try_into().unwrap()),
                    u16::from_ne_bytes(port),
                ));
            bytes[12..16].copy_from_slice(&address);
            bytes[18..20].copy_from_slice(&port);
            prop_assert_eq!(delta.apply(before), plain(&bytes));
            prop_assert_eq!(Delta::from_folded(delta.folded()).apply(before), plain(&bytes));
        }

        #[test]
        fn the_sum_of_words_is_the_plain_one(words: [u32; 17]) {
            let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_ne_bytes()).collect();
            let sum = words.iter().fold(Sum::new(), |sum, &word| sum.word(word));
            prop_assert_eq!(sum.checksum(), plain(&bytes));
        }
    }
}
