// SPDX-License-Identifier: MIT OR Apache-2.0
//! Parser for `host[:port]`, each a number or a name.
#![forbid(unsafe_code)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::names::Names;
use lb_model::Protocol;

/// A parsed address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Place {
    /// Host.
    pub host: IpAddr,
    /// Port, if given.
    pub port: Option<u16>,
}

/// Parses `host[:port]`, `[address]:port` or an IPv6 address; `None` for other text. As in ipvsadm, an
/// address in brackets must have a port.
pub fn place(text: &str, protocol: Option<Protocol>, names: &dyn Names) -> Option<Place> {
    let (host, port) = if let Some((inner, rest)) = text.strip_prefix('[').and_then(|t| t.split_once(']')) {
        (inner.parse::<Ipv6Addr>().ok()?.into(), Some(rest.strip_prefix(':')?))
    } else if let Ok(address) = text.parse::<Ipv6Addr>() {
        (address.into(), None)
    } else {
        // A number alone could be an address, but most likely is a port without a host.
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

/// Parses a host: a number, as `inet_aton` accepts it, or a name.
#[must_use]
pub fn host(text: &str, names: &dyn Names) -> Option<Ipv4Addr> {
    number(text).or_else(|| names.address(text))
}

/// Parses one to four numbers with dots between, each decimal, octal after 0, or hexadecimal after 0x. The
/// last of fewer than four fills the remaining bytes.
#[must_use]
pub fn number(text: &str) -> Option<Ipv4Addr> {
    let part = |part: &str| {
        let (digits, radix) = match part.strip_prefix("0x").or_else(|| part.strip_prefix("0X")) {
            Some(digits) => (digits, 16),
            None if part.len() > 1 && part.starts_with('0') => (&part[1..], 8),
            None => (part, 10),
        };
        let plain = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        u32::from_str_radix(digits, radix).ok().filter(|_| plain)
    };
    let parts: Option<Vec<u32>> = text.split('.').map(part).collect();
    let parts = parts?;
    let (last, bytes) = parts.split_last()?;
    if bytes.len() > 3 || bytes.iter().any(|byte| *byte > 255) {
        return None;
    }
    let room = 32 - 8 * bytes.len() as u32;
    if room < 32 && *last >> room != 0 {
        return None;
    }
    let high = bytes.iter().enumerate().map(|(index, byte)| byte << (24 - 8 * index)).sum::<u32>();
    Some((high | last).into())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::ipvsadm::Nameless;

    #[rstest]
    #[case("10.0.0.1", Some("10.0.0.1"))]
    #[case("10.020.0.100", Some("10.16.0.100"))]
    #[case("0x7f.1", Some("127.0.0.1"))]
    #[case("10.1.258", Some("10.1.1.2"))]
    #[case("167772161", Some("10.0.0.1"))]
    #[case("10.0.0.300", None)]
    #[case("10.0.0.08", None)]
    #[case("10.0.0.1.2", None)]
    #[case("10.0.0.", None)]
    #[case("10.0.+1.2", None)]
    #[case("1.16777216", None)]
    fn numbers_are_read_as_by_the_c_library(#[case] text: &str, #[case] address: Option<&str>) {
        assert_eq!(host(text, &Nameless).map(|host| host.to_string()).as_deref(), address);
    }

    #[rstest]
    #[case("[2001:db8::1]:80", Some(80))]
    #[case("2001:db8::1", None)]
    fn addresses_of_ipv6_have_ports_in_brackets(#[case] text: &str, #[case] port: Option<u16>) {
        let place = place(text, Some(Protocol::Tcp), &Nameless).unwrap();
        assert_eq!((place.host.to_string().as_str(), place.port), ("2001:db8::1", port));
    }

    #[rstest]
    #[case("[2001:db8::1]")]
    #[case("[2001:db8::1]80")]
    #[case("10.0.0.1:")]
    #[case(":80")]
    #[case("80")]
    #[case("")]
    fn what_is_no_place_is_refused(#[case] text: &str) {
        assert_eq!(place(text, Some(Protocol::Tcp), &Nameless), None);
    }
}
