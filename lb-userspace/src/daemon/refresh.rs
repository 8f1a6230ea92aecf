// SPDX-License-Identifier: MIT OR Apache-2.0
//! Updates of next hops and VIPs after changes of the network.
#![forbid(unsafe_code)]

use std::{
    collections::BTreeSet,
    net::IpAddr,
    time::{Duration, Instant},
};

use super::{Director, dirty::Dirty, network::NextHops, vips::VipChanges};
use lb_model::failure::Failure;

/// Time that a change waits for answers of new neighbours. On a link they answer within a millisecond or never.
const ANSWER: Duration = Duration::from_millis(250);

impl Director {
    /// Adds and removes VIPs as the services require, and returns a line for each remaining problem.
    pub(crate) async fn reconcile(&mut self) -> Vec<String> {
        let mut warnings = self.reconcile_vips().await;
        warnings.extend(self.vips.held_elsewhere());
        warnings.extend(self.network.unreachable(self.store.desired()));
        warnings
    }

    /// Refreshes everything: reappeared interfaces, VIPs that were removed from outside, next hops.
    ///
    /// # Errors
    /// If the maps cannot be written.
    pub async fn refresh(&mut self) -> Result<(), Failure> {
        self.refresh_interfaces_and_vips().await;
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
                let rips = self.network.reached_by(&some);
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
        if self.network.fits_in_part() {
            return self.refresh().await;
        }
        self.refresh_interfaces_and_vips().await;
        let part = self.network.next_part();
        self.refresh_some(&part).await
    }

    /// Refreshes everything but next hops.
    async fn refresh_interfaces_and_vips(&mut self) {
        self.attachments.attach_again(self.maps.plane()).await;
        self.store.save_again(self.vips.added());
        self.store.shorten_journal();
        for warning in self.reconcile_vips().await {
            tracing::warn!("{warning}");
        }
    }

    /// Resolves the next hop of every real that has none, and gives new neighbours a moment to answer: a real
    /// that is up is in service when the operator's command returns. Later answers arrive as events.
    pub(super) async fn ask_for_next_hops(&mut self, rips: &BTreeSet<IpAddr>) -> NextHops {
        let deadline = Instant::now() + ANSWER;
        let (mut next_hops, unknown) = self.network.split(rips);
        loop {
            let found = self.network.resolve(&unknown).await;
            // Updates of existing reals do not wait for new reals.
            if let Some(updated) = self.network.updated(&found)
                && let Err(failure) = self.write_next_hops(updated)
            {
                tracing::error!("network: {}", failure.message);
            }
            if !self.network.has_new_question(&found) || Instant::now() >= deadline {
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
        let next_hops = self.network.resolve_all(&rips).await;
        self.put_next_hops(next_hops).await
    }

    /// Resolves the next hops of some reals again, and writes the changes.
    async fn refresh_some(&mut self, rips: &BTreeSet<IpAddr>) -> Result<(), Failure> {
        let found = self.network.resolve(rips).await;
        if found.iter().all(|(rip, hop)| self.network.next_hops().get(rip) == Some(hop)) {
            return self.put_own_addresses().await;
        }
        let mut next_hops = self.network.next_hops().clone();
        next_hops.extend(found);
        self.put_next_hops(next_hops).await
    }

    /// Logs and writes changed next hops.
    async fn put_next_hops(&mut self, next_hops: NextHops) -> Result<(), Failure> {
        let has_others = self.network.look_at_own_addresses().await;
        if next_hops == *self.network.next_hops() && !has_others {
            return Ok(());
        }
        self.network.log_changes(&next_hops);
        self.write_next_hops(next_hops)
    }

    /// Writes changed addresses of the director to the maps, if the next hops are the same.
    async fn put_own_addresses(&mut self) -> Result<(), Failure> {
        if self.network.look_at_own_addresses().await {
            self.write_next_hops(self.network.next_hops().clone())
        } else {
            Ok(())
        }
    }

    /// Writes changed next hops to the maps.
    fn write_next_hops(&mut self, next_hops: NextHops) -> Result<(), Failure> {
        let want = self.compile(self.store.desired(), self.maps.ids(), &next_hops);
        if let Err(failure) = self.carry_out(&want) {
            self.outcomes.note_failure();
            return Err(failure);
        }
        let lost = next_hops.iter().filter(|(rip, hop)| hop.is_err() && self.network.has_next_hop(rip));
        for (rip, _) in lost {
            self.health.hint(*rip);
        }
        self.network.set_next_hops(next_hops);
        self.plan_checks();
        Ok(())
    }

    /// Resolves again the next hop of every real that has none. Returns whether an answer of a neighbour is pending.
    pub(super) async fn asks_for_next_hops(&mut self) -> Result<bool, Failure> {
        let lost = self.network.unresolved();
        self.refresh_some(&lost).await?;
        Ok(self.network.is_asking())
    }

    async fn reconcile_vips(&mut self) -> Vec<String> {
        let VipChanges { mut warnings, unclaimed, .. } = self.apply_vips().await;
        if self.claim_free(unclaimed).await {
            warnings = self.apply_vips().await.warnings;
        }
        warnings
    }

    /// Adds and removes VIPs, and saves which the daemon added.
    async fn apply_vips(&mut self) -> VipChanges {
        let wanted = self.wanted_vips();
        let mut changes = self.vips.reconcile(&wanted).await;
        // The state file lists exactly the VIPs that the daemon added.
        let is_listed = self.vips.added().is_none_or(|added| added == self.store.vips());
        if (changes.has_changed || !is_listed)
            && let Err(error) = self.save_as_is()
        {
            changes.warnings.push(error.message);
        }
        changes
    }
}
