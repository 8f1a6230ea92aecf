// SPDX-License-Identifier: MIT OR Apache-2.0
//! What keepalived.conf says of virtual servers.
#![forbid(unsafe_code)]

mod group; // virtual_server_group
mod read; //  the file as a tree

use std::path::Path;

use group::Groups;
use read::{Reader, Statement};

use super::{Imported, ipvsadm::mark};
use crate::{
    api::types::Change,
    control::{
        model::{Forward, Protocol, RealAddress, Scheduler, SchedulerFlag, ServiceId, Tracking, Tunnel},
        options::{RealOptions, ServiceOptions, prefix},
    },
};

/// Seconds of `persistence_timeout` without a value.
const PERSISTENT: u32 = 360;
/// Why no check is carried over.
const NO_CHECKS: &str = "health checks are not there yet";

/// Reads a file, for a host of that name (keepalived's `--config-id`).
#[must_use]
pub fn import(text: &str, path: &Path, host: Option<&str>) -> Imported {
    let mut imported = Imported::default();
    let statements = Reader::new(host, &mut imported).read(text, path);
    let mut groups = Groups::new();
    for statement in &statements {
        if let ([word, name], Some(block)) = (&statement.words[..], &statement.block)
            && word == "virtual_server_group"
        {
            groups.insert(name, block);
        }
    }
    let is_server =
        |statement: &&Statement| statement.words.first().is_some_and(|word| word == "virtual_server");
    for statement in statements.iter().filter(is_server) {
        virtual_server(&mut imported, statement, &groups);
    }
    for statement in statements.iter().filter(|statement| !is_server(statement)) {
        match statement.words.first().map(String::as_str) {
            Some("virtual_server_group") => group(&mut imported, statement, &statements),
            Some(word) => {
                let why = match word {
                    "vrrp_instance" | "vrrp_sync_group" | "vrrp_script" | "vrrp_track_process" => {
                        "VRRP is not part of this program: keepalived goes on doing it"
                    }
                    "global_defs" | "static_ipaddress" | "static_routes" | "static_rules" => {
                        "it is about keepalived or the host, not about a service"
                    }
                    _ => "it is not about a virtual server",
                };
                leave_all(&mut imported, statement, why);
            }
            None => leave_all(&mut imported, statement, "the block has no name"),
        }
    }
    imported
}

/// Lists a statement and everything in its block.
fn leave_all(imported: &mut Imported, statement: &Statement, why: &str) {
    imported.leave(&statement.place, statement.text(), why);
    for inner in statement.block.iter().flatten() {
        leave_all(imported, inner, why);
    }
}

/// A group is carried over with the services that use it; what nobody uses or understands is listed.
fn group(imported: &mut Imported, statement: &Statement, all: &[Statement]) {
    let name = statement.words.get(1).cloned().unwrap_or_default();
    let uses = |other: &Statement| other.words == ["virtual_server", "group", &name];
    if statement.block.is_none() || !all.iter().any(uses) {
        return leave_all(imported, statement, "no virtual_server uses the group");
    }
    imported.carry(&statement.place);
    for entry in statement.block.iter().flatten() {
        match group::entry(&entry.words, Protocol::Tcp) {
            Ok(_) if entry.block.is_some() => leave_all(imported, entry, "an entry has no block"),
            Ok(_) if imported.carried.contains(&entry.place) => {}
            Ok(_) => leave_all(imported, entry, "no virtual_server was carried over for it"),
            Err(why) => leave_all(imported, entry, &why),
        }
    }
}

/// What a virtual server says of its services and, unless they say so themselves, of their reals.
struct Draft {
    options: ServiceOptions,
    protocol: Protocol,
    real: RealOptions,
}

