// SPDX-License-Identifier: MIT OR Apache-2.0
//! Start of the threads of health checks, and the task that takes over their results.
#![forbid(unsafe_code)]

use std::{io, thread, time::Duration};

use lb_dataplane::{
    Options,
    probe_path::{DEFAULT_PORTS, PathOptions, ProbePath, ProbeProgram},
};
use lb_health::{Handle, Runner, path::PathSockets};
use tokio::{
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval_at, sleep_until},
};

use super::{
    path::{PathProber, Sources},
    pins::Pins,
    signs,
};
use crate::{
    daemon::{Director, Shared},
    privileges,
};
use lb_control::config::DirectorSection;
use lb_model::{
    check::Period,
    failure::{Failure, chain},
};
use lb_netlink::Interface;

/// MTU of Ethernet, in bytes.
const ETHERNET: u32 = 1500;
/// Interval at which states are saved.
const SAVE: Duration = Duration::from_secs(10);

/// Data from which the threads start.
#[derive(Clone)]
pub struct Prober {
    /// Options with which the data plane was loaded.
    options: Options,
    /// MTU of the interface of clients, in bytes.
    mtu: u32,
    /// Time for which a failure of nearly all reals does not count; `None`: the default.
    freeze_for: Option<Duration>,
}

impl Prober {
    /// Creates the data for a data plane that was loaded with these options and is attached to `interfaces`.
    #[must_use]
    pub fn new(options: Options, interfaces: &[Interface], section: &DirectorSection) -> Self {
        let mtu = interfaces.first().map_or(ETHERNET, |interface| interface.mtu);
        Self { options, mtu, freeze_for: section.freeze_for.map(Period::duration) }
    }

    /// Makes the sockets of probes by path, on the calling thread.
    fn path(&self, sources: &Sources, pins: &Pins) -> io::Result<Box<dyn PathSockets>> {
        let failed = |failure: Failure| io::Error::other(failure.message);
        privileges::raise(privileges::PROBES).map_err(failed)?;
        let loaded = pins.load(|| ProbeProgram::load(&self.options));
        let loaded = loaded.ok_or_else(|| io::Error::other("the daemon ends"))?;
        let program = loaded.map_err(|error| io::Error::other(chain(&error)))?;
        let options = PathOptions { ports: DEFAULT_PORTS, mtu: self.mtu, sources: sources.addresses() };
        let path = ProbePath::create(program, options).map_err(|error| io::Error::other(chain(&error)))?;
        privileges::give_up_checks().map_err(failed)?;
        Ok(Box::new(PathProber::new(path, sources.clone())))
    }
}

impl Director {
    /// Starts the task that reads passive signs. If that fails, checks follow their intervals, and the log has the
    /// reason.
    fn start_signs(&mut self, handle: Handle) -> Option<JoinHandle<()>> {
        match self.maps.tables().sign_reader() {
            Ok(reader) => Some(tokio::spawn(signs::follow(reader, self.health.signs.subscribe(), handle))),
            Err(error) => {
                tracing::warn!(error = chain(&error), "refused clients do not bring checks forward");
                None
            }
        }
    }

    /// Starts the threads of health checks. If that fails, the reals keep their health, and the log has the reason.
    fn start_checks(&mut self, prober: Prober) -> Option<Handle> {
        let sources = self.health.sources.clone();
        let saved = self.health.saved.values().cloned().collect();
        let (pins, freeze_for) = (self.health.pins.clone(), prober.freeze_for);
        let make = move || prober.path(&sources, &pins);
        // The threads have the capabilities of the thread that starts them.
        let start = move || {
            if let Err(failure) = privileges::raise(privileges::COMMANDS) {
                tracing::debug!("exec checks cannot run: {}", failure.message);
            }
            Runner::start(make, saved)
        };
        match thread::spawn(start).join() {
            Ok(Ok(handle)) => {
                if let Some(time) = freeze_for {
                    handle.set_freeze_for(time);
                }
                self.health.handle = Some(handle.clone());
                self.plan_checks();
                Some(handle)
            }
            Ok(Err(error)) => {
                tracing::error!(%error, "health checks cannot start: reals keep their state");
                None
            }
            Err(_) => {
                tracing::error!("health checks cannot start: their thread panicked");
                None
            }
        }
    }
}

/// Starts the threads of health checks, shares the director, and starts the tasks that take over results and read
/// passive signs.
#[must_use]
pub fn share(mut director: Director, prober: Prober) -> (Shared, Vec<JoinHandle<()>>) {
    let handle = director.start_checks(prober);
    let signs = handle.clone().and_then(|handle| director.start_signs(handle));
    let shared = Shared::new(director);
    let results = handle.map(|handle| tokio::spawn(follow(shared.clone(), handle)));
    (shared, results.into_iter().chain(signs).collect())
}

/// Saves the states of the targets, without the lock of the director during the write.
async fn save_states(shared: &Shared) {
    let unsaved = shared.lock().await.health_to_save();
    if let Some(unsaved) = unsaved
        && let Err(error) = tokio::task::spawn_blocking(move || unsaved.save()).await
    {
        tracing::error!(%error, "states of reals are not saved");
    }
}

/// Takes over results until the threads end. Changes within 50 ms are carried out together.
async fn follow(shared: Shared, handle: Handle) {
    let mut changes = handle.changes();
    // At the start, only the file has the states of the earlier run: the snapshot is still empty.
    let mut save = interval_at(Instant::now() + SAVE, SAVE);
    save.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let ramp = shared.lock().await.next_ramp();
        let at = ramp.map_or_else(Instant::now, Instant::from_std);
        let must_save = tokio::select! {
            result = changes.changed() => {
                if result.is_err() {
                    tracing::error!("health checks have ended: reals keep their state until the daemon starts again");
                    return;
                }
                false
            }
            () = sleep_until(at), if ramp.is_some() => false,
            _ = save.tick() => true,
        };
        if must_save {
            save_states(&shared).await;
        }
        let mut director = shared.lock().await;
        // After a save too: the step of a slow start may be due at the same time.
        if let Err(failure) = director.apply_health() {
            tracing::error!("health: {}", failure.message);
            drop(director);
            // The next attempt must not wait for another change.
            tokio::time::sleep(Duration::from_secs(1)).await;
            changes.mark_changed();
        }
    }
}
