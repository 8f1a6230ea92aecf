// SPDX-License-Identifier: MIT OR Apache-2.0
//! Services and reals that keepalived would configure in IPVS.
#![forbid(unsafe_code)]

use std::net::SocketAddr;

use super::{
    super::{Imported, Kind, ipvsadm::mark},
    assign::Assigned,
    check::{Aim, Checker, build},
    group::{Entry, Group},
    lines::Said,
    parse::File,
    policy::policy,
    real::Real,
    schedule::Notes,
    server::{Granularity, PERSISTENT, Server, Target},
};
use crate::api::types::Change;
use lb_control::options::{HealthOptions, RealOptions, ServiceOptions};
use lb_model::failure::ErrorCode;
use lb_model::{Forward, Protocol, RealAddress, Scheduler, SchedulerFlag, ServiceId, Tracking};

/// Adds the services of a file.
pub fn add(imported: &mut Imported, file: File) {
    let File { groups, servers, local, script_user } = file;
    let mut assigned = Assigned::default();
    for mut server in servers {
        if let Some((place, name)) = &server.local {
            if let Some((_, addresses)) = local.iter().find(|(other, _)| other == name) {
                for address in addresses {
                    if !imported.fnat_addresses.contains(address) {
                        imported.fnat_addresses.push(*address);
                    }
                }
            } else {
                let (why, text) =
                    ("there is no local_address_group of that name", format!("laddr_group_name {name}"));
                imported.leave(place, &text, why, Kind::Setting, Some(&server.block));
            }
        }
        let group = match &server.target {
            Target::Group(name) => {
                let group = groups.iter().find(|group| group.name == *name);
                if group.is_none() {
                    server.leave(imported, &format!("there is no virtual_server_group {name}"));
                    continue;
                }
                group
            }
            _ => None,
        };
        if server.reals.is_empty() {
            server.leave(imported, "keepalived leaves a virtual server without real servers out");
            continue;
        }
        if let Err(why) = versions(&mut server, group) {
            server.leave(imported, why);
            continue;
        }
        settle(imported, &mut server, group);
        virtual_server(imported, &mut assigned, &server, group, script_user.as_deref());
    }
    assigned.finish(imported);
    for group in &groups {
        if !imported.carried.contains(&group.block.place) {
            group.leave(imported, "no virtual_server that is carried over uses the group");
        }
        for (said, _) in &group.entries {
            if !imported.carried.contains(&said.0) {
                let why = "no virtual_server was carried over for it";
                imported.leave(&said.0, &said.1, why, Kind::Service, Some(&group.block));
            }
        }
    }
}

/// Determines the IP version of a server with a group.
fn versions(server: &mut Server, group: Option<&Group>) -> Result<(), &'static str> {
    let Some(group) = group else { return Ok(()) };
    let (four, six) = (group.has(false), group.has(true));
    match server.ipv6 {
        Some(_) if four && six => Err(
            "keepalived takes a group of both versions of IP only with reals that are all reached by tunnels",
        ),
        Some(ipv6) if (four && ipv6) || (six && !ipv6) => {
            Err("keepalived leaves it out: the group is of the other version of IP than the reals")
        }
        Some(_) => Ok(()),
        None => {
            server.ipv6 = (four != six).then_some(six);
            Ok(())
        }
    }
}

/// Sets the defaults of keepalived.
fn settle(imported: &mut Imported, server: &mut Server, group: Option<&Group>) {
    let addresses = match (&server.target, group) {
        (Target::Address(_), _) => true,
        (_, Some(group)) => group.entries.iter().any(|(_, entry)| matches!(entry, Entry::Addresses(..))),
        _ => false,
    };
    if addresses {
        let protocol = *server.protocol.get_or_insert(Protocol::Udp);
        server.one_packet &= protocol == Protocol::Udp;
    }
    let every_port = match (&server.target, group) {
        (Target::Address(address), _) => address.port() == 0,
        (_, Some(group)) => group.entries.iter().any(|(_, entry)| matches!(entry, Entry::Addresses(_, 0))),
        _ => false,
    };
    if every_port {
        server.persistence.get_or_insert(PERSISTENT);
    }
    // Of two reals with the same address, the first counts; they are compared before ports are determined.
    let Some(sorry) = server.sorry.take() else { return };
    if server.reals.iter().any(|real| real.address == sorry.address) {
        left_real(imported, server, &sorry, "the server has a real with this address: the first one counts");
    } else {
        server.reals.push(Real { weight: Some(1), ..sorry });
    }
}

