// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reconstruction of the state from the maps, for a daemon that finds its pins but no state file: a lost file
//! costs no connections. These functions are pure.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};

use lb_common::{
    ids::ServiceId as ServiceNumber,
    schema::{self, Real as RealValue, Service as ServiceValue, ServiceKey},
    ticks::Ticks,
};

use super::{
    image::{Image, endpoint, real_key},
    state::State,
};
use lb_model::{
    Desired, Endpoint, GroupId, Persistence, Real, Scheduler, SchedulerFlag, Service, ServiceId, Tracking,
};

/// Returns the state according to the maps. Values that are not in the maps (timeouts, `--on-removal`, the
/// weights of reals without a next hop, numbers of groups) come from `before`, an older state, as far as it
/// matches.
#[must_use]
pub fn state(image: &Image, before: State) -> State {
    let mut endpoints: BTreeMap<ServiceNumber, (ServiceValue, BTreeSet<Endpoint>)> = BTreeMap::new();
    for (key, value) in &image.services {
        if let Some(endpoint) = endpoint(key) {
            endpoints.entry(value.id).or_insert_with(|| (*value, BTreeSet::new())).1.insert(endpoint);
        }
    }
    // The maps have no checks, and the services name those of `before`.
    let mut desired = Desired { checks: before.desired.checks.clone(), ..Desired::default() };
    for (number, (value, endpoints)) in endpoints {
        let id = identity(&endpoints, &before.desired, &desired);
        if let ServiceId::Group { group, .. } = id {
            desired.groups.entry(group).or_default().extend(endpoints);
        }
        let known = before.desired.services.get(&id);
        let service = service(image, number, &value, known);
        desired.services.insert(id, service);
    }
    State { desired, ..before }
}

/// Returns the id of a service with these endpoints: a group keeps its number if `known` has the group, and
/// no service of `taken` has that id.
fn identity(endpoints: &BTreeSet<Endpoint>, known: &Desired, taken: &Desired) -> ServiceId {
    let mut names = endpoints.iter().filter_map(|endpoint| known.group_of(endpoint));
    if let Some(name) = names.find(|name| !taken.services.contains_key(name)) {
        return name;
    }
    match endpoints.first() {
        Some(endpoint) if endpoints.len() == 1 => ServiceId::Endpoint(*endpoint),
        _ => {
            let is_free =
                |group: &GroupId| !known.groups.contains_key(group) && !taken.groups.contains_key(group);
            ServiceId::group((1..GroupId::MAX).find(is_free).unwrap_or(GroupId::MAX))
        }
    }
}

fn service(image: &Image, number: ServiceNumber, value: &ServiceValue, known: Option<&Service>) -> Service {
    let scheduler = scheduler(image, number, value, known);
    let has = |flag: &SchedulerFlag| match flag {
        SchedulerFlag::MhPort | SchedulerFlag::ShPort => value.is(ServiceValue::PORTS),
        SchedulerFlag::MhFallback | SchedulerFlag::ShFallback => value.is(ServiceValue::FALLBACK),
        // The programs ignore these flags, so the maps lack them.
        SchedulerFlag::Flag1 | SchedulerFlag::Flag2 | SchedulerFlag::Flag3 => {
            known.is_some_and(|known| known.scheduler == scheduler && known.has(*flag))
        }
    };
    let fits = |flag: &&SchedulerFlag| flag.with(scheduler) == Ok(Some(**flag));
    let flags = SchedulerFlag::ALL.iter().filter(|flag| fits(flag) && has(flag));
    let persistence = (value.persistent != Ticks::ZERO).then(|| persistence(image, number, value));
    let mut service = Service {
        scheduler,
        flags: flags.copied().collect(),
        tracking: tracking(value, known),
        persistence,
        one_packet: value.is(ServiceValue::ONE_PACKET),
        on_removal: known.map(|known| known.on_removal).unwrap_or_default(),
        health: known.map(|known| known.health.clone()).unwrap_or_default(),
        ..Service::default()
    };
    for value in image.reals.values().filter(|real| real.service == number) {
        let key = real_key(value);
        if value.is(RealValue::LEAVING) && !value.is(RealValue::DOWN) {
            service.leaving.insert(key, real(value, None));
        } else {
            let known = known.and_then(|known| known.reals.get(&key.address));
            let real = real(value, known);
            service.reals.insert(key.address, real);
        }
    }
    service
}

