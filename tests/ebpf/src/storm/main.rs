// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Packets of flows in random order through the flow table, to be run on all CPUs at once while userspace deletes
//! entries: does any packet get the real of another flow?
//!
//! - [`mod@table`]: a flow table in maps, and the global functions of an insertion
//! - [`flows`]: the maps of the tables, and the keys of their flows
//! - [`broken`]: two tables that are broken on purpose
//! - [`object`]: parts that every object needs
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]
#![expect(unsafe_code, reason = "pointers to values of maps")]
#![expect(missing_docs, reason = "the macro `xdp` makes the functions so")]

#[macro_use]
#[path = "../table.rs"]
mod table;
mod broken;
mod flows;
#[path = "../object.rs"]
mod object;

use aya_ebpf::{
    bindings::xdp_action,
    btf_maps::{Array, PerCpuArray},
    helpers::bpf_ktime_get_ns,
    macros::{btf_map, xdp},
    programs::XdpContext,
};
use flows::{Buckets, NARROW, StormKeyed, Storming, WIDE};
use lb_common::{
    flow_table::{Inserted, Mixing, Narrow, Pair, Phase, Seen, Table, Value, Wide, find},
    ids::RealId,
    packet::tcp_flags::{ACK, FIN, RST, SYN},
    protocol,
};
use lb_tests_ebpf::{STORM_FLOWS, STORM_REALS, Storm, StormFindings, StormKey};
use table::{InMap, InMaps, LIMITS, NarrowWords, WideWords};

#[btf_map]
static STORM: Array<Storm, 1> = Array::new();

#[btf_map]
static STORM_KEYS: Array<StormKey, { STORM_FLOWS as usize }> = Array::new();

#[btf_map]
static STORM_FINDINGS: PerCpuArray<StormFindings, 1> = PerCpuArray::new();

in_maps!(Right: Narrow, NarrowWords, Storming, [storm_best, storm_rivals, storm_settle, storm_insert]);
in_maps!(RightWide: Wide, WideWords, Storming, [storm6_best, storm6_rivals, storm6_settle, storm6_insert]);
in_maps!(Careless: Narrow, broken::Careless, Storming,
    [careless_best, careless_rivals, careless_settle, careless_insert]);
in_maps!(Hasty: broken::Hasty, WideWords, Storming, [hasty_best, hasty_rivals, hasty_settle, hasty_insert]);

/// Runs a packet through a table with narrow entries.
#[xdp]
pub fn storm(_: XdpContext) -> u32 {
    run::<Right, _>(&NARROW)
}

/// Runs a packet through a table with wide entries.
#[xdp]
pub fn storm6(_: XdpContext) -> u32 {
    run::<RightWide, _>(&WIDE)
}

/// Runs a packet through a table without generations.
#[xdp]
pub fn careless(_: XdpContext) -> u32 {
    run::<Careless, _>(&NARROW)
}

/// Runs a packet through a table that writes the client of a wide entry before its value.
#[xdp]
pub fn hasty(_: XdpContext) -> u32 {
    run::<Hasty, _>(&WIDE)
}

/// Runs a packet of a random flow, and counts whether its real is one of the flow.
#[inline(always)]
fn run<T, B: InMap>(map: &'static Buckets<B::Memory>) -> u32
where
    T: InMaps + Table<T::Key, Bucket = B>,
    T::Key: StormKeyed,
{
    let Some(findings) = STORM_FINDINGS.get_ptr_mut(0) else { return xdp_action::XDP_ABORTED };
    // SAFETY: this CPU's, checked for null.
    let findings = unsafe { &mut *findings };
    let Some(storm) = STORM.get(0) else { return xdp_action::XDP_ABORTED };
    // A xorshift generator (Marsaglia).
    let mut random = findings.random | 1 << 63;
    random ^= random << 13;
    random ^= random >> 7;
    random ^= random << 17;
    findings.random = random;
    let flow = (random & storm.mask) as u32;
    let Some(key) = STORM_KEYS.get(flow) else { return xdp_action::XDP_ABORTED };
    let key = T::Key::of(&Mixing::new(storm.random), key);
    let Some(pair) = flows::pair(map, &key) else { return xdp_action::XDP_ABORTED };
    findings.packets += 1;
    match step::<T>(flow, pair, &key, random) {
        Some(real) if real.0.wrapping_sub(1) / STORM_REALS != flow => findings.wrong += 1,
        Some(_) => {}
        None => findings.unknown += 1,
    }
    xdp_action::XDP_PASS
}

/// Handles a packet of a flow. Returns its real, if it is known.
#[inline(always)]
fn step<T: InMaps>(flow: u32, pair: Pair<T::Bucket>, key: &T::Key, random: u64) -> Option<RealId> {
    let flags = match random >> 20 & 15 {
        0..=3 => SYN,
        4..=12 => ACK,
        13 | 14 => FIN | ACK,
        _ => RST,
    };
    // Time passes a thousand times as fast, so that flows expire and prove themselves.
    // SAFETY: the helper takes no arguments.
    let now = Seen::from_number(unsafe { bpf_ktime_get_ns() } >> 16);
    let chosen = RealId(STORM_REALS * flow + (random >> 30) as u32 % STORM_REALS + 1);
    let first = Value::new(chosen, now, Phase::first(protocol::TCP, flags));
    let table = T::default();
    if let Some(entry) = find(pair, key) {
        let value = entry.value();
        if !value.is_over(&LIMITS, now, flags) {
            let next = value.after(flags, now);
            if next != value {
                let _whether = table.replace(&entry, next);
            }
            return Some(value.real());
        }
        if table.replace(&entry, first) {
            return Some(chosen);
        }
        return find(pair, key).map(|entry| entry.value().real());
    }
    match table.insert_out_of_line(pair, key, first, now) {
        Inserted::Added | Inserted::Full => Some(chosen),
        Inserted::Other(value) => Some(value.real()),
        Inserted::Unknown => None,
    }
}

/// Does nothing: on the host, clippy only checks this crate.
#[cfg(not(target_arch = "bpf"))]
fn main() {}
