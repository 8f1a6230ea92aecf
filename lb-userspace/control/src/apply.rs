// SPDX-License-Identifier: MIT OR Apache-2.0
//! Execution of a plan: the only code that changes the configuration in the maps.
#![forbid(unsafe_code)]

use std::{
    collections::{BTreeMap, BTreeSet},
    mem::discriminant,
    thread,
    time::Duration,
};

use lb_common::{
    ids::{IfIndex, RealId, ServiceId as ServiceNumber},
    reason::Reason,
    schema::{
        AddressUse, Client, ClientKey, Counters, FlowKey, Load, Real, Service, SnatBinding, Source, Timeouts,
        Tracking,
    },
    slot::MOVED,
    ticks::Tick,
    track,
    wire::Be128,
};

use super::{
    image::Image,
    plan::Step,
    slots::{self, Clock, Slots},
};
use lb_dataplane::{Flow, TableError, Tables};
use lb_schedule::{Span, TableSpec, turn};

/// Data read from the maps during the execution of a plan.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Last counters of removed reals, by service id.
    pub retired: BTreeMap<ServiceNumber, Counters>,
    /// Packets of removed services, by reason.
    pub reasons: BTreeMap<Reason, u64>,
    /// Removed reals, by id. Their flows are in the tables until [`forget`].
    pub removed: BTreeMap<RealId, Real>,
}

/// Time of the execution, and timeouts of flows.
#[derive(Clone, Copy, Debug)]
pub struct Time<'a> {
    /// Current tick.
    pub now: Tick,
    /// Timeouts of idle flows.
    pub timeouts: &'a Timeouts,
}

impl Time<'_> {
    /// Returns the clock for the slots of a service of that protocol.
    #[must_use]
    pub fn clock(&self, protocol: u8) -> Clock {
        Clock { now: self.now, timeout: track::longest_timeout(protocol, self.timeouts) }
    }
}

/// Executes `steps` in order, and keeps `image` equal to the contents of the maps.
///
/// # Errors
/// [`TableError`] at the first step that the kernel refuses; `image` then shows the executed steps.
pub fn apply(
    tables: &mut Tables,
    image: &mut Image,
    steps: &[Step],
    time: Time<'_>,
) -> Result<Outcome, TableError> {
    let mut outcome = Outcome::default();
    let removed: BTreeMap<RealId, Real> = steps
        .iter()
        .filter_map(|step| match step {
            Step::RemoveReal { id, real } => Some((*id, *real)),
            _ => None,
        })
        .collect();
    let new = |step: &Step| match step {
        Step::PutAddress { address, used } => Some((*address, AddressUse(*used))),
        _ => None,
    };
    if steps.iter().any(|step| new(step).is_some()) {
        tables.put_marks(uses(image).chain(steps.iter().filter_map(new)))?;
    }
    begin(tables, steps)?;
    for run in steps.chunk_by(|one, next| is_batched(one) && discriminant(one) == discriminant(next)) {
        match run {
            [Step::PutReal { .. }, _, ..] => put_reals(tables, image, run)?,
            [Step::PutSource { .. }, _, ..] => put_sources(tables, image, run)?,
            [Step::PutTable { .. }, ..] => put_tables(tables, image, run, time)?,
            _ => {
                for step in run {
                    apply_step(tables, image, step, &mut outcome)?;
                    image.apply(step);
                }
            }
        }
    }
    tables.settle()?;
    if steps.iter().any(|step| matches!(step, Step::PutAddress { .. } | Step::RemoveAddress { .. })) {
        tables.put_marks(uses(image))?;
    }
    outcome.removed = removed;
    Ok(outcome)
}

/// Removes the flows and the persistence entries of `removed` reals. Persistence entries of `replaced` reals
/// move to the replacement, which is the same server. Returns the number of removed flows.
///
/// # Errors
/// [`TableError`] if a map refuses.
pub fn forget(
    tables: &mut Tables,
    removed: &BTreeMap<RealId, Real>,
    replaced: &BTreeMap<RealId, RealId>,
) -> Result<usize, TableError> {
    let flows = if removed.is_empty() { 0 } else { forget_flows(tables, removed)? };
    if !removed.is_empty() || !replaced.is_empty() {
        forget_clients(tables, removed, replaced)?;
    }
    Ok(flows)
}

