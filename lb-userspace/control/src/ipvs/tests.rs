// SPDX-License-Identifier: MIT OR Apache-2.0

use std::time::{Duration, Instant};

use super::*;
use lb_dataplane::Limits;
use lb_model::{Forward, OnRemoval, Persistence, Scheduler, SchedulerFlag, Services, Tracking, Tunnel};
use lb_netlink::ipvs::{
    Checksum, Destination, Encapsulation, Key, Method, Rules, Service as Kernels, Table, Timeouts,
};
use rstest::rstest;

fn destination(address: &str, method: Method) -> Destination {
    Destination {
        address: address.parse().unwrap(),
        method,
        weight: 1,
        upper: 0,
        lower: 0,
        encapsulation: Encapsulation::Ipip,
    }
}

fn rules(address: &str) -> Rules {
    Rules {
        service: Kernels {
            key: Key::Address { protocol: 6, address: address.parse().unwrap() },
            scheduler: "wrr".to_owned(),
            flags: 0,
            timeout: 0,
            netmask: u32::MAX,
            engine: None,
        },
        destinations: vec![
            destination("10.0.0.12:8080", Method::Masquerade),
            destination("10.0.0.11:8080", Method::Masquerade),
        ],
    }
}

fn table(services: Vec<Rules>) -> Table {
    Table { services, timeouts: Timeouts { tcp: 900, tcp_fin: 120, udp: u32::MAX } }
}

fn followed(services: Vec<Rules>) -> Followed {
    let surroundings = Surroundings { own: ["10.0.0.1".parse().unwrap()].into(), expire_nodest: false };
    translate(&table(services), &surroundings, &Limits::default())
}

/// Returns the only service.
fn one(rules: Rules) -> lb_model::Service {
    let mut followed = followed(vec![rules]);
    assert_eq!(followed.left, []);
    followed.services.pop_first().unwrap().1
}

/// Returns the reason why the only service stays with the kernel.
fn reason(rules: Rules) -> String {
    let followed = followed(vec![rules]);
    assert!(followed.services.is_empty());
    followed.left[0].reason.clone()
}

#[test]
fn an_ordinary_service_is_followed() {
    let service = one(rules("192.0.2.1:80"));
    assert_eq!((service.scheduler, service.tracking), (Scheduler::Wrr, Tracking::Auto));
    assert_eq!((service.on_removal, service.persistence), (OnRemoval::Drain, None));
    let reals: Vec<String> = service.reals.keys().map(ToString::to_string).collect();
    assert_eq!(reals, ["10.0.0.11:8080", "10.0.0.12:8080"], "in the order in which they were added");
    let timeouts = followed(Vec::new()).timeouts;
    assert_eq!((timeouts.tcp, timeouts.udp), (Some(900), Some(lb_model::timeouts::LONGEST)));
}

#[rstest]
#[case("sh", 0x18, &[SchedulerFlag::ShFallback, SchedulerFlag::ShPort])]
#[case("mh", 0x10, &[SchedulerFlag::MhPort])]
#[case("mh", 0x20, &[])]
#[case("dh", 0, &[])]
fn hashing_services_track_every_flow(
    #[case] scheduler: &str,
    #[case] flags: u32,
    #[case] expected: &[SchedulerFlag],
) {
    let mut rules = rules("192.0.2.1:80");
    (rules.service.scheduler, rules.service.flags) = (scheduler.to_owned(), flags);
    let service = one(rules);
    assert_eq!(service.tracking, Tracking::Full);
    assert!(service.flags.iter().eq(expected));
}

#[rstest]
#[case(u32::from_ne_bytes([255, 255, 255, 0]), 24)]
#[case(u32::MAX, Persistence::WHOLE_ADDRESS)]
fn persistence_groups_by_the_netmask(#[case] netmask: u32, #[case] prefix: u8) {
    let mut rules = rules("192.0.2.1:0");
    (rules.service.flags, rules.service.timeout, rules.service.netmask) = (1, 360, netmask);
    let service = one(rules);
    assert_eq!(service.persistence, Some(Persistence { seconds: 360, prefix }));
    assert!(service.reals.keys().all(|real| real.port() == 0), "every port stays");
}

#[rstest]
#[case(Encapsulation::Ipip, Tunnel::Ipip)]
#[case(Encapsulation::Gre { checksum: Checksum::Outer }, Tunnel::Gre { csum: true })]
#[case(Encapsulation::Gue { port: 6080, checksum: Checksum::None }, Tunnel::Gue { port: 6080, csum: false })]
fn tunnels_have_their_options(#[case] encapsulation: Encapsulation, #[case] tunnel: Tunnel) {
    let mut rules = rules("192.0.2.1:80");
    for destination in &mut rules.destinations {
        (destination.method, destination.encapsulation) = (Method::Tunnel, encapsulation);
    }
    let service = one(rules);
    assert!(service.reals.values().all(|real| real.forward == Forward::Tun && real.tunnel == tunnel));
    assert!(service.reals.keys().all(|real| real.port() == 80), "a tunnel changes no port");
}

