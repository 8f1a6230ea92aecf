// SPDX-License-Identifier: MIT OR Apache-2.0
//! Checks that the next hop of each real is known and right, and that `dr` does not cross a router.
#![forbid(unsafe_code)]

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use super::{
    Check, Facts, Finding, Fix, Target, fix, frame, neighbour, observations::Outcome, sender::Sender,
    wire::Wire,
};
use lb_control::neighbours::Unresolved;
use lb_model::Forward;
use lb_netlink::Mac;

/// Time to wait for answers: Linux answers while it receives.
const PATIENCE: Duration = Duration::from_millis(200);

/// Machines that answer ARP or neighbour discovery for an address, by interface.
pub(super) type Neighbours = BTreeMap<IpAddr, BTreeSet<(u32, Mac)>>;

/// Asks for addresses on every interface.
pub(super) fn locate(facts: &Facts, wire: &Wire, wanted: &BTreeSet<IpAddr>) -> Neighbours {
    let mut found = Neighbours::new();
    if wanted.is_empty() {
        return found;
    }
    neighbour::ask(facts, wire, wanted);
    let own_macs: BTreeSet<Mac> = facts.interfaces.iter().filter_map(|interface| interface.mac).collect();
    wire.listen(PATIENCE, |ifindex, bytes| {
        if let Some((mac, ip)) = neighbour::answer(bytes)
            && wanted.contains(&ip)
            && !own_macs.contains(&mac)
        {
            found.entry(ip).or_default().insert((ifindex, mac));
        }
        false
    });
    found
}

/// Returns each real of a service once, regardless of the service's endpoints.
fn each(facts: &Facts) -> impl Iterator<Item = &Target> {
    let mut seen = BTreeSet::new();
    let others = facts.targets.iter().filter(|target| target.forward != Forward::Local);
    others.filter(move |target| seen.insert((&target.service, target.rip, target.real_port)))
}

/// Returns findings for reals without a next hop, and for `local` reals at an address that another machine
/// has too.
pub(super) fn unknown(facts: &Facts, wire: &Wire) -> Vec<Finding> {
    // A real with weight 0 may be switched off.
    let lost: Vec<_> = each(facts)
        .filter(|target| target.weight > 0)
        .filter_map(|target| Some((target, target.next_hop.as_ref().err()?)))
        .collect();
    let vips = facts.vips();
    let mut seen = BTreeSet::new();
    let own: Vec<_> = facts
        .targets
        .iter()
        .filter(|target| target.forward == Forward::Local)
        .filter(|target| !target.rip.is_loopback() && !vips.contains(&target.rip))
        .filter(|target| seen.insert((&target.service, target.rip, target.real_port)))
        .collect();
    let wanted = lost
        .iter()
        .flat_map(|(target, _)| [Some(target.rip), target.gateway])
        .flatten()
        .chain(own.iter().map(|target| target.rip))
        .collect();
    let neighbours = locate(facts, wire, &wanted);
    let finding = |(target, why): &(&Target, &Unresolved)| {
        let (more, fix) = cause_and_fix(facts, target, why, &neighbours);
        let cause = format!("nothing can be sent to {}: {why}{more}", target.rip);
        Finding::new(Check::NextHop, target.location(), cause, Fix::on_director(fix))
    };
    let shared = own.into_iter().filter(|target| neighbours.contains_key(&target.rip)).map(|target| {
        let rip = target.rip;
        let cause = format!(
            "{rip} is an address of this director, which serves its connections; another machine has it too"
        );
        let fix = Fix::on_director(format!("ip address flush to {rip}"));
        Finding::new(Check::NextHop, target.location(), cause, fix)
    });
    shared.chain(lost.iter().map(finding)).collect()
}

