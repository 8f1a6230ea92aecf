// SPDX-License-Identifier: MIT OR Apache-2.0
//! Translation of the whole table.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use super::{left::Left, service};
use crate::validate;
use lb_dataplane::Limits;
use lb_model::{
    Desired, Service, ServiceId,
    timeouts::{LONGEST, TimeoutOptions},
};
use lb_netlink::ipvs::{Key, Table, Timeouts};

/// Facts about the host on which IPVS runs.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Surroundings {
    /// Addresses of the host.
    pub own: BTreeSet<IpAddr>,
    /// The kernel ends connections of removed reals (`net.ipv4.vs.expire_nodest_conn`).
    pub expire_nodest: bool,
}

/// Services of xvs that follow those of IPVS.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Followed {
    /// Services.
    pub services: BTreeMap<ServiceId, Service>,
    /// Services that stay with the kernel, in the order of their names.
    pub left: Vec<Left>,
    /// Timeouts of idle flows.
    pub timeouts: TimeoutOptions,
}

/// Translates the rules of IPVS, service by service. `limits` are the sizes of xvs's tables.
#[must_use]
pub fn translate(table: &Table, surroundings: &Surroundings, limits: &Limits) -> Followed {
    let mut followed = Followed { timeouts: timeouts(table.timeouts), ..Followed::default() };
    let mut keys: BTreeMap<ServiceId, Key> = BTreeMap::new();
    for rules in &table.services {
        let key = rules.service.key;
        match service::translate(rules, surroundings) {
            Ok((id, service)) => {
                keys.insert(id, key);
                followed.services.insert(id, service);
            }
            Err(reason) => followed.left.push(Left::new(&key, reason)),
        }
    }
    leave_real_vips(&mut followed, &keys);
    leave_conflicts(&mut followed, &keys, limits);
    followed.left.sort();
    followed
}

/// Leaves services to the kernel whose VIP is the address of a real: xvs identifies both by the address.
fn leave_real_vips(followed: &mut Followed, keys: &BTreeMap<ServiceId, Key>) {
    let rips: BTreeSet<IpAddr> =
        followed.services.values().flat_map(|service| service.reals.keys().map(SocketAddr::ip)).collect();
    let vip = |id: &ServiceId| id.endpoint().map(|endpoint| endpoint.address.ip());
    followed.services.retain(|id, _| {
        let Some(ip) = vip(id).filter(|ip| rips.contains(ip)) else { return true };
        let key = &keys[id];
        followed.left.push(Left::new(key, format!("its address {ip} is that of a real of another service")));
        false
    });
}

/// Leaves services to the kernel that xvs cannot have beside the others.
fn leave_conflicts(followed: &mut Followed, keys: &BTreeMap<ServiceId, Key>, limits: &Limits) {
    let all = Desired { services: followed.services.clone().into_iter().collect(), ..Desired::default() };
    if validate::desired(&all, limits).is_ok() {
        return;
    }
    let mut accepted = Desired::default();
    followed.services.retain(|id, service| {
        let mut more = accepted.clone();
        more.services.insert(*id, service.clone());
        match validate::after(&accepted, &more, limits) {
            Ok(()) => {
                accepted = more;
                true
            }
            Err(failure) => {
                followed.left.push(Left::new(&keys[id], failure.message));
                false
            }
        }
    });
}

fn timeouts(Timeouts { tcp, tcp_fin, udp }: Timeouts) -> TimeoutOptions {
    let seconds = |seconds: u32| Some(seconds.clamp(1, LONGEST));
    TimeoutOptions { tcp: seconds(tcp), tcp_fin: seconds(tcp_fin), udp: seconds(udp) }
}