#[test]
fn a_service_stays_with_the_kernel_for_a_reason() {
    type Case = (fn(&mut Rules), &'static str);
    let with = |change: fn(&mut Rules)| {
        let mut rules = rules("192.0.2.1:80");
        change(&mut rules);
        reason(rules)
    };
    let cases: [Case; 9] = [
        (|rules| rules.service.key = Key::Mark { mark: 7, ipv6: false }, "firewall marks with 7"),
        (|rules| rules.service.engine = Some("sip".to_owned()), "persistence engine sip"),
        (|rules| rules.service.scheduler = "custom".to_owned(), "no scheduler custom"),
        (|rules| rules.service.flags = 4, "--ops"),
        (|rules| (rules.service.flags, rules.service.netmask) = (1, 0x00ff_00ff), "is no prefix"),
        (|rules| rules.destinations[0] = destination("10.0.0.1:80", Method::Route), "10.0.0.1 is this host"),
        (|rules| rules.destinations[0] = destination("10.0.0.9:80", Method::Bypass), "method bypass"),
        (|rules| rules.destinations[0].weight = u32::MAX, "has the weight"),
        (
            |rules| {
                for destination in &mut rules.destinations {
                    destination.method = Method::Tunnel;
                    destination.encapsulation = Encapsulation::Gue { port: 1, checksum: Checksum::Remote };
                }
            },
            "--tun-remcsum",
        ),
    ];
    for (change, expected) in cases {
        let reason = with(change);
        assert!(reason.contains(expected), "{reason}");
    }
}

#[test]
fn one_service_that_is_left_does_not_hinder_the_others() {
    let mut strange = rules("192.0.2.1:5060");
    strange.service.engine = Some("sip".to_owned());
    let real = {
        let mut rules = rules("10.0.0.11:80");
        rules.destinations.truncate(1);
        rules
    };
    let followed = followed(vec![rules("192.0.2.1:80"), strange, real]);
    assert_eq!(followed.services.len(), 1);
    let names: Vec<&str> = followed.left.iter().map(|left| left.service.as_str()).collect();
    assert_eq!(names, ["tcp 10.0.0.11:80", "tcp 192.0.2.1:5060"]);
}

#[test]
fn services_that_do_not_fit_stay_with_the_kernel() {
    let services = (1..=5).map(|port| rules(&format!("192.0.2.1:{port}"))).collect();
    let limits = Limits { services: 3, ..Limits::default() };
    let followed = translate(&table(services), &Surroundings::default(), &limits);
    assert_eq!((followed.services.len(), followed.left.len()), (3, 2));
    assert!(followed.left[0].reason.contains("more than the 3"), "{:?}", followed.left);
}

fn in_force(followed: &Followed) -> Services {
    followed.services.clone().into_iter().collect()
}

#[test]
fn a_table_that_is_restored_at_once_stays_in_force() {
    let whole = followed(vec![rules("192.0.2.1:80"), rules("192.0.2.2:80")]);
    let in_force = in_force(&whole);
    let (mut settling, start) = (Settling::default(), Instant::now());
    let mut flushed = followed(Vec::new());
    assert!(settling.settle(start, &in_force, &mut flushed));
    assert_eq!(flushed.services, whole.services);
    // The first service is there again, with one of its reals.
    let mut half = rules("192.0.2.1:80");
    half.destinations.truncate(1);
    let mut half = followed(vec![half]);
    assert!(settling.settle(start + Duration::from_millis(500), &in_force, &mut half));
    let reals =
        |followed: &Followed| followed.services.values().map(|one| one.reals.len()).collect::<Vec<_>>();
    assert_eq!(reals(&half), [2, 2]);
    let mut whole = whole.clone();
    assert!(!settling.settle(start + Duration::from_secs(1), &in_force, &mut whole));
}

#[test]
fn a_service_that_stays_away_is_gone_and_a_real_at_once() {
    let whole = followed(vec![rules("192.0.2.1:80"), rules("192.0.2.2:80")]);
    let in_force = in_force(&whole);
    let (mut settling, start) = (Settling::default(), Instant::now());
    let mut less = rules("192.0.2.1:80");
    less.destinations.truncate(1);
    let mut without_real = followed(vec![less, rules("192.0.2.2:80")]);
    assert!(!settling.settle(start, &in_force, &mut without_real));
    assert_eq!(without_real.services.values().map(|one| one.reals.len()).sum::<usize>(), 3);

    let gone = || followed(vec![rules("192.0.2.1:80")]);
    assert!(settling.settle(start, &in_force, &mut gone()));
    let mut later = gone();
    assert!(!settling.settle(start + Duration::from_millis(1500), &in_force, &mut later));
    assert_eq!(later.services.len(), 1);
}
