// SPDX-License-Identifier: MIT OR Apache-2.0
//! Traces of packets. While one runs, the tracing build of the programs is attached, and one task reads its samples for
//! all traces.
#![forbid(unsafe_code)]

mod filter; //  the filter for the programs
mod reading; // the task that reads the samples
mod view; //    samples with names

use std::{
    array,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use hyper::body::Bytes;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::timeout,
};

use super::{Director, Shared};
use crate::api::trace::{TraceCounts, TraceEnd, TraceQuestion};
use lb_common::schema::{LONGEST_SAMPLE, SampleFilter, TRACES};
use lb_dataplane::SampleReader;
use lb_model::failure::{Failure, chain};
use view::Names;

/// Interval of comments that show a proxy and a client that the stream lives, and the daemon that the client does.
const ALIVE: Duration = Duration::from_secs(5);
/// Number of events that wait for a client.
const WAITING: usize = 4096;
/// Number of bytes that are copied if only headers are wanted, which are at most as long in practice.
const HEADERS: u32 = 256;
/// Time after which the programs copy no more frames if the daemon is gone.
const LEASE: Duration = Duration::from_secs(10);

/// The traces.
#[derive(Clone)]
pub struct Traces(Arc<Inner>);

struct Inner {
    places: Arc<Semaphore>,
    /// `None` while the ordinary programs are attached.
    running: Mutex<Option<Running>>,
    /// Lost samples since the start.
    lost: AtomicU64,
}

/// State that exists while the tracing build is attached.
struct Running {
    reader: SampleReader,
    traces: [Option<Trace>; TRACES],
    names: Names,
    /// Time of the last counts.
    counted: Instant,
}

/// A trace.
struct Trace {
    events: mpsc::Sender<Bytes>,
    ends: Instant,
    question: TraceQuestion,
    /// The filter that the programs have.
    filter: SampleFilter,
    /// Samples that the client was too slow for.
    unsent: u64,
    /// Last counts.
    counts: TraceCounts,
}

impl Trace {
    /// Sends an event, unless the client is too slow. Returns whether it was sent.
    fn send(&self, name: &str, data: &impl serde::Serialize) -> bool {
        // These types have no maps with keys that JSON lacks: this does not fail.
        let json = serde_json::to_string(data).unwrap_or_default();
        self.events.try_send(Bytes::from(format!("event: {name}\ndata: {json}\n\n"))).is_ok()
    }

    /// Sends the last events.
    fn end(&self, why: &str) {
        self.send("counts", &self.counts);
        self.send("end", &TraceEnd { why: why.to_owned() });
    }
}

impl Default for Traces {
    fn default() -> Self {
        Self(Arc::new(Inner {
            places: Arc::new(Semaphore::new(TRACES)),
            running: Mutex::new(None),
            lost: AtomicU64::new(0),
        }))
    }
}

impl Traces {
    /// Begins a trace, and attaches the tracing build if it is the first one.
    ///
    /// # Errors
    /// If there are too many traces, the question is wrong, or the kernel refuses the programs.
    pub async fn begin(&self, shared: &Shared, question: &TraceQuestion) -> Result<Subscription, Failure> {
        let place = Arc::clone(&self.0.places).try_acquire_owned().map_err(|_| {
            Failure::failed(format!("{TRACES} traces run, and more are refused"))
                .hint("end an `xvs trace`, or try again later")
        })?;
        let mut director = shared.lock().await;
        let filter = director.sample_filter(question)?;
        let snapshot = shared.snapshot();
        let names = director.sample_names(snapshot).await;
        if self.running().is_none() {
            let options = director.maps.options();
            let reader = director.maps.plane().begin_samples(&options)?;
            tracing::info!("the programs trace packets");
            let traces = array::from_fn(|_| None);
            *self.running() = Some(Running { reader, traces, names, counted: Instant::now() });
            tokio::spawn(reading::read(self.clone(), shared.clone()));
        }
        let (events, receiver) = mpsc::channel(WAITING);
        let trace = Trace {
            events,
            ends: Instant::now() + Duration::from_secs(question.seconds),
            question: question.clone(),
            filter,
            unsent: 0,
            counts: TraceCounts::default(),
        };
        let mut running = self.running();
        let begun = running.as_mut().and_then(|running| {
            let number = running
                .traces
                .iter()
                .position(|trace| trace.as_ref().is_none_or(|trace| trace.events.is_closed()))?;
            Some(running.begin(number, trace))
        });
        drop(running);
        begun.unwrap_or_else(|| Err(Failure::failed("the trace ended at once")))?;
        Ok(Subscription { events: receiver, _place: place })
    }

    /// Returns the number of running traces.
    #[must_use]
    pub fn number(&self) -> u64 {
        (TRACES - self.0.places.available_permits()) as u64
    }

    /// Returns the number of lost samples, since the start.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.0.lost.load(Ordering::Relaxed)
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.0.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    fn begin(&mut self, number: usize, trace: Trace) -> Result<(), Failure> {
        self.reader.begin(number as u32, &trace.filter).map_err(|error| Failure::failed(chain(&error)))?;
        self.traces[number] = Some(trace);
        self.renew();
        Ok(())
    }

    /// Gives each trace the filter that its question has now: a service that was removed and added again has
    /// another id. While there is no such service, its trace selects nothing.
    fn follow(&mut self, director: &Director) {
        for (number, trace) in self.traces.iter_mut().enumerate() {
            let Some(trace) = trace else { continue };
            // The question was right when the trace began: only the service can be missing.
            let filter = director.sample_filter(&trace.question).unwrap_or_default();
            if filter == trace.filter {
                continue;
            }
            match self.reader.filter(number as u32, &filter) {
                Ok(()) => trace.filter = filter,
                Err(error) => tracing::warn!(error = chain(&error), "a trace keeps the filter of before"),
            }
        }
    }

    /// Lets the programs take samples for another while.
    fn renew(&mut self) {
        let wanted =
            self.traces.iter().flatten().map(|trace| trace.question.snaplen.unwrap_or(HEADERS)).max();
        let snaplen = wanted.unwrap_or(0).min(LONGEST_SAMPLE);
        if let Err(error) = self.reader.open(snaplen, LEASE) {
            tracing::warn!(error = chain(&error), "no packets are traced");
        }
    }
}

impl Director {
    /// Ends every trace, and attaches the ordinary programs.
    pub fn end_traces(&mut self, why: &str) {
        let running = self.traces.running().take();
        let Some(running) = running else { return };
        for trace in running.traces.iter().flatten() {
            trace.end(why);
        }
        self.maps.plane().end_samples();
        tracing::info!("the programs trace no packets any more: {why}");
    }
}

/// A stream of events.
pub struct Subscription {
    events: mpsc::Receiver<Bytes>,
    _place: OwnedSemaphorePermit,
}

impl Subscription {
    /// Returns the next event, or a comment if there is none for a while; `None` after the last one.
    pub async fn next(&mut self) -> Option<Bytes> {
        match timeout(ALIVE, self.events.recv()).await {
            Ok(event) => event,
            Err(_) => Some(Bytes::from_static(b":\n\n")),
        }
    }
}
