// SPDX-License-Identifier: MIT OR Apache-2.0
//! The way to each real is known, and with `dr` leads over no router.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;

use super::{Facts, Finding, Severity};
use crate::control::model::Forward;

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut seen = BTreeSet::new();
    for subject in facts.subjects.iter().filter(|subject| subject.forward != Forward::Local) {
        if !seen.insert((&subject.service, subject.rip, subject.real_port)) {
            continue;
        }
        let rip = subject.rip;
        if let Err(why) = &subject.way {
            let finding = Finding::new(
                "next-hop",
                Severity::Error,
                format!("nothing can be sent to {rip}: {why}"),
                format!(
                    "start {rip}, or put it on the director's network; `ip route get {rip}` shows the way"
                ),
            );
            findings.push(finding.of(subject));
        } else if let (Forward::Dr, Some(gateway)) = (subject.forward, subject.gateway) {
            let finding = Finding::new(
                "dr-not-on-link",
                Severity::Error,
                format!(
                    "dr reaches only reals on the director's link, and the way to {rip} leads over {gateway}"
                ),
                format!("xvs real edit {} {} --forward tun", subject.service, subject.real()),
            );
            findings.push(finding.of(subject));
        }
    }
    findings
}