fn virtual_server(imported: &mut Imported, server: &Statement, groups: &Groups<'_>) {
    let block = server.block.as_deref().unwrap_or_default();
    let mut draft = Draft {
        options: ServiceOptions {
            scheduler: Some(Scheduler::Wlc),
            flags: Some([].into()),
            ..ServiceOptions::default()
        },
        protocol: Protocol::Tcp,
        real: RealOptions { forward: Some(Forward::Nat), weight: Some(1), ..RealOptions::default() },
    };
    // Flags, and how finely clients are told apart, mean something only after what they belong to.
    let mut statements: Vec<&Statement> = block.iter().filter(|statement| !is_real(statement)).collect();
    statements.sort_by_key(|statement| {
        let word = statement.words.first().map(String::as_str);
        !matches!(word, Some("lb_algo" | "lvs_sched" | "persistence_timeout"))
    });
    for statement in statements {
        match draft.take(&statement.words) {
            Ok(()) if statement.block.is_none() => imported.carry(&statement.place),
            Ok(()) => leave_all(imported, statement, "it has no block"),
            Err(Wrong::Line(why)) => leave_all(imported, statement, &why),
            Err(Wrong::Service(why)) => return leave_all(imported, server, &why),
        }
    }
    if draft.options.scheduler.is_some_and(Scheduler::hashes) {
        draft.options.tracking = Some(Tracking::Full);
    }
    let services = match group::services(&server.words[1..], draft.protocol, groups) {
        Ok(services) => services,
        Err(why) => return leave_all(imported, server, &why),
    };
    let mut added = Vec::new();
    for (service, entry) in services {
        let change = Change::AddService { service, options: draft.options.clone() };
        let place = entry.unwrap_or(server);
        match imported.change(&change) {
            Ok(()) => {
                added.push(service);
                imported.carry(&place.place);
            }
            Err(failure) => imported.leave(&place.place, place.text(), failure.message),
        }
        if let ServiceId::Group { group, .. } = service {
            imported.leave(&place.place, place.text(), mark(group));
        }
    }
    if added.is_empty() {
        return leave_all(imported, server, "none of its services could be carried over");
    }
    imported.carry(&server.place);
    for statement in block.iter().filter(|statement| is_real(statement)) {
        real_server(imported, statement, &added, draft.real);
    }
}

fn is_real(statement: &Statement) -> bool {
    statement.words.first().is_some_and(|word| word == "real_server")
}

/// Why a line is not carried over; without some of them, the service would be another one.
enum Wrong {
    Line(String),
    Service(String),
}

impl Draft {
    fn take(&mut self, words: &[String]) -> Result<(), Wrong> {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let line = |why: String| Wrong::Line(why);
        match words[..] {
            ["lb_algo" | "lvs_sched", name] => {
                let scheduler = name.parse().map_err(Wrong::Service)?;
                self.options.scheduler = Some(scheduler);
            }
            ["lb_kind" | "lvs_method", method, ..] => forward(&words, method, &mut self.real)?,
            ["protocol", name] => {
                self.protocol = name.to_ascii_lowercase().parse().map_err(Wrong::Service)?;
            }
            ["persistence_timeout"] => self.options.persistent = Some(PERSISTENT),
            ["persistence_timeout", seconds] => {
                let seconds =
                    seconds.parse().map_err(|_| line(format!("{seconds} is no number of seconds")))?;
                if seconds == 0 || seconds > 2_073_600 {
                    return Err(line("persistence lasts from 1 s to 24 days".to_owned()));
                }
                self.options.persistent = Some(seconds);
            }
            ["persistence_granularity", _] if self.options.persistent.is_none() => {
                return Err(line("it means nothing without persistence_timeout".to_owned()));
            }
            ["persistence_granularity", mask] => self.options.netmask = Some(prefix(mask).map_err(line)?),
            ["ops"] => self.options.one_packet = Some(true),
            ["sh-port" | "sh-fallback" | "mh-port" | "mh-fallback"] => {
                let flag: SchedulerFlag = words[0].parse().map_err(line)?;
                if self.options.scheduler != flag.scheduler() {
                    return Err(line("it is a flag of another scheduler".to_owned()));
                }
                self.options.flags.get_or_insert_default().insert(flag);
            }
            ["ip_family", "inet"] => {}
            ["weight", weight] => self.real.weight = Some(number(weight)?),
            ["persistence_engine", ..] => return Err(line("there are no persistence engines".to_owned())),
            ["sorry_server" | "sorry_server_inhibit" | "sorry_server_lvs_method", ..] => {
                return Err(line(format!("a sorry server is for when no real is healthy, and {NO_CHECKS}")));
            }
            _ => return Err(line(of_a_check(words.first().copied().unwrap_or_default()))),
        }
        Ok(())
    }
}

