// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the answers of a real, and its silence, mean.
#![forbid(unsafe_code)]

use std::net::{IpAddr, SocketAddr};

use super::{Finding, Severity, Subject};
use crate::control::model::Forward;

/// How a question was answered.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Answer {
    #[default]
    Silence,
    Refused,
    Yes,
}

/// What was seen of a subject.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Seen {
    /// The VIP through the path.
    pub(super) through: Answer,
    /// The RIP without it.
    pub(super) direct: Answer,
    /// The VIP through the path, asked from where clients are; `None` if that could not be asked.
    pub(super) far: Option<Answer>,
    /// The real said that it does not unwrap tunnels.
    pub(super) no_tunnel: bool,
}

pub(super) fn judge(subject: &Subject, dip: IpAddr, seen: Seen) -> Option<Finding> {
    let Subject { vip, port, rip, forward, tunnel, .. } = *subject;
    let at = SocketAddr::new(vip, port);
    let finding =
        |check, severity, cause, fix| Some(Finding::new(check, severity, cause, fix).of(subject).on(rip));
    let error = |check, cause, fix| finding(check, Severity::Error, cause, fix);
    match (seen.through, forward) {
        (Answer::Yes, Forward::Dr | Forward::Tun) if seen.far == Some(Answer::Silence) => finding(
            "rp-filter",
            Severity::Warning,
            format!(
                "{rip} answers for {vip} to its neighbour {dip}, but not to the director's address among the clients: rp_filter drops packets whose way back leaves by another interface, or it has no way to clients"
            ),
            subject.setup(),
        ),
        (Answer::Yes, _) => None,
        (Answer::Refused, _) => error(
            "not-listening",
            format!(
                "{rip} takes packets for {at} and refuses connections: nothing listens there, or not for every address"
            ),
            format!(
                "start the service; `ss -ltn` on {rip} shows what listens, and it must be every address or {vip}"
            ),
        ),
        (Answer::Silence, _) if seen.direct == Answer::Silence && !seen.no_tunnel => error(
            "real-silent",
            format!(
                "{rip} answers neither for {vip} nor for itself, though its link does: a firewall there, or it hangs"
            ),
            format!("look at the firewall of {rip}: `nft list ruleset`"),
        ),
        (Answer::Silence, Forward::Nat) => error(
            "nat-replies",
            format!(
                "{rip} answers the director itself, but what it sends elsewhere does not come back through the director: its way back leads past it"
            ),
            format!("ip route replace default via {dip}"),
        ),
        (Answer::Silence, Forward::Tun) if seen.no_tunnel => error(
            "tun-not-unwrapped",
            format!("{rip} says that it does not take {tunnel}: nothing there unwraps tunnelled packets"),
            subject.setup(),
        ),
        (Answer::Silence, Forward::Tun) => error(
            "tun-blackhole",
            format!(
                "{rip} answers for itself, but not for {vip} by {tunnel}: nothing unwraps the packets there, rp_filter drops what was unwrapped, or {vip} is not on lo"
            ),
            subject.setup(),
        ),
        (Answer::Silence, _) => error(
            "dr-blackhole",
            format!(
                "{rip} answers for itself, but not for {vip}: {vip} is not on its lo, or rp_filter drops its packets"
            ),
            subject.setup(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::model::{Protocol, Tunnel};

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
            way: Err("not asked".to_owned()),
            dip: None,
            gateway: None,
        }
    }

    #[test]
    fn each_silence_has_its_name() {
        use Answer::{Refused, Silence, Yes};
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
        ] {
            let seen = Seen { through, direct, far, no_tunnel };
            let finding = judge(&subject(forward), [10, 0, 0, 1].into(), seen);
            assert_eq!(finding.map(|f| f.check).as_deref(), check, "{forward} {seen:?}");
        }
    }
}
