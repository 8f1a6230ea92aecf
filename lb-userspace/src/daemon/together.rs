// SPDX-License-Identifier: MIT OR Apache-2.0
//! Atomic batches of changes: either all are made, or none.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;

use super::{Director, change, director::LINES};
use crate::api::types::{Change, Done, Together};
use lb_control::same_network;
use lb_model::failure::{ErrorCode, Failure};
use lb_model::{Desired, ServiceId};

/// Result of applying changes.
#[derive(Debug, Default)]
struct Outcome {
    /// One line per change.
    lines: Vec<String>,
    /// Lines of the changes that were made.
    made: Vec<String>,
    /// Option to take VIPs from machines that have them; `None` if the changes bring no VIPs.
    take_over: Option<bool>,
    /// Services that may lose connections.
    forced: BTreeSet<ServiceId>,
}

impl Director {
    /// Carries out one change.
    ///
    /// # Errors
    /// If the change is wrong input, before anything changed; or if it fails, with the maps restored.
    pub async fn change(&mut self, change: &Change) -> Result<Done, Failure> {
        self.change_together(&Together { changes: vec![change.clone()], if_missing: false }).await
    }

    /// Carries out changes in one step: either all, or none.
    ///
    /// # Errors
    /// As [`change`](Self::change).
    pub async fn change_together(&mut self, asked: &Together) -> Result<Done, Failure> {
        self.may_be_changed()?;
        let mut desired = self.store.desired().clone();
        let Outcome { lines, made, take_over, forced } = apply(&mut desired, asked)?;
        if made.is_empty() {
            return Ok(Done { changes: lines, warnings: Vec::new() });
        }
        change::carry_over(self.store.desired(), &mut desired);
        let losses = self.force(forced, &desired)?;
        let done = self.make(desired, take_over, &made).await;
        self.forced.clear();
        let warnings = done?.into_iter().chain(losses).collect();
        Ok(Done { changes: lines, warnings })
    }

    /// Makes the changes `made`, which lead to `desired`. Returns warnings.
    async fn make(
        &mut self,
        desired: Desired,
        take_over: Option<bool>,
        made: &[String],
    ) -> Result<Vec<String>, Failure> {
        if let Some(take_over) = take_over {
            self.may_become(&desired)?;
            self.may_take(&desired, take_over).await?;
        }
        let known = self.network.unreachable(self.store.desired());
        let before = self.store.desired().clone();
        self.write(desired).await?;
        if before != *self.store.desired() {
            self.origin.count(made.len());
        }
        for line in made.iter().take(LINES) {
            tracing::info!("{line}");
        }
        let mut warnings = self.reconcile().await;
        // Earlier problems are in `xvs status`; this change's warnings do not repeat them.
        warnings.retain(|warning| !known.contains(warning));
        let here = self.network.netlink().addresses().await.unwrap_or_default();
        warnings.extend(same_network::notes(&before, self.store.desired(), &here));
        Ok(warnings)
    }
}

/// Applies changes to `desired`. If one of them fails, `desired` is unusable.
fn apply(desired: &mut Desired, asked: &Together) -> Result<Outcome, Failure> {
    let mut outcome = Outcome::default();
    for change in &asked.changes {
        let done = change::apply(desired, change)
            .and_then(|line| change::netmask_has_use(desired, change).map(|()| line));
        match done {
            Ok(line) => {
                if let Change::AddService { take_over, .. } | Change::AddToGroup { take_over, .. } = change {
                    outcome.take_over = Some(*take_over && outcome.take_over.unwrap_or(true));
                }
                if let Change::EditService { service, force: true, .. } = change {
                    outcome.forced.insert(*service);
                }
                outcome.lines.push(line.clone());
                outcome.made.push(line);
            }
            Err(failure) if asked.if_missing && is_there(&failure) => {
                outcome.lines.push(format!("nothing to change: {}", failure.message));
            }
            Err(failure) if asked.changes.len() > 1 => return Err(none_of_them(failure)),
            Err(failure) => return Err(failure),
        }
    }
    Ok(outcome)
}

