// SPDX-License-Identifier: MIT OR Apache-2.0
//! The flow table in the memory of this process: reading a million flows takes no system call, and delays nothing.
#![forbid(unsafe_code)]

use std::{
    collections::{HashMap, HashSet},
    io,
    os::fd::AsFd as _,
    sync::{Arc, atomic::AtomicU64, atomic::Ordering},
};

use aya::maps::{Array, IterableMap as _, MapData};
use lb_common::{
    flow_table::{
        self, Entry, Event, Geometry, Inserted, Key as _, Limits, Mixing, Newcomer, Pair, Seen, Shape, Table,
        Value, WIDE_WORDS, Wide,
    },
    ids::RealId,
    protocol,
    schema::{FlowKey, Load, MapName, Service, ServiceKey, Timeouts},
    wire::{Be16, Be128},
};

use super::{
    map_source::{MapSource, take},
    mapped::MappedArray,
    tables::{TableError, batch_failed, failed},
};

/// TCP port of FTP control connections.
const FTP: Be16 = Be16::new(21);

/// The effect of an announced flow on the flow table.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Announced {
    /// The flow has a new entry.
    Added,
    /// The entry of the flow was an announced one, and has been replaced.
    Replaced,
    /// Packets at this director have renewed the entry of the flow, which stays as it is.
    Own,
    /// The table has no place that is free or expired.
    Full,
    /// The VIP, port and protocol are those of no service.
    NoService,
}

/// Words of a value of `LOADS`.
const LOAD_WORDS: usize = size_of::<Load>() / size_of::<u64>();

/// The flow table, and the connection counts of the reals.
pub(super) struct FlowTable {
    shape_map: Array<MapData, Shape>,
    memory: FlowMemory,
    numbers: Arc<Numbers>,
}

/// The memory of the flow table, which readers share with its owner.
#[derive(Clone, Debug)]
pub(super) struct FlowMemory {
    flows: Arc<MappedArray>,
    /// The table that this one replaces, while flows move from there, and its shape.
    before: Option<(Arc<MappedArray>, Shape)>,
    loads: Arc<MappedArray>,
    shape: Shape,
}

/// A live entry, as it was read.
type Found<'a> = Entry<&'a [AtomicU64]>;

impl FlowTable {
    /// Takes the maps from the object, or opens their pins. `loads` is `LOADS`, and `services` are all services.
    ///
    /// # Errors
    /// [`TableError`] if a map is missing, or cannot be mapped.
    pub(super) fn take(
        maps: &mut impl MapSource,
        loads: &Array<MapData, Load>,
        services: impl IntoIterator<Item = (ServiceKey, Service)>,
    ) -> Result<Self, TableError> {
        let buckets: Array<MapData, [u64; WIDE_WORDS]> = take(maps, MapName::Flows)?;
        let mut shape_map: Array<MapData, Shape> = take(maps, MapName::FlowShape)?;
        let shape = match shape_map.get(&0, 0).map_err(failed("read", MapName::FlowShape))? {
            shape if shape.geometry == Geometry::default() => {
                let new = new_shape(buckets.len()).map_err(batch_failed("size", MapName::Flows))?;
                shape_map.set(0, new, 0).map_err(failed("write", MapName::FlowShape))?;
                new
            }
            shape => shape,
        };
        let flows = mapped(&buckets, MapName::Flows)?;
        // A daemon was killed while flows moved.
        let before = match take_before(maps)? {
            Some(before) if shape.takes_over() && before.len() == shape.replaced.buckets() => {
                let shape = Shape { geometry: shape.replaced, ..shape };
                Some((Arc::new(mapped(&before, MapName::FlowsBefore)?), shape))
            }
            _ => None,
        };
        let loads = MappedArray::new(loads.map().fd().as_fd(), loads.len() as usize * LOAD_WORDS)
            .map_err(batch_failed("map", MapName::Loads))?;
        let memory = FlowMemory { flows: Arc::new(flows), before, loads: Arc::new(loads), shape };
        Ok(Self { shape_map, memory, numbers: Arc::new(Numbers::of(services)) })
    }

    /// Sets the timeouts of idle flows.
    pub(super) fn put_timeouts(&mut self, timeouts: &Timeouts) -> Result<(), TableError> {
        self.memory.shape.limits = Limits::of(timeouts);
        self.put_shape()
    }

