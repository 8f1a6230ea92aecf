// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xvs host check`: verifies all requirements. Changes nothing, and needs privileges only to see XDP pins.

use super::{
    Host, HostError, arp,
    decap::found::{find, finding},
    encapsulation::Encapsulation,
    finding::Finding,
    observed::Observed,
    requirement::requirements,
    target::{Method, Target},
};

/// Checks all requirements of `target`, in the order of set-up.
pub async fn check(host: &Host, target: &Target) -> Result<Vec<Finding>, HostError> {
    let observed = Observed::of(host, target).await?;
    let mut findings = Vec::new();
    let mut decapsulation = None;
    if target.method == Method::Tun {
        let found = find(target, &observed);
        findings.push(finding(target, &found));
        decapsulation = found.decapsulation;
    }
    for requirement in requirements(target, decapsulation.as_ref()) {
        findings.push(requirement.check(&observed)?.finding);
    }
    findings.extend(arp::findings(target, &observed)?);
    findings.extend(mtu(target));
    Ok(findings)
}

/// Returns the MTU inside the tunnels. It is never an error by itself: the director sends "fragmentation
/// needed" to clients whose packets are too large.
#[must_use]
pub fn mtu(target: &Target) -> Vec<Finding> {
    let finding = |encapsulation: Encapsulation| {
        let inner = target.interface.mtu.saturating_sub(encapsulation.overhead());
        let mss = inner.saturating_sub(encapsulation.headers());
        let ip = if encapsulation.inner_six { "ip -6" } else { "ip" };
        Finding {
            item: format!("MTU in the tunnel ({encapsulation})"),
            expected: "known".to_owned(),
            found: format!(
                "{inner} of {} remain; the director answers larger packets with ICMP, and where that is filtered \
                 `{ip} route change default … advmss {mss}` makes clients send smaller ones",
                target.interface.mtu
            ),
            ok: true,
            why: "uploads hang if packets exceed the MTU and no ICMP error reaches the sender".to_owned(),
        }
    };
    target.encapsulations().into_iter().map(finding).collect()
}
