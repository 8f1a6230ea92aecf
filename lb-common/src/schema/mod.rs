// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! The keys and values of every map: a wire format between programs, daemon and the maps that outlive both.
//!
//! Addresses and ports are integers in network byte order. Data that the programs look up at each packet has
//! one map per IP version; the name of the IPv6 map ends in 6. Ids, counters and times are integers in the
//! machine's byte order. Padding is explicit and zero, since the kernel compares keys as bytes.

mod address_filter;
pub mod cache;
mod client;
mod counters;
mod flow;
mod fragment;
mod load;
mod locality;
mod map_name;
mod probe;
mod program;
mod real;
mod return_path;
mod sample;
mod service;
mod settings;
mod signs;
mod source;
mod trace;
mod tunnel_end;

pub use crate::flow_key::FlowKey;
use crate::layout::layout;
pub use address_filter::AddressFilter;
pub use cache::{CachedService, CachedSource};
pub use client::{Client, ClientKey};
pub use counters::{Counters, ReasonCounts};
pub use flow::{SnatBinding, SnatLease};
pub use fragment::{Added, Coverage, Fragment, FragmentKey};
pub use load::Load;
pub use locality::{Locality, LocalityKey};
pub use map_name::MapName;
pub use probe::{Probe, ProbeReply};
pub use program::Program;
pub use real::{Method, Real, Tunnel};
pub use return_path::{CachedPath, RouterPath};
pub use sample::{LONGEST_SAMPLE, SAMPLE_BYTES, Sample, SampleCounts, SampleFilter, SampleGate, TRACES};
pub use service::{Block, Move, MoveBlock, Position, Scheduler, Service, ServiceKey, Tracking};
pub use settings::{Settings, Timeouts, TunnelSource};
pub use signs::Signs;
pub use source::{AddressUse, ReturnPath, Source, SourceKey};
pub use trace::{Event, Mode, Step, Trace};
pub use tunnel_end::TunnelEnd;

/// Version of the map layout. It increases whenever the layout or the meaning of any map changes. The daemon
/// refuses pinned maps of another version.
pub const SCHEMA_VERSION: u32 = 17;

/// Entries of a block. A service's slot table is one block or several consecutive ones.
pub const BLOCK: u32 = 4096;

/// Entries of the largest slot table.
///
/// The number of entries of a table with a hashing scheduler is a power of two, so that a slot of a small
/// table is a run of slots of a larger one: a table can grow without moving a flow. (The paper on Maglev
/// takes a prime; with a power of two every odd skip visits every slot.)
pub const LARGEST_TABLE: u32 = 16 * BLOCK;
