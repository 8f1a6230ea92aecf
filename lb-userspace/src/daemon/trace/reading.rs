// SPDX-License-Identifier: MIT OR Apache-2.0
//! The task that reads the samples of all traces, and ends traces whose client or time is over.
#![forbid(unsafe_code)]

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use tokio::time::{MissedTickBehavior, interval};

use super::{Running, Shared, Traces, view};
use crate::api::trace::TraceCounts;
use lb_model::failure::chain;

/// Interval at which the buffer is read. At the highest rates of all traces, it does not fill up meanwhile.
const PERIOD: Duration = Duration::from_millis(50);
/// Interval of counts.
const COUNTS: Duration = Duration::from_secs(1);

/// Reads samples until no trace is left, and then attaches the ordinary programs.
pub(super) async fn read(traces: Traces, director: Shared) {
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let snapshot = director.snapshot();
        let (is_idle, is_outdated) = {
            let mut running = traces.running();
            // The director may have ended all traces.
            let Some(running) = &mut *running else { return };
            let lost = running.turn();
            traces.0.lost.fetch_add(lost, Ordering::Relaxed);
            (running.is_idle(), !Arc::ptr_eq(&running.names.snapshot, &snapshot))
        };
        if is_idle {
            let mut director = director.lock().await;
            // A trace may have begun before the lock was there.
            if traces.running().as_ref().is_none_or(Running::is_idle) {
                director.end_traces("no client is left");
                return;
            }
        } else if is_outdated {
            let director = director.lock().await;
            let names = director.sample_names(snapshot).await;
            if let Some(running) = &mut *traces.running() {
                running.names = names;
                running.follow(&director);
            }
        }
    }
}

impl Running {
    fn is_idle(&self) -> bool {
        self.traces.iter().all(Option::is_none)
    }

    /// Sends what the buffer holds, ends traces that are over, and lets the others go on. Returns the number of
    /// samples that were lost.
    fn turn(&mut self) -> u64 {
        let epoch = view::epoch();
        while let Some(sampled) = self.reader.next_sample() {
            for (number, trace) in self.traces.iter_mut().enumerate() {
                let Some(trace) = trace.as_mut().filter(|_| sampled.sample.traces & 1 << number != 0) else {
                    continue;
                };
                let packet = self.names.view(&sampled, trace.question.snaplen, epoch);
                if !trace.send("packet", &packet) {
                    trace.unsent += 1;
                }
            }
        }
        let mut lost = 0;
        let is_due = self.counted.elapsed() >= COUNTS;
        for number in 0..self.traces.len() {
            let Some(trace) = &mut self.traces[number] else { continue };
            let is_over = Instant::now() >= trace.ends;
            let is_closed = trace.events.is_closed();
            if is_due || is_over || is_closed {
                match self.reader.counts(number as u32) {
                    Ok(counts) => {
                        let counts = TraceCounts {
                            selected: counts.selected,
                            limited: counts.limited,
                            lost: counts.lost + trace.unsent,
                        };
                        lost += counts.lost.saturating_sub(trace.counts.lost);
                        trace.counts = counts;
                    }
                    Err(error) => tracing::warn!(error = chain(&error), "samples are not counted"),
                }
            }
            if is_over || is_closed {
                trace.end("its time is over");
                self.traces[number] = None;
                if let Err(error) = self.reader.end(number as u32) {
                    tracing::warn!(error = chain(&error), "a trace that is over still takes samples");
                }
            } else if is_due {
                trace.send("counts", &trace.counts);
            }
        }
        if is_due {
            self.counted = Instant::now();
        }
        self.renew();
        lost
    }
}
