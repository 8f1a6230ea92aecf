// SPDX-License-Identifier: MIT OR Apache-2.0
//! Interfaces to attach to: those of the command line, those of the config file, or that of the default route.
#![forbid(unsafe_code)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::RunOptions;
use lb_control::config::Config;
use lb_model::failure::{Failure, chain};
use lb_netlink::{Interface, Netlink};

/// Returns the interfaces to attach to. Flags take precedence over the config file. If neither names one, it is
/// the interface of the default route, of IPv4 or else of IPv6: a director with one arm needs no other.
///
/// # Errors
/// Wrong input if a name is not that of an interface; a failure if no name is given, and this host has no default
/// route yet.
pub(super) async fn find(
    netlink: &Netlink,
    options: &RunOptions,
    config: &Config,
) -> Result<Vec<Interface>, Failure> {
    let names = if options.interfaces.is_empty() { &config.director.interfaces } else { &options.interfaces };
    if names.is_empty() {
        return by_default(netlink).await.map(|interface| vec![interface]);
    }
    let mut found: Vec<Interface> = Vec::new();
    for name in names {
        let interface = netlink.interface(name).await.map_err(|error| {
            Failure::wrong_input(chain(&error)).hint("`ip -brief link` lists the interfaces")
        })?;
        if found.iter().all(|other| other.index != interface.index) {
            found.push(interface);
        }
    }
    Ok(found)
}

/// Returns the interface of the default route.
async fn by_default(netlink: &Netlink) -> Result<Interface, Failure> {
    for any in [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)] {
        if let Some(index) = netlink.default_interface(any).await? {
            let interface = netlink.interface_by_index(index).await?;
            tracing::info!(
                "no interface is named: attaching to {}, the interface of the default route",
                interface.name
            );
            return Ok(interface);
        }
    }
    Err(Failure::failed("no interface to attach to: none is named, and this host has no default route").hint(
        "name the interface on which clients' packets arrive: `xvs run -i eth0`, or interfaces = [\"eth0\"] in \
         [director] of the config file",
    ))
}
