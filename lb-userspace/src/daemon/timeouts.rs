// SPDX-License-Identifier: MIT OR Apache-2.0
//! Timeouts of idle flows.
#![forbid(unsafe_code)]

use lb_common::{schema::Timeouts, ticks::Ticks};

use super::Director;
use crate::api::types::{Done, TimeoutView};
use lb_model::failure::Failure;
use lb_model::timeouts::TimeoutOptions;

impl Director {
    /// Returns the timeouts of idle flows, in seconds.
    pub(super) fn timeout_view(&self) -> TimeoutView {
        let seconds = |ticks: Ticks| (ticks.milliseconds() / 1000) as u32;
        let Timeouts { tcp, tcp_fin, udp } = self.maps.timeouts();
        TimeoutView { tcp: seconds(tcp), tcp_fin: seconds(tcp_fin), udp: seconds(udp) }
    }

    /// Changes the timeouts of idle flows, at once and for every later start.
    ///
    /// # Errors
    /// If the map or the state file cannot be written, or the director follows IPVS.
    pub fn set_timeouts(&mut self, options: TimeoutOptions) -> Result<Done, Failure> {
        self.may_be_changed()?;
        self.put_timeouts(options)
    }

    /// Changes the timeouts, as [`set_timeouts`](Self::set_timeouts), whoever owns them.
    ///
    /// # Errors
    /// If the map or the state file cannot be written.
    pub(super) fn put_timeouts(&mut self, options: TimeoutOptions) -> Result<Done, Failure> {
        let old = self.store.timeouts();
        let merged = TimeoutOptions {
            tcp: options.tcp.or(old.tcp),
            tcp_fin: options.tcp_fin.or(old.tcp_fin),
            udp: options.udp.or(old.udp),
        };
        let prepared = self.store.prepare_timeouts(merged)?;
        let ticks = |seconds: Option<u32>, old| seconds.map_or(old, |s| Ticks::of_seconds(s.into()));
        let before = self.maps.timeouts();
        self.maps.put_timeouts(Timeouts {
            tcp: ticks(options.tcp, before.tcp),
            tcp_fin: ticks(options.tcp_fin, before.tcp_fin),
            udp: ticks(options.udp, before.udp),
        })?;
        if let Err(failure) = self.store.commit_timeouts(prepared, merged) {
            drop(self.maps.put_timeouts(before));
            return Err(failure);
        }
        let TimeoutView { tcp, tcp_fin, udp } = self.timeout_view();
        let line = format!("timeouts are now tcp {tcp}s, tcp-fin {tcp_fin}s, udp {udp}s");
        tracing::info!("{line}");
        Ok(Done { changes: vec![line], warnings: Vec::new() })
    }
}
