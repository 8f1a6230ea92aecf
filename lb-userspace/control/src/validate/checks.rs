// SPDX-License-Identifier: MIT OR Apache-2.0
//! Validation of health checks, and of their use by services.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use lb_model::{
    Endpoint, Protocol, Service, ServiceId,
    check::{Check, CheckName, CheckType, Via},
    failure::Failure,
    names,
    text::likely,
};

/// Checks a new or changed definition of a check, and that its user exists.
///
/// # Errors
/// If it is invalid; the failure is wrong input.
pub fn check(name: &CheckName, check: &Check) -> Result<(), Failure> {
    definition(name, check)?;
    runs_unprivileged(name, check)
}

/// Checks the definition of a check. It does not depend on this host: a user that was removed costs the verdicts of
/// its checks, and neither a start nor other changes.
///
/// # Errors
/// If it is invalid; the failure is wrong input.
pub(super) fn definition(name: &CheckName, check: &Check) -> Result<(), Failure> {
    check.validate().map_err(|why| {
        Failure::wrong_input(format!("check {name}: {why}"))
            .hint("`xvs check add --help` describes the options; docs/health.md has recipes")
    })
}

/// Checks that the user of a command, a name or a number, exists on this host, and is neither root by another name nor
/// in its group.
fn runs_unprivileged(name: &CheckName, check: &Check) -> Result<(), Failure> {
    if check.kind != CheckType::Exec {
        return Ok(());
    }
    let user = check.user.as_deref().unwrap_or(Check::USER);
    match names::account(user) {
        Ok(Some(found)) if found.uid == 0 || found.gid == 0 => Err(Failure::wrong_input(format!(
            "check {name}: user {user} is root by another name, or in its group; a command runs as an unprivileged \
             user"
        ))
        .hint("name another user with --user")),
        Ok(Some(_)) => Ok(()),
        Ok(None) => Err(Failure::wrong_input(format!("check {name}: this host has no user {user}"))
            .hint("make one (`useradd --system NAME`), and name it with --user")),
        Err(error) => Err(Failure::failed(format!("check {name}: cannot look up user {user}: {error}"))),
    }
}

/// Checks that the checks of a service and of its reals exist, and fit the protocols and ports of its `endpoints`.
///
/// # Errors
/// If one does not; the failure is wrong input.
pub fn checks_of(
    id: &ServiceId,
    service: &Service,
    checks: &BTreeMap<CheckName, Check>,
    endpoints: &[Endpoint],
) -> Result<(), Failure> {
    let of_reals = service.reals.iter().flat_map(|(address, real)| {
        real.checks.iter().flatten().map(move |name| (name, format!("real {address} of {id}")))
    });
    let of_service = service.health.checks.iter().map(|name| (name, format!("service {id}")));
    for (name, user) in of_service.chain(of_reals) {
        let Some(check) = checks.get(name) else { return Err(unknown(name, &user, checks)) };
        fits(endpoints, name, check).map_err(|why| {
            Failure::wrong_input(format!("{user}: {why}"))
                .hint(format!("`xvs check edit {name} --via direct --port PORT` probes the real itself"))
        })?;
    }
    Ok(())
}

/// Returns the failure of a name that no check has.
fn unknown(name: &CheckName, user: &str, checks: &BTreeMap<CheckName, Check>) -> Failure {
    let hint = match likely(name.as_str(), checks.keys().map(CheckName::as_str)) {
        Some(meant) => format!("did you mean {meant}?"),
        None => format!("add it first: `xvs check add {name} tcp`; `xvs check list` lists the checks"),
    };
    Failure::wrong_input(format!("{user}: there is no check {name}")).hint(hint)
}

