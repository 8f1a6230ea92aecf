// SPDX-License-Identifier: MIT OR Apache-2.0
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use proptest::prelude::*;

use super::*;
use crate::{ids::Ids, pool::HealthTable};
use lb_model::{Desired, Forward, Protocol, Real as RealSpec, Scheduler, Service as ServiceSpec, ServiceId};

/// Generates few services with few reals, so that random sets overlap.
fn any_desired() -> impl Strategy<Value = Desired> {
    let real = (0u8..6, 0usize..4, 0u32..4);
    let scheduler = prop_oneof![Just(Scheduler::Mh), Just(Scheduler::Rr), Just(Scheduler::Wrr)];
    let service = (0u8..4, scheduler, proptest::collection::vec(real, 0..6));
    proptest::collection::vec(service, 0..4).prop_map(|services| {
        let mut desired = Desired::default();
        for (vip, scheduler, reals) in services {
            let protocol = if vip % 2 == 0 { Protocol::Tcp } else { Protocol::Udp };
            let id = ServiceId::new(protocol, SocketAddr::from(([192, 0, 2, vip], 80)));
            let reals = reals.into_iter().map(|(rip, forward, weight)| {
                let forward = [Forward::Dr, Forward::Tun, Forward::Nat, Forward::Local][forward];
                (SocketAddr::from(([10, 0, 0, rip], 80)), RealSpec::new(forward, weight))
            });
            desired
                .services
                .insert(id, ServiceSpec { scheduler, reals: reals.collect(), ..ServiceSpec::default() });
        }
        desired
    })
}

/// Asserts that no table refers to a missing real, and that no service lacks its table.
fn assert_whole(image: &Image, after: &Step) {
    let reals: BTreeSet<RealId> = image.reals.keys().copied().collect();
    for service in image.services.values() {
        let spec = image.tables.get(&service.id);
        assert!(spec.is_some(), "after {after:?}: service {} has no table", service.id);
        for id in spec.into_iter().flat_map(TableSpec::turns) {
            assert!(reals.contains(&id), "after {after:?}: a table names real {id}, which is gone");
            assert_eq!(image.reals[&id].service, service.id, "after {after:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_step_leaves_the_maps_whole_and_the_last_one_as_wanted(
        states in proptest::collection::vec(any_desired(), 1..5)
    ) {
        let mut have = Image::default();
        let mut ids = Ids::default();
        for desired in states {
            ids = ids.allocate(&desired, 64).unwrap();
            let want = Image::compile(&desired, &ids, &BTreeMap::new(), &HealthTable::default());
            for step in plan(&have, &want) {
                have.apply(&step);
                assert_whole(&have, &step);
            }
            prop_assert_eq!(&have, &want);
            prop_assert!(plan(&have, &want).is_empty());
            // A daemon that reads the maps after a restart finds the same ids.
            prop_assert_eq!(&Ids::of(&have, &desired), &ids);
        }
    }
}
