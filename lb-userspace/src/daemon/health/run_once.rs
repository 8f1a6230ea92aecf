// SPDX-License-Identifier: MIT OR Apache-2.0
//! Single probes for operators: `xvs check run`.
#![forbid(unsafe_code)]

use std::{collections::BTreeMap, sync::Arc};

use lb_common::ids::RealId;
use tokio::sync::mpsc;

use crate::{
    api::health::{CheckRun, CheckRunResult},
    daemon::Shared,
};
use lb_model::failure::{ErrorCode, Failure};

/// Most steps of a probe.
const STEPS: usize = 100;

/// Probes a real once, and returns the steps. The director is not locked meanwhile, and no state changes.
///
/// # Errors
/// If there is no such check, service or real; the failure is wrong input.
pub async fn run_check(shared: &Shared, question: &CheckRun) -> Result<CheckRunResult, Failure> {
    let CheckRun { name, service: id, real: address } = question;
    let (handle, target) = {
        let director = shared.lock().await;
        let desired = director.desired();
        let Some(check) = desired.checks.get(name) else {
            return Err(Failure::wrong_input(format!("there is no check {name}"))
                .hint("`xvs check list` lists the checks")
                .because(ErrorCode::NoCheck));
        };
        let Some(service) = desired.services.get(id) else {
            return Err(Failure::wrong_input(format!("there is no service {id}"))
                .hint("`xvs service list` lists the services")
                .because(ErrorCode::NoService));
        };
        let Some(real) = service.reals.get(address) else {
            return Err(Failure::wrong_input(format!("service {id} has no real {address}"))
                .hint(format!("`xvs real list {id}` lists its reals"))
                .because(ErrorCode::NoReal));
        };
        let definitions = BTreeMap::from([(name, Arc::new(check.clone()))]);
        let Some(target) = director.target(id, name, &definitions, *address, real) else {
            return Err(Failure::failed(format!("service {id} has no endpoint to which a probe could go"))
                .hint("`xvs group add` adds one"));
        };
        if target.is_by_path()
            && let Some(source) = director.source(&target)
        {
            director.health.sources.add(RealId(target.real_id), source);
        }
        let Some(handle) = director.health.handle.clone() else {
            return Err(Failure::failed("health checks do not run").hint("the daemon's log has the reason"));
        };
        (handle, target)
    };
    let (sender, mut receiver) = mpsc::channel(STEPS);
    let last = handle.run_once(target, sender).await;
    let mut steps = Vec::new();
    while let Ok(step) = receiver.try_recv() {
        steps.push(step);
    }
    Ok(CheckRunResult { steps, last })
}