    fn put_shape(&mut self) -> Result<(), TableError> {
        self.shape_map.set(0, self.memory.shape, 0).map_err(failed("write", MapName::FlowShape))
    }

    /// Makes this table, which is empty and which no program uses yet, the one that replaces `old`. From now on, its flows
    /// are those of both tables.
    pub(super) fn replace(&mut self, old: &Self) -> Result<(), TableError> {
        let shape = old.memory.shape;
        self.memory.before = Some((Arc::clone(&old.memory.flows), shape));
        self.memory.shape = Shape { geometry: self.memory.shape.geometry, replaced: shape.geometry, ..shape };
        self.numbers = Arc::clone(&old.numbers);
        self.put_shape()
    }

    /// Takes the numbers of the services from another view of the same table.
    pub(super) fn share_numbers(&mut self, other: &Self) {
        self.numbers = Arc::clone(&other.numbers);
    }

    /// Returns whether flows move here from a table before.
    pub(super) const fn takes_over(&self) -> bool {
        self.memory.before.is_some()
    }

    /// Ends the search in the table before, after its flows have moved.
    pub(super) fn end_take_over(&mut self) -> Result<(), TableError> {
        self.memory.before = None;
        self.memory.shape.replaced = Geometry::default();
        self.put_shape()
    }

    /// Returns the number of places.
    pub(super) fn places(&self) -> u32 {
        self.memory.places()
    }

    /// Returns the memory of the table, for a reader of its own.
    pub(super) fn memory(&self) -> FlowMemory {
        self.memory.clone()
    }

    /// Returns the numbers of the services, for a reader of its own.
    pub(super) fn numbers(&self) -> Arc<Numbers> {
        Arc::clone(&self.numbers)
    }

    /// Returns the service with its number, which is allocated if the service is new.
    ///
    /// # Errors
    /// If there are more services than numbers.
    pub(super) fn numbered(&mut self, key: &ServiceKey, service: &Service) -> Result<Service, TableError> {
        let number = Arc::make_mut(&mut self.numbers).take(key);
        let number = number.ok_or_else(|| {
            batch_failed("number a service in", MapName::Services)(io::Error::other("65,535 services exist"))
        })?;
        Ok(Service { number, ..*service })
    }

    /// Releases the number of a service.
    pub(super) fn release(&mut self, key: &ServiceKey) {
        Arc::make_mut(&mut self.numbers).release(key);
    }

    /// Returns the value of a flow, if it is tracked.
    pub(super) fn value(&self, key: &FlowKey) -> Option<Value> {
        self.numbers.of_flow(key).find_map(|number| Some(self.memory.find(key, number)?.value()))
    }

    /// Adds or replaces a flow, without a change of the connection counts. Returns whether the table has a place for it.
    pub(super) fn put(&self, key: &FlowKey, value: Value) -> bool {
        let Some(number) = self.numbers.of_flow(key).next() else { return false };
        let table = self.memory.uncounted();
        let wide = self.memory.wide(key, number);
        let pair = self.memory.pair(&wide);
        while let Some(entry) = flow_table::find(pair, &wide) {
            if table.replace(&entry, value) {
                return true;
            }
        }
        let inserted = table.insert(pair, &wide, value, value.seen(), Newcomer::Proven);
        matches!(inserted, Inserted::Added | Inserted::Other(_))
    }

    /// Adds a flow of a service that another director has announced, or replaces its announced entry. The connection counts
    /// change accordingly.
    pub(super) fn put_announced(
        &self,
        key: &FlowKey,
        service: &ServiceKey,
        value: Value,
        now: Seen,
    ) -> Announced {
        let Some(&number) = self.numbers.by_key.get(service) else { return Announced::NoService };
        let (table, value) = (self.memory.counted(), value.with_announced(true));
        while let Some(entry) = self.memory.find(key, number) {
            let old = entry.value();
            if !old.is_announced() && !old.is_over(&self.memory.shape.limits, now, 0) {
                return Announced::Own;
            }
            let gateway = if old.real() == value.real() { old.gateway() } else { 0 };
            if table.replace(&entry, value.with_gateway(gateway)) {
                return Announced::Replaced;
            }
        }
        let wide = self.memory.wide(key, number);
        match table.insert(self.memory.pair(&wide), &wide, value, now, Newcomer::Announced) {
            Inserted::Added => Announced::Added,
            Inserted::Full => Announced::Full,
            // A packet of the flow has arrived at the same moment.
            Inserted::Other(_) | Inserted::Unknown => Announced::Own,
        }
    }

