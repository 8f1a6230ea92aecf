// SPDX-License-Identifier: MIT OR Apache-2.0
//! The flow table in the kernel, under packets of two CPUs and a sweeper.

use std::time::Duration;

use lb_common::flow_table::Event;
use lb_tests::{
    artifacts,
    packet::version,
    storm::{Crowd, Variant, run},
};

/// Twice as many flows as places: half of the packets add a flow, and most of these evict another one.
const DENSE: Crowd = Crowd { flows: 64, buckets: 4 };
/// A table with room, whose flows seldom meet.
const ROOMY: Crowd = Crowd { flows: 4096, buckets: 2048 };

#[test]
fn no_packet_gets_the_real_of_another_flow() {
    let variant = if version::is_six() { Variant::Wide } else { Variant::Narrow };
    let seconds = if artifacts::is_full() { 60 } else { 2 };
    for crowd in [DENSE, ROOMY] {
        let outcome = run(variant, crowd, Duration::from_secs(seconds), false).unwrap();
        println!("{variant:?} {crowd:?}: {outcome:?}");
        assert!(outcome.is_right(), "{outcome:?}");
        assert!(outcome.count(Event::Added) > 1000 && outcome.deleted > 0, "{outcome:?}");
        assert!(outcome.unknown * 1000 < outcome.packets, "{outcome:?}");
    }
}

#[test]
fn the_test_notices_a_broken_table() {
    let variant = if version::is_six() { Variant::Hasty } else { Variant::Careless };
    let outcome = run(variant, DENSE, Duration::from_mins(2), true).unwrap();
    println!("{variant:?}: {outcome:?}");
    assert!(outcome.wrong > 0, "{outcome:?}");
}
