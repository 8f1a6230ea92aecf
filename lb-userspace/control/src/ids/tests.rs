// SPDX-License-Identifier: MIT OR Apache-2.0
use std::net::SocketAddr;

use super::*;
use lb_model::{Forward, Protocol, Scheduler, Tracking as Asked};

fn service(vip: u8, reals: u16, scheduler: Scheduler, tracking: Asked) -> (ServiceId, Service) {
    let id = ServiceId::new(Protocol::Tcp, SocketAddr::from(([192, 0, 2, vip], 80)));
    let real = |number: u16| {
        let [high, low] = number.to_be_bytes();
        (SocketAddr::from(([10, 0, high, low], 80)), Real::new(Forward::Dr, 1))
    };
    (id, Service { scheduler, tracking, reals: (0..reals).map(real).collect(), ..Service::default() })
}

fn mh(vip: u8, reals: u16) -> (ServiceId, Service) {
    service(vip, reals, Scheduler::Mh, Asked::Auto)
}

fn desired(services: impl IntoIterator<Item = (ServiceId, Service)>) -> Desired {
    Desired { services: services.into_iter().collect(), ..Desired::default() }
}

fn span(ids: &Ids, vip: u8) -> Span {
    ids.spans[&ids.services[&mh(vip, 0).0]]
}

#[test]
fn tables_are_as_large_as_their_pools_want() {
    let ids = Ids::default().allocate(&desired([mh(1, 3), mh(2, 33), mh(3, 1024), mh(4, 0)]), 64).unwrap();
    let slots = [1, 2, 3, 4].map(|vip| span(&ids, vip).slots);
    assert_eq!(slots, [4096, 8192, 65536, 0]);
    let mut blocks: Vec<u32> = Vec::new();
    for span in ids.spans.values() {
        blocks.extend(span.first..span.first + span.blocks());
    }
    blocks.sort_unstable();
    assert_eq!(blocks, (0..20).collect::<Vec<_>>(), "nobody shares a block, and none is left out");
}

#[test]
fn a_table_grows_elsewhere_and_does_not_shrink_under_flows_that_nobody_wrote_down() {
    let small = Ids::default().allocate(&desired([mh(1, 32)]), 8).unwrap();
    let large = small.allocate(&desired([mh(1, 33)]), 8).unwrap();
    assert_eq!(
        span(&large, 1),
        Span { first: 1, slots: 8192 },
        "the old table is read until the service changes"
    );
    let back = large.allocate(&desired([mh(1, 3)]), 8).unwrap();
    assert_eq!(span(&back, 1), Span { first: 1, slots: 8192 });
    let full = back.allocate(&desired([service(1, 3, Scheduler::Mh, Asked::Full)]), 8).unwrap();
    assert_eq!(span(&full, 1), Span { first: 1, slots: 4096 });
    let hashed = full.allocate(&desired([service(1, 3, Scheduler::Sh, Asked::Auto)]), 8).unwrap();
    assert_eq!(span(&hashed, 1), Span { first: 1, slots: 256 });
}

#[test]
fn what_has_just_gone_is_not_used_again_at_once() {
    let one = Ids::default().allocate(&desired([mh(1, 3)]), 2).unwrap();
    let two = one.allocate(&desired([mh(2, 3)]), 2).unwrap();
    assert_eq!((span(&one, 1).first, span(&two, 2).first), (0, 1));
    let three = two.allocate(&desired([mh(3, 3)]), 2).unwrap();
    assert_eq!(span(&three, 3).first, 0);
    let full = three.allocate(&desired([mh(3, 3), mh(4, 3), mh(5, 3)]), 2);
    assert_eq!(full.unwrap_err(), NoRoom { service: mh(5, 0).0, blocks: 1, all: 2 });
}

#[test]
fn every_pool_within_the_limits_finds_room() {
    let limits = lb_dataplane::Limits { services: 16, reals: 2048, flows: 1, flows6: 1, flow_places: None };
    for (services, reals) in [(16, 128), (2, 1024), (4, 512), (15, 33), (16, 65)] {
        let all = (0..services).map(|vip| mh(vip, reals));
        Ids::default().allocate(&desired(all), limits.blocks()).unwrap();
    }
}
