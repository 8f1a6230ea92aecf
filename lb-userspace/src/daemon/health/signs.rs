// SPDX-License-Identifier: MIT OR Apache-2.0
//! Passive signs: refused connections and ICMP errors that the programs see bring the next check of a real forward.
#![forbid(unsafe_code)]

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use lb_common::ids::RealId;
use lb_dataplane::sign_reader::SignReader;
use lb_health::{Handle, Suspect};
use tokio::{
    sync::watch::{self, Receiver, Sender},
    time::{MissedTickBehavior, interval},
};

/// Interval at which signs are read.
const READ: Duration = Duration::from_millis(100);

/// Reals with checks whose replies pass the director, by their places among the signs.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Witnessed(BTreeMap<u32, BTreeSet<SocketAddr>>);

impl Witnessed {
    /// Adds a real, by its id and the address of its targets.
    pub(super) fn insert(&mut self, id: RealId, address: SocketAddr) {
        self.0.entry(SignReader::place(id)).or_default().insert(address);
    }

    /// Returns the reals that signs at these places may concern.
    fn at(&self, places: &[u32]) -> BTreeSet<SocketAddr> {
        places.iter().filter_map(|place| self.0.get(place)).flatten().copied().collect()
    }
}

/// The reals of which signs are read, published by the director for [`follow`].
#[derive(Debug)]
pub(super) struct Signs(Sender<Arc<Witnessed>>);

impl Default for Signs {
    fn default() -> Self {
        Self(watch::channel(Arc::default()).0)
    }
}

impl Signs {
    pub(super) fn publish(&self, witnessed: Witnessed) {
        self.0.send_if_modified(|known| {
            let is_new = **known != witnessed;
            if is_new {
                *known = Arc::new(witnessed);
            }
            is_new
        });
    }

    pub(super) fn subscribe(&self) -> Receiver<Arc<Witnessed>> {
        self.0.subscribe()
    }
}

/// Hands signs to the health checks until the director is gone. Sleeps while no real can give any.
pub(super) async fn follow(mut reader: SignReader, mut reals: Receiver<Arc<Witnessed>>, handle: Handle) {
    let mut tick = interval(READ);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        if reals.wait_for(|reals| !reals.0.is_empty()).await.is_err() {
            return;
        }
        tick.tick().await;
        let places = reader.new_signs();
        if places.is_empty() {
            continue;
        }
        let suspects = reals.borrow().at(&places);
        for suspect in suspects {
            tracing::debug!(real = %suspect, "a client was refused, or an ICMP error came: the real is checked now");
            handle.hint(Suspect::Real(suspect));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_concerns_the_reals_of_its_place_only() {
        let address = |port| SocketAddr::from(([10, 0, 0, 1], port));
        let mut reals = Witnessed::default();
        reals.insert(RealId(1), address(80));
        reals.insert(RealId(2), address(81));
        reals.insert(RealId(1 + 4096), address(82));
        assert_eq!(reals.at(&[1]), [address(80), address(82)].into());
        assert_eq!(reals.at(&[2, 3]), [address(81)].into());
        assert!(reals.at(&[]).is_empty());
    }
}
