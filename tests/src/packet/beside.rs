// SPDX-License-Identifier: MIT OR Apache-2.0
//! A plane whose maps are pinned, so that further copies of the programs run beside it, and so that
//! everything that the maps hold can be compared.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use aya::{
    Pod,
    maps::{Array, HashMap, Map, MapData, PerCpuArray, PerCpuValues},
};
use lb_common::{
    flow_table::{Event, Shape, WIDE_WORDS},
    schema::{
        AddressFilter, CachedPath, Client, ClientKey, Counters, FlowKey, Fragment, FragmentKey, Load,
        Locality, LocalityKey, Mode, Position, Probe, ProbeReply, Real, ReasonCounts, ReturnPath, RouterPath,
        Service, ServiceKey, Settings, SnatLease, Source, SourceKey, Timeouts, TunnelEnd,
    },
    wire::{Be32, Be128},
};
use lb_dataplane::{Limits, Options, PinDir, Tracer};

use super::{TestPlane, plane::LIMITS, pool::Pool};

/// A bucket of the flow table.
type Bucket = [u64; WIDE_WORDS];

/// A bucket without entries.
const EMPTY: Bucket = [0; WIDE_WORDS];

/// A directory of pins that goes with it.
pub struct Pins(PathBuf);

impl Pins {
    /// Returns a new folder for pins.
    #[track_caller]
    pub fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = PathBuf::from(format!("/sys/fs/bpf/xvs-test-{}-{number}", std::process::id()));
        PinDir::prepare(&path).unwrap_or_else(|error| panic!("{error}"));
        Self(path)
    }

    /// Returns the options to load a plane that is pinned here.
    pub fn options(&self, limits: Limits, settings: Settings) -> Options {
        Options { pins: Some(PinDir::at(&self.0)), limits, settings: Some(settings), ..Options::default() }
    }
}

impl Default for Pins {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        // Pins that cannot be removed remain visible, under a name that identifies the test process.
        if PinDir::at(&self.0).remove_all().is_ok() {
            for dir in ["maps", "links", "guard", ""].map(|name| self.0.join(name)) {
                drop(fs::remove_dir(dir));
            }
        }
    }
}

/// A plane and two further copies of its programs over the same maps.
pub struct Beside {
    /// Forwards, as the daemon loads it.
    pub plane: TestPlane,
    /// A copy that forwards, and traces its steps.
    pub traced: Tracer,
    /// Tells its steps and leaves the maps as they are.
    pub dry: Tracer,
    pins: Pins,
}

impl Beside {
    /// Loads all three.
    #[track_caller]
    pub fn new(settings: Settings, pools: &[Pool]) -> Self {
        Self::with_limits(LIMITS, settings, pools)
    }

    /// Loads a plane with tables of other sizes.
    #[track_caller]
    pub fn with_limits(limits: Limits, settings: Settings, pools: &[Pool]) -> Self {
        let pins = Pins::new();
        let options = pins.options(limits, settings);
        let plane = TestPlane::with_options(&options, pools);
        let tracer =
            |mode| Tracer::load(&options, mode).unwrap_or_else(|error| panic!("{error} ({})", error.hint()));
        Self { plane, traced: tracer(Mode::TRACE), dry: tracer(Mode::DRY), pins }
    }

