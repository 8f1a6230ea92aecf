// SPDX-License-Identifier: MIT OR Apache-2.0
//! Interpretation of a real's answers, and of missing answers.
#![forbid(unsafe_code)]

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Subject, fix};
use crate::model::{
    Forward, Protocol,
    finding::{Finding, Severity},
};

/// Answer to a question.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Answer {
    #[default]
    Silence,
    /// The real's stack refused: no socket listens.
    Refused,
    /// A firewall rejected the question.
    Rejected,
    Yes,
}

/// Observations about a subject.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Seen {
    /// Answer of the VIP through the path.
    pub(super) through: Answer,
    /// Answer of the RIP without the path.
    pub(super) direct: Answer,
    /// Answer of the VIP through the path to an address in the clients' network; `None` if that could not be probed.
    pub(super) far: Option<Answer>,
    /// The real reported that it does not decapsulate.
    pub(super) no_tunnel: bool,
    /// An answer had a wrong checksum.
    pub(super) is_unsound: bool,
    /// The VIP answers a ping, while the service's port does not answer.
    pub(super) pings: bool,
    /// The RIP answers inside the tunnel, while the VIP does not; `None` if that was not probed.
    pub(super) unwraps: Option<bool>,
    /// Real that answered instead: this one lacks the VIP and forwards packets for it.
    pub(super) taken_by: Option<IpAddr>,
    /// Reason why the programs do not send packets to the real.
    pub(super) kept: Option<&'static str>,
}

impl Seen {
    /// Returns whether there was no answer at all.
    pub(super) fn is_silent(&self) -> bool {
        let answers = [self.through, self.direct, self.far.unwrap_or_default()];
        answers.iter().all(|answer| *answer == Answer::Silence)
            && !self.no_tunnel
            && !self.pings
            && self.kept.is_none()
    }
}

/// Network position of the director, as seen from the real.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// Address of the director towards the real (DIP).
    pub(super) dip: IpAddr,
    /// Network of clients in which the real is not.
    pub(super) clients: Option<IpNet>,
    /// Address outside of the real's network that was used for a probe, in `clients` if there is one.
    pub(super) far: Option<IpAddr>,
    /// Those clients are on the link of the real.
    pub(super) shares_link: bool,
}

pub(super) fn judge(subject: &Subject, place: &Place, seen: Seen) -> Option<Finding> {
    let Subject { vip, rip, forward, tunnel, .. } = *subject;
    let at = subject.at();
    let dip = place.dip;
    let error = |check, cause: String, fix: String| {
        Some(Finding::new(check, Severity::Error, cause, fix).of(subject).on(rip))
    };
    if let Some(reason) = seen.kept {
        let cause = format!("the loaded programs do not send on what clients send to {at}: {reason}");
        return Some(Finding::new("not-forwarded", Severity::Error, cause, subject.take_out()).of(subject));
    }
    if seen.taken_by.is_some() {
        return Some(blackhole(subject, seen));
    }
    match (seen.through, forward) {
        (Answer::Yes, Forward::Dr | Forward::Tun) if seen.far == Some(Answer::Silence) => {
            let cause = format!(
                "{rip} answers for {vip} to its neighbour {dip}, but not to the director's address among the clients: rp_filter drops packets whose way back leaves by another interface, {vip} is there with a whole network, a firewall drops what comes from clients, or it has no way to them"
            );
            // The address is removed in case it has a whole network; setup adds it again without one.
            let first = [format!("ip address flush to {vip}"), subject.setup(), subject.open()];
            let then = [subject.loose_filter(), subject.route_from_vip(place)];
            let fix = first.into_iter().chain(then.into_iter().flatten()).collect::<Vec<_>>().join(" && ");
            Some(Finding::new("rp-filter", Severity::Warning, cause, fix).of(subject).on(rip))
        }
        (Answer::Yes, Forward::Nat | Forward::Fnat) if seen.is_unsound => error(
            "checksum",
            format!(
                "{rip} sends packets whose checksums are left to its device, which does not fill them in (veth, virtio): what the programs rewrite arrives at clients with wrong ones"
            ),
            subject.checksums(),
        ),
        (Answer::Yes, _) => None,
        (Answer::Refused, _) => Some(not_listening(subject, seen)),
        (Answer::Rejected, _) => error(
            "real-firewall",
            format!("{rip} rejects packets for {at} by ICMP: a rule of its firewall does"),
            subject.open(),
        ),
        (Answer::Silence, Forward::Fnat) if seen.far.is_some_and(|far| far != Answer::Silence) => error(
            "fnat-replies",
            format!(
                "{rip} answers another address of the director, but not {dip}, which clients' packets come from: what it sends there takes another way, or a firewall there drops what comes from it"
            ),
            format!("{} && {}", subject.route_on_link(dip), subject.open()),
        ),
        (Answer::Silence, Forward::Fnat) if seen.direct == Answer::Yes => error(
            "real-firewall",
            format!(
                "{rip} answers pings, and nothing at port {}: a rule of its firewall drops that",
                subject.real_port
            ),
            subject.open(),
        ),
        (Answer::Silence, Forward::Fnat) => error(
            "real-silent",
            format!(
                "{rip} answers ARP, and nothing that comes from {dip}: what it sends there takes another way, or a firewall there drops it"
            ),
            format!("{} && {}", subject.route_on_link(dip), subject.open()),
        ),
        (Answer::Silence, _) if seen.pings && seen.direct == Answer::Silence => error(
            "real-firewall",
            format!(
                "{rip} answers pings, and nothing at port {} or at {at}: a rule of its firewall drops that",
                subject.real_port
            ),
            subject.open(),
        ),
        (Answer::Silence, _) if seen.direct == Answer::Silence && !seen.no_tunnel => error(
            "real-silent",
            format!(
                "{rip} answers neither for {vip} nor for itself, though its link does: a firewall there, what it sends to {dip} takes another way, or it hangs (then, on the director: {})",
                subject.take_out()
            ),
            wake(subject, place),
        ),
        (Answer::Silence, Forward::Nat) => error(
            "nat-replies",
            format!(
                "{rip} answers the director itself, but what it sends elsewhere does not come back through the director: its way back leads past it, or a firewall there drops what comes from elsewhere"
            ),
            format!("{} && {}", subject.route_back(place), subject.open()),
        ),
        (Answer::Silence, Forward::Tun) if seen.no_tunnel => error(
            "tun-not-unwrapped",
            format!("{rip} says that it does not take {tunnel}: nothing there unwraps tunnelled packets"),
            subject.setup(),
        ),
        (Answer::Silence, _) => Some(blackhole(subject, seen)),
    }
}

