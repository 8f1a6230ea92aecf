// SPDX-License-Identifier: MIT OR Apache-2.0
//! List of connections, byte for byte as `ipvsadm -L -c` prints it.
#![forbid(unsafe_code)]

use std::fmt::Write as _;

use super::{
    names::Names,
    page::{Format, address},
};
use crate::api::types::Connection;

/// Returns the list with its title.
#[must_use]
pub fn list(connections: &[Connection], format: Format, names: &dyn Names) -> String {
    let mut page = String::from("IPVS connection entries\n");
    let (state, source, service, real) = ("state", "source", "virtual", "destination");
    // Writing to a string cannot fail, here and below.
    let _ = if format.persistent {
        writeln!(
            page,
            "pro expire {state:<11} {source:<18} {service:<18} {real:<18} {:<16} pe_data",
            "pe name"
        )
    } else {
        writeln!(page, "pro expire {state:<11} {source:<18} {service:<18} {real}")
    };
    for connection in connections {
        let Connection { protocol, client, service, group, real, state, expires_seconds, .. } = connection;
        // Persistence entries of a group have its number, which IPVS shows as an address of protocol IP.
        let (name, protocol) = if group.is_some() {
            ("IP".to_owned(), None)
        } else {
            (protocol.as_str().to_uppercase(), Some(*protocol))
        };
        let left = format!("{:02}:{:02}", expires_seconds / 60, expires_seconds % 60);
        let [client, service, real] =
            [client, service, real].map(|place| address(*place, protocol, format, names));
        let _ = writeln!(page, "{name:<3} {left:<6} {state:<11} {client:<18} {service:<18} {real}");
    }
    page
}
