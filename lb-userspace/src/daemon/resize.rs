// SPDX-License-Identifier: MIT OR Apache-2.0
//! Larger tables while packets are forwarded: new maps are filled from the old ones, and the programs over them take the place
//! of those that are attached.
#![forbid(unsafe_code)]

use super::{Director, director::maps_failed, evicted::Evictions};
use crate::{
    api::types::Done,
    control::state::Room,
    dataplane::{AttachError, DataPlane, LoadError, Options, TableError},
    failure::Failure,
};

/// Why there are no others.
enum Stuck {
    Load(LoadError),
    Table(TableError),
    Attach(AttachError),
}

impl From<Stuck> for Failure {
    fn from(stuck: Stuck) -> Self {
        match stuck {
            Stuck::Load(error) => error.into(),
            Stuck::Table(error) => maps_failed(&error),
            Stuck::Attach(error) => error.into(),
        }
    }
}

impl Director {
    /// Gives the tables room for as many flows as `room` says, now and at every later start. Services and flows go on.
    ///
    /// # Errors
    /// Wrong input if that is what they have; if the kernel has no room for them, all is as it was.
    pub fn resize(&mut self, room: Room) -> Result<Done, Failure> {
        let limits = crate::dataplane::Limits {
            flows: room.max_flows.unwrap_or(self.limits.flows),
            flows6: room.max_flows6.unwrap_or(self.limits.flows6),
            ..self.limits
        };
        if limits.flows < self.limits.flows || limits.flows6 < self.limits.flows6 || limits == self.limits {
            let (flows, flows6) = (self.limits.flows, self.limits.flows6);
            return Err(Failure::wrong_input(format!(
                "the tables have room for {flows} flows and {flows6} of IPv6, and can only be made larger"
            ))
            .hint("smaller ones: the config file, `xvs detach` and a new start"));
        }
        let pins_failed = |error: crate::dataplane::pins::PinError| Failure::from(LoadError::from(error));
        self.pins.put_maps_aside().map_err(pins_failed)?;
        let options = Options { limits, ..self.loaded_with() };
        let mut plane = match self.replacement(&options) {
            Ok(plane) => plane,
            Err(stuck) => {
                // Interfaces that have the new programs get the old ones again.
                for (index, name) in &self.interfaces {
                    if let Err(error) = self.plane.attach(name, *index, self.mode) {
                        tracing::error!(interface = name, %error, "the program is not attached any more");
                    }
                }
                self.pins.take_maps_back().map_err(pins_failed)?;
                return Err(stuck.into());
            }
        };
        std::mem::swap(&mut self.plane, &mut plane);
        // Flows that began meanwhile are in the old ones.
        self.plane.tables().copy_flows(plane.tables()).map_err(|error| maps_failed(&error))?;
        self.limits = limits;
        self.tracer = None;
        self.evictions = Evictions::default();
        let old = self.state.room;
        self.state.room = Room {
            max_flows: room.max_flows.or(old.max_flows),
            max_flows6: room.max_flows6.or(old.max_flows6),
        };
        self.save_as_is()?;
        self.plane.pin_program().map_err(pins_failed)?;
        self.pins.remove_aside().map_err(pins_failed)?;
        let line = format!("there is room for {} flows and {} of IPv6", limits.flows, limits.flows6);
        tracing::info!("{line}");
        Ok(Done { changes: vec![line], warnings: Vec::new() })
    }

    /// The programs over maps of other sizes, filled from those of now, and attached in place of those of now.
    fn replacement(&mut self, options: &Options) -> Result<DataPlane, Stuck> {
        let mut plane = DataPlane::load(options).map_err(Stuck::Load)?;
        let (tables, live) = (plane.tables(), self.plane.tables());
        let dips = [false, true].map(|six| self.state.dips.table(six));
        tables
            .copy_services(live)
            .and_then(|()| tables.copy_reasons(live))
            .and_then(|()| tables.put_dips(&dips[0], &dips[1]))
            .and_then(|()| self.interfaces.keys().try_for_each(|index| tables.put_device(*index)))
            .and_then(|()| tables.copy_flows(live))
            .map_err(Stuck::Table)?;
        for (index, name) in &self.interfaces {
            plane.attach(name, *index, self.mode).map_err(Stuck::Attach)?;
        }
        Ok(plane)
    }
}
