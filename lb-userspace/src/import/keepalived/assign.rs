// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names of checks, and their use by services and reals.
#![forbid(unsafe_code)]

use std::{collections::BTreeMap, net::SocketAddr};

use super::{super::Imported, check::Built};
use crate::api::types::Change;
use lb_control::options::{CheckList, CheckOptions, HealthOptions};
use lb_model::{ServiceId, check::CheckName, failure::Failure};

/// Checks of the reals of a service.
#[derive(Debug, Default)]
struct Use {
    /// Health options of the service.
    options: HealthOptions,
    /// Checks by real.
    reals: BTreeMap<SocketAddr, Vec<CheckName>>,
}

/// Checks of all reals.
#[derive(Debug, Default)]
pub struct Assigned(BTreeMap<ServiceId, Use>);

impl Assigned {
    /// Gives a real a check, which is added unless an equal one exists.
    ///
    /// # Errors
    /// If the check is invalid on this host.
    pub fn add(
        &mut self,
        imported: &mut Imported,
        service: &ServiceId,
        real: SocketAddr,
        built: &Built,
        options: &HealthOptions,
    ) -> Result<(), Failure> {
        let name = named(imported, built)?;
        let entry =
            self.0.entry(*service).or_insert_with(|| Use { options: options.clone(), ..Use::default() });
        let names = entry.reals.entry(real).or_default();
        if !names.contains(&name) {
            names.push(name);
        }
        Ok(())
    }

    /// Sets the checks of services whose reals all have the same, and otherwise those of the reals.
    pub fn finish(self, imported: &mut Imported) {
        for (service, Use { options, reals }) in self.0 {
            let Some(present) = imported.desired.services.get_mut(&service) else { continue };
            let mut lists =
                present.reals.iter().filter(|(_, real)| !real.backup).map(|(at, _)| reals.get(at));
            let first = lists.next().flatten();
            let common = first.filter(|list| lists.all(|other| other == Some(*list))).cloned();
            for (address, real) in &mut present.reals {
                real.checks = match (&common, real.backup) {
                    // A sorry server has no checks.
                    (Some(_), true) => Some(Vec::new()),
                    (Some(_), false) => None,
                    (None, _) => reals.get(address).cloned(),
                };
            }
            HealthOptions { check: common.map(CheckList), ..options }.apply(&mut present.health);
        }
    }
}

/// Returns the name of an equal check, or adds the check under a free name.
fn named(imported: &mut Imported, built: &Built) -> Result<CheckName, Failure> {
    let Built { check, name } = built;
    if let Some((name, _)) = imported.desired.checks.iter().find(|(_, other)| *other == check) {
        return Ok(name.clone());
    }
    let mut number = 1_usize;
    loop {
        let text = if number == 1 { name.clone() } else { format!("{name}-{number}") };
        let free: CheckName = text.parse().map_err(Failure::wrong_input)?;
        if imported.desired.checks.contains_key(&free) {
            number += 1;
            continue;
        }
        let options = Box::new(CheckOptions::of(check));
        imported.change(&Change::AddCheck { name: free.clone(), kind: check.kind, options })?;
        return Ok(free);
    }
}
