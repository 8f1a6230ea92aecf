// SPDX-License-Identifier: MIT OR Apache-2.0
//! Diagnosis: the fault of a real that explains the outcomes of its probes.
#![forbid(unsafe_code)]

use super::{
    Check, Finding, Fix, Target, fix,
    observations::{Observations, Outcome},
    topology::Topology,
};
use lb_model::{Forward, Protocol};

/// Returns the finding that explains the observations; `None` if nothing is wrong.
pub(super) fn diagnose(target: &Target, topology: &Topology, seen: Observations) -> Option<Finding> {
    let Target { vip, rip, forward, tunnel, .. } = *target;
    let at = target.at();
    let dip = topology.dip;
    let on_real = |check, cause: String, command: String| {
        Some(Finding::new(check, target.location(), cause, Fix::on_real(rip, command)))
    };
    if let Some(reason) = seen.not_forwarded {
        let cause = format!("the programs do not forward clients' packets for {at}: {reason}");
        let fix = Fix::on_director(target.take_out());
        return Some(Finding::new(Check::NotForwarded, target.location(), cause, fix));
    }
    if seen.other_real.is_some() {
        return Some(blackhole(target, seen));
    }
    match (seen.via_path, forward) {
        (Outcome::Replied, Forward::Dr | Forward::Tun) if seen.far == Some(Outcome::NoReply) => {
            let cause = format!(
                "{rip} answers for {vip} to its neighbour {dip}, but not to the director's address in the clients' network: rp_filter drops packets whose return route uses another interface, {vip} has the prefix length of a whole network there, a firewall drops packets from clients, or the real has no route to them"
            );
            // The address is removed in case it has a whole network; setup adds it again without one.
            let first = [format!("ip address flush to {vip}"), target.setup(), target.open()];
            let then = [target.loose_filter(), target.route_from_vip(topology)];
            let fix = first.into_iter().chain(then.into_iter().flatten()).collect::<Vec<_>>().join(" && ");
            on_real(Check::RpFilter, cause, fix)
        }
        (Outcome::Replied, Forward::Nat | Forward::Fnat) if seen.wrong_checksum => on_real(
            Check::Checksum,
            format!(
                "{rip} leaves checksums to its device (veth, virtio), which does not compute them: packets that the programs rewrite reach clients with wrong checksums"
            ),
            target.checksums(),
        ),
        (Outcome::Replied, _) => None,
        (Outcome::Refused, _) => Some(not_listening(target, seen)),
        (Outcome::Rejected, _) => on_real(
            Check::RealFirewall,
            format!("{rip} answers packets for {at} with an ICMP error: a rule of its firewall rejects them"),
            target.open(),
        ),
        (Outcome::NoReply, Forward::Fnat) if seen.far.is_some_and(|far| far != Outcome::NoReply) => on_real(
            Check::FnatReplies,
            format!(
                "{rip} answers another address of the director, but not {dip}, the source of clients' packets: its route to {dip} leads elsewhere, or its firewall drops packets from {dip}"
            ),
            format!("{} && {}", target.route_on_link(dip), target.open()),
        ),
        (Outcome::NoReply, Forward::Fnat) if seen.direct == Outcome::Replied => on_real(
            Check::RealFirewall,
            format!(
                "{rip} answers pings, but nothing at port {}: a rule of its firewall drops these packets",
                target.real_port
            ),
            target.open(),
        ),
        (Outcome::NoReply, Forward::Fnat) => on_real(
            Check::RealSilent,
            format!(
                "{rip} answers ARP, but no packet from {dip}: its route to {dip} leads elsewhere, or its firewall drops packets from {dip}"
            ),
            format!("{} && {}", target.route_on_link(dip), target.open()),
        ),
        (Outcome::NoReply, _) if seen.answers_ping && seen.direct == Outcome::NoReply => on_real(
            Check::RealFirewall,
            format!(
                "{rip} answers pings, but nothing at port {} or at {at}: a rule of its firewall drops these packets",
                target.real_port
            ),
            target.open(),
        ),
        (Outcome::NoReply, _) if seen.direct == Outcome::NoReply && !seen.no_tunnel => on_real(
            Check::RealSilent,
            format!(
                "{rip} answers ARP or neighbour discovery, but answers neither for {vip} nor for itself: its firewall drops the packets, its route to {dip} leads elsewhere, or it hangs (then run on the director: {})",
                target.take_out()
            ),
            fix_for_silence(target, topology),
        ),
        (Outcome::NoReply, Forward::Nat) => on_real(
            Check::NatReplies,
            format!(
                "{rip} answers the director itself, but its replies to other networks do not return through the director: its route to them bypasses the director, or its firewall drops packets from other networks"
            ),
            format!("{} && {}", target.route_back(topology), target.open()),
        ),
        (Outcome::NoReply, Forward::Tun) if seen.no_tunnel => on_real(
            Check::TunNotUnwrapped,
            format!(
                "{rip} reports by ICMP that it does not accept {tunnel}: nothing on it decapsulates packets"
            ),
            target.setup(),
        ),
        (Outcome::NoReply, _) => Some(blackhole(target, seen)),
    }
}

