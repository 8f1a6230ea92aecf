// SPDX-License-Identifier: MIT OR Apache-2.0
//! Lists of services and reals, byte for byte as `ipvsadm -L` prints them.
#![forbid(unsafe_code)]

use std::{
    fmt::Write as _,
    net::{Ipv4Addr, SocketAddr},
};

use super::{names::Names, number::counter, sort};
use crate::api::{
    ipvs::{Rates, Shown, ShownReal},
    types::{RealView, ServiceView},
};
use lb_control::state::Totals;
use lb_model::{Forward, Persistence, Protocol, Scheduler, SchedulerFlag, ServiceId, Tunnel};

/// Shown version of IPVS: that of Linux since 2.6.
pub const VERSION: &str = "1.2.1";

/// Format of a list.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub struct Format {
    /// Shows numbers, no names.
    pub numeric: bool,
    /// Shows counters.
    pub stats: bool,
    /// Shows rates of the counters.
    pub rate: bool,
    /// Shows thresholds.
    pub thresholds: bool,
    /// Shows persistence.
    pub persistent: bool,
    /// Shows tunnels.
    pub tunnels: bool,
    /// Does not sort.
    pub unsorted: bool,
    /// Shows every digit.
    pub exact: bool,
}

/// Columns of a list; of several options, the first one here counts.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Columns {
    Stats,
    Rate,
    Thresholds,
    Persistent,
    Tunnels,
    Plain,
}

impl Format {
    const fn columns(self) -> Columns {
        match self {
            Self { stats: true, .. } => Columns::Stats,
            Self { rate: true, .. } => Columns::Rate,
            Self { thresholds: true, .. } => Columns::Thresholds,
            Self { persistent: true, .. } => Columns::Persistent,
            Self { tunnels: true, .. } => Columns::Tunnels,
            _ => Columns::Plain,
        }
    }
}

/// Returns the list of services with its title. `size` is that of the connection table; a list of one service
/// does not show it.
#[must_use]
pub fn list(size: Option<u32>, services: Vec<Shown>, format: Format, names: &dyn Names) -> String {
    let mut page = String::new();
    if let Some(size) = size {
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(page, "IP Virtual Server version {VERSION} (size={size})");
    }
    page.push_str(&title(format.columns()));
    for shown in in_order(services, format) {
        entry(&mut page, &shown, format, names);
    }
    page
}

/// Returns the services and their reals in the order of lists: sorted, or with the last added first, as in
/// the kernel.
#[must_use]
pub fn in_order(services: Vec<Shown>, format: Format) -> Vec<Shown> {
    let by_id = |a: &Shown, b: &Shown| sort::services(&a.service.id, &b.service.id);
    let mut services = if format.unsorted { services } else { sort::sort(services, &by_id) };
    for shown in &mut services {
        shown.reals.resize_with(shown.service.reals.len(), ShownReal::default);
        let reals = std::mem::take(&mut shown.service.reals).into_iter();
        let mut reals: Vec<(RealView, ShownReal)> = reals.zip(std::mem::take(&mut shown.reals)).collect();
        if format.unsorted {
            reals.reverse();
        } else {
            reals = sort::sort(reals, &|(a, _), (b, _)| sort::addresses(&a.address, &b.address));
        }
        (shown.service.reals, shown.reals) = reals.into_iter().unzip();
    }
    services
}

