// SPDX-License-Identifier: MIT OR Apache-2.0
//! Services and reals that keepalived would configure in IPVS.
#![forbid(unsafe_code)]

use super::{
    super::{Imported, Kind, Place, ipvsadm::mark},
    group::{Entry, Group},
    lines::Said,
    parse::File,
    server::{Granularity, PERSISTENT, Real, Server, Target},
};
use crate::api::types::Change;
use lb_control::options::{HealthOptions, RealOptions, ServiceOptions};
use lb_model::failure::Cause;
use lb_model::{Forward, Protocol, RealAddress, Scheduler, SchedulerFlag, ServiceId, Tracking};

/// Adds the services of a file.
pub fn add(imported: &mut Imported, file: File) {
    let File { groups, servers, local } = file;
    for mut server in servers {
        if let Some((place, name)) = &server.local {
            if let Some((_, addresses)) = local.iter().find(|(other, _)| other == name) {
                let known = &mut imported.fnat_addresses;
                let new: Vec<_> =
                    addresses.iter().filter(|address| !known.contains(address)).copied().collect();
                known.extend(new);
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
        settle(&mut server, group);
        virtual_server(imported, &server, group);
    }
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
fn settle(server: &mut Server, group: Option<&Group>) {
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
    let sorry = server.sorry.take().filter(|_| server.sorry_inhibited);
    if let Some(sorry) = sorry
        && !server.reals.iter().any(|real| real.address == sorry.address)
    {
        server.reals.push(Real { weight: Some(0), ..sorry });
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

fn virtual_server(imported: &mut Imported, server: &Server, group: Option<&Group>) {
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
            Err(failure) if failure.cause == Some(Cause::ServiceExists) => {
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
    for real in &server.reals {
        real_server(imported, server, real, &added);
    }
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
                left_out(imported, server, said, "clients are told apart by a prefix: all bits count");
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

fn real_server(imported: &mut Imported, server: &Server, real: &Real, services: &[ServiceId]) {
    let way = if real.way.forward.is_some() { real.way } else { server.way };
    let forward = way.forward.unwrap_or(Forward::Nat);
    if real.lower > real.upper {
        let why = format!("IPVS takes no real whose lthreshold, {}, is above its uthreshold", real.lower);
        return real.leave(imported, &server.block, &why);
    }
    let mut why_not = None;
    let mut carried = false;
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
            ..RealOptions::default()
        };
        let address = RealAddress { ip: real.address.ip(), port: Some(port) };
        match imported.change(&Change::AddReal { service: *service, real: address, options }) {
            Ok(()) => carried = true,
            Err(failure) if failure.cause == Some(Cause::RealExists) => {
                why_not.get_or_insert("the server has this real already: the first one counts".to_owned());
            }
            Err(failure) => {
                why_not.get_or_insert(failure.message);
            }
        }
    }
    match why_not {
        Some(why) if !carried => real.leave(imported, &server.block, &why),
        Some(why) => left_real(imported, server, real, &why),
        None => {}
    }
    if carried {
        let lines = std::iter::once(&real.said).chain(&real.lines);
        let places: Vec<Place> = lines.map(|(place, _)| place.clone()).collect();
        imported.carried.extend(places);
        imported.checked += usize::from(real.checked);
    }
}

/// Lists a real that is not carried over everywhere, or not exactly.
fn left_real(imported: &mut Imported, server: &Server, real: &Real, why: &str) {
    imported.leave(&real.said.0, &real.said.1, why, Kind::Real, Some(&server.block));
}
