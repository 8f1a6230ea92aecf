// SPDX-License-Identifier: MIT OR Apache-2.0
//! Messages to the service manager, which is systemd on most hosts: readiness, status, watchdog. Without a service
//! manager they go nowhere.
#![forbid(unsafe_code)]

use std::time::Duration;

use sd_notify::NotifyState;

/// Signs of life within the time that the service manager allows, so that a late one is no reason to restart.
const SIGNS: u32 = 3;

/// Returns the interval at which the service manager expects [`alive`]; `None` if it does not watch this process.
#[must_use]
pub fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|limit| limit / SIGNS)
}

/// Reports that the process serves, with a status for people.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Reports the status for people: `systemctl status` shows it.
pub fn status(status: &str) {
    tell(&[NotifyState::Status(status)]);
}

/// Reports that the process works. The caller must have made sure of it.
pub fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// Reports that the process is about to end.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager could not be told");
    }
}