/// Returns every address and its uses.
fn uses(image: &Image) -> impl Iterator<Item = (Be128, AddressUse)> + '_ {
    image.addresses.iter().map(|(address, used)| (*address, AddressUse(*used)))
}

/// Returns whether consecutive steps of this kind are combined in one batch.
const fn is_batched(step: &Step) -> bool {
    matches!(step, Step::PutReal { .. } | Step::PutSource { .. } | Step::PutTable { .. })
}

/// Resets the counters of newly allocated ids.
fn begin(tables: &mut Tables, steps: &[Step]) -> Result<(), TableError> {
    let (mut reals, mut services) = (Vec::new(), Vec::new());
    for step in steps {
        match step {
            Step::PutReal { id, new: true, .. } => reals.push(*id),
            Step::PutService { service, new: true, .. } => services.push(service.id),
            _ => {}
        }
    }
    if reals.is_empty() && services.is_empty() { Ok(()) } else { tables.reset(&reals, &services) }
}

fn put_reals(tables: &mut Tables, image: &mut Image, run: &[Step]) -> Result<(), TableError> {
    let real =
        |step: &Step| if let Step::PutReal { id, real, .. } = step { Some((*id, *real)) } else { None };
    let reals: Vec<(RealId, Real)> = run.iter().filter_map(real).collect();
    let devices: BTreeSet<IfIndex> =
        reals.iter().filter(|(_, real)| real.reachable()).map(|(_, real)| real.ifindex).collect();
    devices.into_iter().try_for_each(|device| tables.put_device(device))?;
    let mut written = tables.put_reals(&reals);
    for step in run {
        if written.is_ok()
            && let Step::PutReal { id, real, new } = step
        {
            written = note_sharing(tables, image, *id, real, *new);
        }
        // If the batch failed half-way, some entries may be written: the image lists all of them, so that an
        // undo removes them.
        image.apply(step);
    }
    written
}

fn put_sources(tables: &mut Tables, image: &mut Image, run: &[Step]) -> Result<(), TableError> {
    let source =
        |step: &Step| if let Step::PutSource { key, source } = step { Some((*key, *source)) } else { None };
    let written = tables.put_sources(&run.iter().filter_map(source).collect::<Vec<_>>());
    for step in run {
        image.apply(step);
    }
    written
}

fn put_tables(
    tables: &mut Tables,
    image: &mut Image,
    run: &[Step],
    time: Time<'_>,
) -> Result<(), TableError> {
    for run in run.chunks(TABLES_AT_A_TIME) {
        let specs = run
            .iter()
            .filter_map(|step| if let Step::PutTable { spec, .. } = step { Some(spec) } else { None });
        let made = lb_schedule::tables(&specs.collect::<Vec<_>>());
        let mut idle = Vec::new();
        for (step, turns) in run.iter().zip(made) {
            if let Step::PutTable { service, spec, before } = step {
                if put_table(tables, spec, &turns, before.as_ref(), time)? {
                    idle.push((spec, turns));
                }
                go_on(tables, image, *service, spec, before.is_none())?;
            }
            image.apply(step);
        }
        settle_idle(tables, &idle)?;
    }
    Ok(())
}

/// Records the replies of existing flows of a real that has become shared by several services.
fn note_sharing(
    tables: &mut Tables,
    image: &Image,
    id: RealId,
    real: &Real,
    new: bool,
) -> Result<(), TableError> {
    let was_shared = image.reals.get(&id).is_some_and(|old| old.is(Real::SHARED));
    if real.is(Real::SHARED) && !was_shared && !new { remember_replies(tables, id, real) } else { Ok(()) }
}

fn apply_step(
    tables: &mut Tables,
    image: &Image,
    step: &Step,
    outcome: &mut Outcome,
) -> Result<(), TableError> {
    match step {
        Step::PutReal { id, real, new } => {
            if real.reachable() {
                tables.put_device(real.ifindex)?;
            }
            tables.put_real(*id, real)?;
            note_sharing(tables, image, *id, real, *new)
        }
        // `put_tables` writes tables.
        Step::PutTable { .. } => Ok(()),
        Step::PutAddress { address, used } => tables.put_address(*address, AddressUse(*used)),
        Step::PutSource { key, source } => tables.put_source(key, source),
        Step::PutService { key, service, .. } => tables.put_service(key, service),
        Step::RemoveService { key, service } => {
            tables.remove_service(key)?;
            for (reason, packets) in tables.reasons(service.id)?.iter() {
                *outcome.reasons.entry(reason).or_default() += packets;
            }
            Ok(())
        }
        Step::RemoveSource { key } => tables.remove_source(key),
        Step::RemoveAddress { address } => tables.remove_address(*address),
        Step::RemoveReal { id, real } => {
            outcome.retired.entry(real.service).or_default().add(&tables.counters(*id)?);
            tables.put_real(*id, &Real::default())
        }
    }
}

