// SPDX-License-Identifier: MIT OR Apache-2.0
//! The periodic read of IPVS.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    time::{Duration, Instant},
};

use tokio::{
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};

use super::read::{Read, Source, import, summary};
use crate::daemon::Shared;
use lb_model::{ServiceId, Services, failure::Failure};

/// Interval at which the summary is read.
const LOOK: Duration = Duration::from_millis(250);
/// Interval at which all rules are read: the summary lacks thresholds, tunnels and flags. With [`LOOK`] it keeps every
/// change within a second.
const WHOLE: Duration = Duration::from_millis(700);
/// Longest time in which the connections of new services are read.
const IMPORT: Duration = Duration::from_secs(2);
/// Reading of all rules takes at most this share of the time.
const SHARE: u32 = 10;

/// Starts the task that follows IPVS, whose rules in force are `read`.
#[must_use]
pub fn start(shared: Shared, source: Source, read: Read) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut ticks = interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut follower =
            Follower { source, summary: None, read: Some(read), whole: Instant::now(), took: LOOK };
        loop {
            ticks.tick().await;
            let problem = follower.look(&shared).await.err().map(|failure| failure.message);
            shared.lock().await.note_follow_problem(problem);
        }
    })
}

/// Returns the addresses of services that were not there before.
fn new_vips(before: &Services, now: &Services) -> BTreeSet<IpAddr> {
    let new = now.keys().filter(|id| !before.contains_key(id));
    new.filter_map(ServiceId::endpoint).map(|endpoint| endpoint.address.ip()).collect()
}

struct Follower {
    source: Source,
    /// The last summary.
    summary: Option<u64>,
    /// The rules that the director has; `None`: they have to be compared again.
    read: Option<Read>,
    /// Time at which all rules were read.
    whole: Instant,
    /// Duration of that.
    took: Duration,
}

impl Follower {
    /// Looks at IPVS once, and changes the director's services if its rules have changed.
    async fn look(&mut self, shared: &Shared) -> Result<(), Failure> {
        let summary = summary().await;
        let is_same = summary.is_some() && summary == self.summary && self.read.is_some();
        if is_same && self.whole.elapsed() < WHOLE.max(self.took * SHARE) {
            return Ok(());
        }
        self.whole = Instant::now();
        let read = self.source.read().await?;
        self.took = self.whole.elapsed();
        self.summary = summary;
        if self.read.as_ref() == Some(&read) {
            return Ok(());
        }
        self.read = None;
        let mut director = shared.lock().await;
        let followed = read.translate(director.limits());
        let before = director.desired().services.clone();
        let waits = director.follow_to(followed).await?;
        let new: BTreeSet<IpAddr> = new_vips(&before, &director.desired().services);
        drop(director);
        // Services that the kernel has served so far, or that are there again, may have connections.
        if !new.is_empty() {
            import(shared, IMPORT, |connection| new.contains(&connection.vip.ip())).await?;
        }
        if !waits {
            self.read = Some(read);
        }
        Ok(())
    }
}
