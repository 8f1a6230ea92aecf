// SPDX-License-Identifier: MIT OR Apache-2.0
//! The daemon: the one writer of the tables.

mod attach; //   interfaces, also those that come back
mod change; //   what an operator's change does to the services
mod count; //    flows by real
mod director; // services, maps, neighbours and VIPs in step
mod lock; //     one daemon per pin directory
mod report; //   what the daemon tells
mod run;
mod sweep; //    ended flows and settled slots //      the life of the daemon

pub use director::Director;
pub use lock::PinLock;
pub use run::{RunOptions, detach, run};