/// Returns the likely cause, and the fix.
fn cause_and_fix(
    facts: &Facts,
    target: &Target,
    why: &Unresolved,
    neighbours: &Neighbours,
) -> (String, String) {
    let rip = target.rip;
    let at = |ip: IpAddr| neighbours.get(&ip).and_then(|places| places.first().copied());
    let by = |ifindex| {
        let name = facts.name(ifindex);
        (format!("; it answers on {name}"), fix::route_by(facts, rip, ifindex))
    };
    match why {
        Unresolved::Asking { neighbour, interface } | Unresolved::NoAnswer { neighbour, interface }
            if at(*neighbour).is_some_and(|(ifindex, _)| facts.name(ifindex) == *interface) =>
        {
            let fix = fix::forget_neighbour(*neighbour, interface);
            ("; it answers, but the kernel's neighbour table has no valid entry for it".to_owned(), fix)
        }
        Unresolved::Local { .. } if at(rip).is_some() => {
            ("; another machine has it too".to_owned(), format!("ip address flush to {rip}"))
        }
        // The director's own stack serves only at the service's port.
        Unresolved::Local { .. } => (String::new(), target.edit("--weight 0")),
        Unresolved::InterfaceDown { interface, .. }
            if facts.interface(interface).is_some_and(|one| !one.up) =>
        {
            (String::new(), format!("ip link set dev {interface} up"))
        }
        Unresolved::NotEthernet { interface, .. }
            if facts
                .interface(interface)
                .is_some_and(|one| one.noarp && one.mac.is_some() && !one.is_loopback()) =>
        {
            ("; ARP is off there".to_owned(), format!("ip link set dev {interface} arp on"))
        }
        // The fault is on the director. Weights that were set to 0 because of it would stay when the
        // interface exists again.
        _ if !facts.gone().is_empty() => (
            format!("; the interface {} of the director is gone", facts.gone().join(", ")),
            "ip -brief link".to_owned(),
        ),
        Unresolved::NoRoute { .. } if down_link(facts, rip).is_none() && at(rip).is_none() => {
            ("; the director has no network or route that has it".to_owned(), "ip route".to_owned())
        }
        _ => {
            if let Some((ifindex, _)) = at(rip) {
                return by(ifindex);
            }
            if let Some(name) = down_link(facts, rip) {
                return (format!("; {name} is down"), format!("ip link set dev {name} up"));
            }
            let (then, fix) = target.spare("it is there again");
            (format!("; no machine answers for it: {then}"), fix)
        }
    }
}

/// Returns an interface that is down and whose network contains the address.
fn down_link(facts: &Facts, rip: IpAddr) -> Option<String> {
    let near = facts.addresses.iter().filter(|address| address.net.contains(&rip));
    let mut links = near.filter_map(|near| facts.interfaces.iter().find(|one| one.index == near.ifindex));
    links.find(|link| !link.up).map(|link| link.name.clone())
}

/// Returns findings for `dr` reals that are not on the director's link. A probe through a tunnel determines
/// whether they are ready for `tun`.
pub(super) fn behind_routers(facts: &Facts, sender: &mut Sender<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for target in each(facts) {
        let (Forward::Dr, Some(gateway), Ok(_)) = (target.forward, target.gateway, &target.next_hop) else {
            continue;
        };
        let decapsulates = super::path::probe_by_tunnel(facts, sender, target) != Outcome::NoReply;
        let (method, why) = if decapsulates {
            ("tun", "")
        } else {
            (
                "fnat",
                "; it is not set up for tunnels (`xvs host setup --forward tun` there does that, and keeps clients' addresses), so the fix takes fnat, which needs nothing there",
            )
        };
        let rip = target.rip;
        let cause = format!(
            "dr reaches only reals on the director's link, and the path to {rip} leads through the router {gateway}{why}"
        );
        let fix = Fix::on_director(target.edit(&format!("--forward {method}")));
        findings.push(Finding::new(Check::DrNotOnLink, target.location(), cause, fix));
    }
    findings
}

/// Resolves the next hops of silent reals on the link.
pub(super) fn locate_silent(facts: &Facts, wire: &Wire, silent: &[&Target]) -> Neighbours {
    locate(facts, wire, &silent.iter().map(|target| neighbour_of(target)).collect())
}

fn neighbour_of(target: &Target) -> IpAddr {
    target.gateway.unwrap_or(target.rip)
}

/// Returns a finding for a real that is silent because its packets go to another machine, or because there is
/// no machine: the neighbour table differs from the answers on the link.
pub(super) fn wrong_neighbour(facts: &Facts, target: &Target, neighbours: &Neighbours) -> Option<Finding> {
    let next_hop = target.next_hop.as_ref().ok()?;
    let (neighbour, to) = (neighbour_of(target), frame::mac(next_hop.to));
    let places: Vec<_> = neighbours.get(&neighbour).into_iter().flatten().collect();
    if places.iter().any(|(_, mac)| *mac == next_hop.to) {
        return None;
    }
    let (cause, fix) = match places.first() {
        Some((ifindex, mac)) => {
            let (name, mac) = (facts.name(*ifindex), frame::mac(*mac));
            (
                format!(
                    "packets for {neighbour} go to {to}, and {mac} answers for it on {name}: the kernel's neighbour table is wrong"
                ),
                fix::forget_neighbour(neighbour, &name),
            )
        }
        // A real with weight 0 may be switched off.
        None if target.weight == 0 => return None,
        // The daemon may not have noticed yet that the interface went down.
        None if facts.interfaces.iter().any(|one| one.index == next_hop.ifindex && !one.up) => {
            let name = facts.name(next_hop.ifindex);
            let cause = format!("nothing can be sent to {}: {name} is down", target.rip);
            (cause, format!("ip link set dev {name} up"))
        }
        None => {
            let (then, fix) = target.spare("it is there again");
            let cause = format!(
                "{neighbour} was at {to} and no longer answers: the host is down, its link is down, or it has lost the address; {then}"
            );
            (cause, fix)
        }
    };
    Some(Finding::new(Check::NextHop, target.location(), cause, Fix::on_director(fix)))
}
