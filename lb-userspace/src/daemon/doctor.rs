// SPDX-License-Identifier: MIT OR Apache-2.0
//! Examination by the doctor, and the facts for it.
#![forbid(unsafe_code)]

use std::{
    collections::HashMap,
    net::IpAddr,
    time::{Duration, Instant, SystemTime},
};

use lb_common::{ids::RealId, schema};

use super::{Director, count::count_flows, lost_sends::deaf_veths, maps::FlowCounts};
use crate::{
    api::health::HealthView,
    api::types::{RealView, ServiceView},
    daemon::Shared,
};
use lb_control::{
    image::service_key,
    neighbours::Unresolved,
    pool::{self, HealthTable, Pool},
};
use lb_dataplane::{Entry, Mode, Options, ProbePlane};
use lb_doctor::{Down, Facts, Idle, NextHop, PoolHealth, Target, WithoutReal};
use lb_model::failure::{Failure, chain};
use lb_model::{
    Desired, Forward,
    finding::FindingView,
    health::{Admin, Health},
};

/// Time to wait for answers of neighbours. On a link they answer within a millisecond or never.
const ANSWER: Duration = Duration::from_millis(250);

/// Runs all checks of the doctor, and keeps the findings. The director is not locked while probes wait for answers.
///
/// # Errors
/// If the maps or the network cannot be read.
pub async fn examine(director: &Shared) -> Result<Vec<FindingView>, Failure> {
    let examining = director.lock().await.examiner.examining();
    let _alone = examining.lock().await;
    let deadline = Instant::now() + ANSWER;
    while director.lock().await.asks_for_next_hops().await? && Instant::now() < deadline {
        tokio::time::sleep(ANSWER / 25).await;
    }
    let counts = count_flows(director).await?;
    let (facts, programs) = {
        let mut director = director.lock().await;
        (director.facts(&counts).await?, director.take_prober())
    };
    let began = Instant::now();
    let (findings, programs) = lb_doctor::examine(facts, programs).await;
    let mut director = director.lock().await;
    let views = findings.iter().map(FindingView::from).collect();
    let revision = director.origin.revision();
    director.examiner.finish(findings, programs, began.elapsed(), revision);
    Ok(views)
}

/// Returns the services without a real that is enabled and has a weight above 0.
fn without_real(services: &[ServiceView]) -> Vec<WithoutReal> {
    let idle = services.iter().filter(|view| view.reals.iter().all(|real| configured_weight(real) == 0));
    let named = |view: &ServiceView| {
        let by_operator = |real: &&RealView| real.weight > 0;
        let real = view.reals.iter().find(by_operator).or_else(|| view.reals.first());
        let idle = real.map(|real| Idle {
            real: match view.id.port() {
                port if port == real.address.port() => real.address.ip().to_string(),
                _ => real.address.to_string(),
            },
            by_operator: by_operator(&real),
        });
        WithoutReal { service: view.id, idle }
    };
    idle.map(named).collect()
}

/// Returns the weight of a real, or 0 if the operator has drained or disabled it.
fn configured_weight(real: &RealView) -> u32 {
    if real.admin == Admin::Enabled { real.weight } else { 0 }
}

/// Returns the verdict of the checks of a real that is down.
fn down(health: Option<&HealthView>) -> Option<Down> {
    let view = health.filter(|view| view.health == Health::Down)?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let seconds = match view.since_seconds {
        0 => 0,
        since => now.saturating_sub(since),
    };
    Some(Down { check: view.check.clone()?, last: view.last.clone(), seconds })
}

/// Returns the health of the services whose reals have checks.
fn pools(desired: &Desired, table: &HealthTable) -> Vec<PoolHealth> {
    let with_checks = desired
        .services
        .iter()
        .filter(|(_, service)| service.reals.values().any(|real| !service.checks_of(real).is_empty()));
    let health = |(id, service)| {
        let Pool { mode, healthy, able, .. } = pool::weigh(id, service, table);
        let needed = service.health.min_healthy.of(able);
        PoolHealth { service: *id, mode, healthy, able, needed }
    };
    with_checks.map(health).collect()
}

impl Director {
    /// Returns the programs that make probes, and loads them at the first call.
    fn take_prober(&mut self) -> ProbePlane {
        let options = Options { pins: None, ..self.maps.options() };
        let dips = [false, true].map(|six| self.store.dips().table(six));
        self.examiner.take_prober(|| ProbePlane::new(&options, dips))
    }

    /// Gathers the facts for the doctor; `counts` are the flows.
    ///
    /// # Errors
    /// If the maps or the network cannot be read.
    pub async fn facts(&mut self, counts: &FlowCounts) -> Result<Facts, Failure> {
        // An event of the kernel, such as another MTU of a link, may be on its way to the daemon.
        self.refresh_next_hops().await?;
        let stats = self.stats(counts)?;
        let reals = self.maps.tables().reals().map_err(|error| Failure::failed(chain(&error)))?;
        let reals: HashMap<RealId, schema::Real> = reals.into_iter().collect();
        let (mut targets, mut endpoints) = (Vec::new(), std::collections::BTreeSet::new());
        for view in &stats.services {
            endpoints.extend(view.endpoints.iter().copied());
            for real in &view.reals {
                let rip = real.address.ip();
                let entry = self.maps.number_of(&view.id, real).and_then(|id| reals.get(&id)).copied();
                let next_hop = entry.filter(schema::Real::reachable).map(|entry| NextHop {
                    ifindex: entry.ifindex.0,
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
                        weight: configured_weight(real),
                        down: down(real.health.as_ref()),
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
            deaf_veths: deaf_veths(self.network.netlink(), &interfaces).await,
            lost_sends: self.attachments.lost_sends().await,
            without_real: without_real(&stats.services),
            pools: pools(self.store.desired(), self.health.table()),
            frozen: self.health.snapshot().frozen.as_ref().map(|frozen| frozen.why.to_string()),
            is_standby: !self.vips.are_managed(),
            targets,
            endpoints,
            interfaces,
            addresses: self.network.netlink().addresses().await?,
            attached: self.attachments.interfaces().clone(),
            program: self.maps.plane().attached_id(),
            generic_wanted: self.attachments.mode() == Mode::Generic,
            flows: counts.flows,
            max_flows: self.maps.limits().flows,
            flows6: counts.flows6,
            max_flows6: self.maps.limits().flows6,
            evicted: self.maps.evicted(),
        })
    }
}
