// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Every map, and the only code that touches one, which is why this file is long. The functions are the vocabulary of
//! the other modules.
//!
//! Sizes here are the least that works: the daemon chooses them when it creates the maps.

use crate::{frame::opaque, select::Look, vlan::Taken};
use aya_ebpf::{
    Global,
    bindings::{BPF_F_NO_PREALLOC, BPF_NOEXIST},
    btf_maps::{Array, DevMapHash, HashMap, LruHashMap, PerCpuArray, ProgramArray},
    helpers::{bpf_get_prandom_u32, bpf_get_smp_processor_id, bpf_jiffies64, bpf_ktime_get_coarse_ns},
    macros::btf_map,
    programs::XdpContext,
};
use lb_common::{
    packet::{Ip, Parsed},
    reason::Reason,
    schedule::threshold,
    schema::{
        AddressUse, Adds, BLOCK, Block, CachedService, CachedSource, Client, ClientKey, Counters, Covered,
        Dip, Event, Flow, FlowKey, Fragment, FragmentKey, Gateway, Load, Locality, LocalityKey, Marks, Mode,
        Move, MoveBlock, Near, Position, Program, Real, ReasonCounts, Service, ServiceKey, Settings, Source,
        SourceKey, Step, Timeouts, Trace, TunnelEnd, UNSET, WayBack, cache,
    },
    track::{self, State},
    wire::{Be16, Be32, Be128, Tags},
};

/// Options known at load time. Frozen before the verifier runs.
#[unsafe(no_mangle)]
static SETTINGS: Global<Settings> = Global::new(Settings::DEFAULT);

/// One of the options of this load: only its words are read.
macro_rules! setting {
    ($($field:ident).+) => {{
        let settings = (&raw const SETTINGS).cast::<Settings>();
        // SAFETY: `Global` is transparent, and nobody writes it.
        unsafe { (&raw const (*settings).$($field).+).read_volatile() }
    }};
}

/// What was done with the last packet, if steps are traced. A global, which is a map without lookups: they would take stack.
#[unsafe(no_mangle)]
static mut TRACE: Trace = Trace::EMPTY;

/// The version of the layout of all maps; the daemon writes it once and checks it when it adopts pinned maps.
#[btf_map]
static SCHEMA: Array<u32, 1> = Array::new();

/// Services by protocol, VIP and port.
#[btf_map]
static SERVICES: HashMap<ServiceKey<Be32>, Service, 1> = HashMap::new();
#[btf_map]
static SERVICES6: HashMap<ServiceKey<Be128>, Service, 1> = HashMap::new();

/// What each CPU found last in them, see [`cache`].
#[btf_map]
static SERVICE_CACHE: PerCpuArray<CachedService<Be32>, 1> = PerCpuArray::new();
#[btf_map]
static SERVICE_CACHE6: PerCpuArray<CachedService<Be128>, 1> = PerCpuArray::new();

/// Whether that, and what is in `SOURCE_CACHE`, is still so.
#[btf_map]
static GENERATION: Array<u64, 1> = Array::new();

/// Reals by id; id 0 names none.
#[btf_map]
static REALS: Array<Real, 2> = Array::new();

/// Tables of the schedulers, block by block: real ids.
#[btf_map]
static TABLES: Array<Block, 2> = Array::new();

/// Moved slots, see [`lb_common::slot`]; the same blocks.
#[btf_map]
static MOVES: Array<MoveBlock, 2> = Array::new();

/// The position of rotating schedulers by service id.
#[btf_map]
static POSITIONS: Array<Position, 2> = Array::new();

/// Which real a flow is on.
#[btf_map]
static FLOWS: LruHashMap<FlowKey<Be32>, Flow, 1> = LruHashMap::new();
#[btf_map]
static FLOWS6: LruHashMap<FlowKey<Be128>, Flow, 1> = LruHashMap::new();

/// The same of connections whose client has sent a SYN and nothing since. They come and go here: a flood of SYNs evicts others
/// like itself, and no connection that is open.
#[btf_map]
static OPENING: LruHashMap<FlowKey<Be32>, Flow, 1> = LruHashMap::new();
#[btf_map]
static OPENING6: LruHashMap<FlowKey<Be128>, Flow, 1> = LruHashMap::new();

/// How many connections each real has, by real id.
#[btf_map]
static LOADS: Array<Load, 2> = Array::new();

/// Which real a client is kept on by persistence.
#[btf_map]
static CLIENTS: LruHashMap<ClientKey, Client, 1> = LruHashMap::new();

/// Which reals the connections to a destination go to (`lblc`, `lblcr`).
#[btf_map]
static LOCALITIES: LruHashMap<LocalityKey, Locality, 1> = LruHashMap::new();

/// How long silent flows live.
#[btf_map]
static TIMEOUTS: Array<Timeouts, 1> = Array::new();

/// Which real a fragmented datagram goes to.
#[btf_map]
static FRAGMENTS: LruHashMap<FragmentKey<Be32>, Fragment<Be32>, 1> = LruHashMap::new();
#[btf_map]
static FRAGMENTS6: LruHashMap<FragmentKey<Be128>, Fragment<Be128>, 1> = LruHashMap::new();

/// What the addresses of services and of nat reals are used for.
#[btf_map]
static ADDRESSES: HashMap<Be32, AddressUse, 1> = HashMap::new();
#[btf_map]
static ADDRESSES6: HashMap<Be128, AddressUse, 1> = HashMap::new();

/// Which service a nat real's replies belong to.
#[btf_map]
static SOURCES: HashMap<SourceKey<Be32>, Source<Be32>, 1> = HashMap::new();
#[btf_map]
static SOURCES6: HashMap<SourceKey<Be128>, Source<Be128>, 1> = HashMap::new();

/// What each CPU found last there and in `ADDRESSES`.
#[btf_map]
static SOURCE_CACHE: PerCpuArray<CachedSource<Be32>, 1> = PerCpuArray::new();
#[btf_map]
static SOURCE_CACHE6: PerCpuArray<CachedSource<Be128>, 1> = PerCpuArray::new();

