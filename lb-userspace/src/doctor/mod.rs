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

use serde::{Deserialize, Serialize};

pub use facts::{Facts, Subject, Way, WithoutReal};

use crate::{dataplane::Single, failure::chain, model::Forward};

/// How bad it is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Clients are not served, or not by xvs.
    Error,
    /// Served, but slower or in danger.
    Warning,
}

impl Severity {
    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// Something that is wrong.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Finding {
    /// The check that found it, a heading of docs/doctor.md.
    pub check: String,
    /// The service that suffers, if it is one in particular.
    pub service: Option<String>,
    /// The real that suffers or causes it, if it is one in particular.
    pub real: Option<String>,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, and how that was seen.
    pub cause: String,
    /// Where to mend it: `director`, or a real's address.
    pub place: String,
    /// The command line that mends it, for a shell there.
    pub fix: String,
}

impl Finding {
    fn new(check: &str, severity: Severity, cause: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            check: check.to_owned(),
            service: None,
            real: None,
            severity,
            cause: cause.into(),
            place: "director".to_owned(),
            fix: fix.into(),
        }
    }

    /// All but what mends it, in one line.
    #[must_use]
    pub fn summary(&self) -> String {
        let word = match self.severity {
            Severity::Error => "WRONG",
            Severity::Warning => "warn ",
        };
        let about = self.about().map_or(String::new(), |about| format!(" {about}"));
        format!("{word} {}{about}: {}", self.check, self.cause)
    }

    /// Returns the service that suffers, and the real if it is one in particular.
    #[must_use]
    pub fn about(&self) -> Option<String> {
        match (&self.service, &self.real) {
            (Some(service), Some(real)) => Some(format!("{service} -> {real}")),
            (Some(service), None) => Some(service.clone()),
            (None, _) => None,
        }
    }

    /// Whether both say the same of the same, in whatever words.
    #[must_use]
    pub fn is_about_the_same(&self, other: &Self) -> bool {
        let about = |one: &Self| (one.check.clone(), one.service.clone(), one.real.clone(), one.fix.clone());
        about(self) == about(other)
    }

    fn of(mut self, subject: &Subject) -> Self {
        self.service = Some(subject.service.clone());
        self.real = Some(subject.real());
        self
    }

    fn on(mut self, place: std::net::IpAddr) -> Self {
        self.place = place.to_string();
        self
    }
}

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
