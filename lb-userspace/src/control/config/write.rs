// SPDX-License-Identifier: MIT OR Apache-2.0
//! Services as a config file.
#![forbid(unsafe_code)]

use std::{collections::BTreeSet, net::SocketAddr};

use serde::Serialize;

use crate::model::{Desired, GroupId, OnRemoval, Real, Scheduler, SchedulerFlag, ServiceId, Tracking};

/// Writes services as a config file that [`super::parse`] reads back.
#[must_use]
pub fn write(desired: &Desired) -> String {
    #[derive(Serialize)]
    struct File {
        group: Vec<GroupOut>,
        service: Vec<ServiceOut>,
    }
    #[derive(Serialize)]
    struct GroupOut {
        id: GroupId,
        endpoints: Vec<String>,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "kebab-case")]
    struct ServiceOut {
        #[serde(flatten)]
        id: ServiceId,
        scheduler: Scheduler,
        flags: BTreeSet<SchedulerFlag>,
        tracking: Tracking,
        #[serde(skip_serializing_if = "Option::is_none")]
        persistent: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        netmask: Option<u8>,
        one_packet: bool,
        on_removal: OnRemoval,
        real: Vec<RealOut>,
    }
    #[derive(Serialize)]
    struct RealOut {
        address: SocketAddr,
        #[serde(flatten)]
        real: Real,
    }
    let group = desired.groups.iter().map(|(id, members)| GroupOut {
        id: *id,
        endpoints: members.iter().map(ToString::to_string).collect(),
    });
    let service = desired.services.iter().map(|(id, service)| ServiceOut {
        id: *id,
        scheduler: service.scheduler,
        flags: service.flags.clone(),
        tracking: service.tracking,
        persistent: service.persistence.map(|persistence| format!("{}s", persistence.seconds)),
        netmask: service.persistence.map(|persistence| persistence.prefix),
        one_packet: service.one_packet,
        on_removal: service.on_removal,
        real: service
            .reals
            .iter()
            .map(|(address, real)| RealOut { address: *address, real: *real })
            .collect(),
    });
    toml::to_string(&File { group: group.collect(), service: service.collect() }).unwrap_or_default()
}
