// SPDX-License-Identifier: MIT OR Apache-2.0
//! `host[:port]`, each a number or a name.
#![forbid(unsafe_code)]

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{names::Names, trouble::Trouble};
use crate::control::model::Protocol;

/// An address as it was given.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Place {
    /// The host.
    pub host: Ipv4Addr,
    /// The port, if there was one.
    pub port: Option<u16>,
}

/// Reads `host[:port]`; `None` if that is not what it is.
///
/// # Errors
/// A refusal of IPv6.
pub fn place(text: &str, protocol: Option<Protocol>, names: &dyn Names) -> Result<Option<Place>, Trouble> {
    let inner = text.strip_prefix('[').and_then(|rest| rest.split(']').next()).unwrap_or(text);
    if inner.parse::<Ipv6Addr>().is_ok() {
        return Err(ipv6());
    }
    // A number alone could be an address, but was a port that somebody forgot the host of.
    if text.bytes().all(|byte| byte.is_ascii_digit()) || text.starts_with('[') {
        return Ok(None);
    }
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (text, None),
    };
    let Some(host) = host(name, names) else { return Ok(None) };
    let Some(port) = port else { return Ok(Some(Place { host, port: None })) };
    let port = port.parse().ok().or_else(|| names.port(port, protocol?));
    Ok(port.map(|port| Place { host, port: Some(port) }))
}

/// Reads a host.
#[must_use]
pub fn host(text: &str, names: &dyn Names) -> Option<Ipv4Addr> {
    text.parse().ok().or_else(|| names.address(text))
}

/// What is said of IPv6.
#[must_use]
pub fn ipv6() -> Trouble {
    Trouble::refused("IPv6 is not supported yet", "see docs/limits.md")
}
