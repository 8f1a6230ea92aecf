// SPDX-License-Identifier: MIT OR Apache-2.0
//! The daemon: the only writer of the configuration in the maps.

mod announced; //           connections that directors announce
mod attachments; //         interfaces that the programs are attached to
pub(crate) mod change; //   effect of a change on the services
mod claim; //               VIPs in use by other machines
mod compare; //             the config file and the running state
mod confirm; //             configs that revert unless they are confirmed
mod connections; //         tracked connections
mod count; //               long reads without the lock
mod detach; //              removal of a stopped daemon's data plane
pub(crate) mod director; // the services, and all that follows from them
pub(crate) mod dirty; //    pending changes of the network
mod doctor; //              examination by the doctor
mod examiner; //            findings and probes of the doctor
mod explain; //             `xvs explain`
pub mod flow_growth; //     growth and shrinking of the flow table
pub mod follow; //          services of the kernel's IPVS
pub(crate) mod health; //   health of reals by checks
mod held; //               holders of the lock that take long
mod history; //             revisions of the config
mod impact; //              effect of a planned change on connections
mod ipvs; //                `xvs ipvsadm`
mod lifecycle; //           start and end
mod listed; //              rates, and counts since `-Z`
pub mod live; //            data of live views
pub(crate) mod lock; //     lock of the pin directory
mod lost_sends; //          packets that drivers fail to send
mod maps; //                the data plane and the contents of its maps
mod network; //             next hops and the director's addresses
mod next_hop_log; //        log of next-hop changes
pub(crate) mod notify; //   programs and a FIFO that are told of events
mod origin; //              config file, and changes since
pub mod outcomes; //        counts of changes, and of reads of the config file
mod part; //               changes of a few services
mod plan; //                changes that a config would make
pub mod readiness; //       whether the director can take over traffic
pub mod ready_file; //      what keepalived reads of it
mod refresh; //             updates after changes of the network
mod report; //              status and counters
mod resize; //              larger tables at run time
mod saver; //              the state file and its journal
pub mod scrape; //          data of a metrics scrape
mod shared; //              the director and its snapshots for the servers
mod snapshot; //            data for readers without the lock
mod store; //               the state and its file
mod sweep; //               removal of ended flows, and of leaving reals without any
pub mod sync; //            announcements of connections
mod timeouts; //            timeouts of idle flows
mod together; //            atomic batches of changes
pub mod trace; //           traces of packets
mod tracking; //            refusal of tracking changes that lose flows
mod vips; //                VIPs of the director and of other machines
mod zero; //                `ipvsadm -Z`

pub use confirm::revert_in_time;
pub use connections::{connections, cut};
pub use count::count_flows;
pub use detach::{detach, remove_guard};
pub use director::Director;
pub use doctor::examine;
pub(crate) use ipvs::apply;
pub use lock::PinLock;
pub use shared::Shared;
pub use snapshot::Snapshot;