/// Returns the fix for a silent real, as far as routes and firewalls are concerned.
fn wake(subject: &Subject, place: &Place) -> String {
    let mut steps = Vec::new();
    // A real behind a router replies through that router.
    if subject.gateway.is_none() {
        steps.push(subject.route_on_link(place.dip));
        if subject.forward == Forward::Nat {
            steps.push(subject.route_back_if_needed(place));
        }
    }
    steps.push(subject.open());
    steps.join(" && ")
}

/// Returns the finding for a real that should have the VIP, and only answers for its own address.
fn blackhole(subject: &Subject, seen: Seen) -> Finding {
    let Subject { vip, port, rip, forward, tunnel, .. } = *subject;
    let check = if forward == Forward::Tun { "tun-blackhole" } else { "dr-blackhole" };
    let error =
        |check, cause: String, fix| Finding::new(check, Severity::Error, cause, fix).of(subject).on(rip);
    if let Some(other) = seen.taken_by {
        let cause = format!(
            "{rip} does not take packets for {vip} but routes them on, and {other} answered: {vip} is not on its lo"
        );
        return error(check, cause, subject.setup());
    }
    if seen.pings {
        let cause = format!(
            "{rip} answers pings of {vip}, and nothing at port {port}: a rule of its firewall drops that"
        );
        return error("real-firewall", cause, subject.open());
    }
    let whole = format!("{} && {}", subject.setup(), subject.open());
    let not_there = format!("{vip} is not on its lo, or a firewall drops all that is for it");
    let likely = match (forward, seen.unwraps) {
        (Forward::Tun, Some(true)) => {
            format!("it unwraps them, and answers for itself inside the tunnel: {not_there}")
        }
        (Forward::Tun, Some(false)) => "and not for itself inside the tunnel either: rp_filter drops what was unwrapped, nothing unwraps the packets, or a firewall drops them".to_owned(),
        (Forward::Tun, None) => {
            format!("nothing unwraps the packets, rp_filter drops what was unwrapped, {not_there}")
        }
        _ => {
            let cause = format!("{rip} answers for itself, but not for {vip}, not even a ping: {not_there}");
            return error(check, cause, whole);
        }
    };
    error(check, format!("{rip} answers for itself, but not for {vip} by {tunnel}; {likely}"), whole)
}