/// The same per flow, for reals that several services share. Keyed by the reply's 5-tuple.
#[btf_map]
static REPLIES: LruHashMap<FlowKey<Be32>, Source<Be32>, 1> = LruHashMap::new();
#[btf_map]
static REPLIES6: LruHashMap<FlowKey<Be128>, Source<Be128>, 1> = LruHashMap::new();

/// How to send to the clients of nat reals whose replies need no flow.
#[btf_map]
static WAYS_BACK: LruHashMap<Be32, WayBack, 1> = LruHashMap::new();
#[btf_map]
static WAYS_BACK6: LruHashMap<Be128, WayBack, 1> = LruHashMap::new();

/// The same for most of them, see [`Near`].
#[btf_map]
static NEAR: Array<Near, { Near::COUNT as usize }> = Array::new();
#[btf_map]
static NEAR6: Array<Near, { Near::COUNT as usize }> = Array::new();

/// The ways that [`Near`] speaks of.
#[btf_map]
static GATEWAYS: Array<Gateway, { Gateway::COUNT as usize }> = Array::new();

/// When a client last spoke to a nat real by its own address, not by a VIP. Keyed by the reply's 5-tuple.
#[btf_map]
static BYPASS: LruHashMap<FlowKey<Be32>, u32, 1> = LruHashMap::new();
#[btf_map]
static BYPASS6: LruHashMap<FlowKey<Be128>, u32, 1> = LruHashMap::new();

/// When an entry was last written to `BYPASS` or `BYPASS6`; 0: never.
#[btf_map]
static LAST_BYPASS: Array<u32, 1> = Array::new();

/// A table whose memory is taken entry by entry, since few directors use much of it.
type OnDemand<K, V, const N: usize> = HashMap<K, V, N, { BPF_F_NO_PREALLOC as usize }>;

/// Whose flow by `fnat` a real's packet to a port of the director belongs to, see [`Dip`].
#[btf_map]
static TRANSLATIONS: OnDemand<FlowKey<Be32>, FlowKey<Be32>, 1> = OnDemand::new();
#[btf_map]
static TRANSLATIONS6: OnDemand<FlowKey<Be128>, FlowKey<Be128>, 1> = OnDemand::new();

/// The director's addresses that flows by `fnat` come from at reals.
#[btf_map]
static DIPS: Array<Be32, { Dip::ADDRESSES }> = Array::new();
#[btf_map]
static DIPS6: Array<Be128, { Dip::ADDRESSES }> = Array::new();

/// How many ports of the director each CPU has tried, see [`next_dip`].
#[btf_map]
static TRIED: PerCpuArray<u32, 1> = PerCpuArray::new();

/// What was taken off the frame that a CPU is busy with.
#[btf_map]
static TAKEN: PerCpuArray<Taken, 1> = PerCpuArray::new();

/// Addresses that the decapsulator of a real server takes in outer headers; see [`TunnelEnd`].
#[btf_map]
static TUNNEL_ENDS: HashMap<Be128, TunnelEnd, { TUNNEL_ENDS_SIZE }> = HashMap::new();

/// Entries of that table: addresses of one host, and directors.
const TUNNEL_ENDS_SIZE: usize = 1024;

/// Devices that frames may be redirected to, by ifindex.
#[btf_map]
static DEVICES: DevMapHash<64> = DevMapHash::new();

/// The director's programs besides the one that is attached, see [`Program`].
#[btf_map]
static PROGRAMS: ProgramArray<{ Program::ALL.len() }> = ProgramArray::new();

/// Which addresses may be in use.
#[btf_map]
static MARKS: Array<Marks, 1> = Array::new();

/// Which addresses may be in use in a way that forbids them as sources of clients' packets.
#[btf_map]
static SOURCE_MARKS: Array<Marks, 1> = Array::new();

/// When a packet that the guard would drop was last left to the director's stack, by a hash of its flow. The guard lets
/// through what the XDP programs left to the stack a moment ago, and nothing else.
#[btf_map]
static LEFT_TO_STACK: Array<u32, { LEFT_PLACES as usize }> = Array::new();

/// Places in that table, a power of two.
const LEFT_PLACES: u32 = 16_384;

/// How long after it met the XDP program a packet may reach the guard. Between them lie at most a queue of received packets
/// (`net.core.netdev_max_backlog`) and the merging of segments.
const LEFT_FOR: u32 = track::ticks_of_seconds(1) / 4;

/// The bond or team that a device is a member of, by ifindex.
#[btf_map]
static CONTROLLERS: HashMap<u32, u32, 64> = HashMap::new();

/// Packets, bytes and new flows by real id.
#[btf_map]
static COUNTERS: PerCpuArray<Counters, 2> = PerCpuArray::new();

/// Packets by service id and reason.
#[btf_map]
static REASONS: PerCpuArray<ReasonCounts, 1> = PerCpuArray::new();

/// ICMP errors made in the current second.
#[btf_map]
static ICMP_BUDGET: PerCpuArray<Budget, 1> = PerCpuArray::new();

/// A version of IP, and the tables that are looked into at its packets.
pub trait IpFamily: Ip {
    fn services() -> &'static HashMap<ServiceKey<Self>, Service, 1>;
    fn service_cache() -> &'static PerCpuArray<CachedService<Self>, 1>;
    fn source_cache() -> &'static PerCpuArray<CachedSource<Self>, 1>;
    fn flows() -> &'static LruHashMap<FlowKey<Self>, Flow, 1>;
    fn opening() -> &'static LruHashMap<FlowKey<Self>, Flow, 1>;
    fn fragments() -> &'static LruHashMap<FragmentKey<Self>, Fragment<Self>, 1>;
    fn addresses() -> &'static HashMap<Self, AddressUse, 1>;
    fn sources() -> &'static HashMap<SourceKey<Self>, Source<Self>, 1>;
    fn replies() -> &'static LruHashMap<FlowKey<Self>, Source<Self>, 1>;
    fn ways_back() -> &'static LruHashMap<Self, WayBack, 1>;
    fn bypass() -> &'static LruHashMap<FlowKey<Self>, u32, 1>;
    fn translations() -> &'static OnDemand<FlowKey<Self>, FlowKey<Self>, 1>;
    fn dips() -> &'static Array<Self, { Dip::ADDRESSES }>;
    fn ways_near() -> &'static Array<Near, { Near::COUNT as usize }>;
    /// The last index of them that is in use.
    fn last_dip() -> u32;
    /// Where a tunnel to a real begins for a flow of that hash; `route` is the director's address towards the real.
    fn tunnel_source(hash: impl FnOnce() -> u32, route: Be128) -> Self;
}