/// Returns the fix for a silent real, as far as routes and firewalls are concerned.
fn fix_for_silence(target: &Target, topology: &Topology) -> String {
    let mut steps = Vec::new();
    // A real behind a router replies through that router.
    if target.gateway.is_none() {
        steps.push(target.route_on_link(topology.dip));
        if target.forward == Forward::Nat {
            steps.push(target.route_back_if_needed(topology));
        }
    }
    steps.push(target.open());
    steps.join(" && ")
}

/// Returns the finding for a real that should have the VIP, and only answers for its own address.
fn blackhole(target: &Target, seen: Observations) -> Finding {
    let Target { vip, port, rip, forward, tunnel, .. } = *target;
    let check = if forward == Forward::Tun { Check::TunBlackhole } else { Check::DrBlackhole };
    let on_real = |check, cause: String, command: String| {
        Finding::new(check, target.location(), cause, Fix::on_real(rip, command))
    };
    if let Some(other) = seen.other_real {
        let cause = format!(
            "{rip} does not accept packets for {vip} but forwards them, and {other} answered: {vip} is not on the lo of {rip}"
        );
        return on_real(check, cause, target.setup());
    }
    if seen.answers_ping {
        let cause = format!(
            "{rip} answers pings of {vip}, but nothing at port {port}: a rule of its firewall drops these packets"
        );
        return on_real(Check::RealFirewall, cause, target.open());
    }
    let whole = format!("{} && {}", target.setup(), target.open());
    let not_there = format!("{vip} is not on its lo, or its firewall drops every packet for {vip}");
    let likely = match (forward, seen.decapsulates) {
        (Forward::Tun, Some(true)) => {
            format!("it decapsulates packets and answers for itself inside the tunnel: {not_there}")
        }
        (Forward::Tun, Some(false)) => "and not for itself inside the tunnel either: nothing decapsulates the packets, rp_filter drops the inner packets, or a firewall drops them".to_owned(),
        (Forward::Tun, None) => {
            format!("nothing decapsulates the packets, rp_filter drops the inner packets, {not_there}")
        }
        _ => {
            let cause = format!("{rip} answers for itself, but not for {vip}, not even a ping: {not_there}");
            return on_real(check, cause, whole);
        }
    };
    on_real(check, format!("{rip} answers for itself, but not for {vip} by {tunnel}; {likely}"), whole)
}

