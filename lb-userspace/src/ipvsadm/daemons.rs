// SPDX-License-Identifier: MIT OR Apache-2.0
//! Daemons that synchronise connections: the sender and the receiver of announcements.
#![forbid(unsafe_code)]

use std::{fmt::Write as _, net::IpAddr};

use lb_common::sync;

use super::order::Order;
use crate::api::sync::{SyncChange, SyncRole, SyncSettings, SyncStatus};

/// Returns the settings of a daemon for which no option is given. Without an interface, it cannot be started.
pub(super) fn defaults() -> SyncSettings {
    SyncSettings {
        interface: None,
        sync_id: 0,
        group: IpAddr::V4(sync::GROUP),
        peers: Vec::new(),
        port: sync::PORT,
        ttl: 1,
        max_length: sync::MESSAGE as u16,
        refresh_seconds: None,
        key_file: None,
    }
}

/// Returns the change that a command asks for.
pub(super) fn change(order: Order) -> SyncChange {
    match order {
        Order::StartDaemon(role, settings) => SyncChange::Start { role, settings: *settings },
        Order::StopDaemon(role) => SyncChange::Stop { role },
        _ => unreachable!("only these orders are about daemons"),
    }
}

/// Returns the list of the daemons that run; those with peers are not of IPVS, and are listed without a group.
pub(super) fn list(status: &SyncStatus) -> String {
    let mut page = String::new();
    for (role, settings) in [(SyncRole::Master, &status.master), (SyncRole::Backup, &status.backup)] {
        let Some(SyncSettings { interface, sync_id, group, port, ttl, max_length, .. }) = settings else {
            continue;
        };
        let interface = interface.as_deref().unwrap_or_default();
        let _infallible = writeln!(
            page,
            "{} sync daemon (mcast={interface}, syncid={sync_id}, maxlen={max_length}, group={group}, \
             port={port}, ttl={ttl})",
            role.as_str()
        );
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn daemons_are_listed_as_ipvsadm_lists_them() {
        let master = SyncSettings { interface: Some("eth0".to_owned()), sync_id: 7, ..defaults() };
        let backup = SyncSettings { sync_id: 8, ..master.clone() };
        let status = SyncStatus { master: Some(master), backup: Some(backup), ..SyncStatus::default() };
        assert_eq!(
            list(&status),
            "master sync daemon (mcast=eth0, syncid=7, maxlen=1472, group=224.0.0.81, port=8848, ttl=1)\n\
             backup sync daemon (mcast=eth0, syncid=8, maxlen=1472, group=224.0.0.81, port=8848, ttl=1)\n"
        );
        assert_eq!(list(&SyncStatus::default()), "");
    }
}