macro_rules! version {
    ($address:ty: $dips:ident $last_dip:ident $tunnel_source:ident $near:ident; $($function:ident $map:ident $kind:ident<$($part:ty),+>;)*) => {
        impl IpFamily for $address {
            #[inline(always)]
            fn dips() -> &'static Array<Self, { Dip::ADDRESSES }> {
                &$dips
            }

            #[inline(always)]
            fn ways_near() -> &'static Array<Near, { Near::COUNT as usize }> {
                &$near
            }

            #[inline(always)]
            fn last_dip() -> u32 {
                setting!($last_dip) as u32
            }

            #[inline(always)]
            fn tunnel_source(hash: impl FnOnce() -> u32, route: Be128) -> Self {
                if setting!($tunnel_source.hosts) == 0 {
                    return Self::narrow(route);
                }
                Self::narrow(setting!($tunnel_source).of_flow(hash()))
            }

            $(#[inline(always)]
            fn $function() -> &'static $kind<$($part),+, 1> {
                &$map
            })*
        }
    };
}
version! { Be32: DIPS dips tunnel_source NEAR;
    services SERVICES HashMap<ServiceKey<Be32>, Service>;
    service_cache SERVICE_CACHE PerCpuArray<CachedService<Be32>>;
    source_cache SOURCE_CACHE PerCpuArray<CachedSource<Be32>>;
    flows FLOWS LruHashMap<FlowKey<Be32>, Flow>;
    opening OPENING LruHashMap<FlowKey<Be32>, Flow>;
    fragments FRAGMENTS LruHashMap<FragmentKey<Be32>, Fragment<Be32>>;
    addresses ADDRESSES HashMap<Be32, AddressUse>;
    sources SOURCES HashMap<SourceKey<Be32>, Source<Be32>>;
    replies REPLIES LruHashMap<FlowKey<Be32>, Source<Be32>>;
    ways_back WAYS_BACK LruHashMap<Be32, WayBack>;
    bypass BYPASS LruHashMap<FlowKey<Be32>, u32>;
    translations TRANSLATIONS OnDemand<FlowKey<Be32>, FlowKey<Be32>>;
}
version! { Be128: DIPS6 dips6 tunnel_source6 NEAR6;
    services SERVICES6 HashMap<ServiceKey<Be128>, Service>;
    service_cache SERVICE_CACHE6 PerCpuArray<CachedService<Be128>>;
    source_cache SOURCE_CACHE6 PerCpuArray<CachedSource<Be128>>;
    flows FLOWS6 LruHashMap<FlowKey<Be128>, Flow>;
    opening OPENING6 LruHashMap<FlowKey<Be128>, Flow>;
    fragments FRAGMENTS6 LruHashMap<FragmentKey<Be128>, Fragment<Be128>>;
    addresses ADDRESSES6 HashMap<Be128, AddressUse>;
    sources SOURCES6 HashMap<SourceKey<Be128>, Source<Be128>>;
    replies REPLIES6 LruHashMap<FlowKey<Be128>, Source<Be128>>;
    ways_back WAYS_BACK6 LruHashMap<Be128, WayBack>;
    bypass BYPASS6 LruHashMap<FlowKey<Be128>, u32>;
    translations TRANSLATIONS6 OnDemand<FlowKey<Be128>, FlowKey<Be128>>;
}

/// What is known of the IPv6 packet that a CPU is busy with.
#[btf_map]
static PARSED6: PerCpuArray<Parsed<Be128>, 1> = PerCpuArray::new();

/// What `lblc` and `lblcr` are looking at.
#[btf_map]
static LOOKS: PerCpuArray<Look, 1> = PerCpuArray::new();

/// How many ICMP errors were made since when.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Budget {
    /// The tick at which the count began.
    since: u32,
    used: u32,
}

/// The port of generic UDP encapsulation that the decapsulator listens on.
#[inline(always)]
pub fn gue_port() -> Be16 {
    Be16::new(setting!(gue_port) as u16)
}

/// Whether steps are traced and maps are written.
#[inline(always)]
fn mode() -> Mode {
    setting!(mode)
}

/// A packet comes: nothing was done with it yet.
#[inline(always)]
pub fn begin_trace() {
    if mode() != Mode::FORWARD {
        // SAFETY: a copy of the programs that traces runs one packet at a time. Volatile, as below: nothing here reads it.
        unsafe {
            (&raw mut TRACE.count).write_volatile(0);
            (&raw mut TRACE.turns).write_volatile(0);
            (&raw mut TRACE.tries).write_volatile(0);
        }
    }
}

/// Notes a step, if steps are traced. Returns whether maps are to be written, too: they are not in a dry run.
///
/// The verifier knows the mode. What it rules out is not in the program.
#[inline(always)]
pub fn note(step: Step, a: u32, b: u32) -> bool {
    let mode = mode();
    if mode == Mode::FORWARD {
        return true;
    }
    // SAFETY: as in `begin_trace`; the mask keeps the index in the array, for the verifier, too.
    unsafe {
        let count = (&raw const TRACE.count).read_volatile();
        (&raw mut TRACE.count).write_volatile(count.wrapping_add(1));
        let index = count as usize & (Trace::LENGTH - 1);
        let event = (&raw mut TRACE.events).cast::<Event>().add(index);
        (&raw mut (*event).step).write_volatile(step as u32);
        (&raw mut (*event).a).write_volatile(a);
        (&raw mut (*event).b).write_volatile(b);
    }
    !mode.is_dry()
}

/// How long silent flows live.
#[inline(always)]
pub fn timeouts() -> Timeouts {
    TIMEOUTS.get(0).copied().unwrap_or(Timeouts::DEFAULT)
}