/// Returns the services of a server, each with its line in a group.
fn services<'a>(server: &Server, group: Option<&'a Group>) -> Vec<(ServiceId, Option<&'a Said>)> {
    let protocol = server.protocol.unwrap_or(Protocol::Udp);
    let of_mark = |mark: u32, ipv6: Option<bool>| ServiceId::Group {
        group: mark,
        ipv6: ipv6.or(server.ipv6).unwrap_or(false),
    };
    match (&server.target, group) {
        (Target::Address(address), _) => vec![(ServiceId::new(protocol, *address), None)],
        (Target::Mark(number), _) => vec![(of_mark(*number, None), None)],
        (Target::Group(_), group) => {
            let ids = |entry: &Entry| match entry {
                Entry::Addresses(addresses, port) => {
                    let id = |ip: &std::net::IpAddr| ServiceId::new(protocol, (*ip, *port).into());
                    addresses.iter().map(id).collect::<Vec<_>>()
                }
                Entry::Mark(number, ipv6) => vec![of_mark(*number, *ipv6)],
            };
            let entries = group.into_iter().flat_map(|group| &group.entries);
            entries.flat_map(|(said, entry)| ids(entry).into_iter().map(move |id| (id, Some(said)))).collect()
        }
    }
}

fn virtual_server(
    imported: &mut Imported,
    assigned: &mut Assigned,
    server: &Server,
    group: Option<&Group>,
    script_user: Option<&str>,
) {
    let options = options(imported, server);
    let head: Said = (server.block.place.clone(), server.block.text.clone());
    let mut added = Vec::new();
    for (service, entry) in services(server, group) {
        let said = entry.unwrap_or(&head);
        let block = if entry.is_some() { group.map(|group| &group.block) } else { Some(&server.block) };
        let change = Change::AddService { service, options: options.clone(), take_over: false };
        match imported.change(&change) {
            Ok(()) => {
                added.push(service);
                imported.carry(&said.0);
                if let ServiceId::Group { group, .. } = service {
                    imported.leave(&said.0, &said.1, mark(group), Kind::Service, block);
                }
            }
            Err(failure) if failure.cause == Some(ErrorCode::ServiceExists) => {
                added.push(service);
                imported.carry(&said.0);
                let mut before = imported.desired.services[&service].clone();
                let there = before.describe();
                options.apply(&mut before);
                if before.describe() != there {
                    let why =
                        format!("{service} exists already: the reals are added to it, and its settings stay");
                    imported.leave(&head.0, &head.1, why, Kind::Setting, Some(&server.block));
                }
            }
            Err(failure) => imported.leave(&said.0, &said.1, failure.message, Kind::Service, block),
        }
    }
    if added.is_empty() {
        return server.leave(imported, "none of its services could be carried over");
    }
    for (place, _) in &server.lines {
        imported.carry(place);
    }
    if let Some(group) = group {
        imported.carry(&group.block.place);
    }
    let (health, notes) = policy(server);
    leave_all(imported, server, notes);
    let mut context = Context { assigned, server, health, script_user };
    for real in &server.reals {
        real_server(imported, &mut context, real, &added);
    }
}

/// Settings that the reals of a server have in common.
struct Context<'a> {
    assigned: &'a mut Assigned,
    server: &'a Server,
    health: HealthOptions,
    script_user: Option<&'a str>,
}

fn options(imported: &mut Imported, server: &Server) -> ServiceOptions {
    let scheduler = server.scheduler.unwrap_or(Scheduler::Wlc);
    let numbered = [SchedulerFlag::Flag1, SchedulerFlag::Flag2, SchedulerFlag::Flag3];
    let set = numbered.into_iter().zip(server.flags).filter(|(_, is_set)| *is_set);
    let flags = set.filter_map(|(flag, _)| flag.with(scheduler).ok().flatten()).collect();
    let netmask = match &server.granularity {
        Some((said, _)) if matches!(server.target, Target::Group(_)) => {
            left_out(imported, server, said, "keepalived 2.2.7 does not use it with a group");
            None
        }
        Some((_, Granularity::Prefix(bits))) => Some(*bits),
        Some((said, Granularity::Mask(mask))) => {
            if mask.leading_ones() + mask.trailing_zeros() < 32 {
                left_out(
                    imported,
                    server,
                    said,
                    "clients are distinguished by a prefix length: all bits count",
                );
                None
            } else {
                Some(mask.leading_ones() as u8)
            }
        }
        None => None,
    };
    ServiceOptions {
        scheduler: Some(scheduler),
        flags: Some(flags),
        tracking: scheduler.hashes().then_some(Tracking::Full),
        persistent: server.persistence,
        netmask,
        one_packet: Some(server.one_packet),
        on_removal: None,
        health: HealthOptions::default(),
    }
}

fn left_out(imported: &mut Imported, server: &Server, said: &Said, why: &str) {
    imported.leave(&said.0, &said.1, why, Kind::Setting, Some(&server.block));
}