/// Returns the scheduler. The programs do not distinguish `rr` from `wrr`, which are equal if all weights are
/// 1.
fn scheduler(
    image: &Image,
    number: ServiceNumber,
    value: &ServiceValue,
    known: Option<&Service>,
) -> Scheduler {
    let is_it = |scheduler: &Scheduler| scheduler.programs() as u32 == value.scheduler;
    if let Some(known) = known.map(|known| known.scheduler).filter(is_it) {
        return known;
    }
    let found = Scheduler::ALL.iter().copied().find(is_it).unwrap_or_default();
    let weighs = image.reals.values().any(|real| real.service == number && real.weight > 1);
    if found == Scheduler::Rr && weighs { Scheduler::Wrr } else { found }
}

fn real(value: &RealValue, known: Option<&Real>) -> Real {
    let key = real_key(value);
    // The entry of a real at an address of the director, or without a next hop, differs from the operator's
    // real.
    let (forward, tunnel) = match known {
        Some(known) if value.method == schema::Method::Local as u16 => (known.forward, known.tunnel),
        _ => (key.forward, key.tunnel),
    };
    let is_unreachable = value.weight == 0
        && !value.reachable()
        && value.method != schema::Method::Local as u16
        && !value.is(RealValue::LEAVING);
    let is_lost = value.is(RealValue::DOWN) || is_unreachable;
    let weight = if is_lost { known.map_or(1, |known| known.weight) } else { value.weight };
    let of_operator = known.map(|known| (known.admin, known.backup, known.checks.clone()));
    let (admin, backup, checks) = of_operator.unwrap_or_default();
    let (upper, lower) = (value.upper, value.lower);
    Real { upper, lower, tunnel, admin, backup, checks, ..Real::new(forward, weight) }
}

/// Returns the persistence of a service. The maps hold an IPv4 address as `::ffff:a.b.c.d`, so its prefix is 96 bits
/// longer there.
fn persistence(image: &Image, number: ServiceNumber, value: &ServiceValue) -> Persistence {
    let is_of = |(_, service): &(&ServiceKey, &ServiceValue)| service.id == number;
    let is_ipv4 = image.services.iter().find(is_of).is_some_and(|(key, _)| key.address.as_v4().is_some());
    let prefix = if is_ipv4 { value.prefix.saturating_sub(96) } else { value.prefix } as u8;
    let whole = if is_ipv4 { 32 } else { 128 };
    Persistence {
        seconds: (value.persistent.milliseconds() / 1000) as u32,
        prefix: if prefix == whole { Persistence::WHOLE_ADDRESS } else { prefix },
    }
}