/// The current time in ticks. The kernel reads jiffies in place, without a call.
#[inline(always)]
pub fn now() -> u32 {
    let jiffy = setting!(jiffy);
    if jiffy == 0 {
        return monotonic();
    }
    // SAFETY: the helper takes no arguments and is always there (Linux 5.5).
    track::tick_of_jiffies(unsafe { bpf_jiffies64() }, jiffy)
}

/// The same by `CLOCK_MONOTONIC`, from which it differs by a constant.
#[inline(always)]
pub fn monotonic() -> u32 {
    // SAFETY: the helper takes no arguments and is always there (Linux 5.11).
    track::tick(unsafe { bpf_ktime_get_coarse_ns() })
}

/// The generation of the tables that only the daemon writes.
#[inline(always)]
fn generation() -> u64 {
    // SAFETY: an aligned word of a map's value, which the daemon writes as a whole. Volatile: it is read before the tables are.
    GENERATION.get(0).map_or(1, |generation| unsafe { core::ptr::from_ref(generation).read_volatile() })
}

/// The service of exactly that key. It stays what it is until this CPU looks for another one.
#[inline(always)]
pub fn service<A: IpFamily>(key: &ServiceKey<A>) -> Option<&'static Service> {
    let place = cache::place(key.address, key.port, key.protocol, setting!(service_mask) as u32);
    let stamp = cache::stamp(generation());
    let (entry, found) = at_hand(A::service_cache(), place, stamp, key)?;
    // SAFETY: this CPU's copy, checked for null; programs on one CPU do not interrupt each other.
    let entry = unsafe {
        if !found {
            in_order(&raw mut (*entry).stamp);
            // Copied out before any other map call; the daemon replaces entries whole.
            let service = A::services().get(key)?;
            (*entry).service = *service;
            (*entry).key = *key;
            (*entry).stamp = stamp;
        }
        &*entry
    };
    note(Step::Service, entry.service.id, 0);
    Some(&entry.service)
}

/// The entry of this CPU for what is found at `place`, or beside it, and whether it is of that key.
#[inline(always)]
fn at_hand<E: cache::Entry>(
    cache: &'static PerCpuArray<E, 1>,
    place: u32,
    stamp: u64,
    key: &E::Key,
) -> Option<(*mut E, bool)> {
    let first = cache.get_ptr_mut(place)?;
    // SAFETY: as in `service`.
    unsafe {
        if (*first).stamp() != stamp || stamp == 0 || (*first).is_of(key) {
            return Some((first, (*first).stamp() == stamp && stamp != 0));
        }
        let second = cache.get_ptr_mut(cache::other(place))?;
        Some((second, (*second).stamp() == stamp && (*second).is_of(key)))
    }
}

/// What is read after this is read after what was read before: between a generation and what belongs to it.
#[inline(always)]
fn in_order(mine: *mut u64) {
    // An atomic instruction that returns something is a full barrier.
    fetch_add(mine, 0);
}

/// Returns whether an address of an outer header may be what `end` says.
#[inline(always)]
pub fn is_tunnel_end<A: Ip>(address: A, end: u32) -> bool {
    // SAFETY: copied out before any other map call.
    let known =
        |address: &Be128| unsafe { TUNNEL_ENDS.get(*address) }.is_some_and(|known| known.0 & end != 0);
    known(&address.wide()) || known(&Be128::ZERO)
}

/// Whether an address may be in use: if not, it is in no table of services, reals or addresses.
#[inline(always)]
pub fn may_be_used<A: IpFamily>(address: A) -> bool {
    MARKS.get(0).is_some_and(|marks| marks.has(address))
}

/// Returns whether something speaks against an address as the source of a client's packet: if not, nothing does.
#[inline(always)]
pub fn may_be_forged<A: IpFamily>(source: A) -> bool {
    let element = Marks::element(source, setting!(source_marks_mask) as u32);
    SOURCE_MARKS.get(0).is_some_and(|networks| networks.has(source.network()))
        && SOURCE_MARKS.get(element).is_some_and(|marks| marks.has(source))
}

/// What an address is used for.
#[inline(always)]
pub fn address_use<A: IpFamily>(address: A) -> AddressUse {
    // SAFETY: copied out before any other map call.
    unsafe { A::addresses().get(address) }.copied().unwrap_or_default()
}

/// The real of that id, if there is one.
#[inline(always)]
pub fn real(id: u32) -> Option<&'static Real> {
    REALS.get(id).filter(|real| real.exists())
}

/// The real id in that entry of the table that begins with block `first`; [`lb_common::schema::UNSET`] if there is
/// none.
#[inline(always)]
pub fn table_entry(first: u32, index: u32) -> Option<u32> {
    let block = TABLES.get(first.wrapping_add(index / BLOCK))?;
    block.0.get((index % BLOCK) as usize).copied()
}

/// The move of a slot that is marked as moved.
#[inline(always)]
pub fn slot_move(first: u32, index: u32) -> Option<Move> {
    let block = MOVES.get(first.wrapping_add(index / BLOCK))?;
    let moved = block.0.get((index % BLOCK) as usize).copied()?;
    note(Step::Move, moved.base, moved.since);
    Some(moved)
}