fn real_server(imported: &mut Imported, context: &mut Context<'_>, real: &Real, services: &[ServiceId]) {
    let server = context.server;
    let way = if real.way.forward.is_some() { real.way } else { server.way };
    let forward = way.forward.unwrap_or(Forward::Nat);
    if real.lower > real.upper {
        let why = format!("IPVS takes no real whose lthreshold, {}, is above its uthreshold", real.lower);
        return real.leave(imported, &server.block, &why);
    }
    let mut why_not = None;
    let mut places = Vec::new();
    for service in services {
        let changes_port = matches!(forward, Forward::Nat | Forward::Fnat);
        let said = real.address.port();
        let port = match service.endpoint() {
            // As in IPVS, a port that is not rewritten is the destination port of the client's packet.
            _ if !changes_port => service.port(),
            Some(endpoint) if endpoint.address.port() == 0 => 0,
            Some(endpoint) if said == 0 => endpoint.address.port(),
            _ => said,
        };
        if said != 0 && port != said && service.endpoint().is_some() {
            let why = format!("the port does not change: it is {port}, that of the clients' packets");
            left_real(
                imported,
                server,
                real,
                if port == 0 { "the port is the one that the client sent to" } else { &why },
            );
        }
        let options = RealOptions {
            forward: Some(forward),
            weight: Some(real.weight.unwrap_or(server.weight)),
            upper: Some(real.upper),
            lower: Some(real.lower),
            tunnel: (forward == Forward::Tun).then_some(way.tunnel),
            backup: real.backup.then_some(true),
            ..RealOptions::default()
        };
        let address = RealAddress { ip: real.address.ip(), port: Some(port) };
        match imported.change(&Change::AddReal { service: *service, real: address, options }) {
            Ok(()) => places.push((*service, SocketAddr::new(address.ip, port))),
            Err(failure) if failure.cause == Some(ErrorCode::RealExists) => {
                why_not.get_or_insert("the server has this real already: the first one counts".to_owned());
            }
            Err(failure) => {
                why_not.get_or_insert(failure.message);
            }
        }
    }
    match why_not {
        Some(why) if places.is_empty() => return real.leave(imported, &server.block, &why),
        Some(why) => left_real(imported, server, real, &why),
        None => {}
    }
    real.own_lines().for_each(|(place, _)| imported.carry(place));
    let kept = real.checkers.iter().map(|checker| check(imported, context, real, checker, &places));
    let kept: Vec<bool> = kept.collect();
    imported.checked += usize::from(kept.contains(&true));
    imported.unchecked += usize::from(kept.contains(&false));
}

/// Adds the checks that a checker becomes, in each service of its real. Returns whether there are any.
fn check(
    imported: &mut Imported,
    context: &mut Context<'_>,
    real: &Real,
    checker: &Checker,
    places: &[(ServiceId, SocketAddr)],
) -> bool {
    let server = context.server;
    let schedule = real.schedule.or(&server.schedule);
    let mut why_not = None;
    let mut is_kept = false;
    for (service, address) in places {
        let aim = Aim {
            service,
            ip: real.address.ip(),
            said_port: real.address.port(),
            port: address.port(),
            weight: real.weight.unwrap_or(server.weight),
            schedule: &schedule,
            script_user: context.script_user,
        };
        let added = build(checker, &aim).and_then(|(built, notes)| {
            for one in &built {
                let added = context.assigned.add(imported, service, *address, one, &context.health);
                added.map_err(|failure| failure.message)?;
            }
            Ok(notes)
        });
        match added {
            Ok(notes) => {
                is_kept = true;
                leave_all(imported, server, notes);
            }
            Err(why) => why_not = why_not.or(Some(why)),
        }
    }
    if is_kept {
        checker.all_lines().for_each(|(place, _)| imported.carry(place));
    }
    if let Some(why) = why_not {
        // If another service has the check, its lines are carried over.
        let lines = checker.all_lines().take(if is_kept { 1 } else { usize::MAX });
        lines.for_each(|(place, text)| imported.leave(place, text, &why, Kind::Health, Some(&server.block)));
    }
    is_kept
}

/// Lists lines that are not carried over exactly.
fn leave_all(imported: &mut Imported, server: &Server, notes: Notes) {
    for ((place, text), why) in notes {
        imported.leave(&place, &text, why, Kind::Health, Some(&server.block));
    }
}

/// Lists a real that is not carried over everywhere, or not exactly.
fn left_real(imported: &mut Imported, server: &Server, real: &Real, why: &str) {
    imported.leave(&real.said.0, &real.said.1, why, Kind::Real, Some(&server.block));
}
