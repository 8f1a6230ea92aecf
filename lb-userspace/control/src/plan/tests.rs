// SPDX-License-Identifier: MIT OR Apache-2.0
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use proptest::prelude::*;

use super::*;
use crate::{ids::Ids, image::has_same_shape, pool::HealthTable};
use lb_model::{
    Desired, Forward, Protocol, Real as RealSpec, RealKey, Scheduler, Service as ServiceSpec, ServiceId,
    health::Admin,
};

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

    #[test]
    fn a_part_becomes_what_the_whole_would(
        desired in any_desired(), weights in proptest::collection::vec(0u32..4, 24), admin in any::<bool>()
    ) {
        let mut ids = Ids::default().allocate(&desired, 64).unwrap();
        let (hops, health) = (BTreeMap::new(), HealthTable::default());
        let mut have = Image::compile(&desired, &ids, &hops, &health);
        let mut new = desired.clone();
        let mut weights = weights.into_iter();
        let names: Vec<ServiceId> = desired.services.keys().copied().collect();
        for id in names.iter().step_by(2) {
            for real in new.services.get_mut(id).unwrap().reals.values_mut() {
                real.weight = weights.next().unwrap_or(1);
                real.admin = if admin && real.weight == 1 { Admin::Drain } else { Admin::Enabled };
            }
        }
        let changed = new.services.unshared(&desired.services);
        prop_assert!(has_same_shape(&desired, &new, &changed));
        if let Some(spans) = ids.spans_in_place(&new, &changed) {
            prop_assert_eq!(&ids.allocate(&new, 64).unwrap().spans, &{
                let mut all = ids.spans.clone();
                all.extend(&spans);
                all
            });
            ids.spans.extend(spans);
            let want = Image::compile(&new, &ids, &hops, &health);
            let part = have.compile_part(&new, &changed, &ids, &hops, &health);
            let before = have.part_like(&part);
            let steps = part.plan(&have);
            prop_assert_eq!(&steps, &plan(&have, &want));
            let old = have.clone();
            for step in &steps {
                have.apply(step);
            }
            prop_assert_eq!(&have, &want);
            for step in &before.plan(&have) {
                have.apply(step);
            }
            prop_assert_eq!(&have, &old);
        }
    }

    #[test]
    fn another_set_of_reals_or_services_is_no_part(old in any_desired(), new in any_desired()) {
        let changed = new.services.unshared(&old.services);
        let keys = |desired: &Desired| -> Vec<(ServiceId, Vec<RealKey>, Scheduler)> {
            let services = desired.services.iter();
            services.map(|(id, service)| (*id, service.all_keys().collect(), service.scheduler)).collect()
        };
        prop_assert_eq!(has_same_shape(&old, &new, &changed), keys(&old) == keys(&new));
    }
}
