// SPDX-License-Identifier: MIT OR Apache-2.0
//! A dry copy of the programs leaves the maps unchanged, and predicts what forwarding does.

use lb_common::{
    ids::IfIndex,
    reason::Reason,
    schema::{Settings, Step, Trace},
};
use lb_model::{
    Forward::{self, Dr, Fnat, Local, Nat, Tun},
    Persistence, Real, Scheduler,
};
use lb_tests::packet::{
    Action, CLIENT, Frame, Pool, RealServer, SERVICE, beside::Beside, judge, net::INGRESS, tcp, tcp_service,
    udp, udp_service,
};
use rstest::rstest;

use crate::scene::{frames_of_nat_reals, frames_to_the_vip, services};

/// Services of every kind that writes to a map.
fn pools() -> Vec<Pool> {
    let real = |number| RealServer::number(number);
    let pool = |port: u16| {
        tcp_service().port(port).real(Dr, real(1)).real(Tun, real(2)).real(Nat, RealServer::by(Nat, 3))
    };
    let schedulers = [
        Scheduler::Rr,
        Scheduler::Wrr,
        Scheduler::Wlc,
        Scheduler::Twos,
        Scheduler::Lblc,
        Scheduler::Lblcr,
        Scheduler::Sh,
    ];
    let mut pools = services(Nat).to_vec();
    pools.extend((1000..).zip(schedulers).map(|(port, scheduler)| pool(port).by(scheduler)));
    let kept = Persistence { seconds: 300, prefix: 32 };
    pools.push(pool(2000).by(Scheduler::Rr).with(|service| service.persistence = Some(kept)));
    pools.push(udp_service().port(2000).by(Scheduler::Rr).real(Nat, real(1)).with(|s| s.one_packet = true));
    pools.push(tcp_service().port(2001).real(Fnat, real(1)).real(Fnat, real(2)));
    pools.push(tcp_service().port(2002).real(Local, real(1)));
    let full = Real { upper: 1, ..Real::new(Dr, 1) };
    pools.push(tcp_service().port(2003).by(Scheduler::Rr).having(real(1), full).real(Dr, real(2)));
    pools
}

/// Frames of every kind, for every service.
fn frames() -> Vec<Frame> {
    let mut frames = frames_to_the_vip();
    frames.extend(frames_of_nat_reals());
    for port in (1000..1007).chain(2000..2004) {
        let service = std::net::SocketAddrV4::new(*SERVICE.ip(), port);
        frames.extend([
            tcp(CLIENT, service).syn(),
            tcp(CLIENT, service).data("some data"),
            tcp(CLIENT, service).fin(),
            tcp(CLIENT, service).data([0; 1460]),
            tcp(CLIENT, service).ttl(1),
            udp(CLIENT, service).data("a question"),
        ]);
    }
    // A client contacts a nat real directly.
    frames.push(tcp(CLIENT, RealServer::by(Nat, 1).0).syn());
    frames
}

/// Returns the reason of a packet, and its real, from the trace.
fn fate(trace: &Trace) -> (Reason, Option<u32>) {
    let (mut reason, mut real) = (Reason::NotOurs, None);
    for (step, a, b) in trace.steps() {
        match step {
            Step::CountIn | Step::CountOut => (reason, real) = (Reason::Forwarded, Some(a)),
            Step::Reason => reason = Reason::ALL[b as usize],
            _ => {}
        }
    }
    (reason, real)
}

#[test]
fn a_thousand_dry_runs_of_every_kind_leave_every_map_as_it_was() {
    let mut beside = Beside::new(Settings::DEFAULT, &pools());
    let frames: Vec<Vec<u8>> = frames().iter().map(Frame::bytes).collect();
    // Some flows are known, some are not.
    for frame in frames.iter().step_by(3) {
        beside.plane.try_bytes(frame);
    }
    let before = beside.dump();
    assert!(before["FLOWS"].len() > 100, "there are flows to be changed");
    for frame in &frames {
        for _ in 0..1000 {
            beside.dry.run(frame, IfIndex(INGRESS)).expect("the kernel takes the frame");
        }
    }
    let after = beside.dump();
    for (name, text) in &before {
        assert!(after[name] == *text, "{name} was\n{text}\nand is\n{}", after[name]);
    }
    // The same with a copy that forwards: the comparison finds the difference.
    for frame in &frames {
        beside.traced.run(frame, IfIndex(INGRESS)).expect("the kernel takes the frame");
    }
    let changed = beside.dump();
    let changed: Vec<&String> = before.keys().filter(|name| changed[*name] != before[*name]).collect();
    for name in ["FLOWS", "COUNTERS", "REASONS", "LOADS", "CLIENTS", "POSITIONS", "LOCALITIES", "SIGNS"] {
        assert!(changed.iter().any(|changed| *changed == name), "{name} is not among {changed:?}");
    }
}

