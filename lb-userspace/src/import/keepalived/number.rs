// SPDX-License-Identifier: MIT OR Apache-2.0
//! Parsers for numbers and addresses, with keepalived's rules.
#![forbid(unsafe_code)]

use std::net::{IpAddr, SocketAddr};

/// Parses a number between `min` and `max`. If `lenient`, text after the digits is ignored, and no digits at
/// all mean 0.
pub fn unsigned(text: &str, min: u32, max: u32, lenient: bool) -> Option<u32> {
    let text = text.trim_start();
    if text.starts_with('-') {
        return None;
    }
    let digits = text.strip_prefix('+').unwrap_or(text);
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    let value: u64 = if end == 0 { 0 } else { digits[..end].parse().ok()? };
    let whole = end == digits.len() && end > 0;
    let value = u32::try_from(value).ok().filter(|value| (min..=max).contains(value))?;
    (whole || lenient).then_some(value)
}

/// Parses an address with a port, which is 0 if there is none. Text after `-` or `/` in the address is
/// ignored.
pub fn socket(address: &str, port: Option<&str>) -> Option<SocketAddr> {
    let port = match port {
        Some(port) if !port.bytes().all(|byte| byte == b'0') => unsigned(port, 1, 65535, true)?,
        _ => 0,
    };
    let end = address.find('-').or_else(|| address.find('/')).unwrap_or(address.len());
    let ip: IpAddr = address[..end].parse().ok()?;
    Some(SocketAddr::new(ip, u16::try_from(port).ok()?))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("80", Some(80), Some(80))]
    #[case("080", Some(80), Some(80))]
    #[case("80-82", None, Some(80))]
    #[case("abc", None, Some(0))]
    #[case("", None, Some(0))]
    #[case("-1", None, None)]
    #[case("100", None, None)]
    #[case("99999999999999999999", None, None)]
    fn numbers(#[case] text: &str, #[case] strict: Option<u32>, #[case] lenient: Option<u32>) {
        assert_eq!((unsigned(text, 0, 99, false), unsigned(text, 0, 99, true)), (strict, lenient));
    }

    #[rstest]
    #[case("10.0.0.1", None, Some("10.0.0.1:0"))]
    #[case("10.0.0.1-3", Some("80"), Some("10.0.0.1:80"))]
    #[case("10.0.0.1/24", Some("0"), Some("10.0.0.1:0"))]
    #[case("2001:db8::1", Some("80x"), Some("[2001:db8::1]:80"))]
    #[case("[2001:db8::1]", Some("80"), None)]
    #[case("10.0.0.1:80", None, None)]
    #[case("10.0.0.1", Some("\\"), None)]
    #[case("10.0.0.1", Some("65536"), None)]
    #[case("localhost", Some("80"), None)]
    fn addresses(#[case] address: &str, #[case] port: Option<&str>, #[case] expected: Option<&str>) {
        assert_eq!(socket(address, port).map(|socket| socket.to_string()).as_deref(), expected);
    }
}
