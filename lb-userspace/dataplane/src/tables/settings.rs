// SPDX-License-Identifier: MIT OR Apache-2.0
//! Schema, timeouts, tail calls and devices.
#![forbid(unsafe_code)]

use std::io;

use aya::programs::ProgramFd;
use lb_common::{
    ids::IfIndex,
    schema::{MapName, Program, Timeouts},
};

use super::{TableError, Tables, batch_failed, failed};

impl Tables {
    pub(crate) fn set_schema(&mut self, version: u32) -> Result<(), TableError> {
        self.schema.set(0, version, 0).map_err(failed("write", MapName::Schema))
    }

    /// Returns the timeouts of idle flows.
    pub fn timeouts(&self) -> Result<Timeouts, TableError> {
        self.timeouts.get(&0, 0).map_err(failed("read", MapName::Timeouts))
    }

    /// Sets the timeouts of idle flows.
    pub fn put_timeouts(&mut self, timeouts: &Timeouts) -> Result<(), TableError> {
        self.timeouts.set(0, timeouts, 0).map_err(failed("write", MapName::Timeouts))?;
        self.flows.put_timeouts(timeouts)
    }

    /// Sets the target of a tail call.
    pub(crate) fn put_program(&mut self, program: Program, fd: &ProgramFd) -> Result<(), TableError> {
        self.programs.set(program as u32, fd, 0).map_err(failed("write", MapName::Programs))
    }

    /// Allows redirecting to a device.
    pub fn put_device(&mut self, ifindex: IfIndex) -> Result<(), TableError> {
        self.devices
            .insert(ifindex.0, ifindex.0, None, 0)
            .map_err(|error| batch_failed("write", MapName::Devices)(io::Error::other(error)))
    }

    /// Sets the bond or team of which a device is a member.
    pub fn put_controller(&mut self, member: IfIndex, controller: IfIndex) -> Result<(), TableError> {
        self.controllers.insert(member, controller, 0).map_err(failed("write", MapName::Controllers))
    }
}