/// Takes the next position of a rotating scheduler.
#[inline(always)]
pub fn next_position(service: u32) -> Option<u64> {
    let position = POSITIONS.get_ptr_mut(service)?;
    // SAFETY: a value of this map, checked for null; only its address is taken.
    let next = unsafe { &raw mut (*position).next };
    if mode().is_dry() {
        // A walk takes one position after the other: what a dry run would have taken is counted beside.
        // SAFETY: the same; and as in `begin_trace`.
        let position = unsafe {
            let turns = (&raw const TRACE.turns).read_volatile();
            (&raw mut TRACE.turns).write_volatile(turns.wrapping_add(1));
            next.read().wrapping_add(turns.into())
        };
        note(Step::Turn, position as u32, 0);
        return Some(position);
    }
    let position = fetch_add(next, 1);
    note(Step::Turn, position as u32, 0);
    Some(position)
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
pub fn flow<A: IpFamily>(key: &FlowKey<A>) -> Option<Flow> {
    let found = flow_of_reply(key);
    match &found {
        Some(flow) => note(Step::Flow, flow.real, flow.state),
        None => note(Step::NoFlow, 0, 0),
    };
    found
}

/// The same, and nothing is noted: another program may look for the reply's flow again.
#[inline(always)]
pub fn flow_of_reply<A: IpFamily>(key: &FlowKey<A>) -> Option<Flow> {
    // SAFETY: copied out before any other map call. Another CPU may write it meanwhile: packets of one flow
    // are rarely on two CPUs, and any mixture names the same real.
    unsafe { A::flows().get(key).or_else(|| A::opening().get(key)) }.copied()
}

/// Records where a flow goes. A full table evicts the flow that was silent longest; a failed insert costs
/// affinity, not the packet. `was_known` says that there may be a flow of that key, which is over.
#[inline(always)]
pub fn remember_flow<A: IpFamily>(key: &FlowKey<A>, flow: &Flow, was_known: bool) -> bool {
    if !note(Step::RecordFlow, flow.real, flow.state) {
        return true;
    }
    // SAFETY: nothing of it is read. Whoever has an entry in the one table has none in the other that counts.
    let opens =
        flow.state == State::SynReceived as u32 && !(was_known && unsafe { A::flows().get(key) }.is_some());
    if opens {
        return A::opening().insert(key, flow, 0).is_ok();
    }
    if was_known {
        let _ = A::opening().remove(key);
    }
    A::flows().insert(key, flow, 0).is_ok()
}

/// Writes a known flow's new state, time and way back in place. If it was evicted meanwhile, nothing happens. A connection
/// that opens no more goes where it is safe from those that do.
#[inline(always)]
pub fn update_flow<A: IpFamily>(key: &FlowKey<A>, new: &Flow) {
    if !note(Step::UpdateFlow, new.real, new.state) {
        return;
    }
    let mut found = A::flows().get_ptr_mut(key);
    if found.is_none() {
        found = A::opening().get_ptr_mut(key);
        if found.is_some() && new.state != State::SynReceived as u32 && A::flows().insert(key, new, 0).is_ok()
        {
            let _ = A::opening().remove(key);
            return;
        }
    }
    if let Some(flow) = found {
        // SAFETY: a value of its map, checked for null; fields are written, not read, and the entry's real
        // stays.
        unsafe {
            (*flow).seen = new.seen;
            (*flow).state = new.state;
            (*flow).ifindex = new.ifindex;
            (*flow).to_client = new.to_client;
            (*flow).tags = new.tags;
        }
    }
}

/// Connections of a real, as [`Load::counts`].
#[inline(always)]
pub fn load(real: u32) -> u64 {
    LOADS.get(real).map_or(0, |load| load.counts)
}

/// Adds to the connections of a real; what is added may stand for less than nothing.
#[inline(always)]
pub fn add_load(real: u32, counts: u64) {
    if note(Step::CountLoad, real, 0)
        && let Some(load) = LOADS.get_ptr_mut(real)
    {
        // SAFETY: a value of this map, checked for null; the field is 8 bytes and aligned.
        fetch_add(unsafe { &raw mut (*load).counts }, counts);
    }
}

/// Whether a real has reached its thresholds. What was found is kept, since it depends on what was before.
#[inline(always)]
pub fn is_overloaded(id: u32, real: &Real) -> bool {
    if real.upper == 0 {
        return false;
    }
    let Some(load) = LOADS.get_ptr_mut(id) else { return false };
    // SAFETY: a value of this map, checked for null. Another CPU that writes the same mark writes the same value.
    let load = unsafe { &mut *load };
    let connections = Load::active(load.counts) + Load::inactive(load.counts);
    let is = threshold::is_overloaded(load.overloaded != 0, connections, real.upper, real.lower);
    if is != (load.overloaded != 0) && !mode().is_dry() {
        load.overloaded = u64::from(is);
    }
    if is {
        note(Step::Overloaded, id, 0);
    }
    is
}

/// The real that a client is kept on.
#[inline(always)]
pub fn client(key: &ClientKey) -> Option<Client> {
    // SAFETY: copied out before any other map call.
    let client = unsafe { CLIENTS.get(key) }.copied()?;
    note(Step::Client, client.real, client.expires);
    Some(client)
}

/// Keeps a client on a real. A failed insert costs persistence, not the packet.
#[inline(always)]
pub fn remember_client(key: &ClientKey, client: &Client) {
    if note(Step::RecordClient, client.real, client.expires) {
        let _ = CLIENTS.insert(key, client, 0);
    }
}

/// Reads where the connections to a destination go, if that is known. In place: the stack is small.
#[inline(always)]
pub fn read_locality(key: &LocalityKey, locality: &mut Locality) {
    // SAFETY: copied out before any other map call.
    if let Some(known) = unsafe { LOCALITIES.get(key) } {
        *locality = *known;
        note(Step::Locality, locality.reals[0], locality.reals[1]);
    }
}

/// Records where the connections to a destination go. A failed insert costs locality, not the packet.
#[inline(always)]
pub fn remember_locality(key: &LocalityKey, locality: &Locality) {
    if note(Step::RecordLocality, locality.reals[0], locality.reals[1]) {
        let _ = LOCALITIES.insert(key, locality, 0);
    }
}

/// Keeps what is known of an IPv6 packet off the stack.
#[inline(always)]
pub fn keep_parsed(parsed: &Parsed<Be128>) -> Option<&'static Parsed<Be128>> {
    let kept = PARSED6.get_ptr_mut(0)?;
    // SAFETY: this CPU's copy, checked for null; programs on one CPU do not interrupt each other, and one keeps one packet.
    unsafe {
        *kept = *parsed;
        // LLVM would keep it on the stack, too, if it knew what it reads.
        core::hint::black_box(kept).as_ref()
    }
}

/// Where this CPU looks at the reals of a set.
#[inline(always)]
pub fn look() -> Option<&'static mut Look> {
    // SAFETY: this CPU's copy, checked for null; programs on one CPU do not interrupt each other, and the callback that
    // asks for it too runs while nobody else uses it.
    LOOKS.get_ptr_mut(0).map(|look| unsafe { &mut *look })
}

/// A random number.
#[inline(always)]
pub fn random() -> u32 {
    // SAFETY: the helper takes no arguments and is always there.
    let random = unsafe { bpf_get_prandom_u32() };
    note(Step::Random, random, 0);
    random
}

