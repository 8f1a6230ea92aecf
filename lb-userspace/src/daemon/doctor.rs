// SPDX-License-Identifier: MIT OR Apache-2.0
//! Examination by the doctor, and the facts for it.
#![forbid(unsafe_code)]

use std::{
    collections::HashMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use lb_common::schema;

use super::{Director, count::count_flows, lost_sends::deaf_veths, maps::FlowCounts};
use crate::{api::types::ServiceView, daemon::Shared};
use lb_control::{image::service_key, neighbours::Unresolved};
use lb_dataplane::{Entry, Mode, Options, ProbePlane};
use lb_doctor::{Facts, NextHop, Target, WithoutReal};
use lb_model::failure::{Failure, chain};
use lb_model::{Forward, finding::FindingView};

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
            deaf_veths: deaf_veths(self.network.netlink(), &interfaces).await,
            lost_sends: self.attachments.lost_sends().await,
            without_real: without_real(&stats.services),
            is_standby: !self.vips.are_managed(),
            targets,
            endpoints,
            interfaces,
            addresses: self.network.netlink().addresses().await?,
            attached: self.attachments.interfaces().clone(),
            program: self.maps.plane().director().info().ok().map(|info| info.id()),
            generic_wanted: self.attachments.mode() == Mode::Generic,
            flows: counts.flows,
            max_flows: self.maps.limits().flows,
            flows6: counts.flows6,
            max_flows6: self.maps.limits().flows6,
            evicted: self.maps.evicted(),
        })
    }
}
