// SPDX-License-Identifier: MIT OR Apache-2.0
//! How full the flow table is, and the move of its flows into a larger or a smaller one.
#![forbid(unsafe_code)]

use lb_common::{flow_table::Seen, ticks::Tick};

use super::flow_table::{FlowMemory, FlowTable};

/// The load of a flow table, independent of [`super::Tables`].
#[derive(Clone, Debug)]
pub struct FlowLoad(FlowMemory);

/// The result of a move of flows.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Moved {
    /// Number of flows that were in the table before.
    pub flows: usize,
    /// Number of those that found no place in the new table.
    pub lost: usize,
}

impl FlowLoad {
    pub(super) fn new(flows: &FlowTable) -> Self {
        Self(flows.memory())
    }

    /// Returns the number of flows with an entry, by the connection counts of the reals: the time for this does not depend
    /// on the size of the table.
    #[must_use]
    pub fn living(&self) -> u64 {
        self.0.living()
    }

    /// Returns the number of places.
    #[must_use]
    pub fn places(&self) -> u32 {
        self.0.places()
    }

    /// Moves the flows of the table before into this one, while packets are forwarded. A flow that a packet changes
    /// meanwhile stays in both tables, and moves the next time.
    #[must_use]
    pub fn take_over(&self, now: Tick) -> Moved {
        let (flows, lost) = self.0.take_over(Seen::of(now));
        Moved { flows, lost }
    }
}
