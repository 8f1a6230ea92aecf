// SPDX-License-Identifier: MIT OR Apache-2.0
//! Typed access to every map. The module is long because it has a few lines for each map.

use std::{
    io,
    os::fd::AsFd as _,
    sync::atomic::{Ordering, fence},
};

use aya::{
    Pod,
    maps::{
        Array, DevMapHash, HashMap as BpfHashMap, IterableMap as _, MapData, MapError, PerCpuArray,
        PerCpuValues, ProgramArray,
    },
    programs::ProgramFd,
    util::nr_cpus,
};
use lb_common::{
    schema::{
        AddressUse, BLOCK, Block, Client, ClientKey, Counters, Dip, Flow, FlowKey, Load, Marks, Move,
        MoveBlock, Position, Program, Real, ReasonCounts, Service, ServiceKey, Source, SourceKey, Timeouts,
        UNSET,
    },
    track::State,
    wire::{Be16, Be32, Be128},
};
use thiserror::Error;

use super::{
    batch,
    flow_reader::FlowReader,
    map_source::{MapSource, take},
    versions::Versions,
};

/// Every map, open and typed. The daemon writes the configuration; the programs write flows and counters.
pub struct Tables {
    schema: Array<MapData, u32>,
    generation: Array<MapData, u64>,
    /// The generation is odd, because of these tables.
    changing: bool,
    services: Versions<ServiceKey<Be32>, Service, ServiceKey, Service>,
    reals: Array<MapData, Real>,
    blocks: Array<MapData, Block>,
    moves: Array<MapData, MoveBlock>,
    positions: Array<MapData, Position>,
    addresses: Versions<Be32, AddressUse, Be128, AddressUse>,
    sources: Versions<SourceKey<Be32>, Source<Be32>, SourceKey, Source>,
    flows: Versions<FlowKey<Be32>, Flow, FlowKey, Flow>,
    /// Half-open table.
    opening: Versions<FlowKey<Be32>, Flow, FlowKey, Flow>,
    replies: Versions<FlowKey<Be32>, Source<Be32>, FlowKey, Source>,
    translations: Versions<FlowKey<Be32>, FlowKey<Be32>, FlowKey, FlowKey>,
    dips: Array<MapData, Be32>,
    dips6: Array<MapData, Be128>,
    marks: Array<MapData, Marks>,
    source_marks: Array<MapData, Marks>,
    controllers: BpfHashMap<MapData, u32, u32>,
    programs: ProgramArray<MapData>,
    clients: BpfHashMap<MapData, ClientKey, Client>,
    loads: Array<MapData, Load>,
    timeouts: Array<MapData, Timeouts>,
    devices: DevMapHash<MapData>,
    counters: PerCpuArray<MapData, Counters>,
    reasons: PerCpuArray<MapData, ReasonCounts>,
}

/// A tracked flow.
#[derive(Clone, Copy, Debug)]
pub struct FlowRecord {
    /// Key of the flow.
    pub key: FlowKey,
    /// Entry of the flow.
    pub flow: Flow,
}

/// Returns the key of the reply to a request, as the real sends it.
#[must_use]
pub fn reply_of(request: &FlowKey, real: &Real) -> FlowKey {
    let port = if real.port == Be16::ZERO { request.destination_port } else { real.port };
    FlowKey::new(
        real.address,
        request.source,
        port,
        request.source_port,
        u8::try_from(request.protocol).unwrap_or(0),
    )
}

