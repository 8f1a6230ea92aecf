// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which services a `virtual_server` stands for.
#![forbid(unsafe_code)]

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use super::read::Statement;
use crate::control::model::{Protocol, ServiceId};

/// Most services that a range stands for.
const MOST: usize = 4096;

/// Groups by their names.
pub type Groups<'a> = HashMap<&'a str, &'a [Statement]>;

/// The services that the words after `virtual_server` name, each with the statement of a group that says it.
///
/// # Errors
/// Why they name none.
pub fn services<'a>(
    words: &[String],
    protocol: Protocol,
    groups: &Groups<'a>,
) -> Result<Vec<(ServiceId, Option<&'a Statement>)>, String> {
    if words.first().map(String::as_str) != Some("group") {
        return Ok(entry(words, protocol)?.into_iter().map(|id| (id, None)).collect());
    }
    let name = words.get(1).ok_or("it names no group")?;
    let group =
        groups.get(name.as_str()).ok_or_else(|| format!("there is no virtual_server_group {name}"))?;
    let mut all = Vec::new();
    for statement in *group {
        if let Ok(ids) = entry(&statement.words, protocol) {
            all.extend(ids.into_iter().map(|id| (id, Some(statement))));
        }
    }
    Ok(all)
}

/// The services of `fwmark N`, `IP [PORT]`, `IP-LAST PORT` or `IP PORT-LAST`.
///
/// # Errors
/// Why it names none.
pub fn entry(words: &[String], protocol: Protocol) -> Result<Vec<ServiceId>, String> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (address, port) = match words[..] {
        ["fwmark", mark] => {
            let group = mark.parse().ok().filter(|mark| *mark > 0);
            return group.map(|group| vec![ServiceId::group(group)]).ok_or_else(|| wrong(mark));
        }
        [address] => (address, "0"),
        [address, port] => (address, port),
        _ => return Err(wrong(&words.join(" "))),
    };
    let addresses = addresses(address).ok_or_else(|| wrong(address))?;
    let (first, last) = port.split_once('-').unwrap_or((port, port));
    let ports = match (first.parse::<u16>(), last.parse::<u16>()) {
        (Ok(first), Ok(last)) if first <= last => first..=last,
        _ => return Err(wrong(port)),
    };
    if addresses.len() * ports.len() > MOST {
        return Err(format!("that are more than {MOST} services"));
    }
    let of = |ip: IpAddr| ports.clone().map(move |port| ServiceId::new(protocol, SocketAddr::new(ip, port)));
    Ok(addresses.into_iter().flat_map(of).collect())
}

/// `10.0.0.1`, `10.0.0.1-9` or `2001:db8::1-f`, with or without a prefix length.
fn addresses(text: &str) -> Option<Vec<IpAddr>> {
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (first, Some(last)),
        None => (text, None),
    };
    let first: IpAddr = first.split('/').next()?.parse().ok()?;
    let Some(last) = last else { return Some(vec![first]) };
    match first {
        IpAddr::V4(v4) => {
            let [a, b, c, from] = v4.octets();
            let to: u8 = last.parse().ok()?;
            (from <= to).then(|| (from..=to).map(|d| Ipv4Addr::new(a, b, c, d).into()).collect())
        }
        IpAddr::V6(v6) => {
            let to = u16::from_str_radix(last, 16).ok()?;
            let from = v6.segments()[7];
            let network = v6.to_bits() & !0xffff;
            let address = |last| Ipv6Addr::from_bits(network | u128::from(last)).into();
            (from <= to).then(|| (from..=to).map(address).collect())
        }
    }
}

fn wrong(what: &str) -> String {
    format!("{what} is no address, port or mark")
}
