// SPDX-License-Identifier: MIT OR Apache-2.0
//! Larger tables while packets are forwarded: the maps that have flows are replaced by larger ones, which are filled
//! from them. The old and the new programs share all other maps. The new programs replace the attached ones.
#![forbid(unsafe_code)]

use super::Director;
use crate::api::types::Done;
use lb_control::state::FlowLimits;
use lb_dataplane::Limits;
use lb_model::failure::Failure;

impl Director {
    /// Enlarges the flow tables to `room`, now and at every later start. Services and flows continue.
    ///
    /// # Errors
    /// Wrong input if the tables would not grow. If the kernel has no memory for them, nothing has changed.
    pub fn resize(&mut self, room: FlowLimits) -> Result<Done, Failure> {
        let before = *self.maps.limits();
        let limits = Limits {
            flows: room.max_flows.unwrap_or(before.flows),
            flows6: room.max_flows6.unwrap_or(before.flows6),
            ..before
        };
        if limits.flows < before.flows || limits.flows6 < before.flows6 || limits == before {
            let Limits { flows, flows6, .. } = before;
            return Err(Failure::wrong_input(format!(
                "the tables hold {flows} IPv4 flows and {flows6} IPv6 flows, and can only grow"
            ))
            .hint("for smaller tables, change the config file, run `xvs detach`, and start again"));
        }
        if self.maps.takes_over() {
            return Err(Failure::failed("the flow table is replaced at this moment by one of another size")
                .hint("try again in a few seconds"));
        }
        let old = self.store.room();
        let room = FlowLimits {
            max_flows: room.max_flows.or(old.max_flows),
            max_flows6: room.max_flows6.or(old.max_flows6),
        };
        // The state comes first. If a crash follows, the next start completes the resize: the attached
        // programs determine which maps are in force.
        let prepared = self.store.prepare_room(room)?;
        self.end_traces("the tables are resized");
        // The thread of the health checks must not load its program from a mixture of old and new pins.
        let pins = self.health.pins().clone();
        let _alone = pins.hold();
        let mut plane = self.maps.enlarged(limits)?;
        let attached = self.attachments.attach_other(&mut plane).map_err(Failure::from);
        if let Err(failure) = attached.and_then(|()| self.store.commit_room(prepared, room)) {
            self.attachments.attach_back(self.maps.plane());
            self.maps.abandon(plane)?;
            return Err(failure);
        }
        self.maps.switch_to(plane, limits)?;
        let line = format!("the tables hold {} IPv4 flows and {} IPv6 flows", limits.flows, limits.flows6);
        tracing::info!("{line}");
        Ok(Done { changes: vec![line], warnings: Vec::new() })
    }
}
