// SPDX-License-Identifier: MIT OR Apache-2.0
//! Typed access to every map, one file for each topic. Other modules reach maps by these methods only.
#![forbid(unsafe_code)]

mod addresses; //  uses of addresses, and their filters
mod clients; //    persistence entries
mod counters; //   counters of reals and of reasons
mod error; //      errors of maps
mod flows; //      flow table
mod generation; // validity of the per-CPU caches
mod learned; //    state that the programs learn, and that outlives a resize
mod reals; //      reals, and their connection counts
mod replies; //    services of the replies of `nat` reals
mod services; //   services by endpoint
mod settings; //   schema, timeouts, tail calls and devices
mod signs; //      passive signs
mod slots; //      slot tables and their positions
mod snat; //       SNAT addresses, and the owners of their ports

use aya::maps::{Array, DevMapHash, HashMap as BpfHashMap, Map, MapData, PerCpuArray, ProgramArray};
use lb_common::{
    flow_table::Event,
    ids::IfIndex,
    schema::{
        AddressFilter, AddressUse, Block, Client, ClientKey, Counters, FlowKey, Load, MapName, MoveBlock,
        Position, Real, ReasonCounts, Service, ServiceKey, Source, SourceKey, Timeouts,
    },
    wire::{Be32, Be128},
};

use learned::Learned;

use super::{
    flow_reader::Leases,
    flow_table::FlowTable,
    map_source::{MapSource, take},
    versions::Versions,
};

pub use error::TableError;
pub(super) use error::{batch_failed, failed, gone};
pub use flows::{Flow, FlowRecord};

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
    flows: FlowTable,
    /// SNAT addresses and ports of `fnat` flows.
    leases: Leases,
    replies: Versions<FlowKey<Be32>, Source<Be32>, FlowKey, Source>,
    translations: Versions<FlowKey<Be32>, FlowKey<Be32>, FlowKey, FlowKey>,
    dips: Array<MapData, Be32>,
    dips6: Array<MapData, Be128>,
    marks: Array<MapData, AddressFilter>,
    source_marks: Array<MapData, AddressFilter>,
    controllers: BpfHashMap<MapData, IfIndex, IfIndex>,
    programs: ProgramArray<MapData>,
    clients: BpfHashMap<MapData, ClientKey, Client>,
    loads: Array<MapData, Load>,
    timeouts: Array<MapData, Timeouts>,
    devices: DevMapHash<MapData>,
    signs: Map,
    counters: PerCpuArray<MapData, Counters>,
    reasons: PerCpuArray<MapData, ReasonCounts>,
    flow_events: PerCpuArray<MapData, [u64; Event::COUNT]>,
    /// State that only the programs read and write.
    learned: Learned,
}

impl Tables {
    /// Takes every map from the object, or opens its pin.
    pub(crate) fn open(ebpf: &mut impl MapSource) -> Result<Self, TableError> {
        let services = Versions::take(ebpf, [MapName::Services, MapName::Services6])?;
        let loads = take(ebpf, MapName::Loads)?;
        let flows = FlowTable::take(ebpf, &loads, services.all()?)?;
        Ok(Self {
            schema: take(ebpf, MapName::Schema)?,
            generation: take(ebpf, MapName::Generation)?,
            changing: false,
            services,
            reals: take(ebpf, MapName::Reals)?,
            blocks: take(ebpf, MapName::Tables)?,
            moves: take(ebpf, MapName::Moves)?,
            positions: take(ebpf, MapName::Positions)?,
            addresses: Versions::take(ebpf, [MapName::Addresses, MapName::Addresses6])?,
            sources: Versions::take(ebpf, [MapName::Sources, MapName::Sources6])?,
            flows,
            leases: Versions::take(ebpf, [MapName::Bindings, MapName::Bindings6])?,
            replies: Versions::take(ebpf, [MapName::Replies, MapName::Replies6])?,
            translations: Versions::take(ebpf, [MapName::Translations, MapName::Translations6])?,
            dips: take(ebpf, MapName::SnatAddresses)?,
            dips6: take(ebpf, MapName::SnatAddresses6)?,
            marks: take(ebpf, MapName::AddressFilter)?,
            source_marks: take(ebpf, MapName::SourceFilter)?,
            controllers: take(ebpf, MapName::Controllers)?,
            programs: take(ebpf, MapName::Programs)?,
            clients: take(ebpf, MapName::Clients)?,
            loads,
            timeouts: take(ebpf, MapName::Timeouts)?,
            devices: take(ebpf, MapName::Devices)?,
            signs: ebpf.take_map(MapName::Signs.as_str())?,
            counters: take(ebpf, MapName::Counters)?,
            reasons: take(ebpf, MapName::Reasons)?,
            flow_events: take(ebpf, MapName::FlowEvents)?,
            learned: Learned::take(ebpf)?,
        })
    }
}
