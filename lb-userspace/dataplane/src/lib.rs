// SPDX-License-Identifier: MIT OR Apache-2.0
//! The data plane from userspace: load, pin, attach, replace, and the tables.
// The print macros panic if stdout or stderr is closed.
#![deny(clippy::print_stderr, clippy::print_stdout)]

pub mod attach; //      attachment to interfaces
mod batch; //           batch operations on maps
pub mod clock; //       the programs' clock
mod copy; //            copies of tables into new maps
pub mod decap; //       decapsulator of real servers
pub mod descriptors; // the limit of open files
pub mod dry_run_plane; // separate data plane for a dry run of a change
pub mod flow_load; //   fullness of the flow table, and the move into another one
pub mod flow_reader; // iteration over all flows
pub mod flow_scan; //   passes over the flow table by place
mod flow_table; //      flow table in the memory of this process
mod guard; //           protection of the stack while no XDP program is attached
mod kernel; //          features of the kernel
mod limits; //          sizes of the tables
pub mod links; //       BPF links of other programs
pub mod load; //        loading, and adoption of pinned maps
pub mod log; //         log messages of the programs
mod map_source; //      maps of the object, or pinned ones
pub mod mapped; //      array maps in the memory of this process
pub mod object; //      the objects with the programs
pub mod pins; //        pins, and checks of pinned maps
pub mod private; //     directories that only this user can write
pub mod probe_path; //    health probes on the forwarding path of clients
pub mod probe_plane; //   separate data plane with one real at a time
pub mod sampler; //     tracing build of the programs, and its samples
pub mod shortage; //    hints for a lack of memory or descriptors
pub mod sign_reader; //  passive signs of the programs
pub mod tables; //      typed access to every map
pub mod tracer; //      second copy of the programs, which records its steps
mod versions; //        tables of two maps, one per IP version

pub use attach::{AttachError, Mode};
pub use dry_run_plane::DryRunPlane;
pub use flow_load::{FlowLoad, Moved};
pub use flow_scan::FlowScan;
pub use flow_table::Announced;
pub use limits::Limits;
pub use limits::OWN_ADDRESSES;
pub use load::{Beside, DataPlane, LoadError, Options};
pub use pins::PinDir;
pub use probe_plane::{Entry, ProbePlane, ProbePlaneError};
pub use sampler::{SampleReader, Sampled};
pub use tables::{Flow, FlowRecord, TableError, Tables};
pub use tracer::{Run, RunError, Tracer};
