// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! The flow hash: which slot of a scheduler's table a flow falls into.
//!
//! Stable across versions, so that directors of different versions choose alike, and keyed by a seed, so
//! that nobody outside can aim all their flows at one real. Directors that share config and seed agree.
//!
//! Two rounds of multiply and xor-shift with the odd constants of `MurmurHash3`'s 64-bit finaliser (Appleby,
//! public domain): on a BPF machine 64-bit multiplication is one instruction, 128-bit is many.

use crate::schema::FlowKey;

const C1: u64 = 0xff51_afd7_ed55_8ccd;
const C2: u64 = 0xc4ce_b9fe_1a85_ec53;

/// The hash of a flow under a seed, 32 bits.
#[inline(always)]
#[must_use]
pub fn flow(key: &FlowKey, seed: u64) -> u32 {
    let addresses = u64::from(key.source.get()) << 32 | u64::from(key.destination.get());
    let ports = u64::from(key.source_port.get()) << 24
        | u64::from(key.destination_port.get()) << 8
        | u64::from(key.protocol);
    let mut h = addresses ^ seed;
    h ^= h >> 33;
    h = h.wrapping_mul(C1);
    h ^= h >> 33;
    h ^= ports;
    h = h.wrapping_mul(C2);
    h ^= h >> 33;
    h = h.wrapping_mul(C1);
    (h >> 32) as u32
}

/// Maps a hash evenly to `0..size` without a division (Lemire's multiply-shift).
#[inline(always)]
#[must_use]
pub const fn reduce(hash: u32, size: u32) -> u32 {
    ((hash as u64 * size as u64) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Be16, Be32};

    fn key(source_port: u16, source: u8) -> FlowKey {
        FlowKey::new(
            Be32::from_bytes([10, 0, 0, source]),
            Be32::from_bytes([192, 0, 2, 1]),
            Be16::new(source_port),
            Be16::new(80),
            6,
        )
    }

    /// The values that version 1 computes: a change here sends flows elsewhere after an upgrade.
    #[test]
    fn is_what_it_always_was() {
        assert_eq!(flow(&key(1024, 1), 0), GOLDEN[0]);
        assert_eq!(flow(&key(1025, 1), 0), GOLDEN[1]);
        assert_eq!(flow(&key(1024, 1), 1), GOLDEN[2]);
    }

    /// Computed by the same formula in another language.
    const GOLDEN: [u32; 3] = [2_154_030_725, 437_302_458, 986_803_349];

    /// The chi-squared statistic of consecutive ports and addresses over 257 bins stays near its mean (256,
    /// standard deviation 22.6).
    #[test]
    fn spreads_consecutive_flows_evenly() {
        let mut bins = [0u32; 257];
        for source in 0..16 {
            for port in 1024..5120 {
                bins[reduce(flow(&key(port, source), 7), 257) as usize] += 1;
            }
        }
        let expected = 16.0 * 4096.0 / 257.0;
        let chi: f64 = bins.iter().map(|&b| (f64::from(b) - expected).powi(2) / expected).sum();
        assert!((150.0..370.0).contains(&chi), "chi-squared {chi}");
    }

    #[test]
    fn reduces_into_the_range() {
        assert_eq!(reduce(u32::MAX, 65537), 65536);
        assert_eq!(reduce(0, 65537), 0);
        assert_eq!(reduce(u32::MAX, 1), 0);
    }
}