#[rstest]
fn a_dry_run_says_what_forwarding_then_does(#[values(Dr, Tun, Nat)] method: Forward) {
    let mut pools = services(method).to_vec();
    let other = tcp_service().port(1000).by(Scheduler::Rr);
    pools.push((1..4).fold(other, |pool, number| pool.real(method, RealServer::by(method, number))));
    let mut beside = Beside::new(Settings::DEFAULT, &pools);
    for frame in frames() {
        let frame = frame.bytes();
        let told = beside.dry.run(&frame, IfIndex(INGRESS)).expect("the kernel takes the frame");
        let got = beside.plane.run_bytes(&frame);
        let decoded = || format!("{got}told:\n{}{:?}", judge::decode(&told.frame), told.trace);
        assert_eq!((Action::of(told.action), &told.frame), (got.action, &got.frame), "{}", decoded());
        let (reason, real) = fate(&told.trace);
        match got.reasons.keys().next() {
            Some(counted) => assert_eq!(reason, *counted, "{}", decoded()),
            None if got.reals.is_empty() => assert_eq!(reason, Reason::NotOurs, "{}", decoded()),
            None => {
                assert_eq!(reason, Reason::Forwarded, "{}", decoded());
                assert!(real.is_some(), "{}", decoded());
            }
        }
    }
}

#[test]
fn a_dry_run_looks_at_the_next_turn_and_does_not_take_it() {
    let pool = (1..4).fold(tcp_service().by(Scheduler::Rr), |pool, number| {
        // The second turn is never used: its real has reached its upper threshold.
        let upper = u32::from(number == 2);
        pool.having(RealServer::number(number), Real { upper, ..Real::new(Dr, 1) })
    });
    let mut beside = Beside::new(Settings::DEFAULT, &[pool]);
    let syn = |port| tcp(std::net::SocketAddrV4::new(*CLIENT.ip(), port), SERVICE).syn().bytes();
    for port in 1..100 {
        let told = beside.dry.run(&syn(port), IfIndex(INGRESS)).expect("the kernel takes the frame");
        let again = beside.dry.run(&syn(port), IfIndex(INGRESS)).expect("the kernel takes the frame");
        assert_eq!((&told.frame, told.trace), (&again.frame, again.trace), "nothing moved in between");
        let got = beside.plane.run_bytes(&syn(port));
        assert_eq!(told.frame, got.frame, "connection {port}:\n{got}");
    }
}

/// A turn of the scheduler does not advance the ports of the director.
#[test]
fn a_dry_run_looks_at_the_next_port_and_does_not_take_it() {
    let real = |number| RealServer::by(Fnat, number);
    let pool = tcp_service().by(Scheduler::Rr).real(Fnat, real(1)).real(Fnat, real(2));
    let mut beside = Beside::new(Settings::DEFAULT, &[pool]);
    let syn = |port| tcp(std::net::SocketAddrV4::new(*CLIENT.ip(), port), SERVICE).syn().bytes();
    for port in 1..20 {
        // Each CPU has its own sequence of ports: both must run on one CPU.
        let agree = (0..20).any(|again| {
            let syn = syn(100 * port + again);
            let told = beside.dry.run(&syn, IfIndex(INGRESS)).expect("the kernel takes the frame");
            told.frame == beside.plane.try_bytes(&syn).1
        });
        assert!(agree, "connection {port}");
    }
}

#[test]
fn a_trace_says_what_was_found_in_its_order() {
    let mut beside = Beside::new(Settings::DEFAULT, &services(Dr));
    let run = beside.dry.run(&tcp(CLIENT, SERVICE).syn().bytes(), IfIndex(INGRESS)).expect("it runs");
    let steps: Vec<Step> = run.trace.steps().map(|(step, ..)| step).collect();
    assert_eq!(steps, [Step::Service, Step::Slot, Step::CountFlow, Step::CountIn]);
}
