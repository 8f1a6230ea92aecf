// SPDX-License-Identifier: MIT OR Apache-2.0
//! Knowledge of the director about its network: next hops of the reals, and its own addresses.
#![forbid(unsafe_code)]

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    ops::Bound,
};

use super::next_hop_log::NextHopLog;
use lb_control::{
    effective,
    neighbours::{Neighbours, Resolution, Unresolved, WatchedNeighbours},
    own_addresses::OwnAddresses,
    pool::{self, HealthTable, Mode},
};
use lb_model::failure::chain;
use lb_model::{Desired, Real, Service, ServiceId};
use lb_netlink::Netlink;

/// Number of reals whose next hops one periodic refresh covers.
const PART: usize = 512;

/// Next hops by address of the real.
pub(super) type NextHops = BTreeMap<IpAddr, Resolution>;

/// Owner of the next hops and of the neighbour entries that they need.
pub(super) struct Network {
    netlink: Netlink,
    neighbours: Neighbours,
    /// Next hops that are in the maps.
    next_hops: NextHops,
    /// Reals without a next hop in the maps.
    unresolved: BTreeSet<IpAddr>,
    /// Reals that have no next hop in the maps were resolved since the last part of a periodic refresh, or the next
    /// hops of some were removed.
    has_gone: bool,
    /// Last real in the previous part of a periodic refresh.
    last_in_part: Option<IpAddr>,
    /// Changes of next hops that the log has.
    log: NextHopLog,
    /// Addresses that no client can have.
    own: OwnAddresses,
}

impl Network {
    pub(super) fn new(netlink: Netlink) -> Self {
        Self {
            neighbours: Neighbours::new(netlink.clone()),
            netlink,
            next_hops: BTreeMap::new(),
            unresolved: BTreeSet::new(),
            has_gone: false,
            last_in_part: None,
            log: NextHopLog::default(),
            own: OwnAddresses::default(),
        }
    }

    /// Returns the netlink socket in the director's network namespace.
    pub(super) const fn netlink(&self) -> &Netlink {
        &self.netlink
    }

    /// Returns the next hops that are in the maps.
    pub(super) const fn next_hops(&self) -> &NextHops {
        &self.next_hops
    }

    /// Returns whether the maps have a next hop of a real.
    pub(super) fn has_next_hop(&self, rip: &IpAddr) -> bool {
        matches!(self.next_hops.get(rip), Some(Ok(_)))
    }

    /// Returns the addresses that no client can have.
    pub(super) const fn own(&self) -> &OwnAddresses {
        &self.own
    }

    /// Returns the neighbours on which next hops depend, for readers without the director.
    pub(super) fn watched(&self) -> WatchedNeighbours {
        self.neighbours.watched()
    }

    /// Notes the next hops that are in the maps now.
    pub(super) fn set_next_hops(&mut self, next_hops: NextHops) {
        self.unresolved = next_hops.iter().filter(|(_, hop)| hop.is_err()).map(|(rip, _)| *rip).collect();
        self.has_gone |= self.next_hops.keys().any(|rip| !next_hops.contains_key(rip));
        self.next_hops = next_hops;
    }

    /// Forgets the next hops of all reals but `rips`.
    pub(super) fn keep_only(&mut self, rips: &BTreeSet<IpAddr>) {
        self.next_hops.retain(|rip, _| rips.contains(rip));
        self.unresolved.retain(|rip| rips.contains(rip));
        self.has_gone = true;
    }

    /// Logs the changes from the next hops in the maps to `next_hops`.
    pub(super) fn log_changes(&mut self, next_hops: &NextHops) {
        self.log.log(&self.next_hops, next_hops);
    }

    /// Reads the director's addresses. Returns whether they have changed.
    pub(super) async fn look_at_own_addresses(&mut self) -> bool {
        match self.netlink.addresses().await {
            Ok(addresses) => {
                let own = OwnAddresses::of(&addresses);
                let before = std::mem::replace(&mut self.own, own);
                before != self.own
            }
            Err(error) => {
                tracing::warn!(error = chain(&error), "the director's addresses are not known");
                false
            }
        }
    }

    /// Resolves the next hops of exactly these reals.
    pub(super) async fn resolve_all(&mut self, rips: &BTreeSet<IpAddr>) -> NextHops {
        self.neighbours.refresh(rips).await
    }

    /// Resolves the next hops of some reals. Returns theirs only.
    pub(super) async fn resolve(&mut self, rips: &BTreeSet<IpAddr>) -> NextHops {
        self.has_gone |= rips.iter().any(|rip| !self.next_hops.contains_key(rip));
        self.neighbours.look(rips).await
    }

    /// Returns the known reals whose next hop is one of these neighbours, by interface and address.
    pub(super) fn reached_by(&self, neighbours: &BTreeSet<(u32, IpAddr)>) -> BTreeSet<IpAddr> {
        let mut rips = self.neighbours.reached_by(neighbours);
        rips.retain(|rip| self.next_hops.contains_key(rip));
        rips
    }

    /// Returns whether one periodic refresh covers all reals.
    pub(super) fn fits_in_part(&self) -> bool {
        self.next_hops.len() <= PART
    }

    /// Returns the next part of the reals for a periodic refresh. The neighbour entries of reals that are gone are
    /// released.
    pub(super) fn next_part(&mut self) -> BTreeSet<IpAddr> {
        if std::mem::take(&mut self.has_gone) {
            self.neighbours.forget_others(|rip| self.next_hops.contains_key(rip));
        }
        let after = self.last_in_part.map_or(Bound::Unbounded, Bound::Excluded);
        let rips = self.next_hops.range((after, Bound::Unbounded)).map(|(rip, _)| *rip);
        let part: BTreeSet<IpAddr> = rips.take(PART).collect();
        self.last_in_part = part.last().copied();
        part
    }

