// SPDX-License-Identifier: MIT OR Apache-2.0
//! Translation of a destination.

use std::net::SocketAddr;

use super::{
    translate::Surroundings,
    words::{RealWords, kept_port},
};
use lb_model::{Forward, MAX_WEIGHT, Real, ServiceId, Tunnel};
use lb_netlink::ipvs::{Checksum, Destination, Encapsulation, Method};

/// Returns the real for a destination of `service`.
///
/// # Errors
/// If xvs has no such real; the text is the reason.
pub(super) fn translate(
    service: &ServiceId,
    destination: &Destination,
    surroundings: &Surroundings,
) -> Result<(SocketAddr, Real), String> {
    let Destination { mut address, method, weight, upper, lower, encapsulation } = *destination;
    let ip = address.ip();
    let (forward, tunnel) = match method {
        Method::Masquerade => (Forward::Nat, Tunnel::Ipip),
        Method::Route => (Forward::Dr, Tunnel::Ipip),
        Method::Tunnel => (Forward::Tun, tunnel(ip, encapsulation)?),
        Method::Local => return Err(is_local(ip)),
        Method::Bypass => {
            return Err(format!("its real {ip} has the method bypass, which only the kernel has"));
        }
    };
    if ip.is_loopback() || surroundings.own.contains(&ip) {
        return Err(is_local(ip));
    }
    if weight > MAX_WEIGHT {
        return Err(format!("its real {ip} has the weight {weight}, and the largest one is {MAX_WEIGHT}"));
    }
    if let Some(port) = kept_port(service, forward) {
        address.set_port(port);
    }
    let words = RealWords { forward, tunnel, weight, upper, lower };
    Ok((address, words.options().new_real()))
}

fn is_local(ip: std::net::IpAddr) -> String {
    format!("its real {ip} is this host, whose connections end in the kernel's stack")
}

fn tunnel(ip: std::net::IpAddr, encapsulation: Encapsulation) -> Result<Tunnel, String> {
    let csum = |checksum| match checksum {
        Checksum::None => Ok(false),
        Checksum::Outer => Ok(true),
        Checksum::Remote => {
            Err(format!("the tunnel to its real {ip} has remote checksums (--tun-remcsum), which xvs lacks"))
        }
    };
    match encapsulation {
        Encapsulation::Ipip => Ok(Tunnel::Ipip),
        Encapsulation::Gre { checksum } => Ok(Tunnel::Gre { csum: csum(checksum)? }),
        Encapsulation::Gue { port, checksum } => Ok(Tunnel::Gue { port, csum: csum(checksum)? }),
        Encapsulation::Other(kind) => {
            Err(format!("the tunnel to its real {ip} has the type {kind}, which xvs does not know"))
        }
    }
}