fn tracking(value: &ServiceValue, known: Option<&Service>) -> Tracking {
    if let Some(known) = known {
        return known.tracking;
    }
    let must_be_full = value.persistent != Ticks::ZERO || !schema::Scheduler::hashes(value.scheduler);
    match value.tracking {
        number if number == schema::Tracking::None as u32 => Tracking::None,
        number if number == schema::Tracking::Full as u32 && !must_be_full => Tracking::Full,
        _ => Tracking::Auto,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Ids;
    use crate::pool::HealthTable;
    use lb_model::check::{Check, CheckName, CheckType};
    use lb_model::{Forward, OnRemoval, Protocol, Tunnel};

    fn desired() -> Desired {
        let mut desired = Desired::default();
        let reals = |forward, port| {
            let real = |last: u8| {
                (format!("10.0.0.{last}:{port}").parse().unwrap(), Real::new(forward, last.into()))
            };
            [1, 2, 3].map(real).into()
        };
        let endpoint = |text: &str| Endpoint { protocol: Protocol::Tcp, address: text.parse().unwrap() };
        desired.services.insert(
            ServiceId::Endpoint(endpoint("192.0.2.1:80")),
            Service { reals: reals(Forward::Nat, 8080), ..Service::default() },
        );
        desired.services.insert(
            ServiceId::Endpoint(endpoint("192.0.2.2:0")),
            Service {
                scheduler: Scheduler::Wlc,
                flags: [].into(),
                persistence: Some(Persistence { seconds: 300, prefix: 24 }),
                reals: reals(Forward::Dr, 0),
                ..Service::default()
            },
        );
        let tunnelled = Real { tunnel: Tunnel::Gue { port: 6080, csum: true }, ..Real::new(Forward::Tun, 9) };
        desired.services.insert(
            ServiceId::Endpoint(endpoint("[2001:db8::1]:443")),
            Service {
                scheduler: Scheduler::Sh,
                flags: [SchedulerFlag::ShPort].into(),
                reals: [("[2001:db8::2]:443".parse().unwrap(), Real { upper: 7, lower: 3, ..tunnelled })]
                    .into(),
                ..Service::default()
            },
        );
        let members = ["192.0.2.3:80", "192.0.2.3:443"].map(endpoint);
        desired.groups.insert(7, members.into());
        let group = Service {
            scheduler: Scheduler::Wrr,
            flags: [].into(),
            reals: reals(Forward::Dr, 0),
            ..Service::default()
        };
        desired.services.insert(ServiceId::group(7), group.clone());
        // A group has a service for each IP version.
        desired.groups.insert(8, ["192.0.2.4:80", "[2001:db8::4]:80"].map(endpoint).into());
        desired.services.insert(ServiceId::group(8), group.clone());
        let six = Service {
            reals: [("[2001:db8::2]:80".parse().unwrap(), Real::new(Forward::Dr, 0))].into(),
            ..group
        };
        desired.services.insert(ServiceId::Group { group: 8, ipv6: true }, six);
        desired
    }

    fn image(desired: &Desired) -> Image {
        let ids = Ids::default().allocate(desired, 64).unwrap();
        Image::compile(desired, &ids, &BTreeMap::new(), &HealthTable::default())
    }

    #[test]
    fn the_maps_tell_the_services() {
        let wanted = desired();
        let before = State { desired: wanted.clone(), ..State::default() };
        assert_eq!(state(&image(&wanted), before).desired, wanted);
    }

    #[test]
    fn without_any_file_they_tell_all_but_the_numbers_of_groups() {
        let mut wanted = desired();
        wanted.groups.remove(&8);
        wanted.services.retain(|id, _| !matches!(id, ServiceId::Group { group: 8, .. }));
        let mut told = state(&image(&wanted), State::default()).desired;
        assert_eq!(told.groups.remove(&1), wanted.groups.get(&7).cloned());
        let group = told.services[&ServiceId::group(1)].clone();
        told.services.remove(&ServiceId::group(1));
        told.services.insert(ServiceId::group(7), group);
        for (id, service) in &wanted.services {
            let mut told = told.services[id].clone();
            // Thresholds count connections, so every flow is tracked, whatever the operator chose.
            told.tracking = service.tracking;
            assert_eq!(&told, service, "{id}");
        }
    }

    #[test]
    fn the_checks_that_services_name_come_from_the_older_state() {
        let mut wanted = desired();
        let name: CheckName = "web".parse().unwrap();
        wanted.checks.insert(name.clone(), Check::new(CheckType::Tcp));
        for service in wanted.services.values_mut() {
            service.health.checks = vec![name.clone()];
        }
        let before = State { desired: wanted.clone(), ..State::default() };
        assert_eq!(state(&image(&wanted), before).desired, wanted);
    }

    #[test]
    fn an_older_state_tells_what_the_maps_do_not() {
        let wanted = desired();
        let mut before = State { desired: wanted.clone(), ..State::default() };
        before.timeouts.udp = Some(30);
        for service in before.desired.services.values_mut() {
            service.on_removal = OnRemoval::Drain;
        }
        // A real that was added after that state was written is in the maps only.
        let id = *before.desired.services.keys().next().unwrap();
        before.desired.services.get_mut(&id).unwrap().reals.pop();
        let told = state(&image(&wanted), before);
        assert_eq!(told.timeouts.udp, Some(30));
        assert_eq!(told.desired.services[&id].reals, wanted.services[&id].reals);
        assert!(told.desired.services.values().all(|service| service.on_removal == OnRemoval::Drain));
    }
}
