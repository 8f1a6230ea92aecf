// SPDX-License-Identifier: MIT OR Apache-2.0
//! Health options of the services of a server: `alpha`, `inhibit_on_failure`, `quorum`, `hysteresis`.
#![forbid(unsafe_code)]

use super::{lines::Said, real::Real, schedule::Notes, server::Server};
use lb_control::options::HealthOptions;
use lb_model::health::{Initial, MinHealthy, OnDown};

/// Returns the options, and a note about each line that is not carried over exactly.
pub fn policy(server: &Server) -> (HealthOptions, Notes) {
    let mut notes = Vec::new();
    let mut options = HealthOptions { initial: Some(Initial::Up), ..HealthOptions::default() };
    let checked: Vec<&Real> = server.reals.iter().filter(|real| !real.checkers.is_empty()).collect();
    let alphas = checked.iter().map(|real| alpha(server, real));
    if agreed(alphas, "`initial` is one for all reals of a service, and others have no alpha", &mut notes) {
        options.initial = Some(Initial::Down);
    }
    let inhibited = checked.iter().map(|real| {
        real.inhibit
            .as_ref()
            .or(server.inhibit.as_ref())
            .filter(|(_, is_on)| *is_on)
            .map(|(said, _)| said.clone())
    });
    let why = "`on-down` is one for all reals of a service, and others have no inhibit_on_failure";
    if agreed(inhibited, why, &mut notes) {
        options.on_down = Some(OnDown::Keep);
    }
    quorum(server, &mut options, &mut notes);
    (options, notes)
}

/// Returns the line by which a real is down until a checker succeeds.
fn alpha(server: &Server, real: &Real) -> Option<Said> {
    let outer = real.schedule.or(&server.schedule);
    let alphas = real.checkers.iter().map(|checker| checker.schedule.or(&outer).alpha);
    alphas.flatten().find(|(_, is_on)| *is_on).map(|(said, _)| said)
}

/// Returns whether all reals have a line; if only some have, they get a note.
fn agreed(lines: impl Iterator<Item = Option<Said>>, why: &str, notes: &mut Notes) -> bool {
    let lines: Vec<Option<Said>> = lines.collect();
    let all = !lines.is_empty() && lines.iter().all(Option::is_some);
    if !all {
        notes.extend(lines.into_iter().flatten().map(|said| (said, why.to_owned())));
    }
    all
}

/// Sets the minimum of healthy reals. keepalived adds up weights; below the quorum, the sorry server replaces
/// the reals, and without one only scripts run.
fn quorum(server: &Server, options: &mut HealthOptions, notes: &mut Notes) {
    let given = [&server.quorum, &server.hysteresis].into_iter().flatten();
    if !server.reals.iter().any(|real| real.backup) {
        let why = "without a sorry_server, it only starts quorum_up and quorum_down: dead reals \
                   stay out, and `min-healthy` would bring them back";
        notes.extend(given.map(|(said, _)| (said.clone(), why.to_owned())));
        return;
    }
    let weights: Vec<u64> = server
        .reals
        .iter()
        .filter(|real| !real.backup)
        .map(|real| u64::from(real.weight.unwrap_or(server.weight)))
        .collect();
    let number = |given: &Option<(Said, u32)>| given.as_ref().map(|(_, number)| u64::from(*number));
    let total: u64 = weights.iter().sum();
    // keepalived limits both in this way.
    let quorum = number(&server.quorum).unwrap_or(1).min(total);
    let hysteresis = number(&server.hysteresis).unwrap_or(0).min(quorum.saturating_sub(1));
    // It leaves the quorum at `quorum - hysteresis`, and is back at `quorum + hysteresis`.
    let reals =
        |weight: u64| (weight * weights.len() as u64).div_ceil(total.max(1)).min(weights.len() as u64) as u32;
    let (least, enough) = (reals(quorum - hysteresis), reals(quorum + hysteresis));
    if enough <= 1 {
        return;
    }
    options.min_healthy = Some(MinHealthy::Reals(least));
    options.hysteresis = Some(enough - least).filter(|more| *more > 0);
    let why = format!(
        "it becomes min-healthy = \"{least}\" (hysteresis {}): healthy reals are counted, without their \
         weights, and serve beside the backup",
        enough - least
    );
    notes.extend(given.map(|(said, _)| (said.clone(), why.clone())));
}
