// SPDX-License-Identifier: MIT OR Apache-2.0
//! Readiness of the director, its role among several, and the VIPs that follow from them.
#![forbid(unsafe_code)]

use std::{
    collections::BTreeSet,
    net::IpAddr,
    time::{Duration, Instant},
};

use lb_control::{
    pool::{self, Mode},
    readiness::{Facts, Readiness, START},
};
use lb_model::{
    ServiceId,
    failure::Failure,
    health::Health,
    standing::{Role, Standing},
};
use tokio::{task::JoinHandle, time::sleep};

use super::{Director, Shared, ready_file::ReadyFile};
use crate::api::types::{Done, ReadyView, StandingChange};

/// Interval at which readiness is decided, at least.
const INTERVAL: Duration = Duration::from_millis(250);
/// Part of the time that decisions may take: one in this number.
const SHARE: u32 = 50;

/// Starts the task that follows the readiness: it adds and removes VIPs that depend on it, and writes the ready file.
#[must_use]
pub fn start(shared: Shared, mut file: Option<ReadyFile>) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut last = None;
        let mut pause = Duration::ZERO;
        loop {
            sleep(pause).await;
            let mut director = shared.lock().await;
            let began = Instant::now();
            let readiness = director.decide_readiness().await;
            let wanted = director.wanted_vips();
            pause = INTERVAL.max(began.elapsed() * SHARE);
            let is_known =
                last.as_ref().is_some_and(|(before, vips)| *before == readiness && *vips == wanted);
            if !is_known {
                for warning in director.reconcile().await {
                    tracing::warn!("{warning}");
                }
            }
            drop(director);
            // While a daemon starts, what the last one said counts: its programs forward.
            if let Some(file) = file.as_mut().filter(|_| !readiness.is_starting) {
                file.write(readiness.is_ready());
            }
            if last.as_ref().is_none_or(|(before, _)| *before != readiness) {
                tell(&readiness);
            }
            last = Some((readiness, wanted));
        }
    })
}

/// Logs the readiness.
fn tell(readiness: &Readiness) {
    if readiness.is_ready() {
        tracing::info!("the director is ready to take over traffic");
    } else {
        tracing::info!("the director is not ready to take over traffic: {}", readiness.reasons.join("; "));
    }
}

impl Director {
    /// Returns whether the director can take over traffic, and the reasons why it cannot.
    #[must_use]
    pub fn ready_view(&self) -> ReadyView {
        let Standing { drained, role } = self.store.standing();
        ReadyView { ready: self.readiness.is_ready(), reasons: self.readiness.reasons.clone(), role, drained }
    }

    /// Decides whether the director can take over traffic.
    async fn decide_readiness(&mut self) -> Readiness {
        let uptime = self.started.elapsed();
        let mut detached = Vec::new();
        for (index, name) in self.attachments.interfaces() {
            let interface = self.network.netlink().interface_by_index(*index).await;
            if !interface.is_ok_and(|interface| interface.xdp.is_some()) {
                detached.push(name.clone());
            }
        }
        let services = &self.store.desired().services;
        let facts = Facts {
            uptime,
            is_drained: self.store.standing().drained,
            detached,
            services: services.len(),
            serving: services.keys().any(|id| self.takes_connections(id)),
            is_asking: self.network.is_asking(),
            unchecked: if uptime < START { self.unchecked() } else { 0 },
        };
        self.readiness = Readiness::of(&facts);
        self.readiness.clone()
    }

    /// Returns the number of reals that take connections only after the first result of their checks, and wait for it.
    fn unchecked(&self) -> usize {
        let table = self.health.table();
        let waits = |id: &ServiceId, service: &lb_model::Service| {
            let reals = service.reals.iter();
            reals
                .filter(|(address, real)| {
                    table
                        .of(id, service, address, real)
                        .is_some_and(|of| of.health == Health::Unknown && !of.is_assumed_up)
                })
                .count()
        };
        self.store.desired().services.iter().map(|(id, service)| waits(id, service)).sum()
    }

    /// Returns whether a real of a service takes connections: also one whose health is ignored, because too few reals are
    /// healthy. If that is the fault of the checks, every other director finds the same.
    fn takes_connections(&self, id: &ServiceId) -> bool {
        self.mode_of_serving(id).is_some()
    }

    /// Returns whether a service has enough healthy reals, and one of them can be reached.
    fn meets_minimum(&self, id: &ServiceId) -> bool {
        self.mode_of_serving(id).is_some_and(|mode| mode != Mode::Ignored)
    }

    /// Returns the state of a service's pool, if one of its reals takes connections.
    fn mode_of_serving(&self, id: &ServiceId) -> Option<Mode> {
        let service = self.store.desired().services.get(id)?;
        let pool = pool::weigh(id, service, self.health.table());
        (self.network.available(id, &pool.service) > 0).then_some(pool.mode)
    }

    /// Returns the addresses that this director should have now.
    pub(super) fn wanted_vips(&self) -> BTreeSet<IpAddr> {
        let all = self.store.desired().vips().chain(self.store.dips().addresses());
        if !self.store.standing().may_have_vips() {
            return BTreeSet::new();
        }
        if !self.vips.are_routed() {
            return all.collect();
        }
        if self.readiness.is_ready() {
            let desired = self.store.desired();
            return desired
                .services
                .keys()
                .filter(|id| self.meets_minimum(id))
                .flat_map(|id| desired.endpoints(id))
                .map(|endpoint| endpoint.address.ip())
                .collect();
        }
        // A daemon that has just started leaves the VIPs of the last one where they are.
        let added = self.vips.added();
        all.filter(|vip| self.readiness.is_starting && added.is_some_and(|added| added.contains(vip)))
            .collect()
    }

    /// Changes the place of the director among several, at once and for every later start.
    ///
    /// # Errors
    /// If the state file cannot be written; then nothing changes.
    pub async fn set_standing(&mut self, change: StandingChange) -> Result<Done, Failure> {
        let before = self.store.standing();
        let after = Standing {
            drained: change.drained.unwrap_or(before.drained),
            role: change.role.unwrap_or(before.role),
        };
        if after == before {
            return Ok(Done::default());
        }
        self.store.set_standing(after)?;
        let mut changes = Vec::new();
        if after.drained != before.drained {
            changes.push(
                if after.drained { "the director is drained" } else { "the director is resumed" }.to_owned(),
            );
        }
        if after.role != before.role {
            changes.push(format!("the director is {}", after.role));
        }
        for line in &changes {
            tracing::info!("{line}");
        }
        self.decide_readiness().await;
        Ok(Done { changes, warnings: self.reconcile().await })
    }

    /// Returns a line for `xvs status` if the director keeps away from traffic because the operator said so.
    pub(super) fn standing_line(&self) -> Option<String> {
        match self.store.standing() {
            Standing { drained: true, .. } => {
                let without = if self.vips.are_managed() { " and has no VIP" } else { "" };
                Some(format!("the director is drained{without}; `xvs director resume` ends that"))
            }
            Standing { role: Role::Standby, .. } if self.vips.are_managed() => Some(
                "the director is on standby and has no VIP; `xvs director role active` ends that".to_owned(),
            ),
            Standing { .. } => None,
        }
    }
}
