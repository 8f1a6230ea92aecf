// SPDX-License-Identifier: MIT OR Apache-2.0
//! Set-up of this host according to the director's roles: missing parts are set up, superfluous ones restored.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::Options;
use crate::{
    api::roles::Role,
    host::{
        Done, Host, Outcome, Report,
        decap::Choice,
        restore::{restore, stop_unwrapping},
        setup::setup,
        state::Place,
        target::{Method, Request, Target},
    },
};
use lb_model::failure::Failure;
use lb_model::{Forward, Tunnel};

/// Requirements of one VIP.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Need {
    /// RIPs at which its packets arrive, perhaps on several interfaces.
    rips: BTreeSet<IpAddr>,
    method: Method,
    decap: Choice,
}

/// Sets up the needs of `roles`, VIP by VIP, then restores what no role needs any more. Errors are collected
/// and do not stop the rest.
pub(super) async fn reconcile(
    host: &Host,
    roles: &[Role],
    options: &Options,
    report: Report<'_>,
) -> Vec<Failure> {
    let (needs, place) = (needs(roles, options.decap), Place::at(&options.state));
    let mut failures = Vec::new();
    for (vip, need) in &needs {
        for rip in &need.rips {
            let request = Request {
                vips: vec![*vip],
                method: need.method,
                interface: None,
                rip: Some(*rip),
                arp: options.arp,
                decap: need.decap,
                from: options.from.clone(),
                bpffs: options.bpffs.clone(),
            };
            let done = match Target::new(request, &host.netlink).await {
                Ok(target) => setup(host, &target, &place, None, report).await,
                Err(failure) => Err(failure),
            };
            let of_vip =
                |failure: Failure| Failure { message: format!("VIP {vip}: {}", failure.message), ..failure };
            failures.extend(done.err().map(of_vip));
        }
    }
    for role in roles {
        if let (Forward::Tun, Tunnel::Gue { port, .. }) = (role.forward, role.tunnel)
            && port != Tunnel::GUE_PORT
        {
            let detail = format!("the XDP program decapsulates port {} only", Tunnel::GUE_PORT);
            report(Done::new(format!("GUE to port {port} for {}", role.vip), Outcome::Skipped, detail));
        }
    }
    failures.extend(put_back(host, &needs, &place, report).await.err());
    failures
}

async fn put_back(
    host: &Host,
    needs: &BTreeMap<IpAddr, Need>,
    place: &Place,
    report: Report<'_>,
) -> Result<(), Failure> {
    let Some(known) = place.peek()? else { return Ok(()) };
    let over: Vec<IpAddr> = known.vips.iter().filter(|vip| !needs.contains_key(vip)).copied().collect();
    if needs.is_empty() {
        return restore(host, &[], place, report).await;
    }
    if !over.is_empty() {
        restore(host, &over, place, report).await?;
    }
    if needs.values().all(|need| need.method != Method::Tun) {
        stop_unwrapping(host, place, report).await?;
    }
    Ok(())
}

/// Returns the needs of each VIP. `nat`, `fnat` and `local` need no set-up; a set-up for `tun` also serves `dr`.
fn needs(roles: &[Role], decap: Choice) -> BTreeMap<IpAddr, Need> {
    let mut needs: BTreeMap<IpAddr, Need> = BTreeMap::new();
    for role in roles {
        let (method, decap) = match role.forward {
            Forward::Dr => (Method::Dr, decap),
            // A device for IP within IP decapsulates nothing else.
            Forward::Tun if role.tunnel != Tunnel::Ipip => (Method::Tun, Choice::Xdp),
            Forward::Tun => (Method::Tun, decap),
            Forward::Nat | Forward::Fnat | Forward::Local => continue,
        };
        let entry = needs.entry(role.vip).or_insert(Need { rips: BTreeSet::new(), method, decap });
        match (method, entry.method) {
            (Method::Tun, Method::Dr) => *entry = Need { rips: BTreeSet::new(), method, decap },
            (Method::Dr, Method::Tun) => continue,
            _ => {}
        }
        entry.rips.insert(role.rip);
        // With outer headers of both IP versions, one device is not enough, but the program is.
        let both = entry.rips.iter().any(IpAddr::is_ipv4) && entry.rips.iter().any(IpAddr::is_ipv6);
        if method == Method::Tun && (both || decap == Choice::Xdp) {
            entry.decap = Choice::Xdp;
        }
    }
    needs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(forward: Forward, tunnel: Tunnel, rip: &str) -> Role {
        Role { vip: "192.0.2.100".parse().unwrap(), rip: rip.parse().unwrap(), forward, tunnel }
    }

    #[test]
    fn a_vip_gets_what_all_its_roles_need() {
        let dr = role(Forward::Dr, Tunnel::Ipip, "10.0.0.11");
        let tun = role(Forward::Tun, Tunnel::Ipip, "10.0.0.11");
        let gre = role(Forward::Tun, Tunnel::Gre { csum: false }, "10.0.0.11");
        let six = role(Forward::Tun, Tunnel::Ipip, "fd00::11");
        let nat = role(Forward::Nat, Tunnel::Ipip, "10.0.0.11");
        for (roles, expected) in [
            (vec![], None),
            (vec![nat], None),
            (vec![nat, dr], Some((Method::Dr, Choice::Auto))),
            (vec![dr, tun], Some((Method::Tun, Choice::Auto))),
            (vec![tun, dr], Some((Method::Tun, Choice::Auto))),
            (vec![tun, gre, dr], Some((Method::Tun, Choice::Xdp))),
            (vec![six], Some((Method::Tun, Choice::Auto))),
            (vec![six, tun], Some((Method::Tun, Choice::Xdp))),
            (vec![tun, dr, six], Some((Method::Tun, Choice::Xdp))),
        ] {
            let found = needs(&roles, Choice::Auto).into_values().next();
            assert_eq!(found.map(|need| (need.method, need.decap)), expected, "{roles:?}");
        }
    }

    #[test]
    fn packets_may_come_by_several_addresses() {
        let tun = |rip| role(Forward::Tun, Tunnel::Ipip, rip);
        let rips = |roles: &[Role]| {
            let need = needs(roles, Choice::Auto).into_values().next().unwrap();
            need.rips.iter().map(IpAddr::to_string).collect::<Vec<_>>()
        };
        assert_eq!(rips(&[tun("10.0.0.11"), tun("10.1.0.11")]), ["10.0.0.11", "10.1.0.11"]);
        // A set-up for tun also serves dr, and a role with dr does not affect the tunnels.
        let dr = role(Forward::Dr, Tunnel::Ipip, "fd00::11");
        assert_eq!(rips(&[dr, tun("10.1.0.11"), dr]), ["10.1.0.11"]);
    }
}
