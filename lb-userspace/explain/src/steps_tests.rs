// SPDX-License-Identifier: MIT OR Apache-2.0

use lb_common::schema::Event;

use super::*;
use crate::{Flag, Flow};
use lb_model::Protocol;

fn names() -> Names {
    let service = ServiceName {
        name: "tcp 10.0.0.9:80".into(),
        scheduler: "scheduler mh".into(),
        tracking: "auto".into(),
        slots: 4093,
        rotation: vec!["10.0.0.13:80 gets no new connections: its weight is 0".into()],
    };
    let real = |last: u8| RealName {
        address: format!("10.0.0.{last}:80"),
        method: "dr".into(),
        wraps: false,
        weight: 1,
        next_hop: "02:00:00:00:00:0b by eth0".into(),
    };
    Names {
        services: [(ServiceId(1), service)].into(),
        reals: [(RealId(7), real(11)), (RealId(8), real(12))].into(),
        interfaces: [(IfIndex(3), "eth1".into())].into(),
        endpoints: ["udp 10.0.0.9:80".parse().unwrap()].into(),
    }
}

fn trace(steps: &[(Step, u32, u32)]) -> Trace {
    let mut trace = Trace::EMPTY;
    for (event, (step, a, b)) in trace.events.iter_mut().zip(steps) {
        *event = Event { step: *step as u32, a: *a, b: *b };
    }
    trace.count = steps.len() as u32;
    trace
}

fn explain(action: u32, steps: &[(Step, u32, u32)]) -> Explanation {
    let (client, service) = ("10.0.0.1:4000".parse().unwrap(), "10.0.0.9:80".parse().unwrap());
    let flow = Flow { protocol: Protocol::Tcp, client, service, flag: Flag::default(), length: 0 };
    let before = flow.frame().unwrap();
    let after = [&[2, 0, 0, 0, 0, 0x0b], &before[6..]].concat();
    let trace = trace(steps);
    names().explain(&Ran { interface: "eth0", before: &before, after: &after, action, trace: &trace })
}

fn detail<'a>(explanation: &'a Explanation, step: &str) -> Vec<&'a str> {
    explanation.steps.iter().filter(|one| one.step == step).map(|one| one.detail.as_str()).collect()
}

#[test]
fn a_hashed_flow_is_told_from_parser_to_reason() {
    let told = explain(
        3,
        &[(Step::Service, 1, 0), (Step::Slot, 5, 7), (Step::CountFlow, 7, 0), (Step::CountIn, 7, 40)],
    );
    assert_eq!(told.service.as_deref(), Some("tcp 10.0.0.9:80"));
    assert_eq!(detail(&told, "rotation"), ["10.0.0.13:80 gets no new connections: its weight is 0"]);
    assert_eq!(told.real.as_deref(), Some("10.0.0.11:80"));
    assert_eq!((told.action.as_str(), told.reason.as_str()), ("XDP_TX", "forwarded"));
    assert_eq!(detail(&told, "slot"), ["5 of 4093, by scheduler mh: 10.0.0.11:80"]);
    assert_eq!(detail(&told, "tracking"), ["auto: the flow is not tracked, its slot has not moved"]);
    assert_eq!(detail(&told, "rewrite"), ["MAC destination: 00:00:00:00:00:00 -> 02:00:00:00:00:0b"]);
    assert_eq!(told.steps.first().map(|step| step.step.as_str()), Some("parse"));
    assert_eq!(told.steps.last().map(|step| step.detail.as_str()), Some("forwarded"));
    assert_eq!(told.lines().lines().count(), told.steps.len());
}

#[test]
fn a_moved_slot_has_two_reals_and_the_flow_says_which() {
    let told = explain(
        3,
        &[
            (Step::Service, 1, 0),
            (Step::Slot, 5, 7 | MOVED),
            (Step::NoFlow, 0, 0),
            (Step::Move, 8, 0),
            (Step::RecordFlow, 8, State::Established as u32),
            (Step::CountIn, 8, 40),
        ],
    );
    assert_eq!(told.real.as_deref(), Some("10.0.0.12:80"));
    assert!(detail(&told, "slot")[0].ends_with("moved by a pool change"));
    let tracking = ["the flow is not known", "would add a flow table entry: 10.0.0.12:80, ESTABLISHED"];
    assert_eq!(detail(&told, "tracking"), tracking);
}

#[test]
fn what_is_no_services_has_neither_service_nor_real() {
    let told = explain(2, &[]);
    assert_eq!((&told.service, &told.real, told.reason.as_str()), (&None, &None, "not_ours"));
    assert_eq!(told.verdict, "left to the director's own stack");
    assert_eq!(detail(&told, "service"), ["no service is tcp 10.0.0.9:80; there is udp 10.0.0.9:80"]);
    assert_eq!(told.steps.last().map(|step| step.detail.as_str()), Some("not_ours"));
    let fragment = explain(2, &[(Step::NoFragment, 0, 0)]);
    assert!(detail(&fragment, "service").is_empty(), "{:?}", fragment.steps);
}

#[test]
fn a_counted_reason_is_the_last_word() {
    let none = explain(
        3,
        &[(Step::Service, 1, 0), (Step::Scheduled, 0, 0), (Step::Reason, 1, Reason::NoReal.index())],
    );
    assert_eq!((none.real.as_deref(), none.reason.as_str()), (None, "no_real"));
    assert_eq!(none.verdict, "dropped and answered, out of eth0");
    let local = explain(
        2,
        &[(Step::Service, 1, 0), (Step::CountIn, 7, 40), (Step::Reason, 1, Reason::Local.index())],
    );
    assert_eq!((local.real.as_deref(), local.reason.as_str()), (Some("10.0.0.11:80"), "local"));
    let other = explain(4, &[(Step::Service, 1, 0), (Step::CountIn, 7, 40), (Step::Redirect, 3, 0)]);
    assert_eq!(other.verdict, "sent out of eth1");
}

#[test]
fn every_step_has_words() {
    for step in (0..100).filter_map(Step::from_number) {
        let view = names().step(None, step, 1, 1);
        assert!(!view.step.is_empty() && !view.detail.is_empty());
    }
}
