// SPDX-License-Identifier: MIT OR Apache-2.0
//! The daemon: the one writer of the tables.

mod attach; //   interfaces, also those that come back
pub(crate) mod change; //   what an operator's change does to the services
mod claim; //    addresses that other machines have
mod connections; // those that are written down
mod count; //    flows by real
mod detach; //   taking the data plane of a stopped daemon off
pub(crate) mod director; // services, maps, neighbours and VIPs in step
pub(crate) mod dirty; //    what changed in the network and is to be looked at
mod doctor; //   what the doctor is to know, and what it found
mod evicted; //  flows that the tables forgot before their time
mod explain; //  for xvs explain
mod ipvs; //     for xvs ipvsadm
pub(crate) mod lock; //     one daemon per pin directory
mod lost_sends; // packets that drivers do not send
mod network; //  next hops and VIPs in step with the network
mod report; //   what the daemon tells
mod resize; //   larger tables
mod roles; //    what a host is to this director
pub mod scrape; // what a scrape of the metrics tells
mod sweep; //    ended flows and settled slots
mod together; // changes that are made all or none
mod told; //     what the log has told of the ways to reals
mod tracking; // whether a change of how flows are tracked would lose some
mod zero; //     ipvsadm -Z

pub use connections::connections;
pub use count::count_flows;
pub use detach::{detach, remove_guard};
pub use director::Director;
pub use doctor::examine;
pub(crate) use ipvs::apply;
pub use lock::PinLock;

/// The director, shared by its servers.
pub type Shared = std::sync::Arc<tokio::sync::Mutex<Director>>;
