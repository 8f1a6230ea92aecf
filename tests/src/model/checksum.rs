// SPDX-License-Identifier: MIT OR Apache-2.0
//! Internet checksums (RFC 1071), and how they change with what they cover (RFC 1624): the new sum is the old
//! one, less the old words, plus the new ones, in ones' complement. So a wrong checksum stays as wrong as it
//! was.

/// Returns the ones' complement sum of words, not yet inverted. It is zero only if all words are.
fn sum(words: impl Iterator<Item = u16>) -> u16 {
    let mut sum: u64 = words.map(u64::from).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// Bytes as words; a missing last byte is zero.
fn words(bytes: &[u8]) -> impl Iterator<Item = u16> + '_ {
    bytes.chunks(2).map(|pair| u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]))
}

/// Returns the checksum of these bytes.
pub fn of(bytes: &[u8]) -> u16 {
    !sum(words(bytes))
}

/// Returns a checksum after `new` replaced `old` among the bytes that it covers.
pub fn updated(checksum: u16, old: &[u8], new: &[u8]) -> u16 {
    assert_eq!(old.len(), new.len(), "nothing is inserted");
    !sum(std::iter::once(!checksum).chain(words(old).map(|word| !word)).chain(words(new)))
}

/// Returns a UDP checksum after a replacement. In UDP 0 stands for "none" and does not change (RFC 768); a
/// sum of zero is written as `0xffff`.
pub fn updated_udp(checksum: u16, old: &[u8], new: &[u8]) -> u16 {
    match checksum {
        0 => 0,
        _ => match updated(checksum, old, new) {
            0 => 0xffff,
            new => new,
        },
    }
}
