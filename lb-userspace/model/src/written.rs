// SPDX-License-Identifier: MIT OR Apache-2.0
//! Parsers for addresses, ports and numbers, with messages that name the mistake.
#![forbid(unsafe_code)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use serde::Deserialize;

/// An address with a port in a file.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(try_from = "String")]
pub struct WrittenAddress(pub SocketAddr);

impl TryFrom<String> for WrittenAddress {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        socket_address(&text).map(Self)
    }
}

/// A listening address in a file, which may be `:9471`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(try_from = "String")]
pub struct ListenAddress(pub SocketAddr);

impl TryFrom<String> for ListenAddress {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        listen_address(&text).map(Self)
    }
}

/// Parses `10.0.0.100:80` or `[2001:db8::100]:80`.
///
/// # Errors
/// If the text is invalid; the message names the mistake.
pub fn socket_address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    if let Ok(ip) = text.parse::<Ipv4Addr>() {
        return Err(format!("'{text}' has no port; write {ip}:80, with port 0 for every port"));
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        let (ip, port) = match text.rsplit_once(':') {
            Some((ip, port)) if ip.parse::<Ipv6Addr>().is_ok() && port.parse::<u16>().is_ok() => (ip, port),
            _ => (text, "80"),
        };
        return Err(format!(
            "'{text}' is an IPv6 address without a port; IPv6 needs brackets: [{ip}]:{port}"
        ));
    }
    let inside = text.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let (host, port) = match inside {
        Some((host, rest)) => (host, rest.strip_prefix(':')),
        None => match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let ip = match inside {
        Some(_) => host.parse::<Ipv6Addr>().map(IpAddr::V6).map_err(|_| {
            let hint = if host.parse::<Ipv4Addr>().is_ok() { "; brackets are for IPv6" } else { "" };
            format!("'{host}' is not an IPv6 address{hint}")
        })?,
        // A wrong port is reported rather than the lack of brackets.
        None => ip_address(host)?,
    };
    let Some(port) = port else {
        return Err(format!(
            "'{text}' has no port; write {}, with port 0 for every port",
            SocketAddr::new(ip, 80)
        ));
    };
    let port = self::port(port)?;
    // Only an IPv6 address without brackets remains.
    Err(match ip {
        IpAddr::V6(ip) => format!("'{text}': IPv6 needs brackets: {}", SocketAddrV6::new(ip, port, 0, 0)),
        IpAddr::V4(ip) => format!("'{text}' is not an address with a port; write {ip}:{port}"),
    })
}

/// Parses an address with a port, or `:9471` for every IPv4 address of this host.
///
/// # Errors
/// If the text is invalid; the message names the mistake.
pub fn listen_address(text: &str) -> Result<SocketAddr, String> {
    if let Some(port) = text.strip_prefix(':')
        && !port.contains(':')
    {
        return Ok(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), self::port(port)?));
    }
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("'{text}' has no address; write 127.0.0.1:{text}, or :{text} for every address"));
    }
    socket_address(text)
}

/// Parses an address without a port.
///
/// # Errors
/// If the text is invalid; the message names the mistake.
pub fn ip_address(text: &str) -> Result<IpAddr, String> {
    if let Ok(ip) = text.parse() {
        return Ok(ip);
    }
    if text.is_empty() {
        return Err("the address is missing".to_owned());
    }
    if let Some((ip, bits)) = text.split_once('/')
        && ip.parse::<IpAddr>().is_ok()
    {
        return Err(format!("'{text}' is a network of {bits} bits; write the address alone: {ip}"));
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Err(format!("'{text}' has a port; write the address alone: {}", address.ip()));
    }
    if text.contains(':') {
        return Err(format!("'{text}' is not an IPv6 address"));
    }
    if text.bytes().any(|byte| !byte.is_ascii_digit() && byte != b'.') {
        return Err(format!("'{text}' is not an IP address: names are not looked up"));
    }
    let parts: Vec<&str> = text.split('.').collect();
    if parts.len() != 4 || parts.contains(&"") {
        return Err(format!("'{text}' is not an IPv4 address, which has four numbers"));
    }
    Err(match parts.iter().find(|part| part.parse::<u8>().is_err()) {
        Some(part) => format!("'{text}': {part} is above 255"),
        None => format!("'{text}': a number of an IPv4 address has no zeros in front"),
    })
}