    /// Splits reals into the next hops of those that have one in the maps, and the others.
    pub(super) fn split(&self, rips: &BTreeSet<IpAddr>) -> (NextHops, BTreeSet<IpAddr>) {
        let (mut known, mut unknown) = (NextHops::new(), BTreeSet::new());
        for rip in rips {
            match self.next_hops.get(rip) {
                Some(hop @ Ok(_)) => drop(known.insert(*rip, hop.clone())),
                _ => drop(unknown.insert(*rip)),
            }
        }
        (known, unknown)
    }

    /// Returns the next hops in the maps of some reals, and those of `rips` that have none.
    pub(super) fn of_some(&self, rips: impl IntoIterator<Item = IpAddr>) -> (NextHops, BTreeSet<IpAddr>) {
        let (mut known, mut without) = (NextHops::new(), BTreeSet::new());
        for rip in rips {
            match self.next_hops.get(&rip) {
                Some(hop) if hop.is_ok() => drop(known.insert(rip, hop.clone())),
                other => {
                    known.extend(other.map(|hop| (rip, hop.clone())));
                    without.insert(rip);
                }
            }
        }
        (known, without)
    }

    /// Returns the next hops in the maps with those of `found` that they contain; `None` if nothing changes.
    pub(super) fn updated(&self, found: &NextHops) -> Option<NextHops> {
        let mut known = self.next_hops.clone();
        for (rip, resolution) in &mut known {
            if let Some(new) = found.get(rip) {
                resolution.clone_from(new);
            }
        }
        (known != self.next_hops).then_some(known)
    }

    /// Returns whether the answer of a neighbour is pending that was not asked before.
    pub(super) fn has_new_question(&self, found: &NextHops) -> bool {
        found.iter().any(|(rip, resolution)| {
            matches!(resolution, Err(Unresolved::Asking { .. }))
                && self.next_hops.get(rip) != Some(resolution)
        })
    }

    /// Returns the reals without a next hop.
    pub(super) fn unresolved(&self) -> BTreeSet<IpAddr> {
        self.unresolved.clone()
    }

    /// Returns whether the answer of a neighbour is pending.
    pub(super) fn is_asking(&self) -> bool {
        let mut unresolved = self.unresolved.iter().filter_map(|rip| self.next_hops.get(rip));
        unresolved.any(|hop| matches!(hop, Err(Unresolved::Asking { .. })))
    }

    /// Releases all neighbour entries, after forwarding has ended.
    pub(super) async fn release_all(&mut self) {
        self.neighbours.release_all().await;
    }

    /// Returns whether a real is the director itself.
    pub(super) fn is_local(&self, id: &ServiceId, address: SocketAddr, real: &Real) -> bool {
        effective::is_local(id, address, real, self.next_hops.get(&address.ip()))
    }

    /// Returns whether packets can be sent to a real.
    pub(super) fn is_up(&self, id: &ServiceId, address: SocketAddr, real: &Real) -> bool {
        self.is_local(id, address, real) || matches!(self.next_hops.get(&address.ip()), Some(Ok(_)))
    }

    /// Returns the number of reals of a service that get new connections; the weights are the effective ones.
    pub(super) fn available(&self, id: &ServiceId, service: &Service) -> usize {
        let reals = service.reals.iter();
        reals.filter(|(address, real)| real.weight > 0 && self.is_up(id, **address, real)).count()
    }

    /// Returns a line for each service that has no real for new connections, unless the cause is the health of all
    /// its reals.
    pub(super) fn without_real(&self, desired: &Desired, table: &HealthTable) -> Vec<String> {
        let line = |(id, service): (&ServiceId, &Service)| {
            let pool = pool::weigh(id, service, table);
            let is_idle = pool.mode != Mode::AllDown && self.available(id, &pool.service) == 0;
            is_idle.then(|| format!("{id} has no real that takes connections"))
        };
        desired.services.iter().filter_map(line).collect()
    }

    /// Returns a line for each real without a next hop.
    pub(super) fn unreachable(&self, desired: &Desired) -> Vec<String> {
        let mut lines = Vec::new();
        if self.unresolved.is_empty() {
            return lines;
        }
        for (id, service) in &desired.services {
            if !service.reals.keys().any(|address| self.unresolved.contains(&address.ip())) {
                continue;
            }
            let effective = effective::service(id, service.clone(), &self.next_hops);
            for (address, real) in &service.reals {
                if !self.is_local(id, *address, real)
                    && let Some(Err(why)) = self.next_hops.get(&address.ip())
                {
                    let is_left_out = effective.reals[address].weight < real.weight;
                    let then = if is_left_out { "; it gets no new connections until then" } else { "" };
                    lines.push(format!("real {address} of {id}: {why}{then}"));
                }
            }
        }
        lines
    }

    /// Returns the next hop of a real as the views show it.
    pub(super) fn describe(&self, id: &ServiceId, address: &SocketAddr, real: &Real) -> String {
        if self.is_local(id, *address, real) {
            return "this host".to_owned();
        }
        match self.next_hops.get(&address.ip()) {
            Some(Ok(hop)) => hop.next_hop_mac.map(|byte| format!("{byte:02x}")).join(":"),
            Some(Err(why)) => why.to_string(),
            None => "not asked yet".to_owned(),
        }
    }
}