    /// Removes a flow, unless a packet has changed its entry since it had this value. Returns whether it did.
    pub(super) fn remove(&self, key: &FlowKey, value: Value) -> bool {
        self.numbers
            .of_flow(key)
            .filter_map(|number| self.memory.find(key, number))
            .any(|entry| entry.value() == value && self.memory.counted().replace(&entry, Value::dead(0)))
    }

    /// Removes the flows of services that do not exist any more.
    pub(super) fn remove_orphans(&self) {
        for (wide, entry) in self.memory.entries() {
            let (_, _, number, _) = wide.parts();
            if self.numbers.service(number).is_none() {
                let _whether = self.memory.counted().replace(&entry, Value::dead(0));
            }
        }
    }
}

impl FlowMemory {
    /// Calls `each` with every flow, and returns the number of flows whose services do not exist any more.
    pub(super) fn for_each(&self, numbers: &Numbers, mut each: impl FnMut(&FlowKey, &Found<'_>)) -> usize {
        let mut orphans = 0;
        // A flow that moves meanwhile is in both tables.
        let mut known = HashSet::new();
        for (wide, entry) in self.entries() {
            let (source, source_port, number, destination_port) = wide.parts();
            if self.before.is_some() && !known.insert((source, source_port, number, destination_port)) {
                continue;
            }
            match numbers.service(number) {
                Some(ServiceKey { address, protocol, .. }) => {
                    let key = FlowKey {
                        source,
                        destination: *address,
                        source_port,
                        destination_port,
                        protocol: u32::from(*protocol),
                    };
                    each(&key, &entry);
                }
                None => orphans += 1,
            }
        }
        orphans
    }

    /// Calls `each` with the number and the value of every place of this table, without the one before, and `selected` with
    /// the keys of those for which `each` returns true.
    pub(super) fn for_some(
        &self,
        numbers: &Numbers,
        each: impl FnMut(usize, Value) -> bool,
        mut selected: impl FnMut(usize, &FlowKey, Value),
    ) {
        flow_table::scan_some::<Wide>(self.flows.words(), &self.shape, each, |place, wide, value| {
            let (source, source_port, number, destination_port) = wide.parts();
            if let Some(ServiceKey { address, protocol, .. }) = numbers.service(number) {
                let key = FlowKey::new(source, *address, source_port, destination_port, *protocol as u8);
                selected(place, &key, value);
            }
        });
    }

    /// Returns the ages at which flows have timed out.
    pub(super) const fn limits(&self) -> &Limits {
        &self.shape.limits
    }

    /// Returns whether this is the memory of the same table.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.flows, &other.flows)
    }

    /// Ends a flow: the packets of a TCP connection are answered with a reset, and other flows begin anew. Returns whether
    /// it did; a packet may have changed the entry.
    pub(super) fn cut(&self, key: &FlowKey, entry: &Found<'_>) -> bool {
        let is_tcp = key.protocol == u32::from(protocol::TCP);
        let value = entry.value();
        self.counted().replace(entry, if is_tcp { value.cut() } else { Value::dead(0) })
    }

    /// Returns the flows of the table before, which are older, and those of the table. A flow that moves meanwhile may
    /// occur twice.
    fn entries(&self) -> impl Iterator<Item = (Wide, Found<'_>)> {
        let before =
            self.before.iter().flat_map(|(flows, shape)| flow_table::scan::<Wide>(flows.words(), shape));
        before.chain(flow_table::scan::<Wide>(self.flows.words(), &self.shape))
    }

    /// Returns the number of living flows, by the connection counts of the reals.
    pub(super) fn living(&self) -> u64 {
        let counts = self.loads.words().iter().step_by(LOAD_WORDS);
        let flows = |counts: u64| u64::from(Load::active(counts)) + u64::from(Load::inactive(counts));
        counts.map(|word| flows(word.load(Ordering::Relaxed))).sum()
    }