    /// Empties every map that the programs write to, as if no packet had come yet.
    #[track_caller]
    pub fn forget(&self) {
        let maps = self.pins.0.join("maps");
        let map = |name: &str| {
            let data = MapData::from_pin(maps.join(name)).expect("a pin is a map");
            Map::from_map_data(data).expect("a map has a type")
        };
        let mut flows: Array<MapData, Bucket> = map("FLOWS").try_into().expect("an array");
        for number in 0..flows.len() {
            if flows.get(&number, 0).expect("arrays can be read") != EMPTY {
                flows.set(number, EMPTY, 0).expect("arrays can be written");
            }
        }
        forget_all::<FlowKey<Be32>, SnatLease>(map("BINDINGS"));
        forget_all::<FlowKey<Be128>, SnatLease>(map("BINDINGS6"));
        forget_all::<FragmentKey<Be32>, Fragment<Be32>>(map("FRAGMENTS"));
        forget_all::<FragmentKey<Be128>, Fragment<Be128>>(map("FRAGMENTS6"));
        forget_all::<FlowKey<Be32>, Source<Be32>>(map("REPLIES"));
        forget_all::<FlowKey<Be128>, Source<Be128>>(map("REPLIES6"));
        forget_all::<Be32, ReturnPath>(map("RETURN_PATHS"));
        forget_all::<Be128, ReturnPath>(map("RETURN_PATHS6"));
        forget_all::<FlowKey<Be32>, u32>(map("BYPASS"));
        forget_all::<FlowKey<Be128>, u32>(map("BYPASS6"));
        forget_all::<FlowKey<Be32>, FlowKey<Be32>>(map("TRANSLATIONS"));
        forget_all::<FlowKey<Be128>, FlowKey<Be128>>(map("TRANSLATIONS6"));
        forget_all::<ClientKey, Client>(map("CLIENTS"));
        forget_all::<LocalityKey, Locality>(map("LOCALITIES"));
        for name in ["CACHED_PATHS", "CACHED_PATHS6"] {
            let mut near: Array<MapData, CachedPath> = map(name).try_into().expect("an array");
            for place in 0..CachedPath::COUNT {
                if near.get(&place, 0).expect("arrays can be read").is_taken() {
                    near.set(place, CachedPath::default(), 0).expect("arrays can be written");
                }
            }
        }
        let mut routers: Array<MapData, RouterPath> = map("ROUTER_PATHS").try_into().expect("an array");
        for number in 0..RouterPath::COUNT {
            let mut router = routers.get(&number, 0).expect("arrays can be read");
            if router.state != RouterPath::FREE {
                router.state = RouterPath::FREE;
                routers.set(number, router, 0).expect("arrays can be written");
            }
        }
        let mut last: Array<MapData, u32> = map("LAST_BYPASS").try_into().expect("an array");
        last.set(0, 0, 0).expect("arrays can be written");
        let mut tried: PerCpuArray<MapData, u32> = map("SNAT_CURSOR").try_into().expect("a per-CPU array");
        let zeros = vec![0; aya::util::nr_cpus().expect("CPUs can be counted")];
        let zeros = PerCpuValues::try_from(zeros).expect("one for each CPU");
        tried.set(0, zeros, 0).expect("arrays can be written");
    }

    /// Returns the contents of every map that a program writes or reads, except the scratch memory of a CPU,
    /// the steps of a trace, the array of programs and the interfaces.
    #[track_caller]
    pub fn dump(&self) -> BTreeMap<String, String> {
        let maps = self.pins.0.join("maps");
        let mut dump = BTreeMap::new();
        for entry in fs::read_dir(&maps).expect("pins can be listed") {
            let name = entry.expect("a pin").file_name().into_string().expect("names are ASCII");
            if let Some(text) = contents(&name, &maps) {
                dump.insert(name, text);
            }
        }
        dump
    }
}

