// SPDX-License-Identifier: MIT OR Apache-2.0
//! The least that a balancer can do, to measure against: the floors' tables.

use anyhow::{Context as _, Result};
use lb_common::{
    flow_table::{Geometry, Limits, Mixing, PLACES, Shape},
    protocol,
    schema::Timeouts,
};
use lb_tests_ebpf::{FLOOR_SLOTS, FloorReal, FloorVip};

use super::{
    net::{Host, PORT, mac},
    row::{Choice, Path, Row, Traffic, Version},
    trampoline::Trampoline,
};
use crate::packet::net::CLIENT_LINK;

/// Services that the floors know.
const SERVICES: u32 = 4096;
/// Reals that they know.
const REALS: u32 = 100;

/// Fills the floors' tables. Services share reals.
pub fn fill(trampoline: &mut Trampoline) -> Result<()> {
    let mut vips = trampoline.hash::<FloorVip, u32>("FLOOR_VIPS")?;
    for service in 0..SERVICES {
        let std::net::IpAddr::V4(address) = Host::Service(service).ip(Version::V4) else { continue };
        let key = FloorVip {
            address: address.to_bits().to_be(),
            port: PORT.to_be(),
            protocol: protocol::TCP.into(),
        };
        vips.insert(key, service, 0)?;
    }
    let mut reals = trampoline.array::<FloorReal>("FLOOR_REALS")?;
    for real in 1..=REALS {
        let macs = [mac(real), CLIENT_LINK.to].concat();
        let word = |n: usize| u32::from_ne_bytes([macs[n], macs[n + 1], macs[n + 2], macs[n + 3]]);
        reals.set(real, FloorReal { macs: [word(0), word(4), word(8)], ifindex: 1 }, 0)?;
    }
    let mut table = trampoline.array::<[u16; 2]>("FLOOR_TABLE")?;
    for slot in 0..FLOOR_SLOTS {
        // As spread as by Maglev: neighbours are on different reals.
        let real = u16::try_from(1 + slot.wrapping_mul(0x9e37_79b1) % REALS)?;
        table.set(slot, [real, real], 0)?;
    }
    let shape = Shape {
        mixing: Mixing::new(rand::random()),
        geometry: Geometry::new(trampoline.buckets()).context("the table has a power of two of buckets")?,
        limits: Limits::of(&Timeouts::DEFAULT),
        replaced: Geometry::default(),
    };
    trampoline.array::<Shape>("FLOOR_SHAPE")?.set(0, shape, 0)?;
    Ok(())
}

/// Returns the number of buckets of a table with room for at least so many entries.
#[must_use]
pub fn buckets(places: u32) -> u32 {
    (places / PLACES as u32).next_power_of_two().max(Geometry::MIN_BUCKETS)
}

/// Returns the floors beside which a row is measured.
#[must_use]
pub fn beside(row: &Row) -> &'static [&'static str] {
    if row.version != Version::V4 || row.path != Path::Dr {
        return &[];
    }
    match (row.traffic, row.choice) {
        (Traffic::NotOurs, _) => &["floor_lookup"],
        (Traffic::Established | Traffic::SynFlood, Choice::MhAuto) => &["floor_slots"],
        (Traffic::Established | Traffic::SynFlood, _) => {
            &["floor_slots", "floor_flows", "floor_table", "floor_wide"]
        }
        _ => &[],
    }
}
