// SPDX-License-Identifier: MIT OR Apache-2.0
//! Connections that other directors announce, in the maps.
#![forbid(unsafe_code)]

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    net::SocketAddr,
    sync::Arc,
};

use lb_common::{
    flow_table::{Limits, Seen, Value},
    hash,
    ids::{RealId, ServiceId as ServiceNumber},
    protocol,
    schema::{
        Client, ClientKey, FlowKey, Method, Real, ReturnPath, Service, ServiceKey, SnatBinding, SnatLease,
        Source, Tracking,
    },
    sync::{Connection, state},
    ticks::{Tick, Ticks},
    wire::{Be16, Be128},
};
use lb_control::{
    apply,
    dips::Dips,
    slots::Slots,
    sync::{Effect, Index, Place},
};
use lb_dataplane::{Announced, TableError, clock};
use lb_model::failure::Failure;
use tokio::sync::Notify;

use super::{Maps, maps_failed};

/// The longest timeout of an announcement that counts, in seconds: entries tell no longer ones apart.
const LONGEST: u32 = 7 * 24 * 3600;

/// An announced connection or template.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Announcement {
    /// The connection.
    pub connection: Connection,
    /// SNAT address and port of a `fnat` flow.
    pub snat: Option<SocketAddr>,
    /// Whether a persistence engine of IPVS made it.
    pub has_engine: bool,
}

impl From<Connection> for Announcement {
    fn from(connection: Connection) -> Self {
        Self { connection, snat: None, has_engine: false }
    }
}

/// Knowledge about announced connections.
#[derive(Debug, Default)]
pub(super) struct AnnouncedFlows {
    /// Number of announced flows in the flow table after the last sweep, and of those that were added since.
    pub number: u64,
    /// Persistence entries that other directors have announced, with their ends.
    pub(super) clients: HashMap<ClientKey, Tick>,
    /// Index of the services and reals; `None` after they have changed.
    pub(super) index: Option<Index>,
    /// Notified of each change of the services and reals.
    changed: Arc<Notify>,
}

impl AnnouncedFlows {
    /// Forgets what follows from the services and reals, which change.
    pub(super) fn forget_reals(&mut self) {
        self.index = None;
        self.changed.notify_one();
    }
}

/// The effects of announced connections, in their order, and the clients whose replies need a return path.
#[derive(Debug, Default)]
pub(in super::super) struct Written {
    pub effects: Vec<Effect>,
    pub clients: HashSet<Be128>,
}

/// Slots of services with tracking `auto`: their first block, and whether announced flows have changed them.
type SlotTables = HashMap<ServiceNumber, (u32, Slots, bool)>;

impl Maps {
    /// Writes announced connections and templates into the maps. Entries that packets at this director have renewed stay.
    ///
    /// # Errors
    /// If a map cannot be read or written. Some connections may be in the maps then.
    pub(in super::super) fn announce(
        &mut self,
        announcements: &[Announcement],
        dips: &Dips,
    ) -> Result<Written, Failure> {
        let index = self.announced.index.take().unwrap_or_else(|| Index::of(&self.image, &self.ids));
        let written = self.try_announce(&index, announcements, dips).map_err(|error| maps_failed(&error));
        self.announced.index = Some(index);
        written
    }

    /// Returns the number of announced flows in the flow table, as the last sweep has counted them, and of those that were
    /// added since.
    pub(in super::super) const fn announced_flows(&self) -> u64 {
        self.announced.number
    }

    /// Returns the number of places that announced flows may have: half of those of all flows.
    pub(in super::super) const fn announced_share(&self) -> u64 {
        self.limits.flows.saturating_add(self.limits.flows6) as u64 / 2
    }

    /// Returns what is notified of each change of the services and reals: also of those by health and next hops.
    pub(in super::super) fn reals_changed(&self) -> Arc<Notify> {
        Arc::clone(&self.announced.changed)
    }

    /// Returns whether a persistence entry with this end is one that another director has announced, and no connection at
    /// this director has prolonged.
    fn is_announced_client(&self, key: &ClientKey, client: Client) -> bool {
        self.announced.clients.get(key) == Some(&client.expires)
    }

    /// Sets the return paths to clients, unless their packets have shown other ones than those that were set before.
    ///
    /// # Errors
    /// If a map cannot be written.
    pub(in super::super) fn put_return_paths(
        &mut self,
        paths: &[(Be128, ReturnPath, Option<ReturnPath>)],
    ) -> Result<(), Failure> {
        let tables = self.plane.tables();
        let mut put =
            paths.iter().map(|(client, path, before)| tables.put_return_path(*client, path, *before));
        put.try_for_each(|put| put).map_err(|error| maps_failed(&error))
    }

