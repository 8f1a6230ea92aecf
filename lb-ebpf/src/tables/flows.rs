// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! The flow table, see [`lb_common::flow_table`].
//!
//! Keys of both IP versions are wide. The steps of an insertion are global functions, which the verifier checks once each.

use core::cell::UnsafeCell;

use super::{
    family::IpFamily,
    reals::change_load,
    scratch::{LastFlow, looked_up},
    settings::mode,
    trace::note,
};
use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    btf_maps::{Array, PerCpuArray},
    macros::btf_map,
};
use lb_common::{
    flow_table::{
        self, ATTEMPTS, Best, Entry, Event, Inserted, Key as _, Limits, MapWords, Newcomer, Pair, Seen,
        Shape, Table, Value, WIDE_WORDS, Wide,
    },
    ids::RealId,
    schema::{FlowKey, Service, SnatLease, Step},
};

/// An array map that the daemon maps into its memory.
pub(super) type Shared<T, const N: usize> = Array<T, N, { BPF_F_MMAPABLE as usize }>;

/// Buckets of the flow table.
#[btf_map]
pub(super) static FLOWS: Shared<[u64; WIDE_WORDS], 1> = Shared::new();

/// Buckets of the table that `FLOWS` replaces: a search that finds nothing in `FLOWS` continues here while flows move.
#[btf_map]
pub(super) static FLOWS_BEFORE: Shared<[u64; WIDE_WORDS], 1> = Shared::new();

/// Secret, size and idle timeouts of the flow table.
#[btf_map]
pub(super) static FLOW_SHAPE: Array<Shape, 1> = Array::new();

/// Number of events of each kind.
#[btf_map]
pub(super) static FLOW_EVENTS: PerCpuArray<[u64; Event::COUNT], 1> = PerCpuArray::new();

/// A bucket of `FLOWS`.
type Bucket = MapWords<'static, WIDE_WORDS>;

/// Memory of a bucket, as an argument of a global function.
#[repr(transparent)]
struct Memory(UnsafeCell<[u64; WIDE_WORDS]>);

impl Memory {
    #[inline(always)]
    fn of(bucket: Bucket) -> &'static Self {
        // SAFETY: a value of `FLOWS`, which exists as long as the program runs, and whose words may change.
        unsafe { &*bucket.as_ptr().cast() }
    }

    #[inline(always)]
    fn bucket(&self) -> Bucket {
        Bucket::new(self.0.get())
    }
}

/// Returns the shape of the flow table.
#[inline(always)]
fn shape() -> Option<&'static Shape> {
    FLOW_SHAPE.get(0)
}

/// Returns the ages at which flows expire.
#[inline(always)]
pub fn flow_limits() -> Option<&'static Limits> {
    Some(&shape()?.limits)
}

/// Returns the flow's entry as its value, and traces the step. [`update_flow`] and [`remember_flow`] concern the flow that
/// this CPU looked up last.
#[inline(always)]
pub fn flow<A: IpFamily>(key: &FlowKey<A>, service: &Service) -> Option<Value> {
    let found = prepare_flow(key, service).and_then(|()| prepared_flow());
    match found {
        Some(value) => note(Step::Flow, value.real().0, value.state_number()),
        None => note(Step::NoFlow, 0, 0),
    };
    found
}

/// Prepares the lookup of a flow by [`prepared_flow`].
#[inline(always)]
pub fn prepare_flow<A: IpFamily>(key: &FlowKey<A>, service: &Service) -> Option<()> {
    let shape = shape()?;
    let looked_up = looked_up()?;
    let (port, number) = (key.source_port, service.number);
    let key = Wide::new(&shape.mixing, key.source.wide(), port, number, key.destination_port);
    // SAFETY: this CPU's memory, checked for null; programs on one CPU do not interrupt each other.
    unsafe {
        (*looked_up).buckets = [shape.geometry.first(key.hash()), shape.geometry.second(key.hash())];
        (*looked_up).key = key;
        if mode().is_dry() {
            (*looked_up).lease = SnatLease::default();
        }
    }
    Some(())
}

