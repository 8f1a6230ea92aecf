// SPDX-License-Identifier: MIT OR Apache-2.0
//! Growth and shrinking of the flow table while packets are forwarded.
//!
//! 1. Programs with a new table are loaded beside those in force, without the lock of the director.
//! 2. They replace the attached programs. A search looks into the new table, then into the old one.
//! 3. The flows move through the mappings of both tables.
//! 4. Programs without the old table replace these, so that the kernel frees its memory.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use lb_control::flow_growth::{Fullness, Growth};
use lb_dataplane::{DataPlane, FlowLoad, Moved, Options, clock};
use lb_model::failure::Failure;
use tokio::{
    task::{self, JoinHandle},
    time::{MissedTickBehavior, interval, sleep},
};

use super::{Director, Shared, health::Pins};

/// Interval at which the load of the table is read.
const INTERVAL: Duration = Duration::from_millis(100);
/// Time after which no program before the last one runs any more. A program runs for microseconds.
const GRACE: Duration = Duration::from_millis(100);
/// Passes over the old table. One suffices but for flows that packets change at that moment.
const PASSES: usize = 10;
/// Time after a failure, in which the size stays as it is.
const PAUSE: Duration = Duration::from_mins(1);

/// Starts the task that keeps the size of the flow table right.
#[must_use]
pub fn start(shared: Shared) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut growth, mut load) = (Growth::default(), None);
        loop {
            ticks.tick().await;
            let done = match turn(&shared, &mut growth, &mut load).await {
                Ok(done) => done,
                Err(failure) => {
                    tracing::error!("the flow table keeps its size: {}", failure.message);
                    sleep(PAUSE).await;
                    true
                }
            };
            if done {
                // The rate of before says nothing about a table that others have changed.
                (growth, load) = (Growth::default(), None);
            }
        }
    })
}

/// Looks at the table once, and replaces it if it must be. Returns whether it was replaced.
async fn turn(shared: &Shared, growth: &mut Growth, load: &mut Option<Watched>) -> Result<bool, Failure> {
    let watched = match load {
        Some(watched) if watched.read_at.elapsed() < Watched::VALID => watched,
        stale => {
            let mut director = shared.lock().await;
            if director.maps.takes_over() {
                // A daemon was killed while flows moved.
                drop(director);
                finish(shared).await?;
                return Ok(true);
            }
            stale.insert(director.watched_flows())
        }
    };
    let full = Fullness { living: watched.load.living(), ..watched.full };
    let Some(places) = growth.next_size(Instant::now(), full) else { return Ok(false) };
    let began = Instant::now();
    replace(shared, places).await?;
    let moved = finish(shared).await?;
    let (flows, lost) = (moved.flows, moved.lost);
    tracing::info!(
        flows,
        lost,
        milliseconds = began.elapsed().as_millis(),
        "the flow table has {places} places instead of {}",
        full.places
    );
    Ok(true)
}

/// The table, as it was read.
struct Watched {
    read_at: Instant,
    load: FlowLoad,
    full: Fullness,
}

impl Watched {
    /// Time after which it is read again: a resize may have changed the limits.
    const VALID: Duration = Duration::from_secs(5);
}

impl Director {
    fn watched_flows(&mut self) -> Watched {
        let (load, limits) = (self.maps.flow_load(), self.maps.limits());
        let full = Fullness {
            living: 0,
            places: load.places(),
            least: limits.least_flow_places(),
            most: limits.most_flow_places(),
        };
        Watched { read_at: Instant::now(), load, full }
    }

    /// Attaches the programs of a data plane in place of those in force.
    fn attach_instead(&mut self, plane: &mut DataPlane) -> Result<(), Failure> {
        self.attachments.attach_other(plane).map_err(|error| {
            self.attachments.attach_back(self.maps.plane());
            error.into()
        })
    }
}

/// Loads programs, which takes a second, without the lock of the director.
async fn load(options: &Options, pins: Pins) -> Result<DataPlane, Failure> {
    let options = options.clone();
    let loaded = task::spawn_blocking(move || pins.load(|| DataPlane::load(&options))).await;
    let loaded = loaded.map_err(|_| Failure::failed("the thread that loads the programs panicked"))?;
    Ok(loaded.ok_or_else(|| Failure::failed("the daemon ends"))??)
}

/// Puts a table with this number of places in force. The flows stay in the old table until [`finish`] moves them.
async fn replace(shared: &Shared, places: u32) -> Result<(), Failure> {
    let (options, pins) = {
        let director = shared.lock().await;
        (director.maps.options_for(places)?, director.health.pins().clone())
    };
    let loaded = load(&options, pins).await;
    let mut director = shared.lock().await;
    let director = &mut *director;
    let replaced = loaded.and_then(|mut plane| {
        director.check_current(&options)?;
        director.end_traces("the flow table is replaced by one of another size");
        director.maps.hand_over_to(&mut plane)?;
        director.attach_instead(&mut plane)?;
        Ok(plane)
    });
    // The thread of the health checks must not load its program from a mixture of old and new pins.
    let pins = director.health.pins().clone();
    let _alone = pins.hold();
    match replaced {
        Ok(plane) => director.maps.replace_flow_table(plane, &options),
        Err(failure) => {
            director.maps.give_up_new_maps()?;
            Err(failure)
        }
    }
}

impl Director {
    /// # Errors
    /// If the sizes or settings of the maps have changed since the options were made.
    fn check_current(&self, options: &Options) -> Result<(), Failure> {
        if self.maps.are_current(options) {
            return Ok(());
        }
        Err(Failure::failed("the sizes of the tables have changed meanwhile"))
    }
}

/// Moves the flows of the table before, and frees its memory.
async fn finish(shared: &Shared) -> Result<Moved, Failure> {
    let load_of_table = shared.lock().await.maps.flow_load();
    let mut all = Moved::default();
    for pass in 0..PASSES {
        let table = load_of_table.clone();
        let moved = task::spawn_blocking(move || table.take_over(clock::now())).await;
        let moved = moved.map_err(|_| Failure::failed("the thread that moves flows panicked"))?;
        all = Moved { flows: all.flows.max(moved.flows), lost: all.lost + moved.lost };
        // The programs of before may have added flows during the first pass.
        if pass > 0 && moved.flows == 0 {
            break;
        }
        sleep(GRACE).await;
    }
    let (options, pins) = {
        let mut director = shared.lock().await;
        director.maps.end_take_over()?;
        (director.maps.options_for_same(), director.health.pins().clone())
    };
    let mut plane = load(&options, pins).await?;
    let mut director = shared.lock().await;
    let director = &mut *director;
    director.check_current(&options)?;
    director.end_traces("the flow table has another size");
    director.attach_instead(&mut plane)?;
    director.maps.replace_programs(plane)?;
    Ok(all)
}