    fn try_announce(
        &mut self,
        index: &Index,
        announcements: &[Announcement],
        dips: &Dips,
    ) -> Result<Written, TableError> {
        let (mut written, mut slots) = (Written::default(), SlotTables::new());
        for announcement in announcements {
            let effect = match index.find(&self.image, &announcement.connection) {
                Ok(Place::Flow { key, service, real }) => {
                    let effect = self.announce_flow(announcement, (key, service, real), dips, &mut slots)?;
                    // The packets of an own flow have shown the path.
                    let is_needed = effect.is_kept() && effect != Effect::Own;
                    if is_needed && self.image.reals.get(&real).is_some_and(returns_here) {
                        written.clients.insert(key.source);
                    }
                    effect
                }
                Ok(Place::Client { key, service, real }) => {
                    self.announce_client(announcement, key, &service, real)?
                }
                Err(effect) => effect,
            };
            written.effects.push(effect);
        }
        // The entries are in the flow table before the programs look there.
        for (service, (first, slots, is_changed)) in slots {
            if is_changed {
                self.steady.remove(&service);
                apply::write_slots(self.plane.tables(), first, &slots)?;
            }
        }
        Ok(written)
    }

    fn announce_flow(
        &mut self,
        announcement: &Announcement,
        (key, service_key, id): (FlowKey, ServiceKey, RealId),
        dips: &Dips,
        slots: &mut SlotTables,
    ) -> Result<Effect, TableError> {
        let Connection { protocol, state, timeout, .. } = announcement.connection;
        let (Some(service), Some(real)) =
            (self.image.services.get(&service_key).copied(), self.image.reals.get(&id).copied())
        else {
            return Ok(Effect::NoReal);
        };
        let Some(phase) = state::phase(protocol, state) else { return Ok(Effect::State) };
        let alone = service.is(Service::ONE_PACKET) && protocol == protocol::UDP;
        if alone || !self.needs_entry(&service, &key, (id, &real), slots)? {
            return Ok(Effect::Untracked);
        }
        let is_full = self.announced.number >= self.announced_share();
        let (now, limits) = (clock::now(), Limits::of(&self.timeouts));
        let tables = self.plane.tables();
        if is_full && tables.flow(&key).is_none() {
            return Ok(Effect::Share);
        }
        let Some(binding) = reserve(tables, (&key, &real), announcement.snat, dips)? else {
            return Ok(Effect::NoSnat);
        };
        let value = Value::new(id, seen(now, limits.of_phase(phase as u64), timeout), phase);
        let effect = match tables.put_announced_flow(&key, &service_key, value, now) {
            Announced::Added => Effect::Added,
            Announced::Replaced => Effect::Replaced,
            Announced::Own => return Ok(Effect::Own),
            Announced::Full => return Ok(Effect::Full),
            Announced::NoService => return Ok(Effect::NoService),
        };
        if !binding.is_none() {
            tables.put_lease(&key, &SnatLease { real: id, snat: binding })?;
        }
        if real.is(Real::SHARED) {
            let (vip, port) = (key.destination, key.destination_port);
            let source = Source::new(vip, port, Source::SHARED, RealId::NONE, ServiceNumber::NONE);
            tables.put_reply(&real.reply_key(&key), &source)?;
        }
        self.announced.number += u64::from(effect == Effect::Added);
        Ok(effect)
    }

    /// Returns whether a flow needs an entry to stay on its real, and marks its slot if the programs would not look for the
    /// entry.
    fn needs_entry(
        &mut self,
        service: &Service,
        key: &FlowKey,
        (id, real): (RealId, &Real),
        slots: &mut SlotTables,
    ) -> Result<bool, TableError> {
        if service.tracking == Tracking::Full as u32 {
            return Ok(true);
        }
        let always = real.is(Real::NEEDS_FLOW);
        let Some(spec) = self.image.tables.get(&service.id) else { return Ok(always) };
        if spec.tracking == Tracking::None || service.slots == 0 {
            return Ok(always);
        }
        let (_, slots, is_changed) = match slots.entry(service.id) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unread) => {
                let slots = apply::read_slots(self.plane.tables(), spec.span)?;
                unread.insert((spec.span.first, slots, false))
            }
        };
        let slot = hash::slot_of_any(service, key, self.settings.seed);
        let (is_moved, changed) = slots.announce(slot as usize, id);
        *is_changed |= changed;
        Ok(is_moved || always)
    }

    fn announce_client(
        &mut self,
        announcement: &Announcement,
        key: ClientKey,
        service: &Service,
        id: RealId,
    ) -> Result<Effect, TableError> {
        if announcement.has_engine {
            return Ok(Effect::Engine);
        }
        if service.persistent == Ticks::ZERO {
            return Ok(Effect::NotPersistent);
        }
        // Half of the entries of `CLIENTS`.
        let (now, share) = (clock::now(), (self.announced_share() / 8) as usize);
        let timeout = match announcement.connection.timeout {
            0 => service.persistent,
            seconds => Ticks::of_seconds(seconds.min(LONGEST).into()).min(service.persistent),
        };
        let client = Client { real: id, expires: now.after(timeout) };
        let known = self.plane.tables().client(&key).filter(|known| known.expires.age(now) == Ticks::ZERO);
        let is_announced = known.is_some_and(|known| self.is_announced_client(&key, known));
        if let Some(known) = known
            && !is_announced
            && (known.real != id || now.age(known.expires) >= timeout)
        {
            return Ok(Effect::Own);
        }
        let clients = &mut self.announced.clients;
        if clients.len() >= share && !clients.contains_key(&key) {
            clients.retain(|_, expires| expires.age(now) == Ticks::ZERO);
            if clients.len() >= share {
                return Ok(Effect::Share);
            }
        }
        self.plane.tables().put_client(&key, &client)?;
        self.announced.clients.insert(key, client.expires);
        Ok(if known.is_some() { Effect::Replaced } else { Effect::Added })
    }
}

