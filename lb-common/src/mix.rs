// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! The steps of the flow hash ([`crate::hash::flow`]).
//!
//! Two rounds of multiply and xor-shift with the odd constants of `MurmurHash3`'s 64-bit finaliser (Appleby,
//! public domain): on a BPF machine 64-bit multiplication is one instruction, 128-bit is many.

pub(crate) const C1: u64 = 0xff51_afd7_ed55_8ccd;
pub(crate) const C2: u64 = 0xc4ce_b9fe_1a85_ec53;

/// Constants for the halves of a source: those of `xxHash64` (Collet, BSD), which are odd primes.
pub const SOURCE: [u64; 2] = [0x9e37_79b1_85eb_ca87, 0xc2b2_ae3d_27d4_eb4f];
/// Constants for the halves of a destination, of the same origin.
pub const DESTINATION: [u64; 2] = [0x1656_67b1_9e37_79f9, 0x85eb_ca77_c2b2_ae63];

/// Mixes a number into a hash, in one round.
#[inline(always)]
#[must_use]
pub const fn round(hash: u64, number: u64) -> u64 {
    let mut h = hash ^ number;
    h ^= h >> 33;
    h = h.wrapping_mul(C1);
    h ^ h >> 33
}

/// Hashes half an IPv6 address under a seed, with a constant of its own. The halves do not depend on each
/// other: a CPU computes several at a time.
#[inline(always)]
#[must_use]
pub const fn half(seed: u64, word: u64, constant: u64) -> u64 {
    let mut h = seed ^ u64::from_be(word);
    h ^= h >> 32;
    h.wrapping_mul(constant)
}

/// Hashes an IPv6 address under a seed: both halves, the second one rotated by half a word.
#[inline(always)]
#[must_use]
pub const fn address(seed: u64, address: [u64; 2], constants: [u64; 2]) -> u64 {
    half(seed, address[0], constants[0]) ^ half(seed, address[1], constants[1]).rotate_left(32)
}
