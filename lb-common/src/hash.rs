// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! The flow hash, which selects the slot of a flow in a scheduler's table.
//!
//! The hash is stable across versions, so that directors of different versions make the same choice. It is
//! keyed by a seed, so that no outsider can aim all their flows at one real. Directors with the same config
//! and seed agree.
//!
//! The steps are in [`crate::mix`].

use crate::{
    mix::{C1, C2},
    packet::Ip,
    schema::{FlowKey, Scheduler, Service},
    wire::{Be16, Be32, Be128},
};

/// Returns the hash of a flow under a seed, 32 bits. IPv4 addresses take one [`crate::mix::round`]; IPv6
/// addresses are mixed by [`crate::mix::address`].
#[inline(always)]
#[must_use]
pub fn flow<A: Ip>(key: &FlowKey<A>, seed: u64) -> u32 {
    let ports = u64::from(key.source_port.get()) << 24
        | u64::from(key.destination_port.get()) << 8
        | u64::from(key.protocol);
    let mut h = A::mix(key.source, key.destination, seed) ^ ports;
    h = h.wrapping_mul(C2);
    h ^= h >> 33;
    h = h.wrapping_mul(C1);
    (h >> 32) as u32
}

/// Returns the slot of a flow in the table of its service. The programs and the daemon get the same result.
///
/// `sh` and `dh` hash as IPVS does (`ip_vs_sh_hashkey`, `ip_vs_dh_hashkey`), so that clients stay on their
/// reals when a director moves from IPVS to xvs.
#[inline(always)]
#[must_use]
pub fn slot<A: Ip>(service: &Service, key: &FlowKey<A>, seed: u64) -> u32 {
    const SH: u32 = Scheduler::Sh as u32;
    const DH: u32 = Scheduler::Dh as u32;
    let ports = service.is(Service::PORTS);
    match service.scheduler {
        SH => ipvs(key.source.fold().wrapping_add(if ports { key.source_port.get().into() } else { 0 })),
        DH => ipvs(key.destination.fold()),
        _ if ports => reduce(flow(key, seed), service.slots),
        _ => {
            let client = FlowKey::new(key.source, A::default(), Be16::ZERO, Be16::ZERO, 0);
            reduce(flow(&client, seed), service.slots)
        }
    }
}

/// Returns the slot of a flow of either IP version.
#[must_use]
pub fn slot_of_any(service: &Service, key: &FlowKey<Be128>, seed: u64) -> u32 {
    match key.narrowed() {
        Some(key) => slot::<Be32>(service, &key, seed),
        None => slot(service, key, seed),
    }
}

/// Number of slots in the tables of `sh` and `dh` (`IP_VS_SH_TAB_SIZE`, `IP_VS_DH_TAB_SIZE`).
pub const IPVS_SLOTS: u32 = 256;

/// Hashes a number to 8 bits, as `hash_32` of the kernel does.
#[inline(always)]
const fn ipvs(number: u32) -> u32 {
    number.wrapping_mul(0x61c8_8647) >> 24
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

    fn key(source_port: u16, source: u8) -> FlowKey<Be32> {
        FlowKey::new(
            Be32::from_bytes([10, 0, 0, source]),
            Be32::from_bytes([192, 0, 2, 1]),
            Be16::new(source_port),
            Be16::new(80),
            6,
        )
    }

    /// Compares with the values of version 1: a change here sends flows elsewhere after an upgrade.
    #[test]
    fn is_what_it_always_was() {
        assert_eq!(flow(&key(1024, 1), 0), GOLDEN[0]);
        assert_eq!(flow(&key(1025, 1), 0), GOLDEN[1]);
        assert_eq!(flow(&key(1024, 1), 1), GOLDEN[2]);
    }

    /// Computed by the same formula in another language.
    const GOLDEN: [u32; 3] = [2_154_030_725, 437_302_458, 986_803_349];

    /// Compares with the IPv6 values of earlier versions.
    #[test]
    fn is_what_it_always_was_in_ipv6() {
        let address = |last| Be128::from(core::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last));
        let key = FlowKey::new(address(1), address(2), Be16::new(1024), Be16::new(80), 6);
        assert_eq!([flow(&key, 0), flow(&key, 1)], GOLDEN6);
        assert_eq!(flow(&key.reversed(), 0), GOLDEN6_REVERSED);
    }

    /// Computed by the same formula in another language.
    const GOLDEN6: [u32; 2] = [1_229_398_000, 1_153_481_778];
    const GOLDEN6_REVERSED: u32 = 3_247_861_172;

    /// Checks that the chi-squared statistic of consecutive ports and addresses over 257 bins is near its
    /// mean (256, standard deviation 22.6).
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

    /// Checks that IPv6 flows spread evenly, for clients whose addresses differ only in the last bits of the network
    /// part or of the interface part.
    #[test]
    fn spreads_consecutive_flows_of_ipv6_evenly() {
        let mut bins = [0u32; 257];
        for network in 0..16 {
            for host in 0..256 {
                for port in 1024..1040 {
                    let source = core::net::Ipv6Addr::new(0x2001, 0xdb8, 0, network, 0, 0, 0, host);
                    let vip = core::net::Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1);
                    let key =
                        FlowKey::new(Be128::from(source), vip.into(), Be16::new(port), Be16::new(80), 6);
                    bins[reduce(flow(&key, 7), 257) as usize] += 1;
                }
            }
        }
        let expected = 65_536.0 / 257.0;
        let chi: f64 = bins.iter().map(|&b| (f64::from(b) - expected).powi(2) / expected).sum();
        assert!((150.0..370.0).contains(&chi), "chi-squared {chi}");
    }

    #[test]
    fn reduces_into_the_range() {
        assert_eq!(reduce(u32::MAX, 65536), 65535);
        assert_eq!(reduce(0, 65536), 0);
        assert_eq!(reduce(u32::MAX, 1), 0);
    }
}
