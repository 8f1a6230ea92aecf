// SPDX-License-Identifier: MIT OR Apache-2.0
//! Description of the programs' recorded steps, with names.

use std::collections::{BTreeSet, HashMap};

use lb_common::{
    ids::{IfIndex, RealId, ServiceId},
    reason::{Fate, Reason},
    schema::{Step, Trace},
    slot::MOVED,
    track::State,
};

use super::{Explanation, StepView, decode, hex, near};
use lb_model::Endpoint;

/// Description of a service.
#[derive(Clone, Debug)]
pub struct ServiceName {
    /// Protocol, VIP and port, or the group.
    pub name: String,
    /// Scheduler and flags.
    pub scheduler: String,
    /// Tracking mode.
    pub tracking: String,
    /// Number of slots in its table.
    pub slots: u32,
    /// Lines about reals that get no new connections, and about the health of the pool.
    pub rotation: Vec<String>,
}

/// Description of a real.
#[derive(Clone, Debug)]
pub struct RealName {
    /// RIP and port.
    pub address: String,
    /// Forward method.
    pub method: String,
    /// The method encapsulates packets.
    pub wraps: bool,
    /// Weight.
    pub weight: u32,
    /// Destination MAC address and egress interface, or the reason why there is no next hop.
    pub next_hop: String,
}

/// Names for the programs' ids.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// Services by id.
    pub services: HashMap<ServiceId, ServiceName>,
    /// Reals by id.
    pub reals: HashMap<RealId, RealName>,
    /// Interfaces by index.
    pub interfaces: HashMap<IfIndex, String>,
    /// Endpoints of the services.
    pub endpoints: BTreeSet<Endpoint>,
}

/// A run of the programs.
#[derive(Clone, Copy, Debug)]
pub struct Ran<'a> {
    /// Ingress interface.
    pub interface: &'a str,
    /// Frame before the run.
    pub before: &'a [u8],
    /// Frame after the run.
    pub after: &'a [u8],
    /// Action as returned to the driver.
    pub action: u32,
    /// Recorded steps.
    pub trace: &'a Trace,
}

/// Summary of a trace.
#[derive(Clone, Copy)]
struct Outcome {
    service: Option<ServiceId>,
    real: Option<RealId>,
    reason: Reason,
    device: Option<IfIndex>,
}

impl Names {
    fn service(&self, id: ServiceId) -> String {
        self.services.get(&id).map_or_else(|| format!("service #{id}"), |service| service.name.clone())
    }

    fn real(&self, id: RealId) -> String {
        match self.reals.get(&id) {
            Some(real) => real.address.clone(),
            None if id.is_none() => "none".to_owned(),
            None => format!("real #{id}"),
        }
    }

    /// Returns the name of an interface, or its index.
    #[must_use]
    pub fn interface(&self, index: IfIndex) -> String {
        self.interfaces.get(&index).cloned().unwrap_or_else(|| format!("interface #{index}"))
    }

    /// Describes a run.
    #[must_use]
    pub fn explain(&self, ran: &Ran) -> Explanation {
        let outcome = outcome(ran.trace);
        let real = outcome.real.and_then(|id| self.reals.get(&id));
        let mut steps =
            vec![StepView::new("parse", format!("{}, by {}", decode::summary(ran.before), ran.interface))];
        let first = ran.trace.count.saturating_sub(Trace::LENGTH as u32);
        if first > 0 {
            steps.push(StepView::new("…", format!("{first} steps before these were not kept")));
        }
        let mut service = None;
        for (step, a, b) in ran.trace.steps() {
            steps.push(self.step(service, step, a, b));
            if step == Step::Service {
                service = self.services.get(&ServiceId(a));
                let rotation = service.into_iter().flat_map(|service| &service.rotation);
                steps.extend(rotation.map(|line| StepView::new("rotation", line.as_str())));
            }
        }
        steps.extend(self.near(ran, outcome));
        if let Some(service) = service
            && let Some(tracking) = not_tracked(ran.trace, service)
        {
            steps.push(tracking);
        }
        if let Some(real) = real {
            steps.push(StepView::new(
                "real",
                format!("{} by {}, weight {}", real.address, real.method, real.weight),
            ));
            steps.push(StepView::new("next hop", &*real.next_hop));
        }
        let sent = outcome.reason == Reason::Forwarded;
        let wrapped = sent && ran.after.len() > ran.before.len() && real.is_some_and(|real| real.wraps);
        let rewrite =
            decode::differences(&decode::fields(ran.before, false), &decode::fields(ran.after, wrapped));
        for change in &rewrite {
            let text = match (&change.before, &change.after) {
                (Some(before), Some(after)) => format!("{}: {before} -> {after}", change.field),
                (None, Some(after)) => format!("{}: {after}, added", change.field),
                (Some(before), None) => format!("{}: {before}, taken off", change.field),
                (None, None) => continue,
            };
            steps.push(StepView::new("rewrite", text));
        }
        let (action, verdict) = self.verdict(ran, outcome);
        steps.push(StepView::new("bytes out", format!("{} of {}", ran.after.len(), ran.before.len())));
        steps.push(StepView::new("verdict", format!("{action}: {verdict}")));
        steps.push(StepView::new("reason", outcome.reason.as_str()));
        Explanation {
            interface: ran.interface.to_owned(),
            service: outcome.service.map(|id| self.service(id)),
            real: outcome.real.map(|id| self.real(id)),
            action: action.to_owned(),
            verdict,
            reason: outcome.reason.as_str().to_owned(),
            steps,
            rewrite,
            frame_in: hex::encode(ran.before),
            frame_out: hex::encode(ran.after),
        }
    }

