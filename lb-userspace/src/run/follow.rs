// SPDX-License-Identifier: MIT OR Apache-2.0
//! Start of a daemon that follows the kernel's IPVS.
#![forbid(unsafe_code)]

use std::time::Duration;

use tokio::task::JoinHandle;

use super::RunOptions;
use crate::daemon::{
    Director, Shared,
    follow::{self, Read, Source},
};
use lb_common::schema::{Settings, Timeouts};
use lb_control::{
    config::{Config, DirectorSection},
    ipvs::Followed,
};
use lb_dataplane::Limits;
use lb_model::{Desired, failure::Failure, timeouts::TimeoutOptions};
use lb_netlink::{Interface, Netlink, ipvs::Ipvs};

/// Longest time in which the connections of IPVS are read at the start.
const IMPORT: Duration = Duration::from_secs(20);

/// IPVS at the start.
pub(super) struct Start {
    source: Source,
    read: Read,
    followed: Followed,
}

impl Start {
    /// Reads IPVS, if the daemon is to follow it.
    ///
    /// # Errors
    /// If there is no IPVS, or the config file has services.
    pub(super) async fn read(
        options: &RunOptions,
        config: &Config,
        netlink: &Netlink,
        limits: &Limits,
    ) -> Result<Option<Self>, Failure> {
        if !options.follow_ipvs {
            return Ok(None);
        }
        if !config.desired.services.is_empty() {
            let file = options.config.as_ref().map_or(String::new(), |file| file.display().to_string());
            return Err(Failure::wrong_input(format!(
                "{file} has services, and --follow-ipvs takes those of the kernel's IPVS"
            ))
            .hint("leave --follow-ipvs out; or keep only [director] in the file"));
        }
        let source = Source::open(netlink.clone()).await?;
        let read = source.read().await?;
        let followed = read.translate(limits);
        Ok(Some(Self { source, read, followed }))
    }

    /// Returns the services to begin with.
    pub(super) fn desired(&self) -> Desired {
        let services = self.followed.services.clone().into_iter().collect();
        Desired { services, ..Desired::default() }
    }

    /// Puts the services in force. No program is attached yet.
    ///
    /// # Errors
    /// If the maps cannot be written.
    pub(super) async fn begin(&self, director: &mut Director, desired: Desired) -> Result<(), Failure> {
        director.begin_to_follow(&self.followed);
        director.begin(desired).await
    }

    /// Returns the connection to IPVS.
    pub(super) fn ipvs(&self) -> Ipvs {
        self.source.ipvs().clone()
    }
}

/// Takes the connections of IPVS over, attaches the programs, and starts to follow.
///
/// # Errors
/// If an interface refuses.
pub(super) async fn start(
    start: Option<Start>,
    director: &Shared,
    interfaces: &[Interface],
) -> Result<Option<JoinHandle<()>>, Failure> {
    let Some(Start { source, read, .. }) = start else { return Ok(None) };
    // Without them, the kernel forwards their packets.
    if let Err(failure) = follow::import(director, IMPORT, |_| true).await {
        tracing::warn!("the connections of IPVS stay with the kernel: {}", failure.message);
    }
    let mut locked = director.lock().await;
    locked.attach(interfaces).await?;
    locked.guard_interfaces();
    drop(locked);
    Ok(Some(follow::start(director.clone(), source, read)))
}

/// Returns the timeouts of idle flows: those of IPVS, else those of the config file or those that the operator has `said`.
pub(super) fn timeouts(follow: Option<&Start>, section: &DirectorSection, said: TimeoutOptions) -> Timeouts {
    match follow {
        Some(follow) => DirectorSection::default().timeouts(follow.followed.timeouts),
        None => section.timeouts(said),
    }
}

/// Returns the settings of the programs beside IPVS, or without it.
pub(super) fn settings(options: &RunOptions, settings: Settings) -> Settings {
    Settings { beside_ipvs: options.follow_ipvs.into(), ..settings }
}
