// SPDX-License-Identifier: MIT OR Apache-2.0
//! Rates from two readings.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use lb_common::reason::{Fate, Reason};

use super::read::{Counts, Reading};
use crate::api::live::{LiveReason, LiveService, Load};

/// Returns the services of a reading with the rates since an earlier one, and the packets of all services by
/// reason.
pub(super) fn rates(before: &Reading, now: &Reading) -> (Vec<LiveService>, Vec<LiveReason>) {
    let millis = now.at.saturating_duration_since(before.at).as_millis() as u64;
    let load = |owner: Counts, counted: Load| {
        let (Some(old), Some(new)) = (before.counters.get(&owner), now.counters.get(&owner)) else {
            return counted;
        };
        Load { active: counted.active, inactive: counted.inactive, ..Load::between(old, new, millis) }
    };
    let reasons = |of, is_whole| {
        let none = BTreeMap::new();
        let [old, new] = [before, now].map(|reading| reading.reasons.get(&of).unwrap_or(&none));
        reasons(old, new, millis, is_whole)
    };
    let services = now.services.iter().map(|service| {
        let id = service.service;
        let mut service = service.clone();
        service.load = load((id, None), service.load);
        for real in &mut service.reals {
            real.load = load((id, Some(real.address)), real.load);
        }
        service.reasons = reasons(Some(id), false);
        service
    });
    (services.collect(), reasons(None, true))
}

/// Returns the packets by reason, without [`Reason::NotOurs`], which is never counted.
fn reasons(
    before: &BTreeMap<Reason, u64>,
    now: &BTreeMap<Reason, u64>,
    millis: u64,
    with_sent: bool,
) -> Vec<LiveReason> {
    let shown =
        |reason: &&Reason| **reason != Reason::NotOurs && (with_sent || !matches!(reason.fate(), Fate::Sent));
    let reasons = Reason::ALL.iter().filter(shown);
    let live = |reason: &Reason| {
        let packets = now.get(reason).copied().filter(|packets| *packets > 0)?;
        // A reason that the earlier reading lacks had no packets.
        let old = before.get(reason).copied().unwrap_or(0);
        let rate = u128::from(packets.saturating_sub(old)) * 1000 / u128::from(millis.max(1));
        Some(LiveReason {
            reason: reason.as_str().to_owned(),
            fate: fate(reason.fate()).to_owned(),
            rate: u64::try_from(rate).unwrap_or(u64::MAX),
            packets,
        })
    };
    reasons.filter_map(live).collect()
}

/// Returns the word for a fate.
const fn fate(fate: Fate) -> &'static str {
    match fate {
        Fate::Sent => "sent",
        Fate::Passed => "passed",
        Fate::Dropped => "dropped",
        Fate::Answered => "answered",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_have_their_rate_and_fate() {
        let before = BTreeMap::from([(Reason::NoReal, 10), (Reason::Forwarded, 1)]);
        let now = BTreeMap::from([(Reason::NoReal, 30), (Reason::Forwarded, 5), (Reason::SourceOwn, 0)]);
        let found = reasons(&before, &now, 2000, false);
        let reason = LiveReason { reason: "no_real".into(), fate: "answered".into(), rate: 10, packets: 30 };
        assert_eq!(found, [reason]);
        assert_eq!(reasons(&before, &now, 2000, true).len(), 2);
    }
}
