// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! The least that a balancer can do with the flow table of `lb_common::flow_table`, which a map of the kernel replaces in
//! `floor_flows`. Unlike that one it keeps states, times and counts.
#![expect(unsafe_code, reason = "pointers to values of maps")]

use aya_ebpf::{
    btf_maps::{Array, PerCpuArray},
    helpers::bpf_jiffies64,
    macros::btf_map,
};
use lb_common::{
    flow_table::{
        Entry, Event, Inserted, Key as _, NARROW_WORDS, Narrow, Newcomer, Pair, Phase, Seen, Shape, Value,
        WIDE_WORDS, Wide, find_in,
    },
    ids::RealId,
    ticks::Tick,
    wire::{Be16, Be32, Be128},
};
use lb_tests_ebpf::FloorFlow;

use crate::table::{InMap, InMaps, LIMITS, NarrowWords, Shared, Surroundings, WideWords, add};

#[btf_map]
static FLOOR_TABLE_FLOWS: Shared<[u64; NARROW_WORDS], 1> = Shared::new();
#[btf_map]
static FLOOR_WIDE_FLOWS: Shared<[u64; WIDE_WORDS], 1> = Shared::new();
/// The secret of the table, and its size.
#[btf_map]
static FLOOR_SHAPE: Array<Shape, 1> = Array::new();
/// Active and inactive connections of each real.
#[btf_map]
static FLOOR_LOADS: Shared<u64, 4096> = Shared::new();
/// Events of the table.
#[btf_map]
static FLOOR_EVENTS: PerCpuArray<[u64; Event::COUNT], 1> = PerCpuArray::new();

/// Nanoseconds of a jiffy. Another number is another clock, and costs the same.
const JIFFY: u64 = 4_000_000;

in_maps!(NarrowFlows: Narrow, NarrowWords, Around, [floor_best, floor_rivals, floor_settle, floor_insert]);
in_maps!(WideFlows: Wide, WideWords, Around, [floor6_best, floor6_rivals, floor6_settle, floor6_insert]);

struct Around;

impl Surroundings for Around {
    const NEWCOMER: Newcomer = Newcomer::Unproven;

    #[inline(always)]
    fn add_load(real: RealId, change: u64) {
        if let Some(load) = FLOOR_LOADS.get_ptr_mut(real.0) {
            add(load, change);
        }
    }

    #[inline(always)]
    fn count(event: Event) {
        if let Some(events) = FLOOR_EVENTS.get_ptr_mut(0) {
            // SAFETY: this CPU's, checked for null.
            unsafe { (*events)[event as usize] += 1 };
        }
    }
}

/// A flow table of the floors.
pub trait FloorFlows: InMaps
where
    Self::Bucket: InMap,
{
    /// Returns the key of a flow.
    fn key(shape: &Shape, flow: &FloorFlow, service: u32) -> Self::Key;

    /// Returns a bucket.
    fn bucket(number: u32) -> Option<Self::Bucket>;
}

impl FloorFlows for NarrowFlows {
    #[inline(always)]
    fn key(shape: &Shape, flow: &FloorFlow, service: u32) -> Narrow {
        Narrow::new(&shape.mixing, Be32(flow.source), Be16(flow.ports as u16), service as u16)
    }

    #[inline(always)]
    fn bucket(number: u32) -> Option<NarrowWords> {
        Some(NarrowWords::new(FLOOR_TABLE_FLOWS.get_ptr_mut(number)?))
    }
}

impl FloorFlows for WideFlows {
    #[inline(always)]
    fn key(shape: &Shape, flow: &FloorFlow, service: u32) -> Wide {
        let (client, port) = (Be128::mapped(Be32(flow.source)), Be16(flow.ports as u16));
        Wide::new(&shape.mixing, client, port, service as u16, Be16((flow.ports >> 16) as u16))
    }

    #[inline(always)]
    fn bucket(number: u32) -> Option<WideWords> {
        Some(WideWords::new(FLOOR_WIDE_FLOWS.get_ptr_mut(number)?))
    }
}

/// Returns the real of a flow; `pick` returns that of a new one.
#[inline(always)]
pub fn real<T: FloorFlows>(
    flow: &FloorFlow,
    service: u32,
    flags: u8,
    pick: impl Fn() -> Option<u32>,
) -> Option<u32>
where
    T::Bucket: InMap,
{
    let shape = FLOOR_SHAPE.get(0)?;
    let key = T::key(shape, flow, service);
    // SAFETY: the helper takes no arguments.
    let now = Seen::of(Tick::of_jiffies(unsafe { bpf_jiffies64() }, JIFFY));
    let hash = key.hash();
    let first = T::bucket(shape.geometry.first(hash))?;
    if let Some(entry) = find_in(first, false, &key) {
        return known::<T>(&entry, (flow.protocol as u8, flags), now, &pick);
    }
    let second = T::bucket(shape.geometry.second(hash))?;
    if let Some(entry) = find_in(second, true, &key) {
        return known::<T>(&entry, (flow.protocol as u8, flags), now, &pick);
    }
    let pair = Pair { first, second, line: key.line() };
    let chosen = pick()?;
    let value = Value::new(RealId(chosen), now, Phase::first(flow.protocol as u8, flags));
    match T::default().insert_out_of_line(pair, &key, value, now) {
        Inserted::Added | Inserted::Full => Some(chosen),
        Inserted::Other(value) => Some(value.real().0),
        Inserted::Unknown => None,
    }
}

/// Returns the real of a known flow, and records the packet.
#[inline(always)]
fn known<T: InMaps>(
    entry: &Entry<T::Bucket>,
    (protocol, flags): (u8, u8),
    now: Seen,
    pick: &impl Fn() -> Option<u32>,
) -> Option<u32> {
    let value = entry.value();
    if value.is_over(&LIMITS, now, flags) {
        let chosen = pick()?;
        let first = Value::new(RealId(chosen), now, Phase::first(protocol, flags));
        return T::default().replace(entry, first).then_some(chosen);
    }
    let next = value.after(flags, now);
    if next != value {
        let _whether = T::default().replace(entry, next);
    }
    Some(value.real().0)
}
