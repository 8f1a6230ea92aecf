// SPDX-License-Identifier: MIT OR Apache-2.0
//! `dr` and `tun` reals whose replies to clients are routed through the director: the director has the VIP
//! itself, and Linux drops packets from an own address.
//!
//! The director's own address in the clients' network gets its answer nevertheless. So the doctor pings a
//! real through the forwarding path from an unused address of the clients' network: if the answer arrives at the
//! director, the director would have to forward it. A real on the clients' link sends an ARP request for that address
//! instead, and must not use the VIP as its source: hosts that receive the request would send to the real.
#![forbid(unsafe_code)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::IpAddr,
    time::Duration,
};

use super::{
    Check, Facts, Finding, Fix, Host, Target, neighbour,
    observations::Outcome,
    probe::Probe,
    reply::{self, Reply},
    sender::Sender,
    unused_address::{Parity, UnusedAddresses},
};
use lb_model::failure::chain;
use lb_netlink::Mac;

const PATIENCE: Duration = Duration::from_millis(200);
/// First identifier of the pings, distinct from those of other probes.
const FIRST_PING: u16 = 60_000;

/// Checks the reals that answer the clients' network; `known` are the findings about neighbours.
pub(super) fn check(
    facts: &Facts,
    sender: &mut Sender<'_>,
    unused: UnusedAddresses,
    (probes, known): (&[Probe<'_>], &[Finding]),
) -> Vec<Finding> {
    let pinged = ping(facts, sender, unused, (probes, known));
    if pinged.is_empty() {
        return Vec::new();
    }
    let own: BTreeSet<Mac> = facts.interfaces.iter().filter_map(|interface| interface.mac).collect();
    let (mut arrived, mut requests): (BTreeMap<u16, u32>, BTreeSet<(Mac, IpAddr)>) = Default::default();
    sender.wire.listen(PATIENCE, |ifindex, bytes| {
        if let Some(received) = reply::parse(bytes)
            && matches!(received.reply, Reply::Echo(_))
            && pinged.get(&received.probe).is_some_and(|probe| probe.target.vip == received.from)
        {
            arrived.entry(received.probe).or_insert(ifindex);
        }
        requests.extend(neighbour::asker(bytes).filter(|(mac, _)| !own.contains(mac)));
        arrived.len() == pinged.len()
    });
    // Corrects the neighbour entries of hosts that received such a request.
    let is_vip = |ip: IpAddr| pinged.values().any(|probe| probe.target.vip == ip);
    for (_, vip) in requests.iter().filter(|(_, ip)| is_vip(*ip)) {
        neighbour::announce(facts, sender.wire, *vip);
    }
    let announcing = pinged
        .values()
        .map(|probe| (probe.target, probe.next_hop.to))
        .filter(|(target, mac)| target.gateway.is_none() && requests.contains(&(*mac, target.vip)));
    let by_vip = announcing.map(|(target, _)| requests_by_vip(target));
    let here = arrived.iter().filter_map(|(id, ifindex)| Some((*pinged.get(id)?, facts.name(*ifindex))));
    by_vip.chain(here.filter_map(|(probe, interface)| finding(probe, &interface))).collect()
}

/// Pings each real through the forwarding path from an unused address of the clients' network. Returns the probes by
/// the identifiers of the pings.
fn ping<'a>(
    facts: &Facts,
    sender: &mut Sender<'_>,
    unused: UnusedAddresses,
    (probes, known): (&'a [Probe<'a>], &[Finding]),
) -> BTreeMap<u16, &'a Probe<'a>> {
    let (mut pinged, mut done): (BTreeMap<u16, &Probe<'_>>, _) = (BTreeMap::new(), BTreeSet::new());
    // A real that answers ARP for a VIP would also send requests with the VIP as source, which no host should receive.
    let is_known = |target: &Target| known.iter().any(|finding| finding.fix.host == Host::Real(target.rip));
    for probe in probes {
        let target = probe.target;
        let observed = probe.observations;
        let answers = observed.via_path == Outcome::Replied && observed.far == Some(Outcome::Replied);
        if !target.holds_vip() || !answers || is_known(target) || !done.insert((target.rip, target.vip)) {
            continue;
        }
        let id = FIRST_PING + pinged.len() as u16 % 5_000;
        let client = |net| unused.get(facts, net, pinged.len(), Parity::Odd);
        let Some(client) = probe.topology.clients.and_then(client) else { continue };
        match sender.ping_through(target, &probe.next_hop, client, (id, 0), 64) {
            Ok(sent) => {
                sender.send(&sent);
                pinged.insert(id, probe);
            }
            Err(error) => tracing::debug!(error = chain(&error), "doctor: the programs do not send a ping"),
        }
    }
    pinged
}

/// Returns the finding for a real that sends ARP requests with the VIP as their source.
fn requests_by_vip(target: &Target) -> Finding {
    let (vip, rip) = (target.vip, target.rip);
    let cause = format!(
        "the real {rip} sends ARP requests with the VIP {vip} as their source (arp_announce): hosts that receive them send to the real and bypass the director"
    );
    Finding::new(Check::ArpLeak, target.location(), cause, Fix::on_real(rip, target.setup()))
}

/// Returns the finding for a real whose replies arrive on that interface, unless the director's kernel forwards them.
fn finding(probe: &Probe<'_>, interface: &str) -> Option<Finding> {
    let target = probe.target;
    let (vip, rip) = (target.vip, target.rip);
    let missing: Vec<String> =
        wanted(vip, interface).iter().filter(|one| !one.holds()).map(Setting::set).collect();
    if missing.is_empty() {
        return None;
    }
    let cause = format!(
        "{rip} sends its replies to clients through the director ({interface}), whose kernel drops them: their source {vip} is an address of the director itself"
    );
    let finding = |cause, fix| Finding::new(Check::RepliesComeBack, target.location(), cause, fix);
    let on_link = probe.topology.shares_link.then(|| target.route_from_vip(&probe.topology)).flatten();
    if let Some(route) = on_link {
        let cause = format!("{cause}; clients are on the real's own link");
        return Some(finding(cause, Fix::on_real(rip, route)));
    }
    let cause = format!(
        "{cause}; better than the fix is a route that bypasses the director, by another router for the real, or --forward nat"
    );
    Some(finding(cause, Fix::on_director(format!("sysctl -q -w {}", missing.join(" ")))))
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
