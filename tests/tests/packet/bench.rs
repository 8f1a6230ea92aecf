// SPDX-License-Identifier: MIT OR Apache-2.0
//! The benchmark works: a few rows with few packets.

use lb_tests::{
    artifacts,
    bench::{Choice, Effort, Measurer, Path, Traffic, Version, choice::BASE},
    packet::{device::with_another_device, version},
};

#[test]
fn rows_can_be_measured() {
    let base = BASE.version(if version::is_six() { Version::V6 } else { Version::V4 }).flows(10).pool(2, 3);
    let rows = [
        base,
        base.traffic(Traffic::SynFlood),
        base.choice(Choice::Wrr),
        base.traffic(Traffic::NotOurs),
        base.traffic(Traffic::NotIp),
        base.traffic(Traffic::IcmpError),
        base.traffic(Traffic::NoReal),
        base.redirected(),
        base.path(Path::Tun),
        base.path(Path::NatReply),
        base.path(Path::FnatReply).choice(Choice::Wlc),
        base.choice(Choice::Wrr).traffic(Traffic::NewFlow),
    ];
    with_another_device(|device| {
        let mut measurer = Measurer::new(&artifacts::bench(), Effort { rounds: 1, packets: 999 }, device);
        for row in rows {
            let result = measurer.measure(&row).unwrap_or_else(|error| panic!("{error:#}"));
            assert!(result.limit.median > 0.0);
            assert_eq!(result.tracked > 0, row.choice != Choice::MhAuto, "{row}: {result:?}");
        }
    });
}
