// SPDX-License-Identifier: MIT OR Apache-2.0
//! `nat` reals that answer clients directly, through a link of their own to the clients' network.
//!
//! The director is on that link too, so an answer to its own address proves nothing. The doctor pings a real from an
//! unused address of that network: if the real asks the link for that address, its replies bypass the director.
#![forbid(unsafe_code)]

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::{Duration, SystemTime},
};

use ipnet::IpNet;

use super::{Facts, Subject, frame, judge::Place, neighbour, path, wire::Wire};
use crate::{
    model::{
        Forward,
        finding::{Finding, Severity},
    },
    netlink::Mac,
};

/// Time to wait: a real asks at once when it has to answer.
const PATIENCE: Duration = Duration::from_millis(200);
/// Identifier of the pings, whose answers are ignored.
const PING: u16 = 1_991;

/// Checks the reals that work otherwise: those without a finding in `found`.
pub(super) fn check(facts: &Facts, wire: &Wire, turn: u32, found: &[Finding]) -> Vec<Finding> {
    let mut asked: BTreeMap<IpAddr, (&Subject, IpNet)> = BTreeMap::new();
    let mut taken = BTreeSet::new();
    for subject in facts.subjects.iter().filter(|subject| subject.forward == Forward::Nat) {
        let (Ok(way), Some(dip)) = (&subject.way, subject.dip) else { continue };
        let is_known = found.iter().any(|one| one.place == subject.rip.to_string());
        let net = path::elsewhere(facts, dip, subject.vip, true).filter(|net| !net.contains(&subject.rip));
        let Some(net) = net.filter(|_| !is_known && taken.insert(subject.rip)) else { continue };
        let number = turn.wrapping_add(asked.len() as u32);
        let stranger = stranger(facts, net, number, Half::Even).filter(|ip| !asked.contains_key(ip));
        let Some(stranger) = stranger else { continue };
        let ping = frame::echo(stranger, subject.rip, PING, 0, 64);
        wire.send(way.ifindex, &frame::framed(way, None, ping));
        asked.insert(stranger, (subject, net));
    }
    if asked.is_empty() {
        return Vec::new();
    }
    let ours: BTreeSet<Mac> = facts.interfaces.iter().filter_map(|interface| interface.mac).collect();
    let mut past = BTreeSet::new();
    wire.listen(PATIENCE, |_, bytes| {
        if let Some((mac, target)) = neighbour::asked(bytes)
            && asked.contains_key(&target)
            && !ours.contains(&mac)
        {
            past.insert(target);
        }
        past.len() == asked.len()
    });
    past.iter()
        .filter_map(|stranger| asked.get(stranger))
        .map(|(subject, net)| judge(subject, *net))
        .collect()
}

fn judge(subject: &Subject, net: IpNet) -> Finding {
    let (rip, dip) = (subject.rip, subject.dip.unwrap_or(subject.vip));
    let place = Place { dip, clients: Some(net), far: Some(net.addr()), shares_link: true };
    let cause = format!(
        "{rip} has a link of its own to {}, and sends what it has for clients there straight to them: it does not come back through the director, and clients do not know its sender",
        net.trunc()
    );
    Finding::new("nat-replies", Severity::Error, cause, subject.route_back(&place)).of(subject).on(rip)
}

/// Returns the number of the first unused address of a run. It cycles through half of a /24 in four seconds:
/// a machine asks its link three times, a second apart, and a run takes more than half a second. So no run
/// receives the questions of the previous one.
pub(super) fn turn(now: SystemTime) -> u32 {
    now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| (time.as_millis() / 32) as u32)
}

/// Halves of a network's addresses, one per check: a machine asks its link for seconds, and its question
/// because of one check must not count in the other check of the next run.
#[derive(Clone, Copy)]
pub(super) enum Half {
    /// Addresses for pings of `nat` reals.
    Even,
    /// Addresses for pings of `dr` and `tun` reals, which may well ask.
    Odd,
}

/// Returns an unused address in a network of the director: neither an address of the director nor a VIP, and
/// different in each run, so that no machine has a neighbour entry for it.
pub(super) fn stranger(facts: &Facts, net: IpNet, number: u32, half: Half) -> Option<IpAddr> {
    let vips = facts.vips();
    let is_free =
        |ip: &IpAddr| !vips.contains(ip) && facts.addresses.iter().all(|address| address.net.addr() != *ip);
    (0..64).find_map(|n| nth(net, of_half(number.wrapping_add(n), half)).filter(is_free))
}

/// Returns the number within its half. A network has an even number of hosts, so the halves do not overlap.
const fn of_half(number: u32, half: Half) -> u32 {
    number.wrapping_mul(2) | matches!(half, Half::Odd) as u32
}

/// Returns one of the addresses that hosts of a network may have.
fn nth(net: IpNet, number: u32) -> Option<IpAddr> {
    match net {
        IpNet::V4(net) => {
            let hosts = 1_u32.checked_shl(u32::from(32 - net.prefix_len()))?.checked_sub(2)?;
            let host = 1 + number.checked_rem(hosts)?;
            Some(Ipv4Addr::from_bits(net.network().to_bits() + host).into())
        }
        IpNet::V6(net) if net.prefix_len() <= 64 => {
            let host = u128::from(number) | 0x02ff_fe00_0000_0000;
            Some(Ipv6Addr::from_bits(net.network().to_bits() | host).into())
        }
        IpNet::V6(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_have_no_address_in_common() {
        for net in ["192.0.2.1/24", "192.0.2.1/30", "10.0.0.0/8", "2001:db8::1/64"] {
            let net: IpNet = net.parse().unwrap();
            let all = |half| -> BTreeSet<IpAddr> {
                (0..1000)
                    .chain(u32::MAX - 1000..=u32::MAX)
                    .filter_map(|n| nth(net, of_half(n, half)))
                    .collect()
            };
            let (even, odd) = (all(Half::Even), all(Half::Odd));
            assert!(!even.is_empty() && !odd.is_empty() && even.is_disjoint(&odd), "{net}");
        }
    }

    #[test]
    fn looks_within_seconds_ask_for_other_strangers() {
        let (net, first): (IpNet, _) =
            ("192.0.2.1/24".parse().unwrap(), Duration::from_millis(1_795_000_000_123));
        let strangers = |after| -> BTreeSet<IpAddr> {
            let turn = turn(SystemTime::UNIX_EPOCH + first + Duration::from_millis(after));
            (0..15).filter_map(|n| nth(net, of_half(turn.wrapping_add(n), Half::Even))).collect()
        };
        for after in (500..3_200).step_by(10) {
            assert!(strangers(0).is_disjoint(&strangers(after)), "after {after} ms");
        }
    }

    #[test]
    fn a_stranger_is_a_host_of_the_network() {
        for (net, number) in [("192.0.2.1/24", 7_000_000), ("192.0.2.1/30", 3), ("10.0.0.0/8", u32::MAX)] {
            let net: IpNet = net.parse().unwrap();
            let ip = nth(net, number).unwrap();
            assert!(net.contains(&ip) && ip != net.network() && ip != net.broadcast(), "{ip} of {net}");
        }
        let net: IpNet = "2001:db8::1/64".parse().unwrap();
        assert!(net.contains(&nth(net, 5).unwrap()));
        for net in ["192.0.2.1/32", "192.0.2.0/31", "0.0.0.0/0", "2001:db8::1/127"] {
            assert_eq!(nth(net.parse().unwrap(), 1), None, "{net}");
        }
    }
}
