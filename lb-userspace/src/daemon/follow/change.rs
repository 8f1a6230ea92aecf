// SPDX-License-Identifier: MIT OR Apache-2.0
//! Changes of the director's services to those of IPVS.

use std::{collections::BTreeMap, time::Instant};

use super::log_left;
use crate::daemon::{Director, change, director::LINES};
use lb_control::ipvs::Followed;
use lb_model::{Desired, Service, ServiceId, failure::Failure, timeouts::TimeoutOptions};

impl Director {
    /// Makes the services those of `followed`. Returns whether IPVS lacks services that stay in force for a moment.
    ///
    /// # Errors
    /// As [`change`](Self::change); then the services are those before.
    pub(super) async fn follow_to(&mut self, mut followed: Followed) -> Result<bool, Failure> {
        let in_force = &self.store.desired().services;
        let waits = self.follow.settling.settle(Instant::now(), in_force, &mut followed);
        if followed.left != self.follow.left {
            log_left(&new_ones(&followed, &self.follow.left));
            self.follow.left = followed.left;
        }
        self.follow_timeouts(followed.timeouts)?;
        let mut desired = with(self.store.desired(), followed.services);
        change::carry_over(self.store.desired(), &mut desired);
        if desired.services.unshared(&self.store.desired().services).is_empty() {
            return Ok(waits);
        }
        let lines = change::differences(self.store.desired(), &desired);
        self.write(desired).await?;
        self.origin.count(lines.len());
        self.follow.changes += lines.len() as u64;
        for line in lines.iter().take(LINES) {
            tracing::info!("from IPVS: {}", line.done());
        }
        if let more @ 1.. = lines.len().saturating_sub(LINES) {
            tracing::info!("from IPVS: and {more} more changes");
        }
        self.reconcile().await;
        Ok(waits)
    }

    fn follow_timeouts(&mut self, timeouts: TimeoutOptions) -> Result<(), Failure> {
        let now = self.timeout_view();
        let in_force = TimeoutOptions { tcp: Some(now.tcp), tcp_fin: Some(now.tcp_fin), udp: Some(now.udp) };
        if timeouts == in_force {
            return Ok(());
        }
        self.put_timeouts(timeouts).map(drop)
    }

    /// Notes why the services may not be those of IPVS, or that they are.
    pub(super) fn note_follow_problem(&mut self, problem: Option<String>) {
        if problem == self.follow.problem {
            return;
        }
        if let Some(problem) = &problem {
            tracing::error!("IPVS cannot be followed: {problem}");
        } else {
            tracing::info!("IPVS is followed again");
        }
        self.follow.problem = problem;
    }
}

/// Returns the services that stay with the kernel, and did not before.
fn new_ones(followed: &Followed, before: &[lb_control::ipvs::Left]) -> Vec<lb_control::ipvs::Left> {
    followed.left.iter().filter(|left| !before.contains(left)).cloned().collect()
}

/// Returns `before` with exactly the services `wanted`. Those that stay the same are shared.
fn with(before: &Desired, mut wanted: BTreeMap<ServiceId, Service>) -> Desired {
    let mut desired = before.clone();
    let gone: Vec<ServiceId> =
        before.services.keys().filter(|id| !wanted.contains_key(id)).copied().collect();
    for id in gone {
        desired.services.remove(&id);
    }
    wanted.retain(|id, service| {
        before.services.get(id).is_none_or(|old| old.reals != service.reals || !old.is_alike(service))
    });
    desired.services.extend(wanted);
    desired
}

#[cfg(test)]
mod tests {
    use super::*;
    use lb_model::{Forward, Real, Scheduler};

    #[test]
    fn services_that_stay_the_same_are_shared() {
        let id = |port: u16| ServiceId::parse("tcp", &format!("192.0.2.1:{port}")).unwrap();
        let service = |weight| Service {
            scheduler: Scheduler::Wrr,
            reals: [("10.0.0.1:80".parse().unwrap(), Real::new(Forward::Dr, weight))].into(),
            ..Service::default()
        };
        let before = Desired {
            services: [(id(1), service(1)), (id(2), service(1)), (id(3), service(1))].into(),
            ..Desired::default()
        };
        let after = with(&before, [(id(1), service(1)), (id(2), service(5)), (id(4), service(1))].into());
        assert_eq!(after.services.unshared(&before.services), [id(2), id(3), id(4)].into());
        assert_eq!(after.services.len(), 3);
    }
}
