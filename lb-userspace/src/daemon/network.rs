// SPDX-License-Identifier: MIT OR Apache-2.0
//! Updates of next hops and VIPs after changes of the network.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    ops::Bound,
    time::{Duration, Instant},
};

use super::{Director, dirty::Dirty};
use lb_control::{
    effective,
    neighbours::{Resolution, Unresolved},
    own_addresses::OwnAddresses,
    vips::{VipEvent, VipManager},
};
use lb_model::failure::{Failure, chain};
use lb_netlink::Interface;

/// Time that a change waits for answers of new neighbours. On a link they answer within a millisecond or never.
const ANSWER: Duration = Duration::from_millis(250);

/// Number of reals whose next hops one periodic refresh covers.
const PART: usize = 512;

impl Director {
    /// Adds and removes VIPs as the services require, and returns a line for each remaining problem.
    pub(crate) async fn settle(&mut self) -> Vec<String> {
        let mut warnings = self.reconcile_vips().await;
        warnings.extend(self.held.lines());
        warnings.extend(self.unreachable());
        warnings
    }

    /// Refreshes everything: reappeared interfaces, VIPs that were removed from outside, next hops.
    ///
    /// # Errors
    /// If the maps cannot be written.
    pub async fn refresh(&mut self) -> Result<(), Failure> {
        self.refresh_place().await;
        self.refresh_next_hops().await
    }

    /// Refreshes the changed parts of the network.
    ///
    /// # Errors
    /// If the maps cannot be written.
    pub async fn refresh_after(&mut self, dirty: Dirty) -> Result<(), Failure> {
        match dirty {
            Dirty::All => self.refresh().await,
            Dirty::Neighbours(some) => {
                let mut rips = self.neighbours.reached_by(&some);
                rips.retain(|rip| self.next_hops.contains_key(rip));
                self.refresh_some(&rips).await
            }
        }
    }

    /// Refreshes periodically, without an event: interfaces, VIPs, and one part of the reals. Events cover
    /// the rest, and a refresh of tens of thousands of reals at once would delay changes.
    ///
    /// # Errors
    /// If the maps cannot be written.
    pub async fn refresh_in_turn(&mut self) -> Result<(), Failure> {
        if self.next_hops.len() <= PART {
            return self.refresh().await;
        }
        self.refresh_place().await;
        let rips: BTreeSet<IpAddr> = self.store.desired().rips().collect();
        self.neighbours.forget_others(&rips);
        let after = self.looked_at.map_or(Bound::Unbounded, Bound::Excluded);
        let part: BTreeSet<IpAddr> = rips.range((after, Bound::Unbounded)).take(PART).copied().collect();
        self.looked_at = part.last().copied();
        self.refresh_some(&part).await
    }

    /// Refreshes everything but next hops.
    async fn refresh_place(&mut self) {
        self.attach_again().await;
        self.store.save_again(self.vips.as_ref().map(VipManager::added));
        for warning in self.reconcile_vips().await {
            tracing::warn!("{warning}");
        }
    }

    /// Resolves the next hop of every real that has none, and gives new neighbours a moment to answer: a real
    /// that is up is in service when the operator's command returns. Later answers arrive as events.
    pub(super) async fn ask_for_next_hops(
        &mut self,
        rips: &BTreeSet<IpAddr>,
    ) -> BTreeMap<IpAddr, Resolution> {
        let deadline = Instant::now() + ANSWER;
        let mut next_hops: BTreeMap<IpAddr, Resolution> = BTreeMap::new();
        let mut unknown = BTreeSet::new();
        for rip in rips {
            match self.next_hops.get(rip) {
                Some(known @ Ok(_)) => drop(next_hops.insert(*rip, known.clone())),
                _ => drop(unknown.insert(*rip)),
            }
        }
        loop {
            let found = self.neighbours.look(&unknown).await;
            // Updates of existing reals do not wait for new reals.
            if let Err(failure) = self.note_next_hops(&found) {
                tracing::error!("network: {}", failure.message);
            }
            let waiting = found.iter().any(|(rip, resolution)| {
                matches!(resolution, Err(Unresolved::Asking { .. }))
                    && self.next_hops.get(rip) != Some(resolution)
            });
            if !waiting || Instant::now() >= deadline {
                next_hops.extend(found);
                return next_hops;
            }
            tokio::time::sleep(ANSWER / 50).await;
        }
    }

    /// Resolves the next hops of all reals again, and writes the changes.
    ///
    /// # Errors
    /// If the maps cannot be written.
    pub(super) async fn refresh_next_hops(&mut self) -> Result<(), Failure> {
        let rips: BTreeSet<IpAddr> = self.store.desired().rips().collect();
        let next_hops = self.neighbours.refresh(&rips).await;
        self.take_over(next_hops).await
    }

