// SPDX-License-Identifier: MIT OR Apache-2.0
//! The end of following: the kernel gets the connections that began meanwhile, and then the packets.

use super::hand_over::{HandOver, HandedOver, collect};
use crate::daemon::{Director, maps::maps_failed};
use lb_dataplane::{PinDir, Tables};
use lb_model::failure::{Failure, chain};
use lb_netlink::ipvs::Ipvs;

impl Director {
    /// Hands all connections to the kernel, and ends forwarding by xvs. The daemon must end then.
    ///
    /// # Errors
    /// If the pins cannot be removed. A connection that cannot be handed over is logged.
    pub(crate) async fn hand_back(&mut self, ipvs: &Ipvs, pins: &PinDir) -> Result<(), Failure> {
        let mut hand_over = Some(HandOver::begin(ipvs).await).and_then(logged);
        let before = self.hand_over_all(hand_over.as_mut()).await;
        self.release().await;
        self.detach();
        // The guard drops the services' packets until the kernel has the connections that began meanwhile: their clients
        // send them again.
        let after = self.hand_over_all(hand_over.as_mut()).await;
        remove_pins(pins)?;
        if let Some(hand_over) = hand_over {
            logged(hand_over.end().await);
        }
        let HandedOver { taken, missing } = before + after;
        tracing::info!("stopped: the kernel's IPVS forwards again, with {taken} connections of xvs");
        if missing > 0 {
            tracing::error!("the kernel did not take {missing} connections");
        }
        Ok(())
    }

    async fn hand_over_all(&mut self, hand_over: Option<&mut HandOver>) -> HandedOver {
        let Some(hand_over) = hand_over else { return HandedOver::default() };
        let connections = collect(self.maps.tables()).map_err(|error| maps_failed(&error));
        match connections {
            Ok(connections) => logged(hand_over.hand_over(connections).await).unwrap_or_default(),
            Err(failure) => logged(Err(failure)).unwrap_or_default(),
        }
    }
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
            let mut handed = hand_over_pinned(&tables, &mut hand_over).await?;
            pins.remove_all().map_err(|error| Failure::failed(chain(&error)))?;
            handed = handed + hand_over_pinned(&tables, &mut hand_over).await?;
            hand_over.end().await?;
            lines.push(format!("handed {} connections to the kernel's IPVS", handed.taken));
            if handed.missing > 0 {
                lines.push(format!("the kernel did not take {} connections", handed.missing));
            }
        }
        (Err(failure), _) | (_, Err(failure)) => {
            lines.push(format!("no connection was handed to the kernel: {}", failure.message));
        }
    }
    remove_pins(pins)?;
    Ok(lines)
}

async fn hand_over_pinned(tables: &Tables, hand_over: &mut HandOver) -> Result<HandedOver, Failure> {
    let connections = collect(tables).map_err(|error| maps_failed(&error))?;
    hand_over.hand_over(connections).await
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