/// Reason why a map cannot be read or written.
#[derive(Debug, Error)]
pub enum TableError {
    /// The map is missing: the object, or the folder of pins, is not of this version.
    #[error("there is no map {0}")]
    Missing(&'static str),
    /// The kernel refused an operation.
    #[error("cannot {doing} {map}")]
    Map {
        /// Name of the map.
        map: &'static str,
        /// Operation.
        doing: &'static str,
        /// Error of the kernel.
        source: MapError,
    },
    /// A batch could not be read.
    #[error("cannot read {map}")]
    Batch {
        /// Name of the map.
        map: &'static str,
        /// Error of the kernel.
        source: io::Error,
    },
}

/// Converts a [`MapError`] to a [`TableError`].
pub(super) fn failed(doing: &'static str, map: &'static str) -> impl Fn(MapError) -> TableError {
    move |source| TableError::Map { map, doing, source }
}

/// Treats `ENOENT` on delete as success.
pub(super) fn gone(result: Result<(), MapError>) -> Result<(), MapError> {
    match result {
        Err(MapError::SyscallError(e)) if e.io_error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Returns a zero for every CPU.
fn zeros<T: Pod + Default>() -> Result<PerCpuValues<T>, TableError> {
    per_cpu(T::default())
}

/// Returns per-CPU values for a sum: all of it on the first CPU.
fn per_cpu<T: Pod + Default>(sum: T) -> Result<PerCpuValues<T>, TableError> {
    let batch = |source| TableError::Batch { map: "per-CPU values", source };
    let cpus = nr_cpus().map_err(|(_, error)| batch(error))?;
    let mut values = vec![T::default(); cpus];
    values[0] = sum;
    PerCpuValues::try_from(values).map_err(batch)
}

/// Returns the sum of the counts of all CPUs.
fn sum_reasons(values: &[ReasonCounts]) -> ReasonCounts {
    let mut sum = ReasonCounts::default();
    for counts in values {
        sum.add(counts);
    }
    sum
}

/// Returns the first entries of a per-CPU array, each summed over the CPUs.
fn per_cpu_sums<V: Pod, S>(
    map: &PerCpuArray<MapData, V>,
    name: &'static str,
    entries: u32,
    sum: impl Fn(&[V]) -> S,
) -> Result<Vec<S>, TableError> {
    let failed = |source| TableError::Batch { map: name, source };
    let cpus = nr_cpus().map_err(|(_, error)| failed(error))?;
    let count = entries.min(map.len()) as usize;
    batch::per_cpu(map.map().fd().as_fd(), cpus, count, sum).map_err(failed)
}

impl Tables {
    pub(super) fn open(ebpf: &mut impl MapSource) -> Result<Self, TableError> {
        Ok(Self {
            schema: take(ebpf, "SCHEMA")?,
            generation: take(ebpf, "GENERATION")?,
            changing: false,
            services: Versions::take(ebpf, ["SERVICES", "SERVICES6"])?,
            reals: take(ebpf, "REALS")?,
            blocks: take(ebpf, "TABLES")?,
            moves: take(ebpf, "MOVES")?,
            positions: take(ebpf, "POSITIONS")?,
            addresses: Versions::take(ebpf, ["ADDRESSES", "ADDRESSES6"])?,
            sources: Versions::take(ebpf, ["SOURCES", "SOURCES6"])?,
            flows: Versions::take(ebpf, ["FLOWS", "FLOWS6"])?,
            opening: Versions::take(ebpf, ["OPENING", "OPENING6"])?,
            replies: Versions::take(ebpf, ["REPLIES", "REPLIES6"])?,
            translations: Versions::take(ebpf, ["TRANSLATIONS", "TRANSLATIONS6"])?,
            dips: take(ebpf, "DIPS")?,
            dips6: take(ebpf, "DIPS6")?,
            marks: take(ebpf, "MARKS")?,
            source_marks: take(ebpf, "SOURCE_MARKS")?,
            controllers: take(ebpf, "CONTROLLERS")?,
            programs: take(ebpf, "PROGRAMS")?,
            clients: take(ebpf, "CLIENTS")?,
            loads: take(ebpf, "LOADS")?,
            timeouts: take(ebpf, "TIMEOUTS")?,
            devices: take(ebpf, "DEVICES")?,
            counters: take(ebpf, "COUNTERS")?,
            reasons: take(ebpf, "REASONS")?,
        })
    }

    pub(super) fn set_schema(&mut self, version: u32) -> Result<(), TableError> {
        self.schema.set(0, version, 0).map_err(failed("write", "SCHEMA"))
    }

    /// Invalidates the per-CPU caches of services, addresses and sources until [`Tables::settle`].
    fn unsettle(&mut self) -> Result<(), TableError> {
        if !self.changing {
            self.turn_generation(1)?;
            self.changing = true;
        }
        Ok(())
    }

    /// Allows CPUs to cache services, addresses and sources again. Must be called after the last write of a
    /// change; until then packets take longer.
    pub fn settle(&mut self) -> Result<(), TableError> {
        self.turn_generation(0)?;
        self.changing = false;
        Ok(())
    }

    /// Increments the generation, if its parity differs from `odd`.
    fn turn_generation(&mut self, odd: u64) -> Result<(), TableError> {
        let generation = self.generation.get(&0, 0).map_err(failed("read", "GENERATION"))?;
        if generation & 1 == odd {
            return Ok(());
        }
        // On every CPU, the writes to the tables must be visible before the new generation.
        fence(Ordering::SeqCst);
        self.generation.set(0, generation.wrapping_add(1), 0).map_err(failed("write", "GENERATION"))?;
        fence(Ordering::SeqCst);
        Ok(())
    }

    /// Returns every service.
    pub fn services(&self) -> Result<Vec<(ServiceKey, Service)>, TableError> {
        self.services.all()
    }

    /// Adds or replaces a service.
    pub fn put_service(&mut self, key: &ServiceKey, service: &Service) -> Result<(), TableError> {
        self.unsettle()?;
        self.services.put(key, service)
    }

    /// Removes a service. Its packets belong to no service from now on.
    pub fn remove_service(&mut self, key: &ServiceKey) -> Result<(), TableError> {
        self.unsettle()?;
        self.services.remove(key)
    }

    /// Returns the number of ids of reals, including id 0, which no real has.
    #[must_use]
    pub fn real_ids(&self) -> u32 {
        self.reals.len()
    }

    /// Returns every real with its id.
    pub fn reals(&self) -> Result<Vec<(u32, Real)>, TableError> {
        let mut found = Vec::new();
        let each = |id: &u32, real: &Real| {
            if real.exists() {
                found.push((*id, *real));
            }
        };
        let fd = self.reals.map().fd().as_fd();
        batch::for_each(fd, each).map_err(|source| TableError::Batch { map: "REALS", source })?;
        Ok(found)
    }

    /// Returns the real with that id, if it exists.
    #[must_use]
    pub fn real(&self, id: u32) -> Option<Real> {
        self.reals.get(&id, 0).ok().filter(Real::exists)
    }

    /// Writes a real; [`Real::default`] removes it.
    pub fn put_real(&mut self, id: u32, real: &Real) -> Result<(), TableError> {
        self.reals.set(id, real, 0).map_err(failed("write", "REALS"))
    }

    /// Writes many reals.
    pub fn put_reals(&mut self, reals: &[(u32, Real)]) -> Result<(), TableError> {
        let (ids, values): (Vec<u32>, Vec<Real>) = reals.iter().copied().unzip();
        let fd = self.reals.map().fd().as_fd();
        batch::update(fd, &ids, &values).map_err(|source| TableError::Batch { map: "REALS", source })
    }

    /// Returns the first `slots` entries of the slot table that begins with block `first`.
    pub fn table(&self, first: u32, slots: u32) -> Result<Vec<u32>, TableError> {
        let mut table = Vec::with_capacity(slots as usize);
        for block in first..first + slots.div_ceil(BLOCK) {
            table.extend_from_slice(&self.blocks.get(&block, 0).map_err(failed("read", "TABLES"))?.0);
        }
        table.truncate(slots as usize);
        Ok(table)
    }

    /// Returns the moves of the first `slots` entries of that table. A move is only valid if its entry is marked.
    pub fn moves(&self, first: u32, slots: u32) -> Result<Vec<Move>, TableError> {
        let mut moves = Vec::with_capacity(slots as usize);
        for block in first..first + slots.div_ceil(BLOCK) {
            moves.extend_from_slice(&self.moves.get(&block, 0).map_err(failed("read", "MOVES"))?.0);
        }
        moves.truncate(slots as usize);
        Ok(moves)
    }

    /// Writes a slot table in place, from block `first` on.
    pub fn put_table(&mut self, first: u32, table: &[u32]) -> Result<(), TableError> {
        for (number, entries) in (first..).zip(table.chunks(BLOCK as usize)) {
            let mut block = Block([UNSET; BLOCK as usize]);
            block.0[..entries.len()].copy_from_slice(entries);
            self.blocks.set(number, block, 0).map_err(failed("write", "TABLES"))?;
        }
        Ok(())
    }

    /// Writes moves in place, from block `first` on.
    pub fn put_moves(&mut self, first: u32, moves: &[Move]) -> Result<(), TableError> {
        for (number, entries) in (first..).zip(moves.chunks(BLOCK as usize)) {
            #[expect(clippy::large_stack_arrays, reason = "32 KiB, once")]
            let mut block = MoveBlock([Move::default(); BLOCK as usize]);
            block.0[..entries.len()].copy_from_slice(entries);
            self.moves.set(number, block, 0).map_err(failed("write", "MOVES"))?;
        }
        Ok(())
    }

    /// Returns the position of a service's scheduler in its table.
    pub fn position(&self, service: u32) -> Result<Position, TableError> {
        self.positions.get(&service, 0).map_err(failed("read", "POSITIONS"))
    }

    /// Sets the position of a service's scheduler in its table.
    pub fn put_position(&mut self, service: u32, next: u64) -> Result<(), TableError> {
        let position = Position { next, start: next };
        self.positions.set(service, position, 0).map_err(failed("write", "POSITIONS"))
    }

    /// Returns every address and its uses.
    pub fn addresses(&self) -> Result<Vec<(Be128, AddressUse)>, TableError> {
        self.addresses.all()
    }

    /// Writes the filters of used addresses. Must be called before an address is added, and after one was removed.
    pub fn put_marks(
        &mut self,
        addresses: impl IntoIterator<Item = (Be128, AddressUse)>,
    ) -> Result<(), TableError> {
        let mut marks = Marks::NONE;
        let mut source_marks = vec![Marks::NONE; self.source_marks.len() as usize];
        for (address, used) in addresses {
            let v4 = address.as_v4();
            if used.is(AddressUse::FORWARDS) {
                match v4 {
                    Some(v4) => marks.set(v4),
                    None => marks.set(address),
                }
            }
            if used.is(AddressUse::FORBIDS) {
                match v4 {
                    Some(v4) => Marks::set_source(&mut source_marks, v4),
                    None => Marks::set_source(&mut source_marks, address),
                }
            }
        }
        for (element, marks) in (0..).zip(source_marks) {
            self.source_marks.set(element, marks, 0).map_err(failed("write", "SOURCE_MARKS"))?;
        }
        self.marks.set(0, marks, 0).map_err(failed("write", "MARKS"))
    }

    /// Returns the SNAT addresses, IPv4 and IPv6; IPv4 addresses are mapped to 128 bits.
    pub fn pool(&self) -> Result<[Vec<Be128>; 2], TableError> {
        let v4: Result<Vec<Be32>, MapError> = self.dips.iter().collect();
        let wide =
            |address: Be32| if address == Be32::default() { Be128::ZERO } else { Be128::mapped(address) };
        let v4 = v4.map_err(failed("read", "DIPS"))?.into_iter().map(wide).collect();
        let v6: Result<Vec<Be128>, MapError> = self.dips6.iter().collect();
        Ok([v4, v6.map_err(failed("read", "DIPS6"))?])
    }

    /// Sets the bond or team of which a device is a member.
    pub fn put_controller(&mut self, member: u32, controller: u32) -> Result<(), TableError> {
        self.controllers.insert(member, controller, 0).map_err(failed("write", "CONTROLLERS"))
    }

    /// Sets the uses of an address.
    pub fn put_address(&mut self, address: Be128, used: AddressUse) -> Result<(), TableError> {
        self.unsettle()?;
        self.addresses.put(&address, &used)
    }

    /// Removes an address that has no use any more.
    pub fn remove_address(&mut self, address: Be128) -> Result<(), TableError> {
        self.unsettle()?;
        self.addresses.remove(&address)
    }

    /// Returns every source of `nat` replies.
    pub fn sources(&self) -> Result<Vec<(SourceKey, Source)>, TableError> {
        self.sources.all()
    }

    /// Sets the service to which the replies of a `nat` real belong.
    pub fn put_source(&mut self, key: &SourceKey, source: &Source) -> Result<(), TableError> {
        self.unsettle()?;
        self.sources.put(key, source)
    }

    /// Sets the services to which the replies of several `nat` reals belong.
    pub fn put_sources(&mut self, sources: &[(SourceKey, Source)]) -> Result<(), TableError> {
        self.unsettle()?;
        self.sources.put_all(sources)
    }

    /// Removes a reply source.
    pub fn remove_source(&mut self, key: &SourceKey) -> Result<(), TableError> {
        self.unsettle()?;
        self.sources.remove(key)
    }

    /// Returns every tracked flow. Flows that change meanwhile may be missing.
    pub fn flows(&self) -> Result<Vec<FlowRecord>, TableError> {
        let mut flows = Vec::new();
        self.for_each_flow(|key, flow| flows.push(FlowRecord { key: *key, flow: *flow }))?;
        Ok(flows)
    }

    /// Returns a reader of the flows that is independent of these tables.
    ///
    /// # Errors
    /// If there are no descriptors left.
    pub fn flow_reader(&self) -> io::Result<FlowReader> {
        FlowReader::new(&self.opening, &self.flows)
    }

    /// Calls `each` with every tracked flow.
    pub fn for_each_flow(&self, mut each: impl FnMut(&FlowKey, &Flow)) -> Result<(), TableError> {
        // The order matters: a connection that becomes established meanwhile moves from the first table to
        // the second, and is then seen twice rather than not at all.
        self.opening.for_each(&mut each)?;
        self.flows.for_each(each)
    }

    /// Returns a flow, if it is tracked.
    #[must_use]
    pub fn flow(&self, key: &FlowKey) -> Option<Flow> {
        // The order matters, as in `for_each_flow`.
        let opening = self.opening.get(key);
        self.flows.get(key).or(opening)
    }

    /// Adds or replaces a flow.
    pub fn put_flow(&mut self, key: &FlowKey, flow: &Flow) -> Result<(), TableError> {
        let opens = State::from_number(flow.state) == State::SynReceived;
        if opens { self.opening.put(key, flow) } else { self.flows.put(key, flow) }
    }

    /// Removes a flow.
    pub fn remove_flow(&mut self, key: &FlowKey) -> Result<(), TableError> {
        self.opening.remove(key)?;
        self.flows.remove(key)
    }

    /// Returns the service of a flow's replies, if several services share the real.
    #[must_use]
    pub fn reply(&self, key: &FlowKey) -> Option<Source> {
        self.replies.get(key)
    }

    /// Sets the service of a flow's replies.
    pub fn put_reply(&mut self, key: &FlowKey, source: &Source) -> Result<(), TableError> {
        self.replies.put(key, source)
    }

    /// Calls `each` with every reply entry of a flow.
    pub fn for_each_reply(&self, each: impl FnMut(&FlowKey, &Source)) -> Result<(), TableError> {
        self.replies.for_each(each)
    }

    /// Removes the reply entry of a flow.
    pub fn remove_reply(&mut self, key: &FlowKey) -> Result<(), TableError> {
        self.replies.remove(key)
    }

    /// Calls `each` with every `fnat` flow: the key of the real's packets, and that of the client's.
    pub fn for_each_translation(&self, each: impl FnMut(&FlowKey, &FlowKey)) -> Result<(), TableError> {
        self.translations.for_each(each)
    }

    /// Returns the flow to which a real's packets to an SNAT port belong.
    #[must_use]
    pub fn translation(&self, reply: &FlowKey) -> Option<FlowKey> {
        self.translations.get(reply)
    }

    /// Sets the flow to which a real's packets to an SNAT port belong.
    pub fn put_translation(&mut self, reply: &FlowKey, request: &FlowKey) -> Result<(), TableError> {
        self.translations.put(reply, request)
    }

    /// Releases an SNAT port.
    pub fn remove_translation(&mut self, reply: &FlowKey) -> Result<(), TableError> {
        self.translations.remove(reply)
    }

    /// Writes the SNAT addresses, IPv4 and IPv6, by index.
    pub fn put_dips(&mut self, dips: &[Be128], dips6: &[Be128]) -> Result<(), TableError> {
        for (index, address) in (0..).zip(dips) {
            let address = address.as_v4().unwrap_or_default();
            self.dips.set(index, address, 0).map_err(failed("write", "DIPS"))?;
        }
        for (index, address) in (0..).zip(dips6) {
            self.dips6.set(index, address, 0).map_err(failed("write", "DIPS6"))?;
        }
        Ok(())
    }

    /// Returns the address of a [`Dip`] towards a real.
    pub fn dip_address(&self, dip: Dip, real: &Real) -> Result<Be128, TableError> {
        let index = u32::from(dip.address);
        match (dip.address, real.is(Real::IPV6)) {
            (0, _) => Ok(real.source),
            (_, true) => self.dips6.get(&index, 0).map_err(failed("read", "DIPS6")),
            (_, false) => Ok(Be128::mapped(self.dips.get(&index, 0).map_err(failed("read", "DIPS"))?)),
        }
    }

    /// Calls `each` with every persistence entry, including expired ones.
    pub fn for_each_client(&self, each: impl FnMut(&ClientKey, &Client)) -> Result<(), TableError> {
        let fd = self.clients.map().fd().as_fd();
        batch::for_each(fd, each).map_err(|source| TableError::Batch { map: "CLIENTS", source })
    }

    /// Returns the persistence entry of a client.
    #[must_use]
    pub fn client(&self, key: &ClientKey) -> Option<Client> {
        self.clients.get(key, 0).ok()
    }

    /// Adds or replaces the persistence entry of a client.
    pub fn put_client(&mut self, key: &ClientKey, client: &Client) -> Result<(), TableError> {
        self.clients.insert(key, client, 0).map_err(failed("write", "CLIENTS"))
    }

    /// Removes the persistence entry of a client.
    pub fn remove_client(&mut self, key: &ClientKey) -> Result<(), TableError> {
        gone(self.clients.remove(key)).map_err(failed("delete from", "CLIENTS"))
    }

    /// Returns the connection counts of a real, as the programs maintain them.
    pub fn load(&self, real: u32) -> Result<Load, TableError> {
        self.loads.get(&real, 0).map_err(failed("read", "LOADS"))
    }

    /// Corrects the connection counts of a real.
    pub fn put_load(&mut self, real: u32, load: &Load) -> Result<(), TableError> {
        self.loads.set(real, load, 0).map_err(failed("write", "LOADS"))
    }

    /// Sets the timeouts of idle flows.
    pub fn put_timeouts(&mut self, timeouts: &Timeouts) -> Result<(), TableError> {
        self.timeouts.set(0, timeouts, 0).map_err(failed("write", "TIMEOUTS"))
    }

    /// Sets the target of a tail call.
    pub(super) fn put_program(&mut self, program: Program, fd: &ProgramFd) -> Result<(), TableError> {
        self.programs.set(program as u32, fd, 0).map_err(failed("write", "PROGRAMS"))
    }

    /// Allows redirecting to a device.
    pub fn put_device(&mut self, ifindex: u32) -> Result<(), TableError> {
        self.devices
            .insert(ifindex, ifindex, None, 0)
            .map_err(|error| TableError::Batch { map: "DEVICES", source: io::Error::other(error) })
    }

    /// Returns a real's counters, summed over all CPUs.
    pub fn counters(&self, real: u32) -> Result<Counters, TableError> {
        let values = self.counters.get(&real, 0).map_err(failed("read", "COUNTERS"))?;
        let mut sum = Counters::default();
        values.iter().for_each(|counters| sum.add(counters));
        Ok(sum)
    }

    /// Returns the counters of every real with an id below `ids`, summed over all CPUs.
    pub fn all_counters(&self, ids: u32) -> Result<Vec<Counters>, TableError> {
        per_cpu_sums(&self.counters, "COUNTERS", ids, |values: &[Counters]| {
            let mut sum = Counters::default();
            for counters in values {
                sum.add(counters);
            }
            sum
        })
    }

    /// Returns the counts of [`Tables::reasons`] for every service with an id below `services`, by id.
    pub fn all_reasons(&self, services: u32) -> Result<Vec<ReasonCounts>, TableError> {
        per_cpu_sums(&self.reasons, "REASONS", services, sum_reasons)
    }

    /// Sets a real's counters; `sum` is over all CPUs.
    pub fn put_counters(&mut self, real: u32, sum: &Counters) -> Result<(), TableError> {
        self.counters.set(real, per_cpu(*sum)?, 0).map_err(failed("write", "COUNTERS"))
    }

    /// Resets the counters and connection counts of these reals, and the reason counts of these services, for
    /// the next ones with their ids.
    ///
    /// All counts are read first: one system call reads thousands, and most ids were never used.
    pub fn reset(&mut self, reals: &[u32], services: &[u32]) -> Result<(), TableError> {
        let after = |ids: &[u32]| ids.iter().max().map_or(0, |last| last + 1);
        let (counters, reasons) = (self.all_counters(after(reals))?, self.all_reasons(after(services))?);
        let mut loads = Vec::new();
        let fd = self.loads.map().fd().as_fd();
        batch::for_each(fd, |_: &u32, load: &Load| loads.push(*load))
            .map_err(|source| TableError::Batch { map: "LOADS", source })?;
        for real in reals {
            if loads.get(*real as usize).is_some_and(|load| *load != Load::default()) {
                self.put_load(*real, &Load::default())?;
            }
            if counters.get(*real as usize).is_some_and(|counters| *counters != Counters::default()) {
                self.counters.set(*real, zeros()?, 0).map_err(failed("write", "COUNTERS"))?;
            }
        }
        for service in services {
            if reasons.get(*service as usize).is_some_and(|counts| *counts != ReasonCounts::default()) {
                self.put_reasons(*service, &ReasonCounts::default())?;
            }
        }
        Ok(())
    }

    /// Returns a service's packets by reason, summed over all CPUs; service 0 stands for packets of no
    /// particular service.
    pub fn reasons(&self, service: u32) -> Result<ReasonCounts, TableError> {
        Ok(sum_reasons(&self.reasons.get(&service, 0).map_err(failed("read", "REASONS"))?))
    }

    /// Sets a service's packets by reason; `sum` is over all CPUs.
    pub fn put_reasons(&mut self, service: u32, sum: &ReasonCounts) -> Result<(), TableError> {
        self.reasons.set(service, per_cpu(*sum)?, 0).map_err(failed("write", "REASONS"))
    }
}
