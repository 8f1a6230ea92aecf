// SPDX-License-Identifier: MIT OR Apache-2.0
//! VIPs of the director: those that it added, and those that other machines have.
#![forbid(unsafe_code)]

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::{Duration, Instant},
};

use lb_control::{
    claim::Holder,
    vips::{Place, VipEvent, VipManager},
};
use lb_model::failure::{Failure, chain};
use lb_netlink::Interface;

/// Interval at which an address is claimed again after it was found on another machine.
const AGAIN: Duration = Duration::from_secs(10);

/// Owner of the VIPs.
pub(super) struct Vips {
    /// `None` leaves VIPs to others.
    manager: Option<VipManager>,
    /// VIPs that other machines have.
    holders: BTreeMap<IpAddr, Holder>,
    /// Time of the last question about holders.
    asked: Option<Instant>,
}

/// Result of adding and removing VIPs.
#[derive(Debug, Default)]
pub(super) struct VipChanges {
    /// A line for each problem.
    pub warnings: Vec<String>,
    /// VIPs that are not claimed yet, with the interface for each.
    pub unclaimed: Vec<(IpAddr, Interface)>,
    /// VIPs were added or removed.
    pub has_changed: bool,
}

impl Vips {
    pub(super) const fn new(manager: Option<VipManager>) -> Self {
        Self { manager, holders: BTreeMap::new(), asked: None }
    }

    /// Returns whether the director adds and removes VIPs.
    pub(super) const fn are_managed(&self) -> bool {
        self.manager.is_some()
    }

    /// Returns whether VIPs are on an interface from which a routing daemon announces them.
    pub(super) fn are_routed(&self) -> bool {
        self.manager.as_ref().is_some_and(|manager| *manager.place() != Place::Home)
    }

    /// Returns the VIPs that the daemon added; `None` if it leaves VIPs to others.
    pub(super) fn added(&self) -> Option<&BTreeSet<IpAddr>> {
        self.manager.as_ref().map(VipManager::added)
    }

    /// Returns a line for each VIP that another machine has.
    pub(super) fn held_elsewhere(&self) -> impl Iterator<Item = String> + '_ {
        self.holders.iter().map(|(vip, holder)| format!("VIP {vip} is in use at {holder} and stays there"))
    }

    /// Allows VIPs to be added, because no other machine has them, or because they may be taken from it.
    pub(super) fn claim(&mut self, vips: impl IntoIterator<Item = IpAddr>) {
        if let Some(manager) = &mut self.manager {
            manager.claim(vips);
        }
    }

    /// Returns those of `vips` that are not addresses of this host, and the interface for each.
    ///
    /// # Errors
    /// If the addresses or interfaces cannot be read.
    pub(super) async fn missing(&self, vips: BTreeSet<IpAddr>) -> Result<Vec<(IpAddr, Interface)>, Failure> {
        match &self.manager {
            Some(manager) => manager.missing(vips).await.map_err(|error| Failure::failed(chain(&error))),
            None => Ok(Vec::new()),
        }
    }

    /// Returns whether to ask now which machines have the unclaimed VIPs: there are new ones, or the last
    /// question is too long ago. Others that were held are forgotten.
    pub(super) fn asks_for(&mut self, unclaimed: &BTreeSet<IpAddr>) -> bool {
        self.holders.retain(|vip, _| unclaimed.contains(vip));
        let is_new = unclaimed.iter().any(|vip| !self.holders.contains_key(vip));
        let again = self.asked.is_none_or(|asked| asked.elapsed() >= AGAIN);
        !unclaimed.is_empty() && (is_new || again)
    }

    /// Notes the machines that have some of the unclaimed VIPs, and claims the others. Returns whether there
    /// are others.
    pub(super) fn note_holders(
        &mut self,
        unclaimed: BTreeSet<IpAddr>,
        holders: BTreeMap<IpAddr, Holder>,
    ) -> bool {
        for (vip, holder) in &holders {
            if self.holders.get(vip) != Some(holder) {
                tracing::warn!(
                    "VIP {vip} is in use at {holder} and stays there; `--take-over` moves it here"
                );
            }
        }
        let free: Vec<IpAddr> = unclaimed.into_iter().filter(|vip| !holders.contains_key(vip)).collect();
        (self.holders, self.asked) = (holders, Some(Instant::now()));
        let any = !free.is_empty();
        self.claim(free);
        any
    }

    /// Adds the wanted VIPs that are claimed, and removes added ones that are no longer wanted.
    pub(super) async fn reconcile(&mut self, wanted: &BTreeSet<IpAddr>) -> VipChanges {
        let mut changes = VipChanges::default();
        let Some(manager) = &mut self.manager else { return changes };
        let before = manager.added().clone();
        for event in manager.reconcile(wanted).await {
            match event {
                VipEvent::Unclaimed(vip, interface) => changes.unclaimed.push((vip, interface)),
                VipEvent::Added(vip, interface) => tracing::info!(%vip, interface, "VIP added and announced"),
                VipEvent::AlreadyThere(vip) => tracing::debug!(%vip, "VIP was there already"),
                VipEvent::Removed(vip) => tracing::info!(%vip, "VIP removed"),
                VipEvent::Failed(vip, error) => changes.warnings.push(format!("VIP {vip}: {error}")),
            }
        }
        changes.has_changed = *manager.added() != before;
        changes
    }

    /// Removes the VIPs that the daemon added. Returns whether it manages VIPs.
    pub(super) async fn remove_all(&mut self) -> bool {
        let Some(manager) = &mut self.manager else { return false };
        for event in manager.reconcile(&BTreeSet::new()).await {
            if let VipEvent::Failed(vip, error) = event {
                tracing::warn!(%vip, error = chain(&error), "VIP not removed");
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn held_vips_are_asked_for_again_only_after_a_while_or_beside_a_new_one() {
        let [one, two] = [IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2])];
        let holder = Holder { mac: [2, 0, 0, 0, 0, 9], interface: "eth0".to_owned() };
        let mut vips = Vips::new(None);
        assert!(!vips.asks_for(&BTreeSet::new()));
        assert!(vips.asks_for(&[one].into()));
        assert!(!vips.note_holders([one].into(), [(one, holder.clone())].into()), "no VIP is free");
        assert_eq!(
            vips.held_elsewhere().collect::<Vec<_>>(),
            ["VIP 192.0.2.1 is in use at 02:00:00:00:00:09 on eth0 and stays there"]
        );
        assert!(!vips.asks_for(&[one].into()));
        assert!(vips.asks_for(&[one, two].into()));
        assert!(vips.note_holders([one, two].into(), [(one, holder)].into()), "the second VIP is free");
        vips.asked = Instant::now().checked_sub(AGAIN);
        assert!(vips.asks_for(&[one].into()));
        assert!(!vips.asks_for(&BTreeSet::new()));
        assert_eq!(vips.held_elsewhere().count(), 0, "the VIP is not wanted any more");
    }
}