/// Returns the entry of the flow that was prepared as its value, without a trace of the step: another program may look
/// up a reply's flow again.
#[inline(always)]
pub fn prepared_flow() -> Option<Value> {
    let mut value = find();
    if value == 0 && shape()?.takes_over() {
        value = find_before();
    }
    if value == 0 { None } else { Some(Value(value)) }
}

/// Adds the entry of the flow that was looked up last. `known` is the ended flow that the new one replaces,
/// [`Value::NONE`] if there is none.
#[inline(always)]
pub fn remember_flow(known: Value, new: Value) -> Inserted {
    if !note(Step::RecordFlow, new.real().0, new.state_number())
        || !known.real().is_none() && replace(known.0, new.0)
    {
        return Inserted::Added;
    }
    for _ in 0..ATTEMPTS {
        match insert(new.0) {
            Inserted::NONE => {}
            inserted => return Inserted::unpacked(inserted),
        }
    }
    Inserted::Full
}

/// Replaces the value of the flow that was looked up last, unless another CPU or the daemon has changed it since it was
/// `old`.
#[inline(always)]
pub fn update_flow(old: Value, new: Value) {
    if note(Step::UpdateFlow, new.real().0, new.state_number()) {
        let _whether = replace(old.0, new.0);
    }
}

/// The flow table, with the connection counts of the reals.
struct Flows(&'static Shape);

impl Table<Wide> for Flows {
    type Bucket = Bucket;

    #[inline(always)]
    fn limits(&self) -> &Limits {
        &self.0.limits
    }

    #[inline(always)]
    fn add_load(&self, real: RealId, change: u64) {
        change_load(real, change);
    }

    #[inline(always)]
    fn count(&self, event: Event) {
        if let Some(events) = FLOW_EVENTS.get_ptr_mut(0) {
            // SAFETY: as in `prepare_flow`.
            unsafe { (*events)[event as usize] += 1 };
        }
    }

    #[inline(always)]
    fn best(&self, bucket: Bucket, line: usize, now: Seen, _: Newcomer) -> Best {
        Best(best(Memory::of(bucket), line as u32, now.number() as u32))
    }

    #[inline(always)]
    fn count_rivals(&self, _: Pair<Bucket>, _: &Wide) -> u64 {
        count_rivals()
    }

    #[inline(always)]
    fn settle(&self, _: Pair<Bucket>, _: &Wide, mine: usize) -> u64 {
        settle(mine as u32)
    }

    #[inline(always)]
    fn value(&self, _: Pair<Bucket>, _: &Wide) -> Option<Value> {
        prepared_flow()
    }
}

/// Returns the key and the buckets of the flow that was looked up last.
#[inline(always)]
fn last() -> Option<(&'static Wide, Pair<Bucket>)> {
    // SAFETY: as in `prepare_flow`; the key changes only with the next lookup.
    let LastFlow { key, buckets: [first, second], .. } = unsafe { &*looked_up()? };
    let bucket = |number: &u32| Some(Bucket::new(FLOWS.get_ptr_mut(*number)?));
    Some((key, Pair { first: bucket(first)?, second: bucket(second)?, line: key.line() }))
}

out_of_line! {
    /// Returns the value of the flow that was looked up last; 0 if it has no entry. Records the entry's place.
    fn find [flow_find](;;) -> u64 {
        let Some((key, pair)) = last() else { return 0 };
        if let Some(entry) = flow_table::find_in(pair.first, false, key) {
            return found(&entry, 0);
        }
        flow_table::find_in(pair.second, true, key).map_or(0, |entry| found(&entry, 1))
    }
}

/// Records the place of an entry in the first or in the second bucket of its flow, and returns its value.
#[inline(always)]
fn found(entry: &Entry<Bucket>, bucket: usize) -> u64 {
    if let Some(looked_up) = looked_up() {
        // SAFETY: as in `prepare_flow`.
        unsafe { (*looked_up).place = [(*looked_up).buckets[bucket], entry.at() as u32] };
    }
    entry.value().0
}

out_of_line! {
    /// As [`find`], in the table that `FLOWS` replaces.
    fn find_before [flow_find_before](;;) -> u64 {
        let (Some(shape), Some(looked_up)) = (shape(), looked_up()) else { return 0 };
        // SAFETY: as in `last`.
        let key = unsafe { &(*looked_up).key };
        let first = shape.replaced.first(key.hash());
        let value = find_in_before(key, first, false);
        if value != 0 { value } else { find_in_before(key, shape.replaced.second(key.hash()), true) }
    }
}

/// Returns the value of a flow in a bucket of `FLOWS_BEFORE`; 0 if it has no entry there. Records the entry's place.
#[inline(always)]
fn find_in_before(key: &Wide, number: u32, in_second: bool) -> u64 {
    let (Some(looked_up), Some(bucket)) = (looked_up(), FLOWS_BEFORE.get_ptr_mut(number)) else { return 0 };
    let Some(entry) = flow_table::find_in(Bucket::new(bucket), in_second, key) else { return 0 };
    // SAFETY: as in `prepare_flow`.
    unsafe { (*looked_up).place = [number, entry.at() as u32 | LastFlow::IS_BEFORE] };
    entry.value().0
}

out_of_line! {
    /// Returns the best place of a bucket for a new flow, see [`flow_table::best`].
    fn best [flow_best](; bucket: &Memory; line: u32, now: u32) -> u64 {
        let Some(shape) = shape() else { return 0 };
        let (line, now) = (line as usize & Wide::LINES, Seen::from_number(now.into()));
        flow_table::best::<_, Wide>(bucket.bucket(), line, now, Newcomer::Unproven, &shape.limits).0
    }
}

out_of_line! {
    /// Returns the number of entries with the key word of the flow, see [`flow_table::count_rivals`].
    fn count_rivals [flow_rivals](;;) -> u64 {
        let Some((key, pair)) = last() else { return 0 };
        flow_table::count_rivals(pair, key)
    }
}

out_of_line! {
    /// Decides between CPUs that add the same flow, see [`flow_table::settle`].
    fn settle [flow_settle](;; mine: u32) -> u64 {
        let Some((key, pair)) = last() else { return 0 };
        flow_table::settle(pair, key, mine as usize)
    }
}

out_of_line! {
    /// Tries once to add an entry of the flow, which has none. Returns an [`Inserted`] as a number.
    fn insert [flow_insert](;; value: u64) -> u64 {
        let (Some(shape), Some((key, pair))) = (shape(), last()) else { return Inserted::Full.packed() };
        let value = Value(value);
        let inserted = Flows(shape).attempt(pair, key, value, value.seen(), Newcomer::Unproven);
        inserted.map_or(Inserted::NONE, Inserted::packed)
    }
}

out_of_line! {
    /// Replaces the value `old` of the flow, and returns whether it did.
    fn replace [flow_replace](;; old: u64, new: u64) -> bool {
        let (Some(shape), Some(looked_up)) = (shape(), looked_up()) else { return false };
        // SAFETY: as in `prepare_flow`.
        let [bucket, at] = unsafe { (*looked_up).place };
        let is_before = at & LastFlow::IS_BEFORE != 0;
        let bucket = if is_before { FLOWS_BEFORE.get_ptr_mut(bucket) } else { FLOWS.get_ptr_mut(bucket) };
        let Some(bucket) = bucket else { return false };
        let entry = Entry::with_value(Bucket::new(bucket), at as usize, Value(old));
        Flows(shape).replace(&entry, Value(new))
    }
}
