// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reals, and their connection counts.
#![forbid(unsafe_code)]

use std::os::fd::AsFd as _;

use aya::maps::IterableMap as _;
use lb_common::{
    ids::RealId,
    schema::{Load, MapName, Real},
};

use super::{TableError, Tables, batch_failed, failed};
use crate::batch;

impl Tables {
    /// Returns the number of ids of reals, including id 0, which no real has.
    #[must_use]
    pub fn real_ids(&self) -> u32 {
        self.reals.len()
    }

    /// Returns every real with its id.
    pub fn reals(&self) -> Result<Vec<(RealId, Real)>, TableError> {
        let mut found = Vec::new();
        let each = |id: &u32, real: &Real| {
            if real.exists() {
                found.push((RealId(*id), *real));
            }
        };
        let fd = self.reals.map().fd().as_fd();
        batch::for_each(fd, each).map_err(batch_failed("read", MapName::Reals))?;
        Ok(found)
    }

    /// Returns the real with that id, if it exists.
    #[must_use]
    pub fn real(&self, id: RealId) -> Option<Real> {
        self.reals.get(&id.0, 0).ok().filter(Real::exists)
    }

    /// Writes a real; [`Real::default`] removes it.
    pub fn put_real(&mut self, id: RealId, real: &Real) -> Result<(), TableError> {
        self.reals.set(id.0, real, 0).map_err(failed("write", MapName::Reals))
    }

    /// Writes many reals.
    pub fn put_reals(&mut self, reals: &[(RealId, Real)]) -> Result<(), TableError> {
        let (ids, values): (Vec<u32>, Vec<Real>) = reals.iter().map(|(id, real)| (id.0, *real)).unzip();
        let fd = self.reals.map().fd().as_fd();
        batch::update(fd, &ids, &values).map_err(batch_failed("write", MapName::Reals))
    }

    /// Returns the connection counts of a real, as the programs maintain them.
    pub fn load(&self, real: RealId) -> Result<Load, TableError> {
        self.loads.get(&real.0, 0).map_err(failed("read", MapName::Loads))
    }

    /// Corrects the connection counts of a real.
    pub fn put_load(&mut self, real: RealId, load: &Load) -> Result<(), TableError> {
        self.loads.set(real.0, load, 0).map_err(failed("write", MapName::Loads))
    }
}