/// Returns the finding for a real that accepts packets for the VIP and refuses connections.
fn not_listening(target: &Target, seen: Observations) -> Finding {
    let Target { vip, rip, .. } = *target;
    let at = target.at();
    let listens_on_rip =
        target.holds_vip() && seen.direct == Outcome::Replied && vip.is_ipv4() == rip.is_ipv4();
    let finding = |cause, fix| Finding::new(Check::NotListening, target.location(), cause, fix);
    if listens_on_rip && target.protocol == Protocol::Tcp {
        let cause = format!(
            "{rip} listens at port {} of its own address only, and refuses connections to {at}; let the server listen at every address; until then, the fix translates {vip} on the real",
            target.port
        );
        return finding(cause, Fix::on_real(rip, fix::translate_on_real(target)));
    }
    let (then, fix) = target.spare("something does");
    let cause =
        format!("{rip} accepts packets for {at} and refuses connections: nothing listens there; {then}");
    finding(cause, Fix::on_director(fix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use lb_model::{ServiceId, Tunnel};

    fn target(forward: Forward) -> Target {
        Target {
            service: ServiceId::new(Protocol::Tcp, ([192, 0, 2, 100], 80).into()),
            protocol: Protocol::Tcp,
            vip: [192, 0, 2, 100].into(),
            port: 80,
            rip: [10, 0, 0, 11].into(),
            real_port: 80,
            forward,
            tunnel: Tunnel::Ipip,
            weight: 1,
            down: None,
            address: ([10, 0, 0, 11], 80).into(),
            entry: None,
            next_hop: Err(lb_control::neighbours::Unresolved::Unknown { why: "not asked".to_owned() }),
            dip: None,
            gateway: None,
        }
    }

    #[test]
    fn each_combination_of_outcomes_has_its_check() {
        use Outcome::{NoReply, Refused, Rejected, Replied};
        for (forward, via_path, direct, far, no_tunnel, check) in [
            (Forward::Dr, Replied, NoReply, None, false, None),
            (Forward::Dr, Replied, NoReply, Some(Replied), false, None),
            (Forward::Dr, Replied, Replied, Some(NoReply), false, Some(Check::RpFilter)),
            (Forward::Dr, Refused, Refused, Some(NoReply), false, Some(Check::NotListening)),
            (Forward::Dr, NoReply, Refused, Some(NoReply), false, Some(Check::DrBlackhole)),
            (Forward::Dr, NoReply, NoReply, Some(NoReply), false, Some(Check::RealSilent)),
            (Forward::Tun, NoReply, Replied, Some(NoReply), true, Some(Check::TunNotUnwrapped)),
            (Forward::Tun, NoReply, Replied, None, false, Some(Check::TunBlackhole)),
            (Forward::Nat, NoReply, Replied, None, false, Some(Check::NatReplies)),
            (Forward::Nat, Replied, Replied, None, false, None),
            (Forward::Dr, Rejected, Rejected, Some(NoReply), false, Some(Check::RealFirewall)),
            (Forward::Fnat, Replied, Replied, Some(NoReply), false, None),
            (Forward::Fnat, Refused, Replied, Some(Refused), false, Some(Check::NotListening)),
            (Forward::Fnat, NoReply, NoReply, Some(Replied), false, Some(Check::FnatReplies)),
            (Forward::Fnat, NoReply, Replied, Some(NoReply), false, Some(Check::RealFirewall)),
            (Forward::Fnat, NoReply, NoReply, Some(NoReply), false, Some(Check::RealSilent)),
        ] {
            let seen = Observations { via_path, direct, far, no_tunnel, ..Observations::default() };
            let topology =
                Topology { dip: [10, 0, 0, 1].into(), clients: None, far: None, shares_link: false };
            let finding = diagnose(&target(forward), &topology, seen);
            assert_eq!(finding.map(|finding| finding.check), check, "{forward} {seen:?}");
        }
    }

    #[test]
    fn a_blackhole_has_its_likely_cause() {
        let silent = Observations { direct: Outcome::Replied, ..Observations::default() };
        let other = Some([10, 0, 0, 12].into());
        for (forward, seen, check, says) in [
            (Forward::Dr, silent, Check::DrBlackhole, "not even a ping"),
            (
                Forward::Dr,
                Observations { answers_ping: true, ..silent },
                Check::RealFirewall,
                "nothing at port 80",
            ),
            (
                Forward::Dr,
                Observations { other_real: other, via_path: Outcome::Replied, ..silent },
                Check::DrBlackhole,
                "10.0.0.12",
            ),
            (Forward::Tun, silent, Check::TunBlackhole, "nothing decapsulates the packets, rp_filter"),
            (
                Forward::Tun,
                Observations { decapsulates: Some(true), ..silent },
                Check::TunBlackhole,
                "it decapsulates packets",
            ),
            (
                Forward::Tun,
                Observations { decapsulates: Some(false), ..silent },
                Check::TunBlackhole,
                "tunnel either: nothing decapsulates",
            ),
            (
                Forward::Tun,
                Observations { answers_ping: true, ..silent },
                Check::RealFirewall,
                "nothing at port 80",
            ),
            (
                Forward::Dr,
                Observations { answers_ping: true, ..Observations::default() },
                Check::RealFirewall,
                "answers pings",
            ),
            (
                Forward::Nat,
                Observations { answers_ping: true, ..Observations::default() },
                Check::RealFirewall,
                "answers pings",
            ),
            (Forward::Dr, Observations::default(), Check::RealSilent, "answers neither"),
        ] {
            let topology =
                Topology { dip: [10, 0, 0, 1].into(), clients: None, far: None, shares_link: false };
            let finding = diagnose(&target(forward), &topology, seen).unwrap();
            assert_eq!(finding.check, check, "{seen:?}");
            assert!(finding.cause.contains(says), "{}", finding.cause);
        }
    }
}