fn title(columns: Columns) -> String {
    let first = "Prot LocalAddress:Port";
    let second = "  -> RemoteAddress:Port";
    match columns {
        Columns::Stats => format!(
            "{first:<33} {:>8} {:>8} {:>8} {:>8} {:>8}\n{second}\n",
            "Conns", "InPkts", "OutPkts", "InBytes", "OutBytes"
        ),
        Columns::Rate => format!(
            "{first:<33} {:>8} {:>8} {:>8} {:>8} {:>8}\n{second}\n",
            "CPS", "InPPS", "OutPPS", "InBPS", "OutBPS"
        ),
        Columns::Thresholds => format!(
            "{first:<33} {:<10} {:<10} {:<10} {:<10}\n{second}\n",
            "Uthreshold", "Lthreshold", "ActiveConn", "InActConn"
        ),
        Columns::Persistent => format!(
            "{first:<33} {:<9} {:<11} {:<10} {:<10}\n{second}\n",
            "Weight", "PersistConn", "ActiveConn", "InActConn"
        ),
        Columns::Tunnels => format!(
            "{first} Scheduler Flags\n{second:<33} Forward TunnelInfo    Weight ActiveConn InActConn\n"
        ),
        Columns::Plain => {
            format!("{first} Scheduler Flags\n{second:<33} Forward Weight ActiveConn InActConn\n")
        }
    }
}

fn entry(page: &mut String, shown: &Shown, format: Format, names: &dyn Names) {
    let Shown { service, counted, rates, reals } = shown;
    let name = match &service.id {
        ServiceId::Endpoint(endpoint) => {
            let protocol = endpoint.protocol.as_str().to_uppercase();
            let name = format!(
                "{protocol:<4} {}",
                address(endpoint.address, Some(endpoint.protocol), format, names)
            );
            if endpoint.address.is_ipv6() { name } else { cut(name, 33) }
        }
        ServiceId::Group { group, .. } if is_ipv6(service) => format!("FWM  {group} IPv6"),
        ServiceId::Group { group, .. } => format!("FWM  {group}"),
    };
    let line = match format.columns() {
        Columns::Stats => format!("{name:<33}{}", stats(counted, format)),
        Columns::Rate => format!("{name:<33}{}", speeds(rates, format, true)),
        _ => format!("{name} {}", scheduling(service)),
    };
    page.push_str(&line);
    page.push('\n');
    for (real, shown) in service.reals.iter().zip(reals) {
        let protocol = service.id.endpoint().map(|endpoint| endpoint.protocol);
        let name = address(real.address, protocol, format, names);
        let name = if real.address.is_ipv6() { name } else { cut(name, 28) };
        let _ = writeln!(page, "  -> {name:<28}{}", real_columns(real, shown, format));
    }
}

/// Returns ipvsadm's mark in lists for a checksum, or for none.
const fn csum(has: bool) -> &'static str {
    if has { "+c" } else { "-c" }
}

/// Returns whether a service has IPv6 clients only. For a group that `xvs service add` made, this is a guess:
/// it may have one service for both IP versions.
#[must_use]
pub fn is_ipv6(service: &ServiceView) -> bool {
    match service.id {
        ServiceId::Endpoint(endpoint) => endpoint.address.is_ipv6(),
        ServiceId::Group { ipv6: true, .. } => true,
        ServiceId::Group { .. } if service.endpoints.is_empty() => {
            let reals = &service.reals;
            reals.iter().any(|real| real.address.is_ipv6() && real.forward != Forward::Tun)
        }
        ServiceId::Group { .. } => service.endpoints.iter().all(|endpoint| endpoint.address.is_ipv6()),
    }
}

fn real_columns(real: &RealView, shown: &ShownReal, format: Format) -> String {
    let RealView { upper, lower, active_flows, inactive_flows, persistent_clients, .. } = real;
    let weight = real.ipvs_weight();
    let connections = format!("{active_flows:<10} {inactive_flows:<10}");
    let method = method(if real.is_local { Forward::Local } else { real.forward });
    match format.columns() {
        Columns::Stats => stats(&shown.counted, format),
        Columns::Rate => speeds(&shown.rates, format, false),
        Columns::Thresholds => format!(" {upper:<10} {lower:<10} {connections}"),
        Columns::Persistent => format!(" {weight:<9} {persistent_clients:<11} {connections}"),
        Columns::Tunnels => {
            let tunnel = match (real.forward, real.tunnel) {
                (Forward::Tun, Tunnel::Ipip) => "ipip".to_owned(),
                (Forward::Tun, Tunnel::Gre { csum: has }) => format!("gre:{}", csum(has)),
                (Forward::Tun, Tunnel::Gue { port, csum: has }) => format!("gue:{port}:{}", csum(has)),
                _ => "n/a".to_owned(),
            };
            format!(" {method:<7} {tunnel:<13} {weight:<6} {connections}")
        }
        Columns::Plain => format!(" {method:<7} {weight:<6} {connections}"),
    }
}