/// Returns whether the replies of a real pass the director, which must know the return path of their client.
fn returns_here(real: &Real) -> bool {
    matches!(Method::from_number(real.method), Some(Method::Nat | Method::Fnat))
}

/// Reserves the SNAT address and port of a flow, if its real is reached by `fnat`. Returns nothing if the address is none of
/// this director's, or another flow has the port.
fn reserve(
    tables: &mut lb_dataplane::Tables,
    (key, real): (&FlowKey, &Real),
    snat: Option<SocketAddr>,
    dips: &Dips,
) -> Result<Option<SnatBinding>, TableError> {
    if Method::from_number(real.method) != Some(Method::Fnat) {
        return Ok(Some(SnatBinding::NONE));
    }
    let Some(snat) = snat else { return Ok(None) };
    let address = if Be128::from(snat.ip()) == real.source { Some(0) } else { dips.place_of(snat.ip()) };
    let Some(address) = address.filter(|_| snat.port() != 0) else { return Ok(None) };
    let binding = SnatBinding { address, port: Be16::new(snat.port()) };
    let reply = real.reply_key(key);
    let to_snat =
        FlowKey { destination: snat.ip().into(), destination_port: Be16::new(snat.port()), ..reply };
    match tables.translation(&to_snat) {
        Some(other) if other != *key => return Ok(None),
        Some(_) => {}
        None => tables.put_translation(&to_snat, key)?,
    }
    Ok(Some(binding))
}

/// Returns the time of the last packet of an announced flow that lives for `timeout` seconds from now on, 0 for as long as
/// its phase allows. It is at least a window ago, so that the first packet here makes the flow this director's own.
fn seen(now: Tick, limit: u32, timeout: u32) -> Seen {
    let left = match timeout {
        0 => limit,
        seconds => Ticks::of_seconds(seconds.min(LONGEST).into()).0.div_ceil(64),
    };
    let age = limit.saturating_sub(left).max(Seen::WINDOW).min(limit);
    Seen::from_number(Seen::of(now).number().wrapping_sub(age.into()))
}

#[cfg(test)]
mod tests {
    use lb_common::{flow_table::Phase, schema::Timeouts};

    use super::*;

    #[test]
    fn an_announced_flow_lives_for_its_timeout_but_no_longer_than_its_phase_allows() {
        let (now, timeouts) = (Tick(1_000_000_000), Timeouts::DEFAULT);
        let limits = Limits::of(&timeouts);
        let left = |timeout: u32| {
            let limit = limits.of_phase(Phase::Established as u64);
            (limit - seen(now, limit, timeout).age(Seen::of(now))) * 64 / 1000
        };
        // 900 s less a second, in thousands of ticks.
        assert_eq!(left(900), left(0));
        assert_eq!(left(u32::MAX), left(0));
        assert!((850..900).contains(&left(0)), "{}", left(0));
        assert!((280..300).contains(&left(300)), "{}", left(300));
        assert_eq!(left(1), 0);
    }

    #[test]
    fn the_first_packet_makes_an_announced_flow_an_own_one() {
        let now = Tick(1_000_000_000);
        let limit = Limits::of(&Timeouts::DEFAULT).of_phase(Phase::Established as u64);
        let value = Value::new(RealId(1), seen(now, limit, 900), Phase::Established).with_announced(true);
        let ack = lb_common::packet::tcp_flags::ACK;
        assert!(!value.is_steady(ack, Seen::of(now)));
        assert!(!value.after(ack, Seen::of(now)).is_announced());
    }
}
