// SPDX-License-Identifier: MIT OR Apache-2.0
//! Larger tables while packets are forwarded: the maps that have flows are replaced by larger ones, which are filled
//! from them. The old and the new programs share all other maps. The new programs replace the attached ones.
#![forbid(unsafe_code)]

use super::{Director, director::maps_failed, evicted::Evictions};
use crate::api::types::Done;
use lb_control::state::Room;
use lb_dataplane::{DataPlane, LoadError, Options, TableError};
use lb_model::failure::{Failure, chain};

/// Reason why the larger tables could not be made.
enum Stuck {
    Load(LoadError),
    Table(TableError),
}

impl From<Stuck> for Failure {
    fn from(stuck: Stuck) -> Self {
        match stuck {
            Stuck::Load(error) => error.into(),
            Stuck::Table(error) => maps_failed(&error),
        }
    }
}

impl Director {
    /// Enlarges the flow tables to `room`, now and at every later start. Services and flows continue.
    ///
    /// # Errors
    /// Wrong input if the tables would not grow. If the kernel has no memory for them, nothing has changed.
    pub fn resize(&mut self, room: Room) -> Result<Done, Failure> {
        let limits = lb_dataplane::Limits {
            flows: room.max_flows.unwrap_or(self.limits.flows),
            flows6: room.max_flows6.unwrap_or(self.limits.flows6),
            ..self.limits
        };
        if limits.flows < self.limits.flows || limits.flows6 < self.limits.flows6 || limits == self.limits {
            let (flows, flows6) = (self.limits.flows, self.limits.flows6);
            return Err(Failure::wrong_input(format!(
                "the tables hold {flows} IPv4 flows and {flows6} IPv6 flows, and can only grow"
            ))
            .hint("for smaller tables, change the config file, run `xvs detach`, and start again"));
        }
        let pins_failed = |error: lb_dataplane::pins::PinError| Failure::from(LoadError::from(error));
        let old = self.store.room();
        let room = Room {
            max_flows: room.max_flows.or(old.max_flows),
            max_flows6: room.max_flows6.or(old.max_flows6),
        };
        // The state comes first. If a crash follows, the next start completes the resize: the attached
        // programs determine which maps are in force.
        let prepared = self.store.prepare_room(room)?;
        self.pins.put_maps_aside(&self.limits, &limits).map_err(pins_failed)?;
        let options = Options { limits, ..self.loaded_with() };
        let mut plane = match self.replacement(&options) {
            Ok(plane) => plane,
            Err(stuck) => {
                self.pins.take_maps_back().map_err(pins_failed)?;
                return Err(stuck.into());
            }
        };
        // The maps have the services: the guard is replaced together with the program.
        plane.guard_interfaces(std::iter::empty());
        let attached = self
            .interfaces
            .iter()
            .try_for_each(|(index, name)| plane.attach(name, *index, self.mode).map(drop));
        let done = attached.map_err(Failure::from).and_then(|()| self.store.commit_room(prepared, room));
        if let Err(failure) = done {
            self.go_back(&mut plane);
            self.pins.take_maps_back().map_err(pins_failed)?;
            return Err(failure);
        }
        std::mem::swap(&mut self.plane, &mut plane);
        self.limits = limits;
        self.tracer = None;
        self.evictions = Evictions::default();
        // Flows that began meanwhile are in the old maps.
        self.plane.tables().copy_connections(plane.tables()).map_err(|error| maps_failed(&error))?;
        self.plane.pin_program().map_err(pins_failed)?;
        self.pins.remove_aside().map_err(pins_failed)?;
        let line = format!("the tables hold {} IPv4 flows and {} IPv6 flows", limits.flows, limits.flows6);
        tracing::info!("{line}");
        Ok(Done { changes: vec![line], warnings: Vec::new() })
    }

    /// Puts the programs back into the links that hold those of `other`, and copies the flows that began there.
    fn go_back(&mut self, other: &mut DataPlane) {
        for (index, name) in &self.interfaces {
            if let Err(error) = self.plane.attach(name, *index, self.mode) {
                tracing::error!(
                    interface = name,
                    error = chain(&error),
                    "the program is not attached any more"
                );
            }
        }
        if let Err(error) = self.plane.tables().copy_connections(other.tables()) {
            tracing::error!(error = chain(&error), "some of the last flows are lost");
        }
    }

    /// Loads programs over the maps that keep their size and over new, larger maps, and fills the new ones.
    fn replacement(&mut self, options: &Options) -> Result<DataPlane, Stuck> {
        let mut plane = DataPlane::load(options).map_err(Stuck::Load)?;
        plane.tables().copy_connections(self.plane.tables()).map_err(Stuck::Table)?;
        Ok(plane)
    }
}
