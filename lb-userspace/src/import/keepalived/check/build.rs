// SPDX-License-Identifier: MIT OR Apache-2.0
//! Checks that a checker becomes.
#![forbid(unsafe_code)]

use std::net::IpAddr;

use super::{
    super::schedule::{Defaults, Notes, Schedule},
    Asks, Checker, Target,
    misc::Misc,
};
use lb_model::{
    Protocol, ServiceId,
    check::{CertificatePolicy, Check, CheckType, Via},
};

/// Longest part of a name that comes from a path, a host or a script.
const LONGEST: usize = 40;

/// Real of a service that a checker is for.
#[derive(Clone, Copy, Debug)]
pub struct Aim<'a> {
    /// Service.
    pub service: &'a ServiceId,
    /// Address in keepalived's file.
    pub ip: IpAddr,
    /// Port there; 0 if none is given.
    pub said_port: u16,
    /// Port of the real in xvs.
    pub port: u16,
    /// Weight of the real.
    pub weight: u32,
    /// Schedule of the server and the real.
    pub schedule: &'a Schedule,
    /// User of scripts that have none of their own.
    pub script_user: Option<&'a str>,
}

/// A resulting check.
#[derive(Clone, Debug)]
pub struct Built {
    /// Definition.
    pub check: Check,
    /// Name, unless another check has it.
    pub name: String,
}

/// Returns the checks that a checker becomes, and a note about each line that is not carried over exactly.
///
/// # Errors
/// If the checker has no equivalent; the message has the reason.
pub fn build(checker: &Checker, aim: &Aim<'_>) -> Result<(Vec<Built>, Notes), String> {
    let schedule = checker.schedule.or(aim.schedule);
    let mut notes = Vec::new();
    let built = match &checker.asks {
        Asks::Tcp => {
            vec![probe(CheckType::Tcp, &checker.target, &schedule, Defaults::USUAL, aim, &mut notes)?]
        }
        Asks::Ping => {
            vec![probe(CheckType::Ping, &checker.target, &schedule, Defaults::USUAL, aim, &mut notes)?]
        }
        Asks::Http(tls, urls) => {
            let defaults = Defaults { delay_before_retry: Some(3000), ..Defaults::USUAL };
            let kind = if *tls { CheckType::Https } else { CheckType::Http };
            let mut built = Vec::new();
            for url in urls {
                let Some(path) = &url.path else { continue };
                let mut check = probe(kind, &checker.target, &schedule, defaults, aim, &mut notes)?;
                check.path = (path != "/").then(|| path.clone());
                check.host = url.virtualhost.clone().or_else(|| schedule.virtualhost.clone());
                check.status = url.statuses();
                check.body = url.body(&mut notes);
                if *tls {
                    // keepalived accepts every certificate.
                    check.certificate = CertificatePolicy::None;
                }
                built.push(check);
            }
            if built.is_empty() {
                return Err("keepalived ignores a checker without a url with a path".to_owned());
            }
            built
        }
        Asks::Smtp(hosts) => {
            let own = [(checker.target.clone(), Schedule::default())];
            let mut built = Vec::new();
            for (target, timeouts) in if hosts.is_empty() { &own[..] } else { hosts } {
                let schedule = timeouts.or(&schedule);
                let mut check = probe(CheckType::Tcp, target, &schedule, Defaults::USUAL, aim, &mut notes)?;
                // A server that speaks first takes a text before its banner for an attack.
                check.expect = Some("^220".to_owned());
                built.push(check);
            }
            built
        }
        Asks::Dns(record, name) => {
            let defaults = Defaults { retry: 3, delay_before_retry: None, ..Defaults::USUAL };
            let mut check = probe(CheckType::Dns, &checker.target, &schedule, defaults, aim, &mut notes)?;
            check.record = *record;
            check.dns_name.clone_from(name);
            vec![check]
        }
        Asks::Udp(udp) => {
            let mut check =
                probe(CheckType::Udp, &checker.target, &schedule, Defaults::USUAL, aim, &mut notes)?;
            check.send.clone_from(&udp.send);
            match &udp.expect {
                Some((_, pattern)) if check.send.is_some() => check.expect = Some(pattern.clone()),
                Some((said, _)) => {
                    let why = "an answer needs a payload: without one, only an ICMP error is a failure";
                    notes.push((said.clone(), why.to_owned()));
                }
                None => {}
            }
            vec![check]
        }
        Asks::Misc(misc) => vec![script(misc, &schedule, aim, &mut notes)?],
        Asks::Nothing(why) => return Err((*why).to_owned()),
    };
    let mut all = Vec::new();
    for check in built {
        check.validate()?;
        let name = name(&check, matches!(checker.asks, Asks::Smtp(_)));
        all.push(Built { check, name });
    }
    Ok((all, notes))
}

