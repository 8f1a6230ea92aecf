// SPDX-License-Identifier: MIT OR Apache-2.0
//! Translation of a service and its destinations.

use std::{collections::BTreeSet, net::Ipv4Addr};

use super::{left::protocol_of, real, translate::Surroundings, words::ServiceWords};
use crate::{options::prefix, validate};
use lb_model::{
    OnRemoval, Persistence, Protocol, Scheduler, SchedulerFlag, Service, ServiceId, timeouts::LONGEST,
};
use lb_netlink::ipvs::{self, Key, Rules};

/// Returns the service for one of IPVS.
///
/// # Errors
/// If xvs has no such service; the text is the reason.
pub(super) fn translate(rules: &Rules, surroundings: &Surroundings) -> Result<(ServiceId, Service), String> {
    let Rules { service: from, destinations } = rules;
    let id = match from.key {
        Key::Mark { mark, .. } => {
            return Err(format!(
                "its packets are those that the firewall marks with {mark}, and xvs receives packets before the firewall"
            ));
        }
        Key::Address { protocol, address } => {
            let protocol =
                protocol_of(protocol).ok_or_else(|| format!("xvs has no services of protocol {protocol}"))?;
            ServiceId::new(protocol, address)
        }
    };
    if let Some(engine) = &from.engine {
        return Err(format!(
            "its persistence engine {engine} identifies clients by the content of packets, which only the kernel reads"
        ));
    }
    let mut service = Service { on_removal: surroundings.on_removal(), ..Service::default() };
    words(&id, from)?.options().apply(&mut service);
    // The kernel lists the destination that was added last first.
    for destination in destinations.iter().rev() {
        let (address, real) = real::translate(&id, destination, surroundings)?;
        if service.reals.insert(address, real).is_some() {
            return Err(format!("it has two reals that receive packets at {address}"));
        }
    }
    validate::service(&id, &service).map_err(|failure| failure.message)?;
    Ok((id, service))
}

fn words(id: &ServiceId, from: &ipvs::Service) -> Result<ServiceWords, String> {
    let scheduler: Scheduler = from.scheduler.parse().map_err(|_| match from.scheduler.as_str() {
        "none" => "it has no scheduler".to_owned(),
        name => format!("xvs has no scheduler {name}"),
    })?;
    let one_packet = from.is(ipvs::Service::ONE_PACKET);
    if one_packet && id.endpoint().is_some_and(|endpoint| endpoint.protocol != Protocol::Udp) {
        return Err("it schedules each packet on its own (--ops), which xvs does for UDP only".to_owned());
    }
    let is_persistent = from.is(ipvs::Service::PERSISTENT);
    Ok(ServiceWords {
        scheduler,
        flags: flags(scheduler, from.flags),
        // Half the range of the programs' clock is the longest time, as with `xvs ipvsadm`.
        persistent: if is_persistent { from.timeout.clamp(1, LONGEST) } else { 0 },
        netmask: if is_persistent { netmask(from)? } else { Persistence::WHOLE_ADDRESS },
        one_packet,
    })
}

/// Returns the flags that have an effect with the scheduler.
fn flags(scheduler: Scheduler, bits: u32) -> BTreeSet<SchedulerFlag> {
    let named = [
        (ipvs::Service::FLAG_1, SchedulerFlag::Flag1),
        (ipvs::Service::FLAG_2, SchedulerFlag::Flag2),
        (ipvs::Service::FLAG_3, SchedulerFlag::Flag3),
    ];
    let set = named.into_iter().filter(|(bit, _)| bits & bit != 0);
    set.filter_map(|(_, flag)| flag.with(scheduler).ok().flatten()).collect()
}

/// Returns the prefix length by which persistence groups clients.
fn netmask(from: &ipvs::Service) -> Result<u8, String> {
    if from.key.is_ipv6() {
        return match u8::try_from(from.netmask) {
            Ok(bits) if bits <= 128 => Ok(bits),
            _ => Err(format!("its netmask has the prefix length {}", from.netmask)),
        };
    }
    match Ipv4Addr::from(from.netmask.to_ne_bytes()) {
        Ipv4Addr::BROADCAST => Ok(Persistence::WHOLE_ADDRESS),
        mask => prefix(&mask.to_string())
            .map_err(|_| format!("its netmask {mask} is no prefix, and xvs groups clients by prefixes only")),
    }
}

impl Surroundings {
    /// Returns the fate of the connections of removed reals.
    pub(super) const fn on_removal(&self) -> OnRemoval {
        if self.expire_nodest { OnRemoval::Reset } else { OnRemoval::Drain }
    }
}