    fn step(&self, service: Option<&ServiceName>, step: Step, a: u32, b: u32) -> StepView {
        let flow =
            |what: &str| format!("{what}: {}, {}", self.real(RealId(a)), State::from_number(b).as_str());
        let (name, detail) = match step {
            Step::Program => ("program", format!("continues in {}", program(a))),
            Step::Service => ("service", self.service(ServiceId(a))),
            Step::Slot => {
                let (slots, scheduler) =
                    service.map_or((0, ""), |service| (service.slots, service.scheduler.as_str()));
                let moved = if b & MOVED == 0 { "" } else { ", moved by a pool change" };
                ("slot", format!("{a} of {slots}, by {scheduler}: {}{moved}", self.real(RealId(b & !MOVED))))
            }
            Step::Move => ("slot", format!("flows from before the change are on {}", self.real(RealId(a)))),
            Step::Turn => ("scheduler", format!("position {a}, which a real packet would take")),
            Step::Random => ("scheduler", format!("drew {a}: another packet may draw another number")),
            Step::Overloaded => ("scheduler", format!("{} is above its thresholds", self.real(RealId(a)))),
            Step::Scheduled => {
                let scheduler = service.map_or("", |service| service.scheduler.as_str());
                let chosen = match a {
                    0 => "no real takes new connections".to_owned(),
                    u32::MAX => "the real that was hashed is above its thresholds".to_owned(),
                    real => self.real(RealId(real)),
                };
                ("scheduler", format!("{scheduler}: {chosen}"))
            }
            Step::Flow => ("tracking", flow("the flow is known")),
            Step::NoFlow => ("tracking", "the flow is not known".to_owned()),
            Step::RecordFlow => ("tracking", flow("would add a flow table entry")),
            Step::UpdateFlow => ("tracking", flow("would update the flow")),
            Step::Client => ("persistence", format!("the client is kept on {}", self.real(RealId(a)))),
            Step::RecordClient => {
                ("persistence", format!("would keep the client on {}", self.real(RealId(a))))
            }
            Step::Locality => ("locality", format!("the destination has {}", self.both(a, b))),
            Step::RecordLocality => ("locality", format!("would give the destination {}", self.both(a, b))),
            Step::Fragment => ("fragment", format!("the first fragment went to {}", self.real(RealId(a)))),
            Step::NoFragment => ("fragment", "nothing is known of the first fragment".to_owned()),
            Step::RecordFragment => {
                ("fragment", format!("would remember {} for the fragments", self.real(RealId(a))))
            }
            Step::Source if a == ServiceId::NONE.0 => ("reply", "of a tracked flow".to_owned()),
            Step::Source => {
                ("reply", format!("from {} for {}", self.real(RealId(b)), self.service(ServiceId(a))))
            }
            Step::RecordReply => ("reply", "would record the service of the replies".to_owned()),
            Step::ReturnPath => ("way back", format!("to the client by {}", self.interface(IfIndex(a)))),
            Step::RecordWayBack => {
                ("way back", format!("would remember: to the client by {}", self.interface(IfIndex(a))))
            }
            Step::Direct => ("direct", "the client speaks to the real itself".to_owned()),
            Step::RecordDirect => {
                ("direct", "would remember that the client speaks to the real itself".to_owned())
            }
            Step::ForgetDirect => {
                ("direct", "would forget that the client spoke to the real itself".to_owned())
            }
            Step::Redirect => ("redirect", format!("to {}", self.interface(IfIndex(a)))),
            Step::CountIn => ("counters", format!("would count {b} bytes to {}", self.real(RealId(a)))),
            Step::CountOut => {
                ("counters", format!("would count {b} bytes back from {}", self.real(RealId(a))))
            }
            Step::CountFlow => {
                ("counters", format!("would count a new connection of {}", self.real(RealId(a))))
            }
            Step::Reason => {
                let reason = Reason::from_number(b).map_or("?", Reason::as_str);
                ("counters", format!("would count {reason}"))
            }
            Step::IcmpBudget if a == 0 => ("icmp", "no more errors may be sent now".to_owned()),
            Step::IcmpBudget => ("icmp", "an error may be sent".to_owned()),
            Step::CountLoad => ("counters", format!("would count the load of {}", self.real(RealId(a)))),
            Step::Translation => ("fnat", "the flow that the packet belongs to is known".to_owned()),
            Step::TakeDip => ("fnat", format!("would take the director's port {a}")),
            Step::GiveDipBack => ("fnat", format!("would give the director's port {a} back")),
        };
        StepView::new(name, detail)
    }

