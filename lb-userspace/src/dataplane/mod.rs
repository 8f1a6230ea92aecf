// SPDX-License-Identifier: MIT OR Apache-2.0
//! The data plane as userspace sees it: load, pin, attach, replace, and the tables.

pub mod attach; // interfaces
mod batch; //      reading large maps
pub mod clock; //  the programs' clock
mod copy; //       tables that become what others are
pub mod decap; //  the decapsulator of real servers
pub mod flow_reader; // a walk over all flows
mod guard; //      what keeps packets of services from the stack where no program is attached
mod limits; //     how much the tables hold
pub mod links; //  attachments of others
pub mod load; //   the object becomes maps and programs, or pinned ones are adopted
pub mod log; //    what the programs have to say
mod map_source; // the object's maps, or pinned ones
pub mod pins; //   where they are pinned, and whether what is pinned is what this version knows
pub mod private; // directories of this user alone
pub mod rehearsal; // a data plane of its own, to try a change in
pub mod shortage; // what is short when there is no room
pub mod single; // a data plane of its own that knows one real at a time
pub mod tables; // typed access to every map
pub mod tracer; // a second copy of the programs, that tells what it does
mod versions; //   a table of two maps, one for each version of IP

pub use attach::{AttachError, Mode};
pub use limits::Limits;
pub(crate) use limits::OWN_ADDRESSES;
pub use load::{DataPlane, LoadError, Options};
pub use pins::PinDir;
pub use rehearsal::Rehearsal;
pub use single::{Entry, Single, SingleError};
pub use tables::{FlowRecord, TableError, Tables, reply_of};
pub use tracer::{Run, RunError, Tracer};

/// The programs, as `cargo xtask build-ebpf` built them.
pub(crate) static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/xvs.bpf.o"));
