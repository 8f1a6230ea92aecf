// SPDX-License-Identifier: MIT OR Apache-2.0
//! VIPs in use by other machines: found before the director adds a VIP, which it then does only with `--take-over`.
#![forbid(unsafe_code)]

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use super::Director;
use lb_control::claim::{Claim, Holder};
use lb_model::failure::{Failure, chain};
use lb_model::{Desired, Forward};
use lb_netlink::Interface;

/// Time to wait for an answer. It arrives within a millisecond, unless a link is lossy: hence the second question.
const ANSWER: Duration = Duration::from_millis(200);
const QUESTIONS: u32 = 2;
/// Interval at which next hops are updated during a claim.
const STEP: Duration = Duration::from_millis(20);
impl Director {
    /// Refuses new VIPs that the director cannot add: addresses that other machines have, unless `take_over`;
    /// those of reals; and network and broadcast addresses.
    ///
    /// # Errors
    /// If a VIP is refused; the failure names the machine that has the address, if there is one.
    pub(super) async fn may_take(&mut self, desired: &Desired, take_over: bool) -> Result<(), Failure> {
        let known: BTreeSet<IpAddr> = self.store.desired().vips().collect();
        let new: BTreeSet<IpAddr> = desired.vips().filter(|vip| !known.contains(vip)).collect();
        if new.is_empty() {
            return Ok(());
        }
        self.network.look_at_own_addresses().await;
        if let Some(vip) = new.iter().find(|vip| self.network.own().broadcast.contains(vip)) {
            return Err(Failure::wrong_input(format!(
                "VIP {vip} is the first or the last address of a network of this director: no host can have it"
            ))
            .hint("use an address between them"));
        }
        for (id, service) in &desired.services {
            let other = |(address, real): &(&std::net::SocketAddr, &lb_model::Real)| {
                real.forward != Forward::Local && new.contains(&address.ip())
            };
            if let Some((address, _)) = service.reals.iter().find(other) {
                return Err(Failure::wrong_input(format!(
                    "VIP {} is the address of a real of {id}",
                    address.ip()
                ))
                .hint("use a VIP that no real has"));
            }
        }
        if take_over {
            self.vips.claim(new);
            return Ok(());
        }
        let missing = self.vips.missing(new).await?;
        let holders = self.ask_for_holders(&missing).await;
        match holders.first_key_value() {
            None => {
                self.vips.claim(missing.into_iter().map(|(vip, _)| vip));
                Ok(())
            }
            Some((vip, holder)) => Err(Failure::failed(format!("{vip} is in use at {holder}"))
                .hint("`--take-over` moves it here; nothing was changed")),
        }
    }

    /// Claims VIPs that are free. VIPs that another machine has are noted, and claimed again later. Returns
    /// whether there are VIPs to add now.
    pub(super) async fn claim_free(&mut self, unclaimed: Vec<(IpAddr, Interface)>) -> bool {
        let vips: BTreeSet<IpAddr> = unclaimed.iter().map(|(vip, _)| *vip).collect();
        if !self.vips.asks_for(&vips) {
            return false;
        }
        let holders = self.ask_for_holders(&unclaimed).await;
        self.vips.note_holders(vips, holders)
    }

    /// Asks on the links which machines have these addresses. Meanwhile the next hops are kept up to date.
    async fn ask_for_holders(&mut self, wanted: &[(IpAddr, Interface)]) -> BTreeMap<IpAddr, Holder> {
        if wanted.is_empty() {
            return BTreeMap::new();
        }
        let links = self.network.netlink().interfaces().await.unwrap_or_default();
        let mut claim = match Claim::new(wanted, &links) {
            Ok(claim) => claim,
            Err(error) => {
                tracing::warn!(error = chain(&error), "whether other machines have the VIPs cannot be asked");
                return BTreeMap::new();
            }
        };
        let steps = (ANSWER.as_millis() / STEP.as_millis()) as u32;
        for step in 0..steps {
            if step.is_multiple_of(steps / QUESTIONS) {
                claim.ask();
            }
            tokio::time::sleep(STEP).await;
            claim.read();
            if let Err(failure) = self.refresh_next_hops().await {
                tracing::error!("network: {}", failure.message);
            }
        }
        claim.holders()
    }
}
