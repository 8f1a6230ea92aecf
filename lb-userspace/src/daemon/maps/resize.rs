// SPDX-License-Identifier: MIT OR Apache-2.0
//! Larger maps: a second data plane whose flow tables are larger and filled from those in force. Both share all
//! other maps.
#![forbid(unsafe_code)]

use super::{Maps, maps_failed};
use lb_dataplane::{DataPlane, Limits, LoadError, Options, TableError, pins::PinError};
use lb_model::failure::{Failure, chain};

/// Reason why the larger maps could not be made.
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

pub(super) fn pins_failed(error: PinError) -> Failure {
    LoadError::from(error).into()
}

impl Maps {
    /// Loads programs over the maps that keep their size and over new, larger maps, and fills the new ones. Its
    /// programs are not attached yet.
    ///
    /// # Errors
    /// If the kernel refuses, for instance because it has no memory; nothing has changed.
    pub(in super::super) fn enlarged(&mut self, limits: Limits) -> Result<DataPlane, Failure> {
        self.pins.put_maps_aside(&self.limits, &limits).map_err(pins_failed)?;
        let options = Options { limits, ..self.options() };
        match self.replacement(&options) {
            Ok(mut plane) => {
                // The maps have the services: the guard is replaced together with the program.
                plane.guard_interfaces(std::iter::empty());
                Ok(plane)
            }
            Err(stuck) => {
                self.pins.take_maps_back().map_err(pins_failed)?;
                Err(stuck.into())
            }
        }
    }

    fn replacement(&mut self, options: &Options) -> Result<DataPlane, Stuck> {
        let mut plane = DataPlane::load(options).map_err(Stuck::Load)?;
        plane.tables().copy_connections(self.plane.tables()).map_err(Stuck::Table)?;
        Ok(plane)
    }

    /// Gives up a data plane from [`Self::enlarged`], after the programs in force are attached again: copies the
    /// flows that began there.
    ///
    /// # Errors
    /// If the pins cannot be put back.
    pub(in super::super) fn abandon(&mut self, mut other: DataPlane) -> Result<(), Failure> {
        if let Err(error) = self.plane.tables().copy_connections(other.tables()) {
            tracing::error!(error = chain(&error), "some of the last flows are lost");
        }
        self.pins.take_maps_back().map_err(pins_failed)
    }

    /// Puts a data plane from [`Self::enlarged`] in force, whose programs are attached.
    ///
    /// # Errors
    /// If the last flows cannot be copied, or the pins cannot be changed.
    pub(in super::super) fn switch_to(&mut self, plane: DataPlane, limits: Limits) -> Result<(), Failure> {
        let mut old = std::mem::replace(&mut self.plane, plane);
        self.limits = limits;
        self.tracer = None;
        self.evictions.begin_again();
        self.steady.clear();
        // Flows that began meanwhile are in the old maps.
        self.plane.tables().copy_connections(old.tables()).map_err(|error| maps_failed(&error))?;
        self.plane.pin_program().map_err(pins_failed)?;
        self.pins.remove_aside().map_err(pins_failed)
    }
}