/// Returns whether a change failed because what it adds exists.
fn is_there(failure: &Failure) -> bool {
    matches!(failure.cause, Some(ErrorCode::ServiceExists | ErrorCode::RealExists | ErrorCode::CheckExists))
}

/// Adds to a failure that no other change was made either.
fn none_of_them(failure: Failure) -> Failure {
    let hint = failure.hint.as_ref().map_or(String::new(), |hint| format!("{hint}; "));
    failure.hint(format!("{hint}nothing was changed"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use lb_control::options::{RealOptions, ServiceOptions};
    use lb_model::Forward;

    fn id() -> ServiceId {
        ServiceId::parse("tcp", "192.0.2.100:80").unwrap()
    }

    fn service() -> Change {
        Change::AddService { service: id(), options: ServiceOptions::default(), take_over: false }
    }

    fn real(rip: &str) -> Change {
        let options = RealOptions { forward: Some(Forward::Nat), ..RealOptions::default() };
        Change::AddReal { service: id(), real: rip.parse().unwrap(), options }
    }

    fn reals(desired: &Desired) -> Vec<String> {
        desired.services[&id()].reals.keys().map(ToString::to_string).collect()
    }

    #[test]
    fn a_service_comes_with_its_reals() {
        let mut desired = Desired::default();
        let changes = vec![service(), real("10.0.0.11"), real("10.0.0.12:8080")];
        let outcome = apply(&mut desired, &Together { changes, if_missing: false }).unwrap();
        assert_eq!(outcome.lines, outcome.made);
        assert_eq!(
            outcome.lines[2],
            "added real 10.0.0.12:8080 to tcp 192.0.2.100:80: forward nat, weight 1"
        );
        assert_eq!((outcome.lines.len(), outcome.take_over), (3, Some(false)));
        assert_eq!(reals(&desired), ["10.0.0.11:80", "10.0.0.12:8080"]);
    }

    #[test]
    fn one_that_is_refused_refuses_all() {
        let mut desired = Desired::default();
        apply(&mut desired, &Together { changes: vec![service(), real("10.0.0.11")], if_missing: false })
            .unwrap();
        let changes = vec![real("10.0.0.12"), real("10.0.0.11")];
        let failure = apply(&mut desired, &Together { changes, if_missing: false }).unwrap_err();
        assert_eq!(failure.message, "service tcp 192.0.2.100:80 has real 10.0.0.11:80 already");
        assert!(failure.hint.unwrap().ends_with("10.0.0.11:80`; nothing was changed"));
        let one = Together { changes: vec![service()], if_missing: false };
        assert!(!apply(&mut desired, &one).unwrap_err().to_string().contains("nothing was changed"));
    }

    #[test]
    fn what_is_there_stays_as_it_is_if_only_the_missing_is_wanted() {
        let mut desired = Desired::default();
        apply(&mut desired, &Together { changes: vec![service(), real("10.0.0.11")], if_missing: false })
            .unwrap();
        let options = ServiceOptions { persistent: Some(60), ..ServiceOptions::default() };
        let other = Change::AddService { service: id(), options, take_over: true };
        let changes = vec![other, real("10.0.0.11"), real("10.0.0.12")];
        let outcome = apply(&mut desired, &Together { changes, if_missing: true }).unwrap();
        assert_eq!(
            outcome.lines,
            [
                "nothing to change: service tcp 192.0.2.100:80 exists already",
                "nothing to change: service tcp 192.0.2.100:80 has real 10.0.0.11:80 already",
                "added real 10.0.0.12:80 to tcp 192.0.2.100:80: forward nat, weight 1",
            ]
        );
        assert_eq!((outcome.made.len(), outcome.take_over), (1, None));
        assert_eq!(desired.services[&id()].persistence, None);
        assert_eq!(reals(&desired), ["10.0.0.11:80", "10.0.0.12:80"]);
        // Any other mistake is still an error.
        let elsewhere = ServiceId::parse("tcp", "192.0.2.101:80").unwrap();
        let lost = Change::AddReal {
            service: elsewhere,
            real: "10.0.0.11".parse().unwrap(),
            options: RealOptions::default(),
        };
        assert!(apply(&mut desired, &Together { changes: vec![lost], if_missing: true }).is_err());
    }
}
