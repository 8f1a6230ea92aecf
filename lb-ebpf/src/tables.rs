// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Every map, and the only code that touches one. The functions are the vocabulary of the other modules.
//!
//! Sizes here are the least that works: the daemon chooses them when it creates the maps.

use aya_ebpf::{
    Global,
    btf_maps::{Array, ArrayOfMaps, DevMapHash, HashMap, LruHashMap, PerCpuArray},
    helpers::bpf_ktime_get_coarse_ns,
    macros::btf_map,
};
use lb_common::{
    reason::Reason,
    schema::{
        AddressUse, Counters, Flow, FlowKey, Fragment, FragmentKey, Move, Moves, Real, Service, ServiceKey,
        Settings, Source, SourceKey, TABLE_SIZE, Table,
    },
    track,
    wire::Be32,
};

/// Options known at load time. Frozen before the verifier runs.
#[unsafe(no_mangle)]
static SETTINGS: Global<Settings> = Global::new(Settings::DEFAULT);

/// The version of the layout of all maps; the daemon writes it once and checks it when it adopts pinned maps.
#[btf_map]
static SCHEMA: Array<u32, 1> = Array::new();

/// Services by protocol, VIP and port.
#[btf_map]
static SERVICES: HashMap<ServiceKey, Service, 1> = HashMap::new();

/// Reals by id; id 0 names none.
#[btf_map]
static REALS: Array<Real, 2> = Array::new();

/// Tables of the schedulers by service id: real ids. One element per table, so that one system call fills it.
#[btf_map]
static TABLES: ArrayOfMaps<Array<Table, 1>, 2> = ArrayOfMaps::new();

/// Moved slots by service id, see [`lb_common::slot`].
#[btf_map]
static MOVES: ArrayOfMaps<Array<Moves, 1>, 2> = ArrayOfMaps::new();

/// The position of rotating schedulers by service id.
#[btf_map]
static POSITIONS: Array<u64, 2> = Array::new();

/// Which real a flow is on.
#[btf_map]
static FLOWS: LruHashMap<FlowKey, Flow, 1> = LruHashMap::new();

/// Which real a fragmented datagram goes to.
#[btf_map]
static FRAGMENTS: LruHashMap<FragmentKey, Fragment, 1> = LruHashMap::new();

/// What the addresses of services and of nat reals are used for.
#[btf_map]
static ADDRESSES: HashMap<Be32, AddressUse, 1> = HashMap::new();

/// Which service a nat real's replies belong to.
#[btf_map]
static SOURCES: HashMap<SourceKey, Source, 1> = HashMap::new();

/// The same per flow, for reals that several services share. Keyed by the reply's 5-tuple.
#[btf_map]
static REPLIES: LruHashMap<FlowKey, Source, 1> = LruHashMap::new();

/// Devices that frames may be redirected to, by ifindex.
#[btf_map]
static DEVICES: DevMapHash<64> = DevMapHash::new();

/// Packets, bytes and new flows by real id.
#[btf_map]
static COUNTERS: PerCpuArray<Counters, 2> = PerCpuArray::new();

/// Packets by service id and reason: `service * Reason::SLOTS + reason`.
#[btf_map]
static REASONS: PerCpuArray<u64, { Reason::SLOTS as usize }> = PerCpuArray::new();

/// ICMP errors made in the current second.
#[btf_map]
static ICMP_BUDGET: PerCpuArray<Budget, 1> = PerCpuArray::new();

/// How many ICMP errors were made since when.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Budget {
    /// The tick at which the count began.
    since: u32,
    used: u32,
}

/// The options of this load.
#[inline(always)]
pub fn settings() -> Settings {
    SETTINGS.load()
}

/// The current time in ticks.
#[inline(always)]
pub fn now() -> u32 {
    // SAFETY: the helper takes no arguments and is always there (Linux 5.11).
    track::tick(unsafe { bpf_ktime_get_coarse_ns() })
}

/// The service of exactly that key.
#[inline(always)]
pub fn service(key: &ServiceKey) -> Option<Service> {
    // SAFETY: copied out before any other map call; the daemon replaces entries whole.
    unsafe { SERVICES.get(key) }.copied()
}

/// What an address is used for.
#[inline(always)]
pub fn address_use(address: Be32) -> AddressUse {
    // SAFETY: copied out before any other map call.
    unsafe { ADDRESSES.get(address) }.copied().unwrap_or_default()
}

/// The real of that id, if there is one.
#[inline(always)]
pub fn real(id: u32) -> Option<&'static Real> {
    REALS.get(id).filter(|real| real.exists())
}

/// The real id in that entry of a service's table; [`lb_common::schema::UNSET`] if there is none.
#[inline(always)]
pub fn table_entry(service: u32, index: u32) -> Option<u32> {
    let table = TABLES.get_value(service, &0)?;
    // LLVM may know that the index is in range and would delete the check in `get`; the verifier does not
    // know and needs it.
    table.0.get(core::hint::black_box(index as usize)).copied()
}

/// The move of a slot that is marked as moved.
#[inline(always)]
pub fn slot_move(service: u32, index: u32) -> Option<Move> {
    let moves = MOVES.get_value(service, &0)?;
    // As in `table_entry`.
    moves.0.get(core::hint::black_box(index as usize)).copied()
}

/// Takes the next position of a rotating scheduler.
#[inline(always)]
pub fn next_position(service: u32) -> Option<u64> {
    let position = POSITIONS.get_ptr_mut(service)?;
    Some(fetch_add(position, 1))
}