    /// Returns the number of places.
    pub(super) fn places(&self) -> u32 {
        self.shape.geometry.buckets() * flow_table::PLACES as u32
    }

    /// Moves the flows of the table before into this one, and returns the numbers of those that were there, and of those
    /// that found no place. A flow that a packet changes meanwhile stays in both, and moves the next time.
    pub(super) fn take_over(&self, now: Seen) -> (usize, usize) {
        let Some((flows, shape)) = &self.before else { return (0, 0) };
        let (mut moved, mut lost) = (0, 0);
        for (wide, entry) in flow_table::scan::<Wide>(flows.words(), shape) {
            moved += 1;
            let table = self.counted();
            if table.take_over(self.pair(&wide), &wide, &entry, now) == Inserted::Full {
                // The connection counts must not contain it.
                lost += usize::from(table.replace(&entry, Value::dead(0)));
            }
        }
        (moved, lost)
    }

    fn wide(&self, key: &FlowKey, number: u16) -> Wide {
        Wide::new(&self.shape.mixing, key.source, key.source_port, number, key.destination_port)
    }

    fn pair(&self, wide: &Wide) -> Pair<&[AtomicU64]> {
        pair(&self.flows, self.shape.geometry, wide)
    }

    fn find(&self, key: &FlowKey, number: u16) -> Option<Found<'_>> {
        let wide = self.wide(key, number);
        flow_table::find(self.pair(&wide), &wide).or_else(|| {
            let (flows, shape) = self.before.as_ref()?;
            flow_table::find(pair(flows, shape.geometry, &wide), &wide)
        })
    }

    /// Returns the table, whose changes change the connection counts of the reals.
    fn counted(&self) -> Mapped<'_> {
        Mapped { memory: self, loads: self.loads.words() }
    }

    /// Returns the table without connection counts.
    fn uncounted(&self) -> Mapped<'_> {
        Mapped { memory: self, loads: &[] }
    }
}

/// The table, and the connection counts that its changes change.
struct Mapped<'a> {
    memory: &'a FlowMemory,
    loads: &'a [AtomicU64],
}

impl<'a> Table<Wide> for Mapped<'a> {
    type Bucket = &'a [AtomicU64];

    fn limits(&self) -> &Limits {
        &self.memory.shape.limits
    }

    fn add_load(&self, real: RealId, change: u64) {
        if let Some(counts) = self.loads.get(real.0 as usize * LOAD_WORDS) {
            counts.fetch_add(change, Ordering::Relaxed);
        }
    }

    fn count(&self, _: Event) {}
}

/// Returns the buckets of a flow in a table.
fn pair<'a>(flows: &'a MappedArray, geometry: Geometry, wide: &Wide) -> Pair<&'a [AtomicU64]> {
    let bucket = |number: u32| &flows.words()[number as usize * WIDE_WORDS..][..WIDE_WORDS];
    let hash = wide.hash();
    Pair { first: bucket(geometry.first(hash)), second: bucket(geometry.second(hash)), line: wide.line() }
}

/// Maps the buckets of a table.
fn mapped(buckets: &Array<MapData, [u64; WIDE_WORDS]>, name: MapName) -> Result<MappedArray, TableError> {
    let words = buckets.len() as usize * WIDE_WORDS;
    MappedArray::new(buckets.map().fd().as_fd(), words).map_err(batch_failed("map", name))
}

/// Takes the table before, which is pinned only while flows move.
fn take_before(maps: &mut impl MapSource) -> Result<Option<Array<MapData, [u64; WIDE_WORDS]>>, TableError> {
    match take(maps, MapName::FlowsBefore) {
        Err(TableError::Missing(_)) => Ok(None),
        result => result.map(Some),
    }
}

/// Returns the shape of a new table with this number of buckets.
fn new_shape(buckets: u32) -> io::Result<Shape> {
    let mut random = [[0; 8]; 3];
    for word in &mut random {
        rustix::rand::getrandom(word.as_mut_slice(), rustix::rand::GetRandomFlags::empty())?;
    }
    let geometry = Geometry::new(buckets).ok_or(io::ErrorKind::InvalidInput)?;
    let mixing = Mixing::new(random.map(u64::from_ne_bytes));
    Ok(Shape { mixing, geometry, limits: Limits::of(&Timeouts::DEFAULT), replaced: Geometry::default() })
}

