// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Lists of the kernel's connections: `/proc/net/ip_vs_conn`, `/proc/net/ip_vs_conn_sync`, and `ipvsadm -Lcn`.
//!
//! ```text
//! Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData
//! TCP 0A090001 EA8E 0A090064 0050 0A090017 0050 ESTABLISHED     897
//! ```
//!
//! ```text
//! IPVS connection entries
//! pro expire state       source             virtual            destination
//! TCP 14:57  ESTABLISHED 10.9.0.1:60046     10.9.0.100:80      10.9.0.23:80
//! ```

use core::{
    error::Error,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use super::{Connection, Flags, state};
use crate::protocol;

/// The file or command whose format a line has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Format {
    /// `/proc/net/ip_vs_conn`.
    Kernel,
    /// `ipvsadm -Lcn`.
    Ipvsadm,
}

/// A line of a list.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Line {
    /// A headline, or an empty line.
    Heading,
    /// A connection or a template.
    Connection {
        /// The connection. Its timeout is what is left of it, and its flags have no method: a list has neither.
        connection: Connection,
        /// Whether a persistence engine made it.
        has_engine: bool,
        /// The format of the line.
        format: Format,
    },
}

/// The part of a line that is malformed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LineError {
    /// The line has too few columns.
    Columns,
    /// The protocol.
    Protocol,
    /// An address or a port.
    Address,
    /// The state.
    State,
    /// The time that is left.
    Expires,
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Columns => "the line has too few columns",
            Self::Protocol => "the protocol is none of TCP, UDP, SCTP and IP",
            Self::Address => "an address or a port is not numeric",
            Self::State => "the state is unknown",
            Self::Expires => "the time until the connection expires is no number",
        })
    }
}

impl Error for LineError {}

/// Reads a line of either format.
///
/// # Errors
/// If the line is neither a connection nor a headline.
pub fn line(text: &str) -> Result<Line, LineError> {
    let mut columns = text.split_ascii_whitespace();
    let (Some(name), second) = (columns.next(), columns.next()) else { return Ok(Line::Heading) };
    if is_heading(name, second) {
        return Ok(Line::Heading);
    }
    let protocol = match name {
        "TCP" => protocol::TCP,
        "UDP" => protocol::UDP,
        "SCTP" => protocol::SCTP,
        // A template of a fwmark service.
        "IP" => 0,
        _ => return Err(LineError::Protocol),
    };
    let second = second.ok_or(LineError::Columns)?;
    let (format, row) = match minutes(second) {
        Some(expires) => (Format::Ipvsadm, ipvsadm(expires, &mut columns)?),
        None => (Format::Kernel, kernel(second, &mut columns)?),
    };
    let connection = connection(protocol, &row)?;
    Ok(Line::Connection { connection, has_engine: columns.next().is_some(), format })
}

/// Returns whether a line that begins with these words is a headline of one of the formats.
fn is_heading(first: &str, second: Option<&str>) -> bool {
    matches!(
        (first, second),
        ("Pro", Some("FromIP")) | ("pro", Some("expire")) | ("IPVS", Some("connection"))
    )
}

/// The columns of a line.
struct Row<'a> {
    sockets: [SocketAddr; 3],
    state: &'a str,
    /// Seconds that are left.
    expires: u32,
}

fn kernel<'a>(first: &str, columns: &mut impl Iterator<Item = &'a str>) -> Result<Row<'a>, LineError> {
    let mut sockets = [SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0); 3];
    let mut first = Some(first);
    for socket in &mut sockets {
        let address = match first.take() {
            Some(first) => first,
            None => columns.next().ok_or(LineError::Columns)?,
        };
        let port = columns.next().ok_or(LineError::Columns)?;
        *socket = SocketAddr::new(
            kernel_address(address).ok_or(LineError::Address)?,
            hexadecimal(port, 4).and_then(|port| u16::try_from(port).ok()).ok_or(LineError::Address)?,
        );
    }
    let state = columns.next().ok_or(LineError::Columns)?;
    let mut expires = columns.next().ok_or(LineError::Columns)?;
    // `ip_vs_conn_sync` has the origin of the connection there.
    if matches!(expires, "LOCAL" | "SYNC") {
        expires = columns.next().ok_or(LineError::Columns)?;
    }
    Ok(Row { sockets, state, expires: decimal(expires).ok_or(LineError::Expires)? })
}

fn ipvsadm<'a>(expires: u32, columns: &mut impl Iterator<Item = &'a str>) -> Result<Row<'a>, LineError> {
    let state = columns.next().ok_or(LineError::Columns)?;
    let mut sockets = [SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0); 3];
    for socket in &mut sockets {
        let text = columns.next().ok_or(LineError::Columns)?;
        let parsed: SocketAddr = text.parse().map_err(|_| LineError::Address)?;
        // Messages have no scope id.
        *socket = SocketAddr::new(parsed.ip(), parsed.port());
    }
    Ok(Row { sockets, state, expires })
}

fn connection(protocol: u8, row: &Row<'_>) -> Result<Connection, LineError> {
    let [client, vip, real] = row.sockets;
    if client.is_ipv4() != vip.is_ipv4() && protocol != 0 {
        return Err(LineError::Address);
    }
    let is_template = client.port() == 0 && matches!(row.state, "NONE" | "ASSURED" | "UDP");
    let (state, flags) = if is_template {
        let state = if row.state == "ASSURED" { state::TEMPLATE_ASSURED } else { 0 };
        (state, Flags(Flags::TEMPLATE))
    } else {
        let number = state::number(protocol, row.state).ok_or(LineError::State)?;
        let activity = state::phase(protocol, number).and_then(|phase| state::announced(protocol, phase));
        let flags = activity.map_or(Flags(0), |(_, flags)| flags);
        (number, if client.port() == 0 { flags.with(Flags::NO_CLIENT_PORT) } else { flags })
    };
    Ok(Connection { protocol, client, vip, real, flags, state, mark: 0, timeout: row.expires })
}

/// Returns an address as the kernel writes it: eight hexadecimal digits, or eight groups of four.
fn kernel_address(text: &str) -> Option<IpAddr> {
    if text.contains(':') {
        return text.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    }
    hexadecimal(text, 8).map(|bits| Ipv4Addr::from_bits(bits).into())
}

fn hexadecimal(text: &str, digits: usize) -> Option<u32> {
    let is_valid = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_valid { u32::from_str_radix(text, 16).ok() } else { None }
}

fn decimal(text: &str) -> Option<u32> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// Returns the seconds of "minutes:seconds".
fn minutes(text: &str) -> Option<u32> {
    let (minutes, seconds) = text.split_once(':')?;
    let seconds = decimal(seconds).filter(|seconds| *seconds < 60)?;
    decimal(minutes)?.checked_mul(60)?.checked_add(seconds)
}
