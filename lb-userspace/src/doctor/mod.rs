// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can be wrong between clients, director and reals: each cause by name, with the command that mends it.
//!
//! The daemon gathers what it knows ([`Facts`]); each check judges by it, and by probes of its own. docs/doctor.md
//! says what each means.
#![forbid(unsafe_code)]

mod answer; //    the frames that answer probes
mod arp; //       who else answers for a VIP
mod bypass; //    replies of nat that go straight to clients
mod came_back; // replies of dr and tun that come to the director
mod facts; //     what the daemon knows
mod firewall; //  rules that never see a VIP's packets
mod fix; //       commands that mend
mod frame; //     the frames of probes
mod interface; // XDP mode, other programs, offloads
mod judge; //     what the answers of a real mean
mod local; //     clients on the director, the flow table
mod mtu; //       tunnels that lose large packets
mod narrow; //    which of the likely causes
mod neighbour; // ARP and neighbour discovery
mod neighbour_table; // how many neighbours the kernel knows
mod next_hop; //  the way to a real
mod path; //      a VIP through the forwarding path
mod sender; //    probes as the programs send them
mod vip; //       VIPs on the director
mod wire; //      a packet socket

pub use facts::{Facts, Subject, Way, WithoutReal};

use crate::{
    dataplane::Single,
    failure::chain,
    model::{
        Forward,
        finding::{Finding, Severity},
    },
};

/// Makes every check. Nothing is changed; probes are sent. `programs` make those that take the path, and are given back.
pub async fn examine(mut facts: Facts, mut programs: Single) -> (Vec<Finding>, Option<Single>) {
    let mut findings = no_real(&facts);
    findings.extend(vip::check(&facts));
    findings.extend(interface::check(&facts));
    findings.extend(local::full_tables(&facts));
    findings.extend(neighbour_table::check(&facts));
    let rules = firewall::Pages::read().await;
    findings.extend(rules.check(&facts));
    findings.extend(interface::offloads(&facts).await);
    // Probes wait for answers on sockets of their own: not on a thread that serves others.
    let probed = tokio::task::spawn_blocking(move || {
        let found = probe(&mut facts, &mut programs, &rules);
        (found, programs)
    });
    match probed.await {
        Ok((found, programs)) => {
            findings.extend(found);
            (findings, Some(programs))
        }
        Err(error) => {
            tracing::error!(error = chain(&error), "doctor: the probes ended early");
            (findings, None)
        }
    }
}

/// Services whose clients get nothing, because no real may get their connections.
fn no_real(facts: &Facts) -> Vec<Finding> {
    let finding = |one: &WithoutReal| {
        let service = &one.service;
        let (why, fix) = match &one.idle {
            None => ("has no reals", format!("xvs service show {service}")),
            Some(real) => {
                ("has no real whose weight is above 0", format!("xvs real edit {service} {real} --weight 1"))
            }
        };
        let cause = format!("{service} {why}: its clients get no connection");
        let mut finding = Finding::new("no-real", Severity::Error, cause, fix::quoted(&fix));
        finding.service = Some(service.clone());
        finding
    };
    facts.without_real.iter().map(finding).collect()
}

fn probe(facts: &mut Facts, programs: &mut Single, rules: &firewall::Pages) -> Vec<Finding> {
    let served = rules.translated();
    let wire = match wire::Wire::open() {
        Ok(wire) => wire,
        Err(error) => {
            tracing::error!(error = chain(&error), "doctor: no packet socket: nothing can be probed");
            return local::check(facts, None, &served, &[]);
        }
    };
    let mut found = next_hop::unknown(facts, &wire);
    found.extend(arp::check(facts, &wire));
    // What a standby director sends to reals by nat comes back to the director that has the VIP, and clients on it are served.
    let standby = facts.standby_vips();
    facts.subjects.retain(|subject| subject.forward != Forward::Nat || !standby.contains(&subject.vip));
    facts.endpoints.retain(|endpoint| !standby.contains(&endpoint.address.ip()));
    let along = path::check(facts, &wire, programs, &found);
    found.extend(along);
    found.extend(local::check(facts, Some(&wire), &served, &found));
    found
}