/// Checks that probes have a port to go to, and by path that it is one of the service's protocol: there, probes are
/// packets as clients send them.
fn fits(endpoints: &[Endpoint], name: &CheckName, check: &Check) -> Result<(), String> {
    let has_no_port = matches!(check.kind, CheckType::Ping | CheckType::Exec);
    // A group without an endpoint has no probes yet.
    let Some(first) = endpoints.first().filter(|_| !has_no_port) else { return Ok(()) };
    let every_port = |endpoint: &Endpoint| endpoint.address.port() == 0;
    if check.via == Via::Direct {
        let has_port = check.port.is_some() || !endpoints.iter().all(every_port);
        return if has_port {
            Ok(())
        } else {
            Err(format!("check {name} has no port, and the service has every port"))
        };
    }
    let needed = match check.kind {
        CheckType::Udp | CheckType::Dns => Protocol::Udp,
        _ => Protocol::Tcp,
    };
    let mut fitting = endpoints.iter().filter(|endpoint| endpoint.protocol == needed).peekable();
    if fitting.peek().is_none() {
        return Err(format!(
            "check {name} sends {needed} along the path of clients, and the service is for {}",
            first.protocol
        ));
    }
    if fitting.all(every_port) {
        return Err(format!("check {name} probes the port of the service, but the service has every port"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checks(check: Check) -> BTreeMap<CheckName, Check> {
        [("web".parse().unwrap(), check)].into()
    }

    fn refusal(service: &str, check: Check, named: &str) -> String {
        let id = ServiceId::parse("tcp", service).unwrap();
        let mut with = Service::default();
        with.health.checks = vec![named.parse().unwrap()];
        let endpoint = [id.endpoint().unwrap()];
        let checked = checks_of(&id, &with, &checks(check), &endpoint);
        checked.map_or_else(|failure| failure.to_string(), |()| String::new())
    }

    #[test]
    fn an_unknown_check_is_refused_with_the_likely_name() {
        let why = refusal("192.0.2.1:80", Check::new(CheckType::Tcp), "wab");
        assert!(why.contains("there is no check wab") && why.contains("did you mean web"), "{why}");
    }

    #[test]
    fn a_probe_by_path_needs_the_protocol_and_a_port_of_the_service() {
        assert_eq!(refusal("192.0.2.1:80", Check::new(CheckType::Http), "web"), "");
        assert!(refusal("192.0.2.1:80", Check::new(CheckType::Dns), "web").contains("sends udp"));
        assert!(refusal("192.0.2.1:0", Check::new(CheckType::Http), "web").contains("every port"));
    }

    #[test]
    fn a_direct_probe_needs_a_port_of_the_service_or_of_its_own() {
        let direct = Check { via: Via::Direct, ..Check::new(CheckType::Dns) };
        assert_eq!(refusal("192.0.2.1:80", direct.clone(), "web"), "");
        assert!(refusal("192.0.2.1:0", direct.clone(), "web").contains("has no port"));
        assert_eq!(refusal("192.0.2.1:0", Check { port: Some(53), ..direct }, "web"), "");
        let ping = Check { via: Via::Direct, ..Check::new(CheckType::Ping) };
        assert_eq!(refusal("192.0.2.1:0", ping, "web"), "");
    }

    #[test]
    fn a_group_needs_one_endpoint_to_which_a_probe_can_go() {
        let endpoints =
            |texts: &[&str]| -> Vec<Endpoint> { texts.iter().map(|text| text.parse().unwrap()).collect() };
        let fits = |texts: &[&str], check: &Check| fits(&endpoints(texts), &"web".parse().unwrap(), check);
        let (path, direct) =
            (Check::new(CheckType::Tcp), Check { via: Via::Direct, ..Check::new(CheckType::Tcp) });
        assert_eq!(fits(&[], &path), Ok(()));
        assert_eq!(fits(&["tcp 192.0.2.1:0", "tcp 192.0.2.1:80"], &path), Ok(()));
        assert!(fits(&["tcp 192.0.2.1:0", "udp 192.0.2.1:53"], &path).unwrap_err().contains("every port"));
        assert!(fits(&["udp 192.0.2.1:53"], &path).unwrap_err().contains("for udp"));
        assert_eq!(fits(&["tcp 192.0.2.1:0", "udp 192.0.2.1:53"], &direct), Ok(()));
        assert!(fits(&["tcp 192.0.2.1:0"], &direct).unwrap_err().contains("every port"));
    }

    #[test]
    fn a_command_needs_an_existing_unprivileged_user() {
        let name: CheckName = "script".parse().unwrap();
        let mut exec = Check::new(CheckType::Exec);
        exec.command = vec!["/bin/true".to_owned()];
        assert!(check(&name, &exec).is_ok());
        exec.user = Some("no-such-user".to_owned());
        assert!(check(&name, &exec).unwrap_err().message.contains("has no user"));
        assert!(definition(&name, &exec).is_ok(), "a check that is in force stays");
        exec.user = Some("65534".to_owned());
        assert!(check(&name, &exec).is_ok(), "a user has a number too");
        exec.user = Some("00".to_owned());
        assert!(check(&name, &exec).unwrap_err().message.contains("root by another name"));
    }
}
