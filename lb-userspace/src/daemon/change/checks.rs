// SPDX-License-Identifier: MIT OR Apache-2.0
//! Effect of an operator's change on the health checks.
#![forbid(unsafe_code)]

use super::{Difference, Effect, altered, edited};
use lb_control::{options::CheckOptions, validate};
use lb_model::{
    Desired,
    check::{CheckName, CheckType},
    failure::{ErrorCode, Failure},
    text::likely,
};

/// Adds a check.
///
/// # Errors
/// If it exists, or is invalid; the failure is wrong input.
pub(super) fn add(
    desired: &mut Desired,
    name: &CheckName,
    kind: CheckType,
    options: &CheckOptions,
) -> Result<String, Failure> {
    if desired.checks.contains_key(name) {
        return Err(Failure::wrong_input(format!("check {name} exists already"))
            .hint(format!("change it with `xvs check edit {name}`"))
            .because(ErrorCode::CheckExists));
    }
    let check = options.new_check(kind);
    validate::check(name, &check)?;
    let line = format!("added check {name}: {}", check.describe());
    desired.checks.insert(name.clone(), check);
    Ok(line)
}

/// Changes the options of a check.
///
/// # Errors
/// If it does not exist, or becomes invalid; the failure is wrong input.
pub(super) fn edit(
    desired: &mut Desired,
    name: &CheckName,
    options: &CheckOptions,
) -> Result<String, Failure> {
    let Some(check) = desired.checks.get_mut(name) else { return Err(missing(desired, name)) };
    let before = check.traits();
    options.apply(check);
    validate::check(name, check)?;
    Ok(edited(&format!("check {name}"), &before, &check.traits()))
}

/// Removes a check.
///
/// # Errors
/// If it does not exist, or is in use; the failure is wrong input.
pub(super) fn remove(desired: &mut Desired, name: &CheckName) -> Result<String, Failure> {
    for (id, service) in &desired.services {
        if service.health.checks.contains(name) {
            return Err(Failure::wrong_input(format!("service {id} uses check {name}"))
                .hint(format!("first remove it from the service: `xvs service edit {id} --check none`")));
        }
        for (address, real) in &service.reals {
            if real.checks.as_ref().is_some_and(|checks| checks.contains(name)) {
                return Err(Failure::wrong_input(format!("real {address} of {id} uses check {name}")).hint(
                    format!("first remove it from the real: `xvs real edit {id} {address} --check none`"),
                ));
            }
        }
    }
    match desired.checks.remove(name) {
        Some(_) => Ok(format!("removed check {name}")),
        None => Err(missing(desired, name)),
    }
}

/// Returns the differences between the checks of two configurations.
pub(super) fn differences(old: &Desired, new: &Desired) -> Vec<Difference> {
    let mut found = Vec::new();
    for (name, check) in &new.checks {
        let about = format!("check {name}");
        match old.checks.get(name) {
            None => found.push(Difference::new(Effect::Add, about, format!(": {}", check.describe()))),
            Some(before) if before != check => {
                let rest = altered(&before.traits(), &check.traits());
                found.push(Difference::new(Effect::Change, about, rest));
            }
            Some(_) => {}
        }
    }
    let gone = old.checks.keys().filter(|name| !new.checks.contains_key(*name));
    found.extend(gone.map(|name| Difference::new(Effect::Remove, format!("check {name}"), "")));
    found
}

/// Returns the failure of a name that no check has.
fn missing(desired: &Desired, name: &CheckName) -> Failure {
    let hint = match likely(name.as_str(), desired.checks.keys().map(CheckName::as_str)) {
        Some(meant) => format!("did you mean {meant}?"),
        None => "`xvs check list` lists the checks".to_owned(),
    };
    Failure::wrong_input(format!("there is no check {name}")).hint(hint).because(ErrorCode::NoCheck)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::types::Change;
    use crate::daemon::change::apply;
    use lb_control::options::{CheckList, HealthOptions, ServiceOptions};
    use lb_model::ServiceId;

    fn name() -> CheckName {
        "web".parse().unwrap()
    }

    #[test]
    fn a_check_is_added_edited_and_removed_when_unused() {
        let mut desired = Desired::default();
        let options = CheckOptions { path: Some("/health".to_owned()), ..CheckOptions::default() };
        let line = add(&mut desired, &name(), CheckType::Http, &options).unwrap();
        assert_eq!(line, "added check web: http, via path, path /health");
        assert!(add(&mut desired, &name(), CheckType::Tcp, &options).unwrap_err().message.contains("exists"));
        let options = CheckOptions { fall: Some(1), ..CheckOptions::default() };
        assert_eq!(edit(&mut desired, &name(), &options).unwrap(), "check web now has fall 1 (was 3)");

        let health = HealthOptions { check: Some(CheckList(vec![name()])), ..HealthOptions::default() };
        let service = ServiceId::parse("tcp", "192.0.2.1:80").unwrap();
        let options = ServiceOptions { health, ..ServiceOptions::default() };
        apply(&mut desired, &Change::AddService { service, options, take_over: false }).unwrap();
        assert!(remove(&mut desired, &name()).unwrap_err().message.contains("uses check web"));
        apply(&mut desired, &Change::RemoveService { service }).unwrap();
        assert_eq!(remove(&mut desired, &name()).unwrap(), "removed check web");
        assert!(remove(&mut desired, &name()).unwrap_err().message.contains("no check web"));
    }

    #[test]
    fn an_invalid_check_is_refused() {
        let options = CheckOptions { body: Some("(".to_owned()), ..CheckOptions::default() };
        let failure = add(&mut Desired::default(), &name(), CheckType::Http, &options).unwrap_err();
        assert!(failure.message.contains("check web: body is not a regular expression"), "{failure}");
    }
}