/// Reads `METHOD [type ipip | type gre [csum] | type gue port N [csum]]`.
fn forward(words: &[&str], method: &str, options: &mut RealOptions) -> Result<(), Wrong> {
    let forward = match method.to_ascii_uppercase().as_str() {
        "DR" => Forward::Dr,
        "NAT" => Forward::Nat,
        "TUN" => Forward::Tun,
        _ => return Err(Wrong::Service(format!("{method} is none of NAT, DR, TUN"))),
    };
    let tunnel = match words[2..] {
        [] => None,
        ["type", "ipip"] => Some(Tunnel::Ipip),
        ["type", "gre"] | ["type", "gre", "nocsum"] => Some(Tunnel::Gre { csum: false }),
        ["type", "gre", "csum"] => Some(Tunnel::Gre { csum: true }),
        ["type", "gue", "port", port] | ["type", "gue", "port", port, "nocsum"] => {
            Some(format!("gue:{port}").parse().map_err(Wrong::Service)?)
        }
        ["type", "gue", "port", port, "csum"] => {
            Some(format!("gue:{port}:csum").parse().map_err(Wrong::Service)?)
        }
        [.., "remcsum"] => return Err(Wrong::Service("remote checksums are not made".to_owned())),
        _ => return Err(Wrong::Service(format!("{} is no kind of tunnel", words[2..].join(" ")))),
    };
    (options.forward, options.tunnel) = (Some(forward), tunnel);
    Ok(())
}

fn number(text: &str) -> Result<u32, Wrong> {
    text.parse().map_err(|_| Wrong::Line(format!("{text} is no number")))
}

/// Why a word is not carried over that has to do with health, or that nobody knows.
fn of_a_check(word: &str) -> String {
    match word {
        "delay_loop" | "delay_before_retry" | "retry" | "warmup" | "connect_timeout" | "alpha" | "omega"
        | "quorum" | "quorum_up" | "quorum_down" | "hysteresis" | "ha_suspend" | "virtualhost"
        | "notify_up" | "notify_down" | "inhibit_on_failure" | "smtp_alert" | "HTTP_GET" | "SSL_GET"
        | "TCP_CHECK" | "SMTP_CHECK" | "DNS_CHECK" | "MISC_CHECK" | "BFD_CHECK" | "UDP_CHECK"
        | "PING_CHECK" | "FILE_CHECK" => NO_CHECKS.to_owned(),
        "" => "the block has no name".to_owned(),
        _ => format!("{word} has no counterpart"),
    }
}

fn real_server(
    imported: &mut Imported,
    server: &Statement,
    services: &[ServiceId],
    mut options: RealOptions,
) {
    for statement in server.block.iter().flatten() {
        let words: Vec<&str> = statement.words.iter().map(String::as_str).collect();
        let taken = match words[..] {
            ["weight", value] => number(value).map(|value| options.weight = Some(value)),
            ["uthreshold", value] => number(value).map(|value| options.upper = Some(value)),
            ["lthreshold", value] => number(value).map(|value| options.lower = Some(value)),
            ["lvs_method" | "lb_kind", method, ..] => forward(&words, method, &mut options),
            _ => Err(Wrong::Line(of_a_check(words.first().copied().unwrap_or_default()))),
        };
        match taken {
            Ok(()) if statement.block.is_none() => imported.carry(&statement.place),
            Ok(()) => leave_all(imported, statement, "it has no block"),
            Err(Wrong::Line(why)) => leave_all(imported, statement, &why),
            Err(Wrong::Service(why)) => return leave_all(imported, server, &why),
        }
    }
    let address = match address(&server.words[1..]) {
        Ok(address) => address,
        Err(why) => return leave_all(imported, server, &why),
    };
    let mut carried = false;
    for service in services {
        let mut real = RealAddress { port: Some(address.port.unwrap_or(service.port())), ..address };
        let options = options;
        if options.forward != Some(Forward::Nat) && real.port != Some(service.port()) {
            // As IPVS: what is not rewritten goes to the port that the client sent to.
            if service.endpoint().is_some() {
                let why = format!("only NAT changes the port: it stays {}", service.port());
                imported.leave(&server.place, server.text(), why);
            }
            real.port = Some(service.port());
        }
        match imported.change(&Change::AddReal { service: *service, real, options }) {
            Ok(()) => carried = true,
            Err(failure) => imported.leave(&server.place, server.text(), failure.message),
        }
    }
    if carried {
        imported.carry(&server.place);
    } else {
        leave_all(imported, server, "the real server was not carried over");
    }
}

fn address(words: &[String]) -> Result<RealAddress, String> {
    let wrong = || format!("{} is no address with a port", words.join(" "));
    let (ip, port) = match words {
        [ip] => (ip, None),
        [ip, port] => (ip, Some(port.parse().map_err(|_| wrong())?)),
        _ => return Err(wrong()),
    };
    Ok(RealAddress { ip: ip.parse().map_err(|_| wrong())?, port })
}

#[cfg(test)]
mod tests;
