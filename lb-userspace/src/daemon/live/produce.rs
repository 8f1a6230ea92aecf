// SPDX-License-Identifier: MIT OR Apache-2.0
//! The producer of live data.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant, SystemTime};

use super::{LiveSource, event, rates::rates, read::Reading};
use crate::{
    api::{
        live::{Live, LiveDaemon, LiveDoctor},
        types::Status,
    },
    daemon::{
        Shared,
        count::{count_flows, off_the_lock},
        maps::FlowCounts,
    },
};
use lb_model::failure::Failure;

/// Interval of the readings.
const PERIOD: Duration = Duration::from_secs(1);
/// Time before the second reading: the first reader waits for it.
const FIRST: Duration = Duration::from_millis(500);
/// Interval at which the state of the daemon and the findings of the doctor are read.
const SELDOM: Duration = Duration::from_secs(5);
/// A count or a look that took some time is repeated after this multiple of it, if that is longer than its interval:
/// large tables must not take the processor from others.
const SELDOM_SHARE: u32 = 20;
/// The same for readings, which have the lock on the director for a part of the time.
const SHARE: u32 = 5;

/// A task that is repeated.
struct Task {
    every: Duration,
    due: Instant,
}

impl Task {
    fn new(every: Duration) -> Self {
        Self { every, due: Instant::now() }
    }

    fn is_due(&self) -> bool {
        Instant::now() >= self.due
    }

    fn done(&mut self, began: Instant) {
        // A little earlier, or the next turn would come just before.
        self.due = began + self.every.max(began.elapsed() * SELDOM_SHARE).saturating_sub(PERIOD / 4);
    }
}

/// State of the producer.
struct Producer {
    director: Shared,
    flows: FlowCounts,
    counting: Task,
    daemon: LiveDaemon,
    doctor: Option<LiveDoctor>,
    looking: Task,
    previous: Option<Reading>,
    last: Option<Live>,
}

/// Publishes a moment each second, until nobody reads.
pub(super) async fn produce(source: LiveSource, director: Shared) {
    let mut producer = Producer {
        director,
        flows: FlowCounts::default(),
        counting: Task::new(PERIOD),
        daemon: LiveDaemon::default(),
        doctor: None,
        looking: Task::new(SELDOM),
        previous: None,
        last: None,
    };
    let mut was_told = false;
    while !source.ends() {
        let began = Instant::now();
        let is_first = producer.previous.is_none();
        match producer.turn(&source).await {
            Ok(()) => was_told = false,
            Err(failure) if !was_told => {
                tracing::error!("live data: {}", failure.message);
                was_told = true;
            }
            Err(_) => {}
        }
        let took = began.elapsed();
        let period = if is_first { FIRST } else { PERIOD.max(took * SHARE) };
        tokio::time::sleep(period.saturating_sub(took)).await;
    }
}

impl Producer {
    /// Reads, and publishes what changed since the previous turn.
    async fn turn(&mut self, source: &LiveSource) -> Result<(), Failure> {
        if self.counting.is_due() {
            let began = Instant::now();
            self.flows = count_flows(&self.director).await?;
            self.counting.done(began);
        }
        if self.looking.is_due() {
            let began = Instant::now();
            let status = self.director.lock().await.status(&self.flows).await;
            self.look(&status);
            self.looking.done(began);
        }
        self.daemon.flows = self.flows.flows;
        self.daemon.flows6 = self.flows.flows6;
        let reading = self.director.lock().await.read_live(&self.flows)?;
        let Some(before) = self.previous.take() else {
            self.previous = Some(reading);
            return Ok(());
        };
        let last = self.last.take();
        let number = last.as_ref().map_or(1, |last| last.number + 1);
        let (daemon, doctor) = (self.daemon.clone(), self.doctor.clone());
        let (reading, live, change) = off_the_lock(move || {
            let (services, reasons) = rates(&before, &reading);
            let live = Live { number, time_ms: now_ms(), daemon, services, reasons, doctor };
            let change = last.and_then(|last| last.change_to(&live));
            let change = change.map(|change| event("change", number, &change));
            Ok((reading, live, change))
        })
        .await?;
        self.previous = Some(reading);
        self.last = Some(live.clone());
        source.publish(live, change);
        Ok(())
    }

    /// Takes over the state of the daemon and the findings of the doctor.
    fn look(&mut self, status: &Status) {
        self.daemon = LiveDaemon {
            version: status.version.clone(),
            pid: status.pid,
            // The status computes it from the uptime, and it may differ by a second.
            start_time_seconds: match self.daemon.start_time_seconds {
                0 => status.start_time_seconds,
                known => known,
            },
            interfaces: status.interfaces.clone(),
            flows: status.flows,
            max_flows: status.max_flows,
            flows6: status.flows6,
            max_flows6: status.max_flows6,
            problem_count: status.problems.len(),
            problems: status.problems.iter().take(LiveDaemon::PROBLEMS).cloned().collect(),
            config: status.config.clone(),
        };
        self.doctor = status.doctor.as_ref().map(LiveDoctor::from);
    }
}

/// Returns the time in milliseconds since 1970.
fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}