/// Returns a check with the destination and the schedule of a checker.
fn probe(
    kind: CheckType,
    target: &Target,
    schedule: &Schedule,
    defaults: Defaults,
    aim: &Aim<'_>,
    notes: &mut Notes,
) -> Result<Check, String> {
    let mut check = Check { via: Via::Direct, timing: schedule.timing(defaults, notes), ..Check::new(kind) };
    match (&target.ip, &target.mark) {
        (Some((_, ip)), Some(_)) if *ip != aim.ip => {
            along_the_path(kind, *ip, target.port, aim)?;
            check.via = Via::Path;
            return Ok(check);
        }
        (Some((_, ip)), None) if *ip != aim.ip => {
            return Err(format!(
                "it probes {ip}, and a check probes the real itself: an exec check can do that"
            ));
        }
        (_, Some(said)) => {
            let why = "probes have no mark: `via = \"path\"` sends them along the path of clients";
            notes.push((said.clone(), why.to_owned()));
        }
        _ => {}
    }
    if kind == CheckType::Ping {
        return Ok(check);
    }
    let said = Some(aim.said_port).filter(|port| *port > 0);
    match target.port.or(said).unwrap_or(aim.port) {
        0 => return Err("it has no port, and neither has the real: add connect_port".to_owned()),
        port => check.port = (port != aim.port).then_some(port),
    }
    Ok(check)
}

/// Checks that a probe along the path of clients reaches the service.
fn along_the_path(kind: CheckType, ip: IpAddr, port: Option<u16>, aim: &Aim<'_>) -> Result<(), String> {
    // The endpoints of a mark are not known.
    let Some(endpoint) = aim.service.endpoint() else { return Ok(()) };
    if endpoint.address.ip() != ip {
        return Err(format!("it probes {ip}, which is not the VIP: `via = \"path\"` probes that"));
    }
    if kind == CheckType::Ping {
        return Ok(());
    }
    let needed = if matches!(kind, CheckType::Udp | CheckType::Dns) { Protocol::Udp } else { Protocol::Tcp };
    if endpoint.protocol != needed {
        return Err(format!(
            "only {} travels along the path of clients, and the probe is of {needed}",
            endpoint.protocol
        ));
    }
    match (endpoint.address.port(), port.unwrap_or(aim.said_port)) {
        (0, _) => {
            Err("a probe by path needs a service for one port, and this one is for every port".to_owned())
        }
        (own, 0) => Ok(own),
        (own, port) if own == port => Ok(own),
        (own, port) => Err(format!("it probes port {port}, and only port {own} is on the path of clients")),
    }
    .map(|_| ())
}

/// Returns the check that runs a script.
fn script(misc: &Misc, schedule: &Schedule, aim: &Aim<'_>, notes: &mut Notes) -> Result<Check, String> {
    let Some(path) = &misc.path else {
        return Err("keepalived ignores a checker without misc_path".to_owned());
    };
    let Some(program) = misc.command.first() else { return Err("its misc_path is no command".to_owned()) };
    if !program.starts_with('/') {
        return Err(format!("{program} is found by PATH: name it with its full path"));
    }
    let user = misc.user.as_deref().or(aim.script_user);
    if matches!(user, Some("root" | "0")) {
        return Err("it runs as root: a check runs as an unprivileged user, which `user` names".to_owned());
    }
    if user.is_none() {
        let why = format!(
            "it runs as {} here, and as keepalived_script or root before: `user` names another user",
            Check::USER
        );
        notes.push((path.clone(), why));
    }
    if let Some(said) = &misc.dynamic
        && aim.weight != 100
    {
        let why = "exit code 2 + N gives N percent of the real's weight, and a weight of N before";
        notes.push((said.clone(), why.to_owned()));
    }
    let defaults = Defaults { retry: 0, timeout: None, ..Defaults::USUAL };
    let mut schedule = schedule.clone();
    schedule.timeout.clone_from(&misc.timeout);
    Ok(Check {
        timing: schedule.timing(defaults, notes),
        command: misc.command.clone(),
        user: user.filter(|user| *user != Check::USER).map(str::to_owned),
        dynamic_weight: misc.dynamic.is_some(),
        ..Check::new(CheckType::Exec)
    })
}

/// Returns a name after the type and what a check asks for.
fn name(check: &Check, is_mail: bool) -> String {
    let about = match check.kind {
        _ if is_mail => return "smtp".to_owned(),
        CheckType::Http | CheckType::Https => check.path.as_deref().unwrap_or_default(),
        CheckType::Dns => check.dns_name.as_deref().unwrap_or_default(),
        CheckType::Exec => {
            let program = check.command.first().map(String::as_str).unwrap_or_default();
            let file = program.rsplit('/').next().unwrap_or_default();
            file.split('.').next().unwrap_or_default()
        }
        _ => "",
    };
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '_' || c == '.' { c } else { '-' };
    let words: String = about.chars().map(plain).collect();
    let words: Vec<&str> = words.split('-').filter(|word| !word.is_empty()).collect();
    let about: String = words.join("-").chars().take(LONGEST).collect();
    if about.is_empty() { check.kind.to_string() } else { format!("{}-{about}", check.kind) }
}
