// SPDX-License-Identifier: MIT OR Apache-2.0
//! Facts for the doctor, and its findings.
#![forbid(unsafe_code)]

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use lb_common::schema;

use super::{Director, count::count_flows, maps::FlowCounts};
use crate::{
    api::types::{DoctorView, ServiceView},
    daemon::Shared,
};
use lb_control::{image::service_key, neighbours::Unresolved};
use lb_dataplane::{Entry, Mode, Options, ProbePlane};
use lb_doctor::{Facts, Finding, NextHop, Target, WithoutReal};
use lb_model::failure::{Failure, chain};
use lb_model::{Forward, finding::FindingView};

/// Time to wait for answers of neighbours. On a link they answer within a millisecond or never.
const ANSWER: Duration = Duration::from_millis(250);

/// Result of the doctor's last run.
pub(super) struct Examined {
    ended: Instant,
    took: Duration,
    findings: Vec<Finding>,
    /// Value of `Director::revision` at the time.
    revision: u64,
}

/// Runs all checks of the doctor, and keeps the findings. The director is not locked while probes wait for answers.
///
/// # Errors
/// If the maps or the network cannot be read.
pub async fn examine(director: &Shared) -> Result<Vec<FindingView>, Failure> {
    let examining = Arc::clone(&director.lock().await.examining);
    let _alone = examining.lock().await;
    let deadline = Instant::now() + ANSWER;
    while director.lock().await.asks_for_next_hops().await? && Instant::now() < deadline {
        tokio::time::sleep(ANSWER / 25).await;
    }
    let counts = count_flows(director).await?;
    let (facts, programs) = {
        let mut director = director.lock().await;
        (director.facts(&counts).await?, director.probing_programs())
    };
    let began = Instant::now();
    let (findings, programs) = lb_doctor::examine(facts, programs).await;
    let mut director = director.lock().await;
    director.prober = programs.map(Box::new);
    let views = findings.iter().map(FindingView::from).collect();
    director.remember(findings, began.elapsed());
    Ok(views)
}

/// Returns the services whose reals all have weight 0.
fn without_real(services: &[ServiceView]) -> Vec<WithoutReal> {
    let idle = services.iter().filter(|view| view.reals.iter().all(|real| real.weight == 0));
    let named = |view: &ServiceView| WithoutReal {
        service: view.id,
        idle: view.reals.first().map(|real| match view.id.port() {
            port if port == real.address.port() => real.address.ip().to_string(),
            _ => real.address.to_string(),
        }),
    };
    idle.map(named).collect()
}

impl Director {
    /// Keeps the findings, and logs the new ones.
    fn remember(&mut self, findings: Vec<Finding>, took: Duration) {
        let before = self.examined.as_ref().map_or(&[][..], |examined| &examined.findings);
        let is_new = |finding: &&Finding| !before.iter().any(|one| one.is_same_fault(finding));
        for finding in findings.iter().filter(is_new).map(FindingView::from) {
            tracing::warn!("doctor: {}; on {}: {}", finding.summary(), finding.place, finding.fix);
        }
        self.examined = Some(Examined { ended: Instant::now(), took, findings, revision: self.revision });
    }

    /// Returns the programs that make probes, and loads them at the first call.
    fn probing_programs(&mut self) -> ProbePlane {
        let dips = [false, true].map(|six| self.store.dips().table(six));
        let options = Options { pins: None, ..self.maps.options() };
        self.prober.take().map_or_else(|| ProbePlane::new(&options, dips), |programs| *programs)
    }

    /// Returns the findings of the doctor's last run.
    pub(super) fn doctor_view(&self) -> Option<DoctorView> {
        self.examined.as_ref().map(|Examined { ended, took, findings, revision }| DoctorView {
            is_outdated: *revision != self.revision,
            seconds_ago: ended.elapsed().as_secs(),
            took_seconds: took.as_secs_f64(),
            findings: findings.iter().map(FindingView::from).collect(),
        })
    }

    /// Gathers the facts for the doctor; `counts` are the flows.
    ///
    /// # Errors
    /// If the maps or the network cannot be read.
    pub async fn facts(&mut self, counts: &FlowCounts) -> Result<Facts, Failure> {
        let stats = self.stats(counts)?;
        let reals = self.maps.tables().reals().map_err(|error| Failure::failed(chain(&error)))?;
        let reals: HashMap<u32, schema::Real> = reals.into_iter().collect();
        let (mut targets, mut endpoints) = (Vec::new(), std::collections::BTreeSet::new());
        for view in &stats.services {
            endpoints.extend(view.endpoints.iter().copied());
            for real in &view.reals {
                let rip = real.address.ip();
                let entry = self.maps.number_of(&view.id, real).and_then(|id| reals.get(&id)).copied();
                let next_hop = entry.filter(schema::Real::reachable).map(|entry| NextHop {
                    ifindex: entry.ifindex,
                    to: entry.macs.destination(),
                    from: entry.macs.source(),
                    tunnel_source: entry.source.into(),
                    mtu: entry.mtu,
                });
                let dip = self
                    .network
                    .next_hops()
                    .get(&rip)
                    .and_then(|hop| hop.as_ref().ok())
                    .map(|hop| hop.source_ip);
                let gateway = match real.forward {
                    _ if real.is_local => None,
                    _ => self.network.netlink().route_to(rip).await?.and_then(|route| route.gateway),
                };
                for endpoint in &view.endpoints {
                    let vip: IpAddr = endpoint.address.ip();
                    targets.push(Target {
                        service: view.id,
                        protocol: endpoint.protocol,
                        vip,
                        port: endpoint.address.port(),
                        rip,
                        // Only `nat` and `fnat` change the destination port.
                        real_port: match (real.forward, real.address.port()) {
                            (Forward::Nat | Forward::Fnat, port) if port != 0 => port,
                            _ => endpoint.address.port(),
                        },
                        forward: if real.is_local { Forward::Local } else { real.forward },
                        tunnel: real.tunnel,
                        weight: real.weight,
                        address: real.address,
                        entry: entry.filter(schema::Real::reachable).and_then(|real| {
                            let key = service_key(endpoint);
                            Some(Entry { key, service: *self.maps.image().services.get(&key)?, real })
                        }),
                        next_hop: next_hop.ok_or_else(|| match self.network.next_hops().get(&rip) {
                            Some(Err(why)) => why.clone(),
                            _ => Unresolved::Unknown { why: real.next_hop.clone() },
                        }),
                        dip,
                        gateway,
                    });
                }
            }
        }
        let interfaces = self.network.netlink().interfaces().await?;
        Ok(Facts {
            deaf_veths: self.deaf_veths(&interfaces).await,
            lost_sends: self.lost_sends().await,
            without_real: without_real(&stats.services),
            is_standby: !self.vips.are_managed(),
            targets,
            endpoints,
            interfaces,
            addresses: self.network.netlink().addresses().await?,
            attached: self.interfaces.clone(),
            program: self.maps.plane().director().info().ok().map(|info| info.id()),
            generic_wanted: self.mode == Mode::Generic,
            flows: counts.flows,
            max_flows: self.maps.limits().flows,
            flows6: counts.flows6,
            max_flows6: self.maps.limits().flows6,
            evicted: self.maps.evicted(),
        })
    }
}