/// Returns scheduler, flags, persistence, and one-packet scheduling.
fn scheduling(service: &ServiceView) -> String {
    let mut line = service.scheduler.as_str().to_owned();
    let flags = flags(service);
    if !flags.is_empty() {
        let _ = write!(line, " ({flags})");
    }
    if let Some(Persistence { seconds, prefix }) = service.persistence {
        let _ = write!(line, " persistent {seconds}");
        if let Some(mask) = mask(service, prefix) {
            let _ = write!(line, " mask {mask}");
        }
    }
    if service.one_packet {
        line.push_str(" ops");
    }
    line
}

/// Returns the scheduler's flags, in the order of the kernel's bits.
#[must_use]
pub fn flags(service: &ServiceView) -> String {
    use SchedulerFlag as F;
    let order: &[F] = match service.scheduler {
        Scheduler::Sh => &[F::ShFallback, F::ShPort],
        Scheduler::Mh => &[F::MhFallback, F::MhPort],
        _ => &[F::Flag1, F::Flag2, F::Flag3],
    };
    let words: Vec<&str> =
        order.iter().filter(|flag| service.flags.contains(flag)).map(|flag| flag.as_str()).collect();
    words.join(",")
}

/// Returns a prefix length as a netmask with dots, or for IPv6 as a number; `None` if it is the whole
/// address.
#[must_use]
pub fn mask(service: &ServiceView, prefix: u8) -> Option<String> {
    if is_ipv6(service) {
        return (prefix < 128).then(|| prefix.to_string());
    }
    let bits = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
    (prefix < 32).then(|| Ipv4Addr::from_bits(bits).to_string())
}

const fn method(forward: Forward) -> &'static str {
    match forward {
        Forward::Dr => "Route",
        Forward::Tun => "Tunnel",
        Forward::Nat => "Masq",
        Forward::Fnat => "FullNat",
        Forward::Local => "Local",
    }
}

fn stats(totals: &Totals, format: Format) -> String {
    let Totals { new_flows, packets_in, packets_out, bytes_in, bytes_out } = totals;
    [new_flows, packets_in, packets_out, bytes_in, bytes_out]
        .map(|value| counter(*value, format.exact))
        .concat()
}

/// Returns the rates. For reals, ipvsadm prints packets and connections in full.
fn speeds(rates: &Rates, format: Format, scaled: bool) -> String {
    let Rates { connections, packets_in, packets_out, bytes_in, bytes_out } = rates;
    let full = [connections, packets_in, packets_out]
        .map(|value| if scaled { counter(*value, format.exact) } else { format!(" {value:>8}") });
    full.concat() + &[bytes_in, bytes_out].map(|value| counter(*value, format.exact)).concat()
}

/// Returns an address with its port, each by name if requested and possible.
#[must_use]
pub fn address(address: SocketAddr, protocol: Option<Protocol>, format: Format, names: &dyn Names) -> String {
    if format.numeric {
        return address.to_string();
    }
    let host = names.host(address.ip()).unwrap_or_else(|| address.ip().to_string());
    let host = if address.is_ipv6() { format!("[{host}]") } else { host };
    format!("{host}:{}", port(address, protocol, names))
}

/// Returns a port, by name if it has one.
#[must_use]
pub fn port(address: SocketAddr, protocol: Option<Protocol>, names: &dyn Names) -> String {
    let name = protocol.and_then(|protocol| names.service(address.port(), protocol));
    name.unwrap_or_else(|| address.port().to_string())
}

fn cut(mut text: String, width: usize) -> String {
    let end = text.char_indices().nth(width).map_or(text.len(), |(end, _)| end);
    text.truncate(end);
    text
}