    /// Resolves the next hops of some reals again, and writes the changes.
    async fn refresh_some(&mut self, rips: &BTreeSet<IpAddr>) -> Result<(), Failure> {
        let found = self.neighbours.look(rips).await;
        let mut next_hops = self.next_hops.clone();
        next_hops.extend(found);
        self.take_over(next_hops).await
    }

    /// Writes changed next hops to the maps.
    async fn take_over(&mut self, next_hops: BTreeMap<IpAddr, Resolution>) -> Result<(), Failure> {
        let has_others = self.look_at_own_addresses().await;
        if next_hops == self.next_hops && !has_others {
            return Ok(());
        }
        self.next_hop_log.log(&self.next_hops, &next_hops);
        let want = self.compile(self.store.desired(), self.maps.ids(), &next_hops);
        self.carry_out(&want).map(drop)?;
        self.next_hops = next_hops;
        Ok(())
    }

    /// Writes changed next hops of reals that are in the maps. Reals that are not in `next_hops` are unchanged.
    fn note_next_hops(&mut self, next_hops: &BTreeMap<IpAddr, Resolution>) -> Result<(), Failure> {
        let mut known = self.next_hops.clone();
        for (rip, resolution) in &mut known {
            if let Some(new) = next_hops.get(rip) {
                resolution.clone_from(new);
            }
        }
        if known == self.next_hops {
            return Ok(());
        }
        let want = self.compile(self.store.desired(), self.maps.ids(), &known);
        self.carry_out(&want).map(drop)?;
        self.next_hops = known;
        Ok(())
    }

    /// Resolves again the next hop of every real that has none. Returns whether an answer of a neighbour is pending.
    pub(super) async fn asks_for_next_hops(&mut self) -> Result<bool, Failure> {
        let lost = self.next_hops.iter().filter(|(_, hop)| hop.is_err()).map(|(rip, _)| *rip).collect();
        self.refresh_some(&lost).await?;
        Ok(self.next_hops.values().any(|hop| matches!(hop, Err(Unresolved::Asking { .. }))))
    }

    /// Reads the director's addresses. Returns whether they have changed.
    pub(super) async fn look_at_own_addresses(&mut self) -> bool {
        match self.netlink.addresses().await {
            Ok(addresses) => {
                let own = OwnAddresses::of(&addresses);
                let before = std::mem::replace(&mut self.own, own);
                before != self.own
            }
            Err(error) => {
                tracing::warn!(error = chain(&error), "the director's addresses are not known");
                false
            }
        }
    }

    async fn reconcile_vips(&mut self) -> Vec<String> {
        let (mut warnings, unclaimed) = self.place_vips().await;
        if self.claim_free(unclaimed).await {
            warnings = self.place_vips().await.0;
        }
        warnings
    }

    /// Adds and removes VIPs. Returns warnings, and the VIPs that are not claimed yet.
    async fn place_vips(&mut self) -> (Vec<String>, Vec<(IpAddr, Interface)>) {
        let Some(vips) = &mut self.vips else { return (Vec::new(), Vec::new()) };
        let wanted: BTreeSet<IpAddr> =
            self.store.desired().vips().chain(self.store.dips().addresses()).collect();
        let (mut warnings, mut unclaimed) = (Vec::new(), Vec::new());
        let added = vips.added().clone();
        for event in vips.reconcile(&wanted).await {
            match event {
                VipEvent::Unclaimed(vip, interface) => unclaimed.push((vip, interface)),
                VipEvent::Added(vip, interface) => tracing::info!(%vip, interface, "VIP added and announced"),
                VipEvent::AlreadyThere(vip) => tracing::debug!(%vip, "VIP was there already"),
                VipEvent::Removed(vip) => tracing::info!(%vip, "VIP removed"),
                VipEvent::Failed(vip, error) => warnings.push(format!("VIP {vip}: {error}")),
            }
        }
        // The state file lists exactly the VIPs that the daemon added.
        if (vips.added() != &added || *self.store.vips() != added)
            && let Err(error) = self.save_as_is()
        {
            warnings.push(error.message);
        }
        (warnings, unclaimed)
    }

    /// Returns a line for each real without a next hop.
    pub(super) fn unreachable(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (id, service) in &self.store.desired().services {
            let effective = effective::service(id, service, &self.next_hops);
            for (address, real) in &service.reals {
                if !self.is_local(id, *address, real)
                    && let Some(Err(why)) = self.next_hops.get(&address.ip())
                {
                    let is_left_out = effective.reals[address].weight < real.weight;
                    let then = if is_left_out { "; it gets no new connections until then" } else { "" };
                    lines.push(format!("real {address} of {id}: {why}{then}"));
                }
            }
        }
        lines
    }

    /// Returns whether a change of the network may have changed the next hop of a real.
    #[must_use]
    pub fn concerns(&self, change: &lb_netlink::Change) -> bool {
        self.neighbours.concerns(change)
    }
}
