// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xvs host check`: does everything hold? Changes nothing and needs no privileges but to see XDP pins.

use serde::Serialize;

use super::{
    Host, HostError, decap,
    requirement::requirements,
    target::{Method, Target},
};

/// How one item stands.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub item: String,
    /// What it should be.
    pub expected: String,
    /// What it is.
    pub found: String,
    /// Whether that will do.
    pub ok: bool,
    /// Why it matters.
    pub why: String,
}

/// Looks at everything that `target` needs, in the order of set-up.
pub async fn check(host: &Host, target: &Target) -> Result<Vec<Finding>, HostError> {
    let mut findings = Vec::new();
    let mut decapsulation = None;
    if target.method == Method::Tun {
        decapsulation = decap::find(host, target).await?;
        findings.push(decap::finding(target, decapsulation.as_ref()));
    }
    for requirement in requirements(target, decapsulation.as_ref()) {
        findings.push(requirement.look(host).await?.finding);
    }
    Ok(findings)
}