/// Sets the position of a round-robin scheduler to where IPVS would continue.
fn go_on(
    tables: &mut Tables,
    image: &Image,
    service: ServiceNumber,
    spec: &TableSpec,
    is_new: bool,
) -> Result<(), TableError> {
    let next = match image.tables.get(&service) {
        _ if is_new => Some(0),
        Some(before) => turn::after_change(before, tables.position(service)?, spec),
        // After a start, the daemon does not know the previous pool, which most likely was the same.
        None => None,
    };
    next.map_or(Ok(()), |next| tables.put_position(service, next))
}

/// Writes the slot table for these `turns`: as a whole or, with tracking `auto`, such that no living flow
/// moves. Returns whether slots are in transition although no packet ever went to the pool.
fn put_table(
    tables: &mut Tables,
    spec: &TableSpec,
    turns: &[RealId],
    before: Option<&Service>,
    time: Time<'_>,
) -> Result<bool, TableError> {
    let first = spec.span.first;
    if spec.tracking != Tracking::Auto {
        return tables.put_table(first, &Slots::steady(turns).table).map(|()| false);
    }
    let alive = spec.pool.iter().map(|entry| entry.id).filter(|id| !spec.cut.contains(id)).collect();
    let old = match before {
        Some(service) => Some((read_slots(tables, Span::from(service))?, service)),
        None => None,
    };
    let slots = slots::transition(old, turns, &alive, time.clock(spec.protocol));
    write_slots(tables, first, &slots)?;
    Ok(slots.moved() > 0 && was_never_asked(tables, spec)?)
}

/// Settles the slots of tables just written whose pools still got no packet. A pool that is built real by real moves
/// its slots repeatedly, while it has no flows.
fn settle_idle(tables: &mut Tables, idle: &[(&TableSpec, Vec<RealId>)]) -> Result<(), TableError> {
    if idle.is_empty() {
        return Ok(());
    }
    // The pause lets the programs, which take microseconds, count the packets that they handled meanwhile.
    #[expect(clippy::disallowed_methods, reason = "a pause of 2 ms in a change, which is not async")]
    thread::sleep(PROGRAM);
    for (spec, turns) in idle {
        if was_never_asked(tables, spec)? {
            write_slots(tables, spec.span.first, &Slots::steady(turns))?;
        }
    }
    Ok(())
}

/// Number of tables in memory at a time; each takes at most 256 KB.
const TABLES_AT_A_TIME: usize = 256;

/// Upper bound of the time from a program's read of a slot to its count of the packet.
const PROGRAM: Duration = Duration::from_millis(2);

/// Returns whether no packet ever went to a real of the pool, so that no flow can be on one.
///
/// # Errors
/// [`TableError`] if a map cannot be read.
pub fn was_never_asked(tables: &Tables, spec: &TableSpec) -> Result<bool, TableError> {
    // Most pools are asked: the first reals tell so.
    let (some, others) = spec.pool.split_at(spec.pool.len().min(4));
    for entry in some {
        if tables.counters(entry.id)?.packets_in > 0 {
            return Ok(false);
        }
    }
    // Ids are the lowest free ones: adjacent ones are read by few system calls.
    let ids: BTreeSet<u32> = others.iter().map(|entry| entry.id.0).collect();
    let (Some(first), Some(last)) = (ids.first(), ids.last()) else { return Ok(true) };
    if (last - first) as usize > 4 * ids.len() {
        for id in ids {
            if tables.counters(RealId(id))?.packets_in > 0 {
                return Ok(false);
            }
        }
        return Ok(true);
    }
    let mut counters = (*first..).zip(tables.counters_of(*first..last + 1)?);
    Ok(!counters.any(|(id, counters)| counters.packets_in > 0 && ids.contains(&id)))
}

