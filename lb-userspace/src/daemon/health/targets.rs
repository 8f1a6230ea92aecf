// SPDX-License-Identifier: MIT OR Apache-2.0
//! Targets of the checks: one for each real and definition, however many services share it.
#![forbid(unsafe_code)]

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use lb_common::ids::RealId;
use lb_health::{Target, TargetKey};

use super::{path::Source, signs::Witnessed};
use crate::daemon::Director;
use lb_control::neighbours::Unresolved;
use lb_model::{
    Desired, Endpoint, Forward, Protocol, Real, RealKey, ServiceId,
    check::{Check, CheckName, CheckType},
};

/// Returns the endpoint of a service to which probes by path go, and whose port direct ones take if nothing else has
/// one: the first with a port of the check's protocol, else the first with a port.
fn endpoint(desired: &Desired, id: &ServiceId, check: &Check) -> Option<Endpoint> {
    let wanted = match check.kind {
        CheckType::Udp | CheckType::Dns => Protocol::Udp,
        _ => Protocol::Tcp,
    };
    let endpoints = desired.endpoints(id);
    let has_port = |endpoint: &&Endpoint| endpoint.address.port() != 0;
    let fits = |endpoint: &&Endpoint| endpoint.protocol == wanted && has_port(endpoint);
    let found = endpoints.iter().find(fits).or_else(|| endpoints.iter().find(has_port));
    found.or_else(|| endpoints.first()).copied()
}

/// Returns the identity of the target of a check and a real; `None` if the service has no endpoint.
pub(super) fn key(
    desired: &Desired,
    id: &ServiceId,
    name: &CheckName,
    address: SocketAddr,
    real: &Real,
) -> Option<TargetKey> {
    let check = desired.checks.get(name)?;
    let endpoint = endpoint(desired, id, check)?;
    let port = if address.port() == 0 { endpoint.address.port() } else { address.port() };
    let real = RealKey { address: SocketAddr::new(address.ip(), port), ..real.key(address) };
    Some(TargetKey::new(name.clone(), check, endpoint, real))
}

impl Director {
    /// Hands the targets of all checks to the threads. Must run after each change of the services, of the ids, or
    /// of next hops.
    pub(in crate::daemon) fn plan_checks(&self) {
        let Some(handle) = &self.health.handle else { return };
        let desired = self.store.desired();
        let definitions: BTreeMap<&CheckName, Arc<Check>> =
            desired.checks.iter().map(|(name, check)| (name, Arc::new(check.clone()))).collect();
        let mut targets: BTreeMap<TargetKey, Target> = BTreeMap::new();
        let (mut sources, mut witnessed) = (BTreeMap::new(), Witnessed::default());
        // Without definitions there are no targets.
        let services = desired.services.iter().filter(|_| !desired.checks.is_empty());
        for (id, service) in services {
            for (address, real) in &service.reals {
                for name in service.checks_of(real) {
                    let Some(target) = self.target(id, name, &definitions, *address, real) else { continue };
                    if let Some(source) = self.source(&target) {
                        sources.insert(RealId(target.real_id), source);
                    }
                    if matches!(target.forward, Forward::Nat | Forward::Fnat) {
                        witnessed.insert(RealId(target.real_id), target.key.real);
                    }
                    let known = targets.entry(target.key.clone()).or_insert_with(|| target);
                    known.services.insert(*id);
                    known.hold_down = known.hold_down.max(service.health.hold_down);
                }
            }
        }
        self.health.sources.publish(sources);
        self.health.signs.publish(witnessed);
        handle.plan(targets.into_values().collect());
    }

    /// Returns the target of a check and a real.
    pub(super) fn target(
        &self,
        id: &ServiceId,
        name: &CheckName,
        definitions: &BTreeMap<&CheckName, Arc<Check>>,
        address: SocketAddr,
        real: &Real,
    ) -> Option<Target> {
        let desired = self.store.desired();
        let check = Arc::clone(definitions.get(name)?);
        let vip = endpoint(desired, id, &check)?.address;
        let forward = if self.network.is_local(id, address, real) { Forward::Local } else { real.forward };
        Some(Target {
            key: key(desired, id, name, address, real)?,
            vip,
            services: [*id].into(),
            hold_down: desired.services.get(id)?.health.hold_down,
            real_id: self.maps.ids().real(id, &real.key(address))?.0,
            forward,
            check,
        })
    }

    /// Returns the source of the probes of a target by path; `None` if it is not known yet.
    pub(super) fn source(&self, target: &Target) -> Option<Source> {
        let hop = match self.network.next_hops().get(&target.key.real.ip())? {
            Ok(hop) => hop,
            Err(Unresolved::Asking { .. }) => return None,
            Err(why) => return Some(Source::Unreachable(why.to_string())),
        };
        let own = self.network.own().addresses.iter();
        let fits = |address: &IpAddr| address.is_ipv4() == target.vip.is_ipv4();
        let source = if fits(&hop.source_ip) {
            hop.source_ip
        } else {
            // A tunnel between the versions of IP: any address of the director of the client's version.
            let vips: BTreeSet<IpAddr> = self.store.desired().vips().collect();
            own.copied().find(|address| fits(address) && !vips.contains(address))?
        };
        let snat = self.store.dips().first(hop.source_ip.is_ipv6());
        Some(Source::Known { address: source, snat: snat.unwrap_or((0, hop.source_ip)) })
    }
}