/// Numbers of VIP, port and protocol in the keys of flows. They are allocated in turn, so that the number of a removed
/// service is not used again soon: a sweep removes the flows of services that do not exist.
#[derive(Clone, Debug, Default)]
pub(super) struct Numbers {
    by_key: HashMap<ServiceKey, u16>,
    by_number: HashMap<u16, ServiceKey>,
    last: u16,
}

impl Numbers {
    fn of(services: impl IntoIterator<Item = (ServiceKey, Service)>) -> Self {
        let by_key: HashMap<ServiceKey, u16> =
            services.into_iter().map(|(key, service)| (key, service.number)).collect();
        let by_number = by_key.iter().map(|(key, number)| (*number, *key)).collect();
        Self { last: by_key.values().copied().max().unwrap_or(0), by_key, by_number }
    }

    /// Returns the service with this number.
    fn service(&self, number: u16) -> Option<&ServiceKey> {
        self.by_number.get(&number)
    }

    /// Returns the number of a service, and allocates it if the service has none.
    fn take(&mut self, key: &ServiceKey) -> Option<u16> {
        if let Some(number) = self.by_key.get(key) {
            return Some(*number);
        }
        let numbers = (1..=u16::MAX).map(|step| self.last.wrapping_add(step));
        let number =
            numbers.into_iter().find(|number| *number != 0 && !self.by_number.contains_key(number))?;
        self.last = number;
        self.by_key.insert(*key, number);
        self.by_number.insert(number, *key);
        Some(number)
    }

    fn release(&mut self, key: &ServiceKey) {
        if let Some(number) = self.by_key.remove(key) {
            self.by_number.remove(&number);
        }
    }

    /// Returns the numbers under which the flow of a packet may be: that of its VIP and port, that of the FTP service, and
    /// that of the service for every port. The order is that of the programs.
    fn of_flow(&self, key: &FlowKey) -> impl Iterator<Item = u16> {
        let FlowKey { destination, destination_port, protocol, .. } = *key;
        let is_tcp = protocol == u32::from(protocol::TCP);
        let ports = [Some(destination_port), is_tcp.then_some(FTP), Some(Be16::ZERO)];
        ports.into_iter().flatten().filter_map(move |port| {
            self.by_key.get(&ServiceKey::<Be128>::new(destination, port, protocol as u8)).copied()
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn key(vip: u8, port: u16) -> ServiceKey {
        ServiceKey::new(
            Be128::from(std::net::IpAddr::from(Ipv4Addr::new(192, 0, 2, vip))),
            Be16::new(port),
            protocol::TCP,
        )
    }

    #[test]
    fn a_number_is_used_again_only_after_all_others() {
        let mut numbers = Numbers::default();
        let first = numbers.take(&key(1, 80)).unwrap();
        assert_eq!(numbers.take(&key(1, 80)), Some(first));
        numbers.release(&key(1, 80));
        let mut last = first;
        for _ in 1..u16::MAX {
            numbers.release(&key(2, 80));
            let next = numbers.take(&key(2, 80)).unwrap();
            assert!(next != 0 && next != first && next != last);
            last = next;
        }
        numbers.release(&key(2, 80));
        assert_eq!(numbers.take(&key(1, 80)), Some(first));
    }

    #[test]
    fn a_flow_is_under_its_port_or_the_ftp_service_or_every_port() {
        let mut numbers = Numbers::default();
        let [every, ftp, exact] = [0, 21, 2000].map(|port| numbers.take(&key(1, port)).unwrap());
        let flow = FlowKey {
            source: Be128::ZERO,
            destination: key(1, 0).address,
            source_port: Be16::new(1),
            destination_port: Be16::new(2000),
            protocol: protocol::TCP.into(),
        };
        assert_eq!(numbers.of_flow(&flow).collect::<Vec<_>>(), [exact, ftp, every]);
        let other = FlowKey { destination_port: Be16::new(2001), ..flow };
        assert_eq!(numbers.of_flow(&other).collect::<Vec<_>>(), [ftp, every]);
    }
}
