// SPDX-License-Identifier: MIT OR Apache-2.0
//! The table as commands that restore it, as `ipvsadm -S` prints it.
#![forbid(unsafe_code)]

use std::{fmt::Write as _, net::SocketAddr};

use super::{
    names::Names,
    page::{self, Format},
};
use crate::api::{
    ipvs::Shown,
    types::{RealView, ServiceView},
};
use lb_model::{Forward, Persistence, Protocol, ServiceId, Tunnel};

/// Returns a line for each service and each real.
///
/// Unlike ipvsadm, this saves thresholds too: a real that has thresholds gets `-x` and `-y`.
#[must_use]
pub fn save(services: Vec<Shown>, format: Format, names: &dyn Names) -> String {
    let mut page = String::new();
    for Shown { service, .. } in page::in_order(services, format) {
        let protocol = service.id.endpoint().map(|endpoint| endpoint.protocol);
        let name = match &service.id {
            ServiceId::Endpoint(endpoint) => {
                let option = match endpoint.protocol {
                    Protocol::Tcp => "-t",
                    Protocol::Udp => "-u",
                    Protocol::Sctp => "--sctp-service",
                };
                format!("{option} {}", address(endpoint.address, protocol, format, names))
            }
            ServiceId::Group { group, .. } if page::is_ipv6(&service) => format!("-f {group} -6"),
            ServiceId::Group { group, .. } => format!("-f {group}"),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(page, "-A {name}{}", service_options(&service));
        for real in &service.reals {
            let address = address(real.address, protocol, format, names);
            let _ = writeln!(page, "-a {name} -r {address}{}", real_options(real));
        }
    }
    page
}

/// Returns an address that can be read back: IPv6 addresses get no name, since names are resolved to IPv4.
fn address(address: SocketAddr, protocol: Option<Protocol>, format: Format, names: &dyn Names) -> String {
    if address.is_ipv6() && !format.numeric {
        return format!("[{}]:{}", address.ip(), page::port(address, protocol, names));
    }
    page::address(address, protocol, format, names)
}

/// Returns the suffix of ipvsadm's option for a checksum, or for none.
const fn csum(has: bool) -> &'static str {
    if has { "csum" } else { "nocsum" }
}

fn service_options(service: &ServiceView) -> String {
    let mut line = format!(" -s {}", service.scheduler);
    if let Some(Persistence { seconds, prefix }) = service.persistence {
        let _ = write!(line, " -p {seconds}");
        if let Some(mask) = page::mask(service, prefix) {
            let _ = write!(line, " -M {mask}");
        }
    }
    if service.one_packet {
        line.push_str(" -o");
    }
    let flags = page::flags(service);
    if !flags.is_empty() {
        let _ = write!(line, " -b {flags}");
    }
    line
}

fn real_options(real: &RealView) -> String {
    let RealView { upper, lower, .. } = real;
    let weight = real.ipvs_weight();
    let (method, tunnel) = match (real.forward, real.tunnel) {
        (Forward::Nat, _) => ("-m", String::new()),
        (Forward::Fnat, _) => ("--fullnat", String::new()),
        (Forward::Tun, Tunnel::Ipip) => ("-i", " --tun-type ipip".to_owned()),
        (Forward::Tun, Tunnel::Gre { csum }) => ("-i", format!(" --tun-type gre --tun-{}", self::csum(csum))),
        (Forward::Tun, Tunnel::Gue { port, csum }) => {
            ("-i", format!(" --tun-type gue --tun-port {port} --tun-{}", self::csum(csum)))
        }
        (Forward::Dr | Forward::Local, _) => ("-g", String::new()),
    };
    let mut line = format!(" {method} -w {weight}{tunnel}");
    for (option, threshold) in [("-x", upper), ("-y", lower)] {
        if *threshold > 0 {
            let _ = write!(line, " {option} {threshold}");
        }
    }
    line
}