/// Writes when a known flow's last packet came, and nothing else: another CPU may be changing its state.
#[inline(always)]
pub fn touch_flow<A: IpFamily>(key: &FlowKey<A>, now: u32) {
    if !mode().is_dry()
        && let Some(flow) = flow_in_place(key)
    {
        // SAFETY: as in `update_flow`.
        unsafe { (*flow).seen = now };
    }
}

/// The same, and the flow's new state, where its real changes that.
#[inline(always)]
pub fn set_flow_state<A: IpFamily>(key: &FlowKey<A>, flow: &Flow, now: u32, state: u32) {
    if note(Step::UpdateFlow, flow.real, state)
        && let Some(flow) = flow_in_place(key)
    {
        // SAFETY: as in `update_flow`.
        unsafe {
            (*flow).seen = now;
            (*flow).state = state;
        }
    }
}

/// A known flow, to be written to.
#[inline(always)]
fn flow_in_place<A: IpFamily>(key: &FlowKey<A>) -> Option<*mut Flow> {
    A::flows().get_ptr_mut(key).or_else(|| A::opening().get_ptr_mut(key))
}

/// The decision on a datagram's first fragment, and where [`cover`] finds what has come of it.
#[inline(always)]
pub fn fragment<A: IpFamily>(key: &FragmentKey<A>) -> Option<(&'static Fragment<A>, *mut Covered)> {
    let Some(kept) = A::fragments().get_ptr_mut(key) else {
        note(Step::NoFragment, 0, 0);
        return None;
    };
    // SAFETY: a value of this map, checked for null. Not copied: the stack is small. Another datagram may get the entry
    // meanwhile if the table is full; then a fragment goes astray.
    let (fragment, covered) = unsafe { (&*kept, &raw mut (*kept).covered) };
    note(Step::Fragment, fragment.real, u32::from(fragment.vip != A::default()));
    Some((fragment, covered))
}

/// Adds a later fragment to what has come of its datagram, from word `start` on, so many bytes; as [`Adds`] numbers it.
///
/// A function that the verifier knows by its type, which looks at its loops once.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn cover(covered: *mut Covered, start: u32, bytes: u32) -> u32 {
    // SAFETY: the verifier lets nobody call this with anything but memory of that size or null. It is a map's value; two CPUs
    // with fragments of one datagram may overlook each other's.
    let Some(covered) = (unsafe { covered.as_mut() }) else { return Adds::New as u32 };
    let start = start as u16;
    (if mode().is_dry() { covered.look(start, bytes) } else { covered.add(start, bytes) }) as u32
}

/// Records the decision on a first fragment. A failed insert costs the datagram.
#[inline(always)]
pub fn remember_fragment<A: IpFamily>(key: &FragmentKey<A>, fragment: &Fragment<A>) {
    if note(Step::RecordFragment, fragment.real, u32::from(fragment.vip != A::default())) {
        let _ = A::fragments().insert(key, fragment, 0);
    }
}

/// What packets from an address and port are for: replies of a nat real, by their port or by port 0, and by the use of the
/// address. It stays what it is until this CPU looks for another one.
#[inline(always)]
pub fn source<A: IpFamily>(address: A, port: Be16, protocol: u8) -> Option<&'static CachedSource<A>> {
    let mut key = SourceKey::new(address, port, protocol);
    let place = cache::place(address, port, key.protocol, setting!(source_mask) as u32);
    let stamp = cache::stamp(generation());
    let (entry, found) = at_hand(A::source_cache(), place, stamp, &key)?;
    // SAFETY: as in `service`.
    unsafe {
        if !found {
            in_order(&raw mut (*entry).stamp);
            (*entry).stamp = 0;
            (*entry).address = address;
            (*entry).from_port = port;
            (*entry).protocol = key.protocol;
            (*entry).used = address_use(address);
            (*entry).service = UNSET;
            if let Some(source) = A::sources().get(key) {
                (*entry).keep(source);
            } else {
                key.port = Be16::ZERO;
                if let Some(source) = A::sources().get(key) {
                    (*entry).keep(source);
                }
            }
            (*entry).stamp = stamp;
        }
        Some(&*entry)
    }
}

/// The service that a reply of a shared nat real belongs to.
#[inline(always)]
pub fn reply<A: IpFamily>(key: &FlowKey<A>) -> Option<Source<A>> {
    // SAFETY: copied out before any other map call.
    let source = unsafe { A::replies().get(key) }.copied()?;
    note(Step::Source, source.service, source.real);
    Some(source)
}

/// Records which service the replies of a flow belong to. A failed insert costs the reply.
#[inline(always)]
pub fn remember_reply<A: IpFamily>(key: &FlowKey<A>, source: &Source<A>) {
    if note(Step::RecordReply, 0, 0) {
        let _ = A::replies().insert(key, source, 0);
    }
}

/// Returns the reply sources of exactly that key: whether packets from there are replies of a real by `nat`.
#[inline(always)]
pub fn is_source<A: IpFamily>(key: &SourceKey<A>) -> bool {
    // SAFETY: nothing of it is read.
    unsafe { A::sources().get(key) }.is_some()
}

/// Returns where a flow is in [`LEFT_TO_STACK`].
#[inline(always)]
fn left_place<A: Ip>(key: &FlowKey<A>) -> u32 {
    lb_common::hash::flow(key, 0) & (LEFT_PLACES - 1)
}

/// Notes that a packet is left to the director's stack.
#[inline(always)]
pub fn leave_to_stack<A: Ip>(key: &FlowKey<A>) {
    if mode() == Mode::FORWARD
        && let Some(left) = LEFT_TO_STACK.get_ptr_mut(left_place(key))
    {
        // SAFETY: an aligned word of a map's value.
        unsafe { left.write_volatile(now() | 1) };
    }
}

/// Returns whether a packet of that flow was left to the stack a moment ago.
#[inline(always)]
pub fn was_left_to_stack<A: Ip>(key: &FlowKey<A>) -> bool {
    let left = LEFT_TO_STACK.get(left_place(key)).map_or(0, |left| *left);
    left != 0 && track::age(left, now()) <= LEFT_FOR
}

