// SPDX-License-Identifier: MIT OR Apache-2.0
//! A table in memory that replaces the daemon.

use std::sync::Mutex;

use crate::{
    api::{
        health::PoolView,
        ipvs::{BatchDone, Rates, Shown, ShownReal, Table},
        sync::{SyncChange, SyncRole, SyncStatus},
        types::{Change, Connection, RealView, ServiceView, TimeoutView},
    },
    daemon,
    ipvsadm::{Nameless, kernel::Kernel, page::Format, rules},
};
use lb_control::state::Totals;
use lb_model::failure::{ErrorCode, Failure};
use lb_model::{Desired, Forward, ServiceId, timeouts::TimeoutOptions};

/// The table.
pub struct Memory {
    pub desired: Mutex<Desired>,
    timeouts: Mutex<TimeoutView>,
    daemons: Mutex<SyncStatus>,
    /// Number of steps in which changes were made.
    pub steps: Mutex<usize>,
}

impl Memory {
    pub fn new(desired: Desired) -> Self {
        let timeouts = TimeoutView { tcp: 900, tcp_fin: 120, udp: 300 };
        Self {
            desired: Mutex::new(desired),
            timeouts: Mutex::new(timeouts),
            daemons: Mutex::default(),
            steps: Mutex::default(),
        }
    }

    /// Returns the output of `ipvsadm -Sn`.
    pub fn saved(&self) -> String {
        saved(&self.desired.lock().unwrap())
    }
}

/// Returns the output of `ipvsadm -Sn` for services.
pub fn saved(desired: &Desired) -> String {
    rules::save(shown(desired), Format { numeric: true, ..Format::default() }, &Nameless)
}

fn shown(desired: &Desired) -> Vec<Shown> {
    let service = |(id, service): (&ServiceId, &lb_model::Service)| {
        let reals = service.reals.iter().map(|(address, real)| RealView {
            address: *address,
            forward: real.forward,
            weight: real.weight,
            upper: real.upper,
            lower: real.lower,
            tunnel: real.tunnel,
            is_local: real.forward == Forward::Local || id.is_served_here(address.ip()),
            is_up: true,
            next_hop: String::new(),
            totals: Totals::default(),
            active_flows: 0,
            inactive_flows: 0,
            persistent_clients: 0,
            slots: 0,
            admin: real.admin,
            backup: real.backup,
            checks: Vec::new(),
            health: None,
            effective_weight: real.weight,
        });
        let view = ServiceView {
            id: *id,
            endpoints: desired.endpoints(id),
            scheduler: service.scheduler,
            flags: service.flags.clone(),
            tracking: service.tracking,
            persistence: service.persistence,
            one_packet: service.one_packet,
            on_removal: service.on_removal,
            health: PoolView::default(),
            slots: 0,
            slots_in_transition: 0,
            totals: Totals::default(),
            active_flows: 0,
            inactive_flows: 0,
            reasons: Vec::new(),
            reals: reals.collect(),
            leaving: Vec::new(),
        };
        let reals = vec![ShownReal::default(); view.reals.len()];
        Shown { service: view, counted: Totals::default(), rates: Rates::default(), reals }
    };
    desired.services.iter().map(service).collect()
}

impl Kernel for Memory {
    async fn table(&self, service: Option<ServiceId>) -> Result<Table, Failure> {
        let mut services = shown(&self.desired.lock().unwrap());
        services.retain(|shown| service.is_none_or(|id| shown.service.id == id));
        if service.is_some() && services.is_empty() {
            return Err(Failure::wrong_input("there is no such service").because(ErrorCode::NoService));
        }
        Ok(Table { size: 4096, services })
    }

    async fn change(&self, changes: &[Change]) -> Result<BatchDone, Failure> {
        *self.steps.lock().unwrap() += 1;
        let mut desired = self.desired.lock().unwrap();
        let refused = changes.iter().map(|change| daemon::apply(&mut desired, change).err()).collect();
        Ok(BatchDone { refused, warnings: Vec::new() })
    }

    async fn zero(&self, service: Option<ServiceId>) -> Result<(), Failure> {
        self.table(service).await.map(drop)
    }

    async fn timeouts(&self) -> Result<TimeoutView, Failure> {
        Ok(*self.timeouts.lock().unwrap())
    }

    async fn set_timeouts(&self, options: &TimeoutOptions) -> Result<(), Failure> {
        let mut timeouts = self.timeouts.lock().unwrap();
        timeouts.tcp = options.tcp.unwrap_or(timeouts.tcp);
        timeouts.tcp_fin = options.tcp_fin.unwrap_or(timeouts.tcp_fin);
        timeouts.udp = options.udp.unwrap_or(timeouts.udp);
        Ok(())
    }

    async fn connections(&self) -> Result<Vec<Connection>, Failure> {
        Ok(Vec::new())
    }

    async fn daemons(&self) -> Result<SyncStatus, Failure> {
        Ok(self.daemons.lock().unwrap().clone())
    }

    async fn change_daemon(&self, change: &SyncChange) -> Result<(), Failure> {
        let mut daemons = self.daemons.lock().unwrap();
        let (SyncChange::Start { role, .. } | SyncChange::Stop { role }) = change;
        let place = if *role == SyncRole::Master { &mut daemons.master } else { &mut daemons.backup };
        match (change, place.is_some()) {
            (SyncChange::Start { .. }, true) => {
                Err(Failure::wrong_input("it runs").because(ErrorCode::SyncDaemonRuns))
            }
            (SyncChange::Stop { .. }, false) => {
                Err(Failure::wrong_input("none runs").because(ErrorCode::NoSyncDaemon))
            }
            (SyncChange::Start { settings, .. }, false) => {
                *place = Some(settings.clone());
                Ok(())
            }
            (SyncChange::Stop { .. }, true) => {
                *place = None;
                Ok(())
            }
        }
    }
}