/// Adds to a number that all CPUs share and returns what it was.
#[cfg(target_arch = "bpf")]
#[inline(always)]
fn fetch_add(number: *mut u64, add: u64) -> u64 {
    let mut value = add;
    // `AtomicU64::fetch_add` does not exist for this target; the instruction does since Linux 5.12.
    // SAFETY: the pointer is a map value's, checked for null, 8 bytes and aligned.
    unsafe {
        core::arch::asm!(
            "{value} = atomic_fetch_add((u64 *)({number} + 0), {value})",
            number = in(reg) number,
            value = inout(reg) value,
        );
    }
    value
}

#[cfg(not(target_arch = "bpf"))]
fn fetch_add(_: *mut u64, _: u64) -> u64 {
    unreachable!("the programs run in the kernel only")
}

/// The flow of that key.
#[inline(always)]
pub fn flow(key: &FlowKey) -> Option<Flow> {
    // SAFETY: copied out before any other map call. Another CPU may write it meanwhile: packets of one flow
    // are rarely on two CPUs, and any mixture names the same real.
    unsafe { FLOWS.get(key) }.copied()
}

/// Records where a flow goes. A full table evicts the flow that was silent longest; a failed insert costs
/// affinity, not the packet.
#[inline(always)]
pub fn remember_flow(key: &FlowKey, flow: &Flow) -> bool {
    FLOWS.insert(key, flow, 0).is_ok()
}

/// Writes a known flow's new state, time and way back in place. If it was evicted meanwhile, nothing happens.
#[inline(always)]
pub fn update_flow(key: &FlowKey, new: &Flow) {
    if let Some(flow) = FLOWS.get_ptr_mut(key) {
        // SAFETY: a value of this map, checked for null; fields are written, not read, and the entry's real
        // stays.
        unsafe {
            (*flow).seen = new.seen;
            (*flow).state = new.state;
            (*flow).ifindex = new.ifindex;
            (*flow).to_client = new.to_client;
        }
    }
}

/// The decision on a datagram's first fragment.
#[inline(always)]
pub fn fragment(key: &FragmentKey) -> Option<Fragment> {
    // SAFETY: copied out before any other map call.
    unsafe { FRAGMENTS.get(key) }.copied()
}

/// Records the decision on a first fragment. A failed insert costs the datagram.
#[inline(always)]
pub fn remember_fragment(key: &FragmentKey, fragment: &Fragment) {
    let _ = FRAGMENTS.insert(key, fragment, 0);
}

/// The service that a nat real's address and port belong to.
#[inline(always)]
pub fn source(key: &SourceKey) -> Option<Source> {
    // SAFETY: copied out before any other map call.
    unsafe { SOURCES.get(key) }.copied()
}

/// The service that a reply of a shared nat real belongs to.
#[inline(always)]
pub fn reply(key: &FlowKey) -> Option<Source> {
    // SAFETY: copied out before any other map call.
    unsafe { REPLIES.get(key) }.copied()
}

/// Records which service the replies of a flow belong to. A failed insert costs the reply.
#[inline(always)]
pub fn remember_reply(key: &FlowKey, source: &Source) {
    let _ = REPLIES.insert(key, source, 0);
}

/// Sends the frame out of another device.
#[inline(always)]
pub fn redirect(ifindex: u32) -> Result<u32, Reason> {
    DEVICES.redirect(ifindex, 0).map_err(|_| Reason::RedirectFailed)
}

/// Counts a packet sent to a real.
#[inline(always)]
pub fn count_in(real: u32, bytes: u16) {
    if let Some(counters) = COUNTERS.get_ptr_mut(real) {
        // SAFETY: this CPU's copy, checked for null; programs on one CPU do not interrupt each other.
        unsafe {
            (*counters).packets_in += 1;
            (*counters).bytes_in += u64::from(bytes);
        }
    }
}

/// Counts a real's packet sent back to its client.
#[inline(always)]
pub fn count_out(real: u32, bytes: u16) {
    if let Some(counters) = COUNTERS.get_ptr_mut(real) {
        // SAFETY: as in `count_in`.
        unsafe {
            (*counters).packets_out += 1;
            (*counters).bytes_out += u64::from(bytes);
        }
    }
}

/// Counts a flow that began on a real.
#[inline(always)]
pub fn count_flow(real: u32) {
    if let Some(counters) = COUNTERS.get_ptr_mut(real) {
        // SAFETY: as in `count_in`.
        unsafe { (*counters).new_flows += 1 };
    }
}

/// Counts a packet that was not forwarded.
#[inline(always)]
pub fn count_reason(service: u32, reason: Reason) {
    if let Some(count) = REASONS.get_ptr_mut(service * Reason::SLOTS + reason.index()) {
        // SAFETY: as in `count_in`.
        unsafe { *count += 1 };
    }
}

/// Whether one more ICMP error may be made in this second.
#[inline(always)]
pub fn may_make_icmp() -> bool {
    let Some(budget) = ICMP_BUDGET.get_ptr_mut(0) else { return false };
    let now = now();
    // SAFETY: as in `count_in`.
    let budget = unsafe { &mut *budget };
    if track::age(budget.since, now) >= track::ticks_of_seconds(1) {
        *budget = Budget { since: now, used: 0 };
    }
    budget.used += 1;
    budget.used <= settings().icmp_per_second
}

/// Index of an entry in a table of which `slots` are in use, by hash.
#[inline(always)]
pub fn index_by_hash(key: &FlowKey, slots: u32) -> u32 {
    lb_common::hash::reduce(lb_common::hash::flow(key, settings().seed), slots.min(TABLE_SIZE))
}