/// Returns the device that a frame came in by or, for a member, the bond or team that it belongs to.
#[inline(always)]
pub fn controller(ifindex: u32) -> u32 {
    // SAFETY: copied out before any other map call.
    unsafe { CONTROLLERS.get(ifindex) }.copied().unwrap_or(ifindex)
}

/// How to send to a client.
#[inline(always)]
pub fn way_back<A: IpFamily>(client: A) -> Option<&'static WayBack> {
    let (place, name) = Near::place(client, setting!(seed));
    match A::ways_near().get(place) {
        Some(near) if near.is_of(name) => Some(&GATEWAYS.get(near.gateway())?.way),
        // SAFETY: a value of this map, checked for null. Another client may get the entry meanwhile if the table is full;
        // then a packet goes astray.
        _ => unsafe { A::ways_back().get(client) },
    }
}

/// Whether it is known that a client comes by that way; a client that has a place near is entered there.
#[inline(always)]
pub fn is_way_known<A: IpFamily>(client: A, way: &WayBack) -> bool {
    let (place, name) = Near::place(client, setting!(seed));
    let Some(entry) = A::ways_near().get_ptr_mut(place) else { return false };
    // SAFETY: an aligned word of a map's value, which other CPUs may write as a whole.
    let near = unsafe { entry.read_volatile() };
    let seconds = Near::seconds(now());
    let number = Gateway::place(way);
    let Some(gateway) = GATEWAYS.get(number) else { return false };
    let is_there = gateway.state >= Gateway::READY && gateway.way == *way;
    if !is_there && gateway.state != Gateway::FREE {
        if near.is_of(name) && note(Step::RecordWayBack, way.ifindex, 0) {
            // SAFETY: as above.
            unsafe { entry.write_volatile(Near::default()) };
        }
        return false;
    }
    if near.is_of(name) {
        if is_there && near.gateway() == number && near.silent_for(seconds) < Near::REFRESH {
            note(Step::WayBack, way.ifindex, 0);
            return true;
        }
    } else if near.is_taken() && !near.is_over(seconds, &timeouts()) {
        return false;
    }
    if !note(Step::RecordWayBack, way.ifindex, 0) {
        return true;
    }
    let has_place = is_there || put_gateway(number, way);
    let new = if has_place { Near::new(name, number, seconds) } else { Near::default() };
    // SAFETY: as above.
    unsafe { entry.write_volatile(new) };
    has_place
}

/// Enters a way where nobody's is; whether it is there.
#[inline(always)]
fn put_gateway(number: u32, way: &WayBack) -> bool {
    let Some(gateway) = GATEWAYS.get_ptr_mut(number) else { return false };
    // SAFETY: an aligned word of a map's value. Whoever finds it free is alone with the rest until it is ready.
    unsafe {
        let state = &raw mut (*gateway).state;
        if fetch_add(state, 1) != Gateway::FREE {
            return false;
        }
        (&raw mut (*gateway).way).write_volatile(*way);
        state.write_volatile(Gateway::READY);
    }
    true
}

/// Records how to send to a client. A failed insert costs the replies.
#[inline(always)]
pub fn remember_way_back<A: IpFamily>(client: A, way: &WayBack) {
    if note(Step::RecordWayBack, way.ifindex, 0) {
        let _ = A::ways_back().insert(client, way, 0);
    }
}

/// Whether any client has spoken to a nat real by its own address, so lately that it counts. Where nobody ever has, one look
/// tells.
#[inline(always)]
pub fn may_be_bypassed() -> bool {
    let last = LAST_BYPASS.get(0).map_or(0, |last| *last);
    if last == 0 {
        return false;
    }
    let Timeouts { tcp, tcp_fin, udp } = timeouts();
    track::age(last, now()) <= tcp.max(tcp_fin).max(udp)
}

/// The tick at which a client last spoke to a nat real by its own address.
#[inline(always)]
pub fn bypass<A: IpFamily>(reply: &FlowKey<A>) -> Option<u32> {
    // SAFETY: copied out before any other map call.
    let seen = unsafe { A::bypass().get(reply) }.copied()?;
    note(Step::Direct, seen, 0);
    Some(seen)
}

/// Records that a client speaks to a nat real by its own address. A failed insert costs the replies.
#[inline(always)]
pub fn remember_bypass<A: IpFamily>(reply: &FlowKey<A>, now: u32) {
    if note(Step::RecordDirect, now, 0) {
        let _ = A::bypass().insert(reply, now, 0);
        if let Some(last) = LAST_BYPASS.get_ptr_mut(0) {
            // SAFETY: an aligned word of a map's value. CPUs that write at the same time write nearly the same.
            unsafe { last.write_volatile(now | 1) };
        }
    }
}

/// A client speaks to the VIP with the ports of an earlier talk to a nat real itself.
#[inline(always)]
pub fn forget_bypass<A: IpFamily>(reply: &FlowKey<A>) {
    if may_be_bypassed() && note(Step::ForgetDirect, 0, 0) {
        let _ = A::bypass().remove(reply);
    }
}

/// The flow that a real's packet to a port of the director belongs to: its client's key.
#[inline(always)]
pub fn translation<A: IpFamily>(reply: &FlowKey<A>) -> Option<FlowKey<A>> {
    // SAFETY: copied out before any other map call.
    let request = unsafe { A::translations().get(reply) }.copied()?;
    note(Step::Translation, 0, 0);
    Some(request)
}

/// Gives a flow a port of the director, unless it has been given already or the table is full.
#[inline(always)]
pub fn take_dip<A: IpFamily>(reply: &FlowKey<A>, request: &FlowKey<A>) -> bool {
    if note(Step::TakeDip, reply.destination_port.get().into(), 0) {
        return A::translations().insert(reply, request, BPF_NOEXIST.into()).is_ok();
    }
    // SAFETY: nothing of it is read.
    unsafe { A::translations().get(reply) }.is_none()
}

/// A flow needs a port of the director no more.
#[inline(always)]
pub fn give_dip_back<A: IpFamily>(reply: &FlowKey<A>) {
    if note(Step::GiveDipBack, reply.destination_port.get().into(), 0) {
        let _ = A::translations().remove(reply);
    }
}

