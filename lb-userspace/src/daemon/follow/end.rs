// SPDX-License-Identifier: MIT OR Apache-2.0
//! The end of following: the kernel gets the connections that began meanwhile, and then the packets.

use std::time::Duration;

use super::hand_over::{HandOver, HandedOver, collect};
use crate::daemon::{Director, maps::maps_failed};
use lb_dataplane::{PinDir, Tables};
use lb_model::failure::{Failure, chain};
use lb_netlink::ipvs::Ipvs;

/// Longest time in which the kernel gets all connections, while xvs forwards.
const ALL: Duration = Duration::from_secs(3);
/// Longest time in which it gets those that began meanwhile, while nobody forwards.
const MEANWHILE: Duration = Duration::from_secs(1);

impl Director {
    /// Hands all connections to the kernel in a few seconds at most, and ends forwarding by xvs. The daemon must end then.
    ///
    /// # Errors
    /// If the pins cannot be removed. The number of connections that were not handed over is logged.
    pub(crate) async fn hand_back(&mut self, ipvs: &Ipvs, pins: &PinDir) -> Result<(), Failure> {
        let mut hand_over = Some(HandOver::begin(ipvs).await).and_then(logged);
        let before = self.hand_over_all(hand_over.as_mut(), ALL).await;
        self.release().await;
        self.detach();
        // The guard drops the services' packets until the kernel has the connections that began meanwhile: their clients
        // send them again.
        let after = self.hand_over_all(hand_over.as_mut(), MEANWHILE).await;
        remove_pins(pins)?;
        if let Some(hand_over) = hand_over {
            logged(hand_over.end().await);
        }
        let handed = after.or(before).unwrap_or_default();
        tracing::info!("stopped: the kernel's IPVS forwards again, with {} connections of xvs", handed.taken);
        for line in not_handed(handed) {
            tracing::error!("{line}");
        }
        Ok(())
    }

    async fn hand_over_all(
        &mut self,
        hand_over: Option<&mut HandOver>,
        within: Duration,
    ) -> Option<HandedOver> {
        let hand_over = hand_over?;
        let connections = collect(self.maps.tables()).map_err(|error| maps_failed(&error));
        match connections {
            Ok(connections) => logged(hand_over.hand_over(connections, within).await),
            Err(failure) => logged(Err(failure)),
        }
    }
}

/// Returns lines about the connections that may not have been handed over.
fn not_handed(handed: HandedOver) -> Vec<String> {
    let HandedOver { missing, unconfirmed, .. } = handed;
    let mut lines = Vec::new();
    if missing > 0 {
        lines.push(format!("the kernel did not take {missing} connections"));
    }
    if unconfirmed > 0 {
        lines.push(format!(
            "{unconfirmed} connections were announced to the kernel, without time to look whether it took them"
        ));
    }
    lines
}

/// Hands the connections of a stopped daemon to the kernel, and ends forwarding. Returns lines for the operator.
///
/// # Errors
/// If the pins cannot be removed.
pub(in super::super) async fn hand_back_pinned(pins: &PinDir) -> Result<Vec<String>, Failure> {
    let mut lines = Vec::new();
    let tables = pins.tables().map_err(|error| maps_failed(&error));
    let begun = match Ipvs::open().await.map_err(Failure::from) {
        Ok(ipvs) => HandOver::begin(&ipvs).await,
        Err(failure) => Err(failure),
    };
    match (tables, begun) {
        (Ok(tables), Ok(mut hand_over)) => {
            let before = hand_over_pinned(&tables, &mut hand_over, ALL).await;
            pins.remove_all().map_err(|error| Failure::failed(chain(&error)))?;
            let after = hand_over_pinned(&tables, &mut hand_over, MEANWHILE).await;
            let ended = hand_over.end().await;
            match after.or(before) {
                Ok(handed) => {
                    lines.push(format!("handed {} connections to the kernel's IPVS", handed.taken));
                    lines.extend(not_handed(handed));
                }
                Err(failure) => lines.push(failure.message),
            }
            lines.extend(ended.err().map(|failure| failure.message));
        }
        (Err(failure), _) | (_, Err(failure)) => {
            lines.push(format!("no connection was handed to the kernel: {}", failure.message));
        }
    }
    remove_pins(pins)?;
    Ok(lines)
}

async fn hand_over_pinned(
    tables: &Tables,
    hand_over: &mut HandOver,
    within: Duration,
) -> Result<HandedOver, Failure> {
    let connections = collect(tables).map_err(|error| maps_failed(&error))?;
    hand_over.hand_over(connections, within).await
}

/// Removes the pins, and the guard last: without it the stack gets the services' packets.
fn remove_pins(pins: &PinDir) -> Result<(), Failure> {
    pins.remove_all().map_err(|error| Failure::failed(chain(&error)))?;
    pins.remove_guard().map_err(|error| Failure::failed(chain(&error)))
}

/// Logs a failure.
fn logged<T>(result: Result<T, Failure>) -> Option<T> {
    result.map_err(|failure| tracing::error!("{}", failure.message)).ok()
}