    /// Returns the services near a packet that matches none.
    fn near(&self, ran: &Ran, outcome: Outcome) -> Option<StepView> {
        // A later fragment has payload in the place of ports.
        let is_fragment = |(step, _, _): (Step, u32, u32)| matches!(step, Step::Fragment | Step::NoFragment);
        if outcome.service.is_some()
            || outcome.reason != Reason::NotOurs
            || ran.trace.steps().any(is_fragment)
        {
            return None;
        }
        Some(StepView::new("service", near::services(ran.before, &self.endpoints)?))
    }

    fn both(&self, a: u32, b: u32) -> String {
        if b == RealId::NONE.0 {
            self.real(RealId(a))
        } else {
            format!("{} and {}", self.real(RealId(a)), self.real(RealId(b)))
        }
    }

    fn verdict(&self, ran: &Ran, outcome: Outcome) -> (&'static str, String) {
        let answered = outcome.reason.fate() == Fate::Answered;
        let device =
            outcome.device.map_or_else(|| "another interface".to_owned(), |index| self.interface(index));
        let (action, words) = match ran.action {
            1 => ("XDP_DROP", "dropped".to_owned()),
            2 => ("XDP_PASS", "left to the director's own stack".to_owned()),
            3 if answered => ("XDP_TX", format!("dropped and answered, out of {}", ran.interface)),
            3 => ("XDP_TX", format!("sent out of {}", ran.interface)),
            4 => ("XDP_REDIRECT", format!("sent out of {device}")),
            _ => ("XDP_ABORTED", "dropped: the program failed".to_owned()),
        };
        (action, words)
    }
}

/// Returns the reason why a flow is not tracked, if the trace has no step about tracking.
fn not_tracked(trace: &Trace, service: &ServiceName) -> Option<StepView> {
    let said = |step| matches!(step, Step::Flow | Step::NoFlow | Step::RecordFlow | Step::UpdateFlow);
    let (mut hashed, mut moved) = (false, false);
    for (step, ..) in trace.steps() {
        if said(step) {
            return None;
        }
        hashed |= step == Step::Slot;
        moved |= step == Step::Move;
    }
    let why = if moved { "the slot's new real is right for it" } else { "its slot has not moved" };
    hashed.then(|| StepView::new("tracking", format!("{}: the flow is not tracked, {why}", service.tracking)))
}

fn program(number: u32) -> &'static str {
    use lb_common::schema::Program;
    Program::ALL
        .into_iter()
        .find(|program| *program as u32 == number)
        .map_or("another program", Program::as_str)
}

fn outcome(trace: &Trace) -> Outcome {
    let mut outcome = Outcome { service: None, real: None, reason: Reason::NotOurs, device: None };
    let mut counted = None;
    for (step, a, b) in trace.steps() {
        match step {
            Step::Service => outcome.service = Some(ServiceId(a)),
            Step::Source if a != ServiceId::NONE.0 => {
                (outcome.service, outcome.real) = (Some(ServiceId(a)), Some(RealId(b)));
            }
            Step::Slot => outcome.real = Some(RealId(b & !MOVED)),
            Step::Scheduled if a != u32::MAX => outcome.real = Some(RealId(a)),
            Step::Flow | Step::RecordFlow | Step::UpdateFlow | Step::Client | Step::Fragment => {
                outcome.real = Some(RealId(a));
            }
            Step::CountIn | Step::CountOut => {
                outcome.real = Some(RealId(a));
                outcome.reason = Reason::Forwarded;
            }
            Step::Reason => counted = Reason::from_number(b),
            Step::Redirect => outcome.device = Some(IfIndex(a)),
            _ => {}
        }
    }
    outcome.real = outcome.real.filter(|id| !id.is_none());
    // A reason is counted if the packet leaves the usual path, even if it was counted at its real.
    Outcome { reason: counted.unwrap_or(outcome.reason), ..outcome }
}

#[cfg(test)]
#[path = "steps_tests.rs"]
mod tests;
