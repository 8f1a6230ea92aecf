// SPDX-License-Identifier: MIT OR Apache-2.0
//! `dr` and `tun` reals whose replies to clients are routed through the director: the director has the VIP
//! itself, and Linux drops packets from an own address.
//!
//! The director's own address in the clients' network gets its answer nevertheless. So the doctor pings a
//! real through the path from an unused address of the clients' network: if the answer arrives here, the
//! director would have to forward it. A real on the clients' link asks the link for that address instead, and
//! must not use the VIP as its source: machines that receive the question would send to the real.
#![forbid(unsafe_code)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::IpAddr,
    time::Duration,
};

use super::{
    Facts, Subject,
    answer::{Said, answer},
    bypass::{Half, stranger},
    judge::Answer,
    neighbour,
    path::Probe,
    sender::Sender,
};
use crate::{
    failure::chain,
    model::finding::{Finding, Severity},
    netlink::Mac,
};

const PATIENCE: Duration = Duration::from_millis(200);
/// First identifier of the pings, distinct from those of other probes.
const FIRST_PING: u16 = 60_000;

/// Checks the reals that answer the clients' network and have no finding yet.
pub(super) fn check(
    facts: &Facts,
    sender: &mut Sender<'_>,
    turn: u32,
    (probes, known): (&[Probe<'_>], &[Finding]),
) -> Vec<Finding> {
    let (mut asked, mut taken): (BTreeMap<u16, &Probe<'_>>, _) = (BTreeMap::new(), BTreeSet::new());
    // A real that answers ARP for a VIP would also ask with the VIP as source, which no machine should receive.
    let is_known = |subject: &Subject| known.iter().any(|one| one.place == subject.rip.to_string());
    for probe in probes {
        let subject = probe.subject;
        let answers = probe.seen.through == Answer::Yes && probe.seen.far == Some(Answer::Yes);
        if !subject.holds_vip() || !answers || is_known(subject) || !taken.insert((subject.rip, subject.vip))
        {
            continue;
        }
        let number = FIRST_PING + asked.len() as u16 % 5_000;
        let client = |net| stranger(facts, net, turn.wrapping_add(asked.len() as u32), Half::Odd);
        let Some(client) = probe.place.clients.and_then(client) else { continue };
        match sender.ping_through(subject, &probe.way, client, (number, 0), 64) {
            Ok(sent) => {
                sender.send(&sent);
                asked.insert(number, probe);
            }
            Err(error) => tracing::debug!(error = chain(&error), "doctor: the programs do not send a ping"),
        }
    }
    if asked.is_empty() {
        return Vec::new();
    }
    let ours: BTreeSet<Mac> = facts.interfaces.iter().filter_map(|interface| interface.mac).collect();
    let (mut here, mut named): (BTreeMap<u16, u32>, BTreeSet<(Mac, IpAddr)>) = Default::default();
    sender.wire.listen(PATIENCE, |ifindex, bytes| {
        if let Some(heard) = answer(bytes)
            && matches!(heard.said, Said::Echo(_))
            && asked.get(&heard.probe).is_some_and(|probe| probe.subject.vip == heard.from)
        {
            here.entry(heard.probe).or_insert(ifindex);
        }
        named.extend(neighbour::asker(bytes).filter(|(mac, _)| !ours.contains(mac)));
        here.len() == asked.len()
    });
    // Machines that took the real for the VIP are corrected at once.
    for (_, vip) in named.iter().filter(|(_, ip)| asked.values().any(|probe| probe.subject.vip == *ip)) {
        neighbour::announce(facts, sender.wire, *vip);
    }
    let told = here.iter().filter_map(|(number, ifindex)| Some((*asked.get(number)?, facts.name(*ifindex))));
    let announce = asked.values().filter(|probe| named.contains(&(probe.way.to, probe.subject.vip)));
    let announce = announce.filter(|probe| probe.subject.gateway.is_none());
    let announced = announce.map(|probe| announces(probe.subject));
    announced.chain(told.filter_map(|(probe, name)| judge(probe, &name))).collect()
}

/// Returns the finding for a real that asks with the VIP as its source.
fn announces(subject: &Subject) -> Finding {
    let (vip, rip) = (subject.vip, subject.rip);
    let cause = format!(
        "the real {rip} asks for others by ARP as if it were the VIP {vip} (arp_announce): who hears that sends to it, past the director"
    );
    Finding::new("arp-leak", Severity::Error, cause, subject.setup()).of(subject).on(rip)
}

fn judge(probe: &Probe<'_>, name: &str) -> Option<Finding> {
    let subject = probe.subject;
    let (vip, rip) = (subject.vip, subject.rip);
    let missing: Vec<String> =
        wanted(vip, name).iter().filter(|one| !one.holds()).map(Setting::set).collect();
    if missing.is_empty() {
        return None;
    }
    let cause = format!(
        "{rip} sends its replies to clients to the director, by {name}, which does not send them on: they come from {vip}, an address of its own"
    );
    let finding = |cause, fix| Finding::new("replies-come-back", Severity::Error, cause, fix).of(subject);
    if let Some(way) = probe.place.shares_link.then(|| subject.route_from_vip(&probe.place)).flatten() {
        return Some(finding(format!("{cause}; clients are on the real's own link"), way).on(rip));
    }
    let cause = format!(
        "{cause}; better than the fix is a way past the director: a router for the real that is not the director, or --forward nat"
    );
    Some(finding(cause, format!("sysctl -q -w {}", missing.join(" "))))
}

/// A sysctl below `net`, with slashes, and its required value.
struct Setting {
    path: String,
    /// Name of the `all` variant, if the larger of both values is in force.
    all: Option<String>,
    allows: fn(i32) -> bool,
    set: i32,
}

/// Returns the sysctls with which the director's kernel would forward packets from an own address.
fn wanted(vip: IpAddr, name: &str) -> Vec<Setting> {
    let one = |path: &str, all: Option<&str>, allows, set| Setting {
        path: path.replace("IFACE", name),
        all: all.map(str::to_owned),
        allows,
        set,
    };
    if vip.is_ipv6() {
        return vec![one("ipv6/conf/all/forwarding", None, |value| value > 0, 1)];
    }
    vec![
        one("ipv4/ip_forward", None, |value| value > 0, 1),
        one("ipv4/conf/IFACE/accept_local", Some("ipv4/conf/all/accept_local"), |value| value > 0, 1),
        one("ipv4/conf/IFACE/rp_filter", Some("ipv4/conf/all/rp_filter"), |value| value != 1, 2),
    ]
}

impl Setting {
    fn holds(&self) -> bool {
        let read = |path: &String| {
            fs::read_to_string(format!("/proc/sys/net/{path}")).ok()?.trim().parse::<i32>().ok()
        };
        let all = self.all.as_ref().and_then(read);
        // A value that cannot be read counts as right.
        read(&self.path).map(|own| own.max(all.unwrap_or(own))).is_none_or(self.allows)
    }

    fn set(&self) -> String {
        format!("net/{}={}", self.path, self.set)
    }
}
