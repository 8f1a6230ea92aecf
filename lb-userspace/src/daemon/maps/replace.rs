// SPDX-License-Identifier: MIT OR Apache-2.0
//! A flow table of another size: programs with a new table, which replace those in force. All other maps stay.
#![forbid(unsafe_code)]

use std::mem;

use super::{Maps, maps_failed, resize::pins_failed};
use lb_dataplane::{Beside, DataPlane, FlowLoad, Limits, Options};
use lb_model::failure::Failure;

impl Maps {
    /// Returns the load of the flow table.
    pub(in super::super) fn flow_load(&mut self) -> FlowLoad {
        self.plane.tables().flow_load()
    }

    /// Returns whether flows move here from the table before.
    pub(in super::super) fn takes_over(&mut self) -> bool {
        self.plane.tables().takes_over()
    }

    /// Returns the options of programs with a new flow table.
    ///
    /// # Errors
    /// If there can be no pins for it.
    pub(in super::super) fn options_for(&self, places: u32) -> Result<Options, Failure> {
        self.pins.prepare_new_maps().map_err(pins_failed)?;
        let limits = Limits { flow_places: Some(places), ..self.limits };
        Ok(Options { limits, beside: Some(Beside::NewFlowTable), ..self.options() })
    }

    /// Returns the options of programs with the maps in force.
    pub(in super::super) fn options_for_same(&self) -> Options {
        Options { beside: Some(Beside::SameMaps), ..self.options() }
    }

    /// Returns whether programs with these options can replace those in force: nothing else has changed.
    pub(in super::super) fn are_current(&self, options: &Options) -> bool {
        let limits = Limits { flow_places: self.limits.flow_places, ..options.limits };
        limits == self.limits && options.settings == Some(self.settings)
    }

    /// Prepares a data plane with a new flow table to be attached: its flows are those in force from now on.
    ///
    /// # Errors
    /// If a map cannot be written.
    pub(in super::super) fn hand_over_to(&mut self, plane: &mut DataPlane) -> Result<(), Failure> {
        plane.tables().replace_flows(self.plane.tables()).map_err(|error| maps_failed(&error))
    }

    /// Gives up a new flow table that is not attached.
    pub(in super::super) fn give_up_new_maps(&self) -> Result<(), Failure> {
        self.pins.remove_new_maps().map_err(pins_failed)
    }

    /// Puts a data plane with a new flow table in force, whose programs are attached.
    ///
    /// # Errors
    /// If a pin cannot be changed.
    pub(in super::super) fn replace_flow_table(
        &mut self,
        plane: DataPlane,
        options: &Options,
    ) -> Result<(), Failure> {
        self.limits = options.limits;
        self.replace_programs(plane)?;
        self.pins.adopt_new_maps().map_err(pins_failed)
    }

    /// Puts a data plane with the same maps in force, whose programs are attached.
    ///
    /// # Errors
    /// If the program cannot be pinned.
    pub(in super::super) fn replace_programs(&mut self, mut plane: DataPlane) -> Result<(), Failure> {
        plane.tables().share_numbers(self.plane.tables());
        drop(mem::replace(&mut self.plane, plane));
        self.tracer = None;
        self.plane.pin_program().map_err(pins_failed)
    }

    /// Ends the search in the table before.
    ///
    /// # Errors
    /// If a map or a pin cannot be changed.
    pub(in super::super) fn end_take_over(&mut self) -> Result<(), Failure> {
        self.plane.tables().end_take_over().map_err(|error| maps_failed(&error))?;
        self.pins.remove_flows_before().map_err(pins_failed)
    }
}