/// Returns the slots of a service.
///
/// # Errors
/// [`TableError`] if a map cannot be read.
pub fn read_slots(tables: &Tables, span: Span) -> Result<Slots, TableError> {
    let table = tables.table(span.first, span.slots)?;
    if table.iter().all(|entry| entry & MOVED == 0) {
        return Ok(Slots::of_entries(table));
    }
    Ok(Slots { moves: tables.moves(span.first, span.slots)?, table })
}

/// Writes the slots of a service from block `first` on. Moves are written before the slots, so that no
/// program finds a mark without its move.
///
/// # Errors
/// [`TableError`] if a map cannot be written.
pub fn write_slots(tables: &mut Tables, first: u32, slots: &Slots) -> Result<(), TableError> {
    if slots.moved() > 0 {
        tables.put_moves(first, &slots.moves)?;
    }
    tables.put_table(first, &slots.table)
}

/// Records the services of the replies of a real's flows, when address and port of the real no longer
/// identify the service. The programs record later flows.
fn remember_replies(tables: &mut Tables, id: RealId, real: &Real) -> Result<(), TableError> {
    let mut requests = Vec::new();
    tables.for_each_flow(|key, flow| {
        if flow.real() == id {
            requests.push(*key);
        }
    })?;
    for request in requests {
        let (vip, port) = (request.destination, request.destination_port);
        let source = Source::new(vip, port, Source::SHARED, RealId::NONE, ServiceNumber::NONE);
        tables.put_reply(&real.reply_key(&request), &source)?;
    }
    Ok(())
}

/// Removes the flows of removed reals: the next packet of each is scheduled again, and the next real with the
/// same id inherits no flows.
fn forget_flows(tables: &mut Tables, removed: &BTreeMap<RealId, Real>) -> Result<usize, TableError> {
    let mut flows: Vec<(FlowKey, Flow)> = Vec::new();
    tables.for_each_flow(|key, flow| {
        if removed.contains_key(&flow.real()) {
            flows.push((*key, *flow));
        }
    })?;
    for (key, flow) in &flows {
        let mut found = Some(*flow);
        // A packet may change the entry at the same time.
        while let Some(same) = found.filter(|found| found.real() == flow.real()) {
            if tables.remove_flow(key, &same)? {
                break;
            }
            found = tables.flow(key);
        }
        forget_reply(tables, key, flow.snat, &removed[&flow.real()])?;
    }
    // The removal of a flow changes the counts of its real, which the next real with the same id would inherit.
    for id in removed.keys() {
        if tables.load(*id)? != Load::default() {
            tables.put_load(*id, &Load::default())?;
        }
    }
    Ok(flows.len())
}

/// Removes the persistence entries of removed reals, which a new real with the same id would inherit.
fn forget_clients(
    tables: &mut Tables,
    removed: &BTreeMap<RealId, Real>,
    replaced: &BTreeMap<RealId, RealId>,
) -> Result<(), TableError> {
    let mut gone: Vec<ClientKey> = Vec::new();
    let mut kept: Vec<(ClientKey, Client)> = Vec::new();
    tables.for_each_client(|key, client| {
        if let Some(new) = replaced.get(&client.real) {
            kept.push((*key, Client { real: *new, ..*client }));
        } else if removed.contains_key(&client.real) {
            gone.push(*key);
        }
    })?;
    kept.iter().try_for_each(|(key, client)| tables.put_client(key, client))?;
    gone.iter().try_for_each(|key| tables.remove_client(key))
}

/// Removes the reply entries of a flow, and releases its SNAT port.
///
/// # Errors
/// [`TableError`] if the map refuses.
pub fn forget_reply(
    tables: &mut Tables,
    request: &FlowKey,
    dip: SnatBinding,
    real: &Real,
) -> Result<(), TableError> {
    let reply = real.reply_key(request);
    if real.is(Real::SHARED) {
        tables.remove_reply(&reply)?;
    }
    if dip.is_none() {
        return Ok(());
    }
    let destination = tables.snat_address(dip, real)?;
    let to_dip = FlowKey { destination, destination_port: dip.port, ..reply };
    // Another flow may have the port by now.
    if tables.translation(&to_dip) == Some(*request) { tables.remove_translation(&to_dip) } else { Ok(()) }
}