/// Returns the finding for a real that accepts packets for the VIP and refuses connections.
fn not_listening(subject: &Subject, seen: Seen) -> Finding {
    let Subject { vip, rip, .. } = *subject;
    let at = subject.at();
    let listens_on_rip = subject.holds_vip() && seen.direct == Answer::Yes && vip.is_ipv4() == rip.is_ipv4();
    let finding = |cause, fix| Finding::new("not-listening", Severity::Error, cause, fix).of(subject);
    if listens_on_rip && subject.protocol == Protocol::Tcp {
        let cause = format!(
            "{rip} listens at port {} of its own address alone, and refuses connections to {at}; every address would be better, and until then the fix translates {vip} there",
            subject.port
        );
        return finding(cause, fix::translate_on_real(subject)).on(rip);
    }
    let cause = format!(
        "{rip} takes packets for {at} and refuses connections: nothing listens there; the fix gives it no more of them until it does, and its weight ({}) is put back",
        subject.weight
    );
    finding(cause, subject.take_out())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Protocol, Tunnel};

    fn subject(forward: Forward) -> Subject {
        Subject {
            service: "tcp 192.0.2.100:80".to_owned(),
            protocol: Protocol::Tcp,
            vip: [192, 0, 2, 100].into(),
            port: 80,
            rip: [10, 0, 0, 11].into(),
            real_port: 80,
            forward,
            tunnel: Tunnel::Ipip,
            weight: 1,
            address: ([10, 0, 0, 11], 80).into(),
            entry: None,
            way: Err(crate::control::neighbours::Unresolved::Unknown { why: "not asked".to_owned() }),
            dip: None,
            gateway: None,
        }
    }

    #[test]
    fn each_silence_has_its_name() {
        use Answer::{Refused, Rejected, Silence, Yes};
        for (forward, through, direct, far, no_tunnel, check) in [
            (Forward::Dr, Yes, Silence, None, false, None),
            (Forward::Dr, Yes, Silence, Some(Yes), false, None),
            (Forward::Dr, Yes, Yes, Some(Silence), false, Some("rp-filter")),
            (Forward::Dr, Refused, Refused, Some(Silence), false, Some("not-listening")),
            (Forward::Dr, Silence, Refused, Some(Silence), false, Some("dr-blackhole")),
            (Forward::Dr, Silence, Silence, Some(Silence), false, Some("real-silent")),
            (Forward::Tun, Silence, Yes, Some(Silence), true, Some("tun-not-unwrapped")),
            (Forward::Tun, Silence, Yes, None, false, Some("tun-blackhole")),
            (Forward::Nat, Silence, Yes, None, false, Some("nat-replies")),
            (Forward::Nat, Yes, Yes, None, false, None),
            (Forward::Dr, Rejected, Rejected, Some(Silence), false, Some("real-firewall")),
            (Forward::Fnat, Yes, Yes, Some(Silence), false, None),
            (Forward::Fnat, Refused, Yes, Some(Refused), false, Some("not-listening")),
            (Forward::Fnat, Silence, Silence, Some(Yes), false, Some("fnat-replies")),
            (Forward::Fnat, Silence, Yes, Some(Silence), false, Some("real-firewall")),
            (Forward::Fnat, Silence, Silence, Some(Silence), false, Some("real-silent")),
        ] {
            let seen = Seen { through, direct, far, no_tunnel, ..Seen::default() };
            let place = Place { dip: [10, 0, 0, 1].into(), clients: None, far: None, shares_link: false };
            let finding = judge(&subject(forward), &place, seen);
            assert_eq!(finding.map(|f| f.check).as_deref(), check, "{forward} {seen:?}");
        }
    }

    #[test]
    fn a_blackhole_has_its_likely_cause() {
        let silent = Seen { direct: Answer::Yes, ..Seen::default() };
        let other = Some([10, 0, 0, 12].into());
        for (forward, seen, check, says) in [
            (Forward::Dr, silent, "dr-blackhole", "not even a ping"),
            (Forward::Dr, Seen { pings: true, ..silent }, "real-firewall", "nothing at port 80"),
            (
                Forward::Dr,
                Seen { taken_by: other, through: Answer::Yes, ..silent },
                "dr-blackhole",
                "10.0.0.12",
            ),
            (Forward::Tun, silent, "tun-blackhole", "nothing unwraps the packets, rp_filter"),
            (Forward::Tun, Seen { unwraps: Some(true), ..silent }, "tun-blackhole", "it unwraps them"),
            (
                Forward::Tun,
                Seen { unwraps: Some(false), ..silent },
                "tun-blackhole",
                "tunnel either: rp_filter",
            ),
            (Forward::Tun, Seen { pings: true, ..silent }, "real-firewall", "nothing at port 80"),
            (Forward::Dr, Seen { pings: true, ..Seen::default() }, "real-firewall", "answers pings"),
            (Forward::Nat, Seen { pings: true, ..Seen::default() }, "real-firewall", "answers pings"),
            (Forward::Dr, Seen::default(), "real-silent", "answers neither"),
        ] {
            let place = Place { dip: [10, 0, 0, 1].into(), clients: None, far: None, shares_link: false };
            let finding = judge(&subject(forward), &place, seen).unwrap();
            assert_eq!(finding.check, check, "{seen:?}");
            assert!(finding.cause.contains(says), "{}", finding.cause);
        }
    }
}
