// SPDX-License-Identifier: MIT OR Apache-2.0
//! The doctor: finds faults between clients, director and reals; each has a name and a command that fixes it.
//!
//! The daemon gathers [`Facts`]; each check uses them, and probes of its own. docs/doctor.md explains the findings.
#![forbid(unsafe_code)]
// The print macros panic if stdout or stderr is closed.
#![deny(clippy::print_stderr, clippy::print_stdout)]

mod arp; //                  other machines that answer for a VIP
mod bypass; //               `nat` replies that bypass the director
mod check; //                the table of all checks
mod diagnosis; //            from observations about a real to a finding
mod facts; //                facts that the daemon knows
mod fault_isolation; //      probes that separate likely causes
mod finding; //              findings, their locations and fixes
mod firewall; //             rules without effect on a VIP's packets
mod fix; //                  commands that fix findings
mod frame; //                frames of probes
mod health; //               results of health checks
mod interface; //            XDP mode, other programs, offloads
mod local; //                clients on the director, the flow table
mod mtu; //                  tunnels that lose large packets
mod neighbour; //            ARP and neighbour discovery
mod neighbour_table; //      size of the kernel's neighbour table
mod next_hop; //             next hops of reals
mod observations; //         results of the probes of a real
mod path; //                 reals through the forwarding path
mod probe; //                the packets to one real
mod replies_via_director; // `dr` and `tun` replies through the director
mod reply; //                replies to probes
mod sender; //               probes as the programs send them
mod topology; //             networks of the director and the real
mod unused_address; //       addresses from which reals are pinged
mod vip; //                  VIPs on the director
mod wire; //                 a packet socket

pub use check::Check;
pub use facts::{Down, Facts, Idle, NextHop, PoolHealth, Target, WithoutReal};
pub use finding::{Finding, Fix, Host, Location};

use lb_dataplane::ProbePlane;
use lb_model::Forward;
use lb_model::failure::chain;

/// Runs every check. Nothing is changed; probes are sent. `programs` make the probes through the path, and
/// are returned.
pub async fn examine(mut facts: Facts, mut programs: ProbePlane) -> (Vec<Finding>, Option<ProbePlane>) {
    let verdicts = health::Verdicts::of(&facts);
    let mut findings = no_real(&facts);
    findings.extend(health::check(&facts));
    findings.extend(vip::check(&facts));
    findings.extend(interface::check(&facts));
    findings.extend(local::full_tables(&facts));
    findings.extend(neighbour_table::check(&facts));
    let rules = firewall::Pages::read().await;
    findings.extend(rules.check(&facts));
    findings.extend(interface::offloads(&facts).await);
    // Probes block on sockets of their own, so they need a separate thread.
    let probed = tokio::task::spawn_blocking(move || {
        let found = probe(&mut facts, &mut programs, &rules);
        (found, programs)
    });
    let programs = match probed.await {
        Ok((found, programs)) => {
            findings.extend(found);
            Some(programs)
        }
        Err(error) => {
            tracing::error!(error = chain(&error), "doctor: the probes ended early");
            None
        }
    };
    verdicts.join(&mut findings);
    (findings, programs)
}

/// Returns findings for services without a real for new connections.
fn no_real(facts: &Facts) -> Vec<Finding> {
    let finding = |one: &WithoutReal| {
        let service = &one.service;
        let (why, fix) = match &one.idle {
            None => ("has no reals", format!("xvs service show {service}")),
            Some(Idle { real, by_operator: true }) => {
                ("has no real that is enabled", format!("xvs real enable {service} {real}"))
            }
            Some(Idle { real, by_operator: false }) => {
                ("has no real whose weight is above 0", format!("xvs real edit {service} {real} --weight 1"))
            }
        };
        let cause = format!("{service} {why}: its clients get no connection");
        let fix = Fix::on_director(fix::quoted(&fix));
        Finding::new(Check::NoReal, Location::Service(*service), cause, fix)
    };
    facts.without_real.iter().map(finding).collect()
}

fn probe(facts: &mut Facts, programs: &mut ProbePlane, rules: &firewall::Pages) -> Vec<Finding> {
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
    // Replies to a standby director's probes of `nat` reals arrive at the director that has the VIP, and
    // clients on the standby director are served.
    let standby = facts.standby_vips();
    facts.targets.retain(|target| target.forward != Forward::Nat || !standby.contains(&target.vip));
    facts.endpoints.retain(|endpoint| !standby.contains(&endpoint.address.ip()));
    let along = path::check(facts, &wire, programs, &found);
    found.extend(along);
    found.extend(local::check(facts, Some(&wire), &served, &found));
    found
}
