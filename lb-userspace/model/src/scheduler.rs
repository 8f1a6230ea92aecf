// SPDX-License-Identifier: MIT OR Apache-2.0
//! Numbers of the schedulers in the XDP programs.

use lb_common::schema;

use crate::Scheduler;

impl Scheduler {
    /// Returns the number of the scheduler in the programs.
    #[must_use]
    pub const fn programs(self) -> schema::Scheduler {
        match self {
            Self::Mh => schema::Scheduler::Mh,
            Self::Sh => schema::Scheduler::Sh,
            Self::Dh => schema::Scheduler::Dh,
            Self::Rr | Self::Wrr => schema::Scheduler::Rotate,
            Self::Lc => schema::Scheduler::Lc,
            Self::Wlc => schema::Scheduler::Wlc,
            Self::Sed => schema::Scheduler::Sed,
            Self::Nq => schema::Scheduler::Nq,
            Self::Fo => schema::Scheduler::Fo,
            Self::Ovf => schema::Scheduler::Ovf,
            Self::Twos => schema::Scheduler::Twos,
            Self::Lblc => schema::Scheduler::Lblc,
            Self::Lblcr => schema::Scheduler::Lblcr,
        }
    }
}
