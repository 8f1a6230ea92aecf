// SPDX-License-Identifier: MIT OR Apache-2.0
//! `host[:port]`, each a number or a name.
#![forbid(unsafe_code)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::names::Names;
use crate::control::model::Protocol;

/// An address as it was given.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Place {
    /// The host.
    pub host: IpAddr,
    /// The port, if there was one.
    pub port: Option<u16>,
}

/// Reads `host[:port]` or `[address][:port]`; `None` if that is not what it is.
pub fn place(text: &str, protocol: Option<Protocol>, names: &dyn Names) -> Option<Place> {
    let (host, port) = if let Some((inner, rest)) = text.strip_prefix('[').and_then(|t| t.split_once(']')) {
        let host = inner.parse::<Ipv6Addr>().ok()?.into();
        if rest.is_empty() { (host, None) } else { (host, Some(rest.strip_prefix(':')?)) }
    } else if let Ok(address) = text.parse::<Ipv6Addr>() {
        (address.into(), None)
    } else {
        // A number alone could be an address, but was a port that somebody forgot the host of.
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let (name, port) = match text.rsplit_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (text, None),
        };
        (host(name, names)?.into(), port)
    };
    let Some(port) = port else { return Some(Place { host, port: None }) };
    let port = port.parse().ok().or_else(|| names.port(port, protocol?));
    port.map(|port| Place { host, port: Some(port) })
}

/// Reads a host.
#[must_use]
pub fn host(text: &str, names: &dyn Names) -> Option<Ipv4Addr> {
    text.parse().ok().or_else(|| names.address(text))
}