/// Returns the contents of a map in a canonical order; `None` for maps that are not compared.
fn contents(name: &str, maps: &Path) -> Option<String> {
    let map = || {
        let data = MapData::from_pin(maps.join(name)).expect("a pin is a map");
        Map::from_map_data(data).expect("a map has a type")
    };
    Some(match name {
        "PARSED6" | "VLAN_STATE" | "SERVICE_CACHE" | "SERVICE_CACHE6" | "SOURCE_CACHE" | "SOURCE_CACHE6"
        | "SCANS" | "LAST_FLOW" | "TRACE" | "PROGRAMS" | "DEVICES" => return None,
        "SCHEMA" | "LAST_BYPASS" | "LEFT_TO_STACK" => array::<u32>(map()),
        "SERVICES" => hash::<ServiceKey<Be32>, Service>(map()),
        "SERVICES6" => hash::<ServiceKey<Be128>, Service>(map()),
        "REALS" => array::<Real>(map()),
        "TABLES" | "SIGNS" => array::<[u32; 4096]>(map()),
        "MOVES" => array::<[[u32; 2]; 4096]>(map()),
        "GENERATION" => array::<u64>(map()),
        "POSITIONS" => array::<Position>(map()),
        "FLOWS" | "FLOWS_BEFORE" => buckets(map()),
        "FLOW_SHAPE" => array::<Shape>(map()),
        "FLOW_EVENTS" => per_cpu::<[u64; Event::COUNT]>(map()),
        "BINDINGS" => hash::<FlowKey<Be32>, SnatLease>(map()),
        "BINDINGS6" => hash::<FlowKey<Be128>, SnatLease>(map()),
        "LOADS" => array::<Load>(map()),
        "CLIENTS" => hash::<ClientKey, Client>(map()),
        "LOCALITIES" => hash::<LocalityKey, Locality>(map()),
        "TIMEOUTS" => array::<Timeouts>(map()),
        "FRAGMENTS" => hash::<FragmentKey<Be32>, Fragment<Be32>>(map()),
        "FRAGMENTS6" => hash::<FragmentKey<Be128>, Fragment<Be128>>(map()),
        "ADDRESSES" => hash::<Be32, u32>(map()),
        "ADDRESSES6" => hash::<Be128, u32>(map()),
        "SOURCES" => hash::<SourceKey<Be32>, Source<Be32>>(map()),
        "SOURCES6" => hash::<SourceKey<Be128>, Source<Be128>>(map()),
        "REPLIES" => hash::<FlowKey<Be32>, Source<Be32>>(map()),
        "REPLIES6" => hash::<FlowKey<Be128>, Source<Be128>>(map()),
        "RETURN_PATHS" => hash::<Be32, ReturnPath>(map()),
        "RETURN_PATHS6" => hash::<Be128, ReturnPath>(map()),
        "BYPASS" => hash::<FlowKey<Be32>, u32>(map()),
        "BYPASS6" => hash::<FlowKey<Be128>, u32>(map()),
        "TRANSLATIONS" => hash::<FlowKey<Be32>, FlowKey<Be32>>(map()),
        "TRANSLATIONS6" => hash::<FlowKey<Be128>, FlowKey<Be128>>(map()),
        "CACHED_PATHS" | "CACHED_PATHS6" => array::<CachedPath>(map()),
        "ROUTER_PATHS" => array::<RouterPath>(map()),
        "ADDRESS_FILTER" | "SOURCE_FILTER" => array::<AddressFilter>(map()),
        "PROBES" => hash::<FlowKey, Probe>(map()),
        "PROBE_REPLIES" => hash::<FlowKey, ProbeReply>(map()),
        "TUNNEL_ENDS" => hash::<Be128, TunnelEnd>(map()),
        "CONTROLLERS" => hash::<u32, u32>(map()),
        "SNAT_ADDRESSES" => array::<Be32>(map()),
        "SNAT_ADDRESSES6" => array::<Be128>(map()),
        "SNAT_CURSOR" => per_cpu::<u32>(map()),
        "COUNTERS" => per_cpu::<Counters>(map()),
        "REASONS" => per_cpu::<ReasonCounts>(map()),
        "ICMP_BUDGET" => per_cpu::<[u32; 2]>(map()),
        unknown => panic!("nobody has said how to read the map {unknown}"),
    })
}

fn forget_all<K: Pod + Debug, V: Pod>(map: Map) {
    let mut hash: HashMap<MapData, K, V> = map.try_into().expect("a hash map of that size");
    let keys: Vec<K> = hash.keys().map(|key| key.expect("hash maps can be read")).collect();
    for key in keys {
        hash.remove(&key).expect("nobody else removes it");
    }
}

/// Returns the buckets of a flow table that are not empty, with their numbers.
fn buckets(map: Map) -> String {
    let array: Array<MapData, Bucket> = map.try_into().expect("an array of that size");
    let buckets = array.iter().map(|bucket| bucket.expect("arrays can be read")).enumerate();
    let taken = buckets.filter(|(_, bucket)| *bucket != EMPTY);
    taken.map(|(number, bucket)| format!("{number}: {bucket:x?}")).collect::<Vec<_>>().join("\n")
}

fn array<V: Pod + Debug>(map: Map) -> String {
    let array: Array<MapData, V> = map.try_into().expect("an array of that size");
    // Blocks of tables are long, and most of them zero: what they are is enough.
    let values: Vec<String> =
        array.iter().map(|value| format!("{:?}", value.expect("arrays can be read"))).collect();
    values.join("\n")
}

fn per_cpu<V: Pod + Debug>(map: Map) -> String {
    let array: PerCpuArray<MapData, V> = map.try_into().expect("a per-CPU array of that size");
    let value = |index| format!("{:?}", &array.get(&index, 0).expect("arrays can be read")[..]);
    (0..array.len()).map(value).collect::<Vec<_>>().join("\n")
}

fn hash<K: Pod + Debug, V: Pod + Debug>(map: Map) -> String {
    let hash: HashMap<MapData, K, V> = map.try_into().expect("a hash map of that size");
    let entry = |entry: Result<(K, V), _>| format!("{:?}", entry.expect("hash maps can be read"));
    let mut entries: Vec<String> = hash.iter().map(entry).collect();
    entries.sort();
    entries.join("\n")
}
