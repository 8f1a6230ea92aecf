// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tests of the engine, with a simulated clock.
#![forbid(unsafe_code)]

mod freeze; //   frozen states
mod schedule; // times of probes
mod verdict; //  counts, hold-down, restored states

use std::{net::SocketAddr, sync::Arc};

use lb_model::{
    Endpoint, Forward, Protocol, RealKey, ServiceId, Tunnel,
    check::{Check, CheckType, Period, Timing, Via},
    health::{Health, LastResult, ResultCode},
};

use super::*;
use crate::target::TargetState;

/// Time of the simulation's begin, in milliseconds since 1970.
const BEGIN: u64 = 1_800_000_000_000;

/// Returns the time that many milliseconds after the begin.
fn at(mono_ms: u64) -> Now {
    Now { mono_ms, wall_ms: BEGIN + mono_ms }
}

/// Returns a direct TCP check without jitter.
fn check(interval: u32) -> Check {
    let timing = Timing {
        interval: Period::from_millis(interval),
        timeout: Period::from_millis(interval / 2),
        jitter: 0,
        ..Timing::default()
    };
    Check { via: Via::Direct, timing, ..Check::new(CheckType::Tcp) }
}

/// Returns a target: a real with that number of a service with that number.
fn target(real: u16, service: u16, check: &Check) -> Target {
    let vip = SocketAddr::from(([192, 0, 2, 1], 8000 + service));
    let endpoint = Endpoint { protocol: Protocol::Tcp, address: vip };
    let [high, low] = real.to_be_bytes();
    let address = SocketAddr::from(([10, 0, high, low], 80));
    let key = RealKey { address, forward: Forward::Dr, tunnel: Tunnel::Ipip };
    Target {
        key: TargetKey::new("web".parse().unwrap(), check, endpoint, key),
        check: Arc::new(check.clone()),
        vip,
        services: [ServiceId::Endpoint(endpoint)].into(),
        hold_down: Period::default(),
        real_id: real.into(),
        forward: Forward::Dr,
    }
}

fn result(code: ResultCode) -> LastResult {
    LastResult { code, text: String::new(), duration_us: 1000, at_ms: 0 }
}

/// An engine, and its clock.
struct Simulation {
    engine: Engine,
    now: u64,
}

impl Simulation {
    fn new(targets: Vec<Target>) -> Self {
        let mut engine = Engine::new(4096, 1);
        engine.plan(targets, at(0));
        Self { engine, now: 0 }
    }

    /// Lets time pass. `answer` gives the result of each probe, which takes a millisecond.
    fn run(&mut self, milliseconds: u64, mut answer: impl FnMut(&Target, u64) -> ResultCode) {
        let end = self.now + milliseconds;
        while self.now < end {
            let started = self.engine.next(at(self.now)).start;
            for probe in &started {
                let code = answer(&probe.target, self.now);
                self.engine.ended(probe.id, result(code), None, at(self.now + 1));
            }
            let next = self.engine.next(at(self.now));
            assert!(next.start.is_empty(), "a target has one probe in flight");
            self.now = next.at.unwrap_or(end).clamp(self.now + 1, end);
        }
    }

    fn state(&self, target: &Target) -> TargetState {
        self.engine.state(&target.key, at(self.now)).unwrap()
    }

    fn health(&self, target: &Target) -> Health {
        self.state(target).health
    }
}