/// Returns a sentence for a word such as `80/tcp` or `tcp/80`; `None` for any other word.
#[must_use]
pub fn port_with_protocol(text: &str) -> Option<String> {
    let (first, second) = text.split_once('/')?;
    let (port, protocol) = if first.parse::<u16>().is_ok() { (first, second) } else { (second, first) };
    let protocol = protocol.to_ascii_lowercase();
    let port: u16 = port.parse().ok()?;
    matches!(protocol.as_str(), "tcp" | "udp" | "sctp")
        .then(|| format!("'{text}' is a port and a protocol in one; write them apart: {protocol} VIP:{port}"))
}

fn port(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(port) => Ok(port),
        Err(_) if text.is_empty() => Err("there is no port behind the colon".to_owned()),
        Err(_) if text.bytes().all(|byte| byte.is_ascii_digit()) => {
            Err(format!("port {text} is above 65535"))
        }
        Err(_) => Err(port_with_protocol(text)
            .unwrap_or_else(|| format!("'{text}' is not a port number: names are not looked up"))),
    }
}

/// Parses a whole number from `least` to `most`.
///
/// # Errors
/// If the number is out of range; the message has the range.
pub fn number(text: &str, least: u32, most: u32) -> Result<u32, String> {
    match text.parse() {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        _ => Err(format!("'{text}' is not a whole number from {least} to {most}")),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("192.0.2.101", "has no port")]
    #[case("192.0.2.256:80", "256 is above 255")]
    #[case("192.0.2.1:80808", "port 80808 is above 65535")]
    #[case("192.0.2.1:http", "'http' is not a port number")]
    #[case("192.0.2.1:", "no port behind the colon")]
    #[case("2001:db8::1:80", "IPv6 needs brackets: [2001:db8::1]:80")]
    #[case("2001:db8:0:0:0:0:0:1:80", "IPv6 needs brackets: [2001:db8::1]:80")]
    #[case("[2001:db8::1]", "has no port; write [2001:db8::1]:80")]
    #[case("[192.0.2.1]:80", "brackets are for IPv6")]
    #[case("www.example.org:80", "names are not looked up")]
    #[case("localhost", "names are not looked up")]
    #[case("192.0.2:80", "four numbers")]
    #[case("192.0.2.01:80", "zeros in front")]
    #[case("192.0.2.1/32:80", "write the address alone: 192.0.2.1")]
    #[case(":80", "the address is missing")]
    #[case("", "the address is missing")]
    fn the_mistake_in_an_address_with_a_port_is_named(#[case] text: &str, #[case] said: &str) {
        let why = socket_address(text).unwrap_err();
        assert!(why.contains(said), "{why}");
    }

    #[rstest]
    #[case("192.0.2.100/32", "write the address alone: 192.0.2.100")]
    #[case("192.0.2.100:80", "write the address alone: 192.0.2.100")]
    #[case("[2001:db8::1]:80", "write the address alone: 2001:db8::1")]
    #[case("web", "names are not looked up")]
    #[case("300.0.0.1", "300 is above 255")]
    #[case("2001:db8::g", "not an IPv6 address")]
    fn the_mistake_in_an_address_is_named(#[case] text: &str, #[case] said: &str) {
        let why = ip_address(text).unwrap_err();
        assert!(why.contains(said), "{why}");
    }

    #[test]
    fn an_address_to_listen_at_may_be_a_port() {
        assert_eq!(listen_address(":9471").unwrap().to_string(), "0.0.0.0:9471");
        assert_eq!(listen_address("[::1]:9471").unwrap().to_string(), "[::1]:9471");
        assert!(listen_address("9471").unwrap_err().contains("write 127.0.0.1:9471, or :9471"));
        assert!(listen_address("localhost:9471").unwrap_err().contains("not looked up"));
        assert!(listen_address(":99999").unwrap_err().contains("above 65535"));
    }

    #[test]
    fn a_number_says_its_range() {
        assert_eq!(number("7", 0, 9), Ok(7));
        for text in ["1.5", "ten", "-1", "10", ""] {
            let why = number(text, 0, 9).unwrap_err();
            assert_eq!(why, format!("'{text}' is not a whole number from 0 to 9"));
        }
    }
}