/// The address of a [`Dip`] towards a real, if it is there.
#[inline(always)]
pub fn dip_address<A: IpFamily>(dip: Dip, real: &Real) -> Option<A> {
    let address =
        if dip.address == 0 { A::narrow(real.source) } else { *A::dips().get(dip.address.into())? };
    if address == A::default() { None } else { Some(address) }
}

/// The next number to try in [`dip`], below `total`. Each CPU goes round all of them, so that a port rests as long as possible
/// before it is given out again. They take turns by residue classes, so that no two try the same one as long as each is in
/// its first round or both are equally fast.
#[inline(always)]
pub fn next_dip(total: u32) -> u32 {
    let Some(tried) = TRIED.get_ptr_mut(0) else { return 0 };
    // SAFETY: as in `count_in`, and in `begin_trace`.
    let tried = unsafe {
        if mode().is_dry() {
            let traced = (&raw const TRACE.tries).read_volatile();
            (&raw mut TRACE.tries).write_volatile(traced.wrapping_add(1));
            (*tried).wrapping_add(1).wrapping_add(traced)
        } else {
            *tried = (*tried).wrapping_add(1);
            *tried
        }
    };
    // SAFETY: the helper takes no arguments and is always there.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    let cpus = (setting!(cpus) as u32).max(1);
    // No division by zero, which would need a way to panic: `total` is not 0.
    let round = (total / cpus).max(1);
    (tried % round).wrapping_mul(cpus).wrapping_add(cpu).wrapping_add(tried / round)
}

/// How many addresses and ports together flows by `fnat` can have towards a real; at least 1.
#[inline(always)]
pub fn dips<A: IpFamily>() -> u32 {
    (setting!(dip_ports) as u32).wrapping_mul(A::last_dip().max(1)).max(1)
}

/// One of them, by any number.
#[inline(always)]
pub fn dip<A: IpFamily>(number: u32) -> Dip {
    let (ports, addresses) = ((setting!(dip_ports) as u32).max(1), A::last_dip());
    let (round, port) = (number / ports, number % ports);
    let address = if addresses == 0 { 0 } else { 1 + round % addresses };
    Dip { address: address as u16, port: Be16::new((setting!(first_dip_port) as u32 + port) as u16) }
}

/// What was taken off the frame.
#[inline(always)]
pub fn taken() -> Taken {
    TAKEN.get(0).copied().unwrap_or(Taken { tags: Tags::NONE, bare: 0 })
}

/// Says that the frame has got all the tags that it is to have. Returns those that it came with.
#[inline(always)]
pub fn set_dressed() -> Tags {
    let Some(taken) = TAKEN.get_ptr_mut(0) else { return Tags::NONE };
    // SAFETY: as in `count_in`.
    unsafe {
        (*taken).bare = 0;
        (*taken).tags
    }
}

/// Says what was taken off the frame.
#[inline(always)]
pub fn set_taken(new: Taken) {
    if let Some(taken) = TAKEN.get_ptr_mut(0) {
        // SAFETY: as in `count_in`.
        unsafe { *taken = new };
    }
}

/// Sends the frame out of another device.
#[inline(always)]
pub fn redirect(ifindex: u32) -> Result<u32, Reason> {
    note(Step::Redirect, ifindex, 0);
    DEVICES.redirect(ifindex, 0).map_err(|_| Reason::RedirectFailed)
}

/// Counts a packet sent to a real.
#[inline(always)]
pub fn count_in(real: u32, bytes: u32) {
    if note(Step::CountIn, real, bytes)
        && let Some(counters) = COUNTERS.get_ptr_mut(real)
    {
        // SAFETY: this CPU's copy, checked for null; programs on one CPU do not interrupt each other.
        unsafe {
            (*counters).packets_in += 1;
            (*counters).bytes_in += u64::from(bytes);
        }
    }
}

/// Counts a real's packet sent back to its client.
#[inline(always)]
pub fn count_out(real: u32, bytes: u32) {
    if note(Step::CountOut, real, bytes)
        && let Some(counters) = COUNTERS.get_ptr_mut(real)
    {
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
    if note(Step::CountFlow, real, 0)
        && let Some(counters) = COUNTERS.get_ptr_mut(real)
    {
        // SAFETY: as in `count_in`.
        unsafe { (*counters).new_flows += 1 };
    }
}

/// Counts a packet that was not forwarded.
#[inline(always)]
pub fn count_reason(service: u32, reason: Reason) {
    if note(Step::Reason, service, reason.index())
        && let Some(counts) = REASONS.get_ptr_mut(service)
    {
        // The mask tells the verifier that there is such a count. LLVM, which knows, would leave it out.
        let mut index = reason.index() as usize;
        opaque(&mut index);
        let index = index & (Reason::SLOTS - 1);
        // SAFETY: as in `count_in`.
        unsafe { (*counts).0[index] += 1 };
    }
}

/// Whether one more ICMP error may be made in this second.
#[inline(always)]
pub fn may_make_icmp() -> bool {
    let Some(budget) = ICMP_BUDGET.get_ptr_mut(0) else { return false };
    let now = now();
    // SAFETY: as in `count_in`.
    let budget = unsafe { &mut *budget };
    // Not `age`: a CPU may have made no error for longer than half the range of ticks.
    let mut new = *budget;
    if now.wrapping_sub(new.since) >= track::ticks_of_seconds(1) {
        new = Budget { since: now, used: 0 };
    }
    new.used += 1;
    let may = u64::from(new.used) <= setting!(icmp_per_second);
    if note(Step::IcmpBudget, may.into(), 0) {
        *budget = new;
    }
    may
}

/// The slot of a flow in the table of a service that hashes.
#[inline(always)]
pub fn slot_of<A: Ip>(service: &Service, key: &FlowKey<A>) -> u32 {
    lb_common::hash::slot(service, key, setting!(seed))
}

/// Goes on in another of the director's programs. Returns if that is not there.
#[inline(always)]
pub fn tail_call(ctx: &XdpContext, program: Program) {
    note(Step::Program, program as u32, 0);
    // SAFETY: the context is the one that the kernel gave.
    unsafe { PROGRAMS.tail_call(ctx, program as u32) };
}
