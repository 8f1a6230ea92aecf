// SPDX-License-Identifier: MIT OR Apache-2.0
//! The generation: it invalidates the per-CPU caches while services, addresses and sources change.
#![forbid(unsafe_code)]

use std::sync::atomic::{Ordering, fence};

use lb_common::schema::MapName;

use super::{TableError, Tables, failed};

impl Tables {
    /// Invalidates the per-CPU caches of services, addresses and sources until [`Tables::settle`].
    pub(super) fn unsettle(&mut self) -> Result<(), TableError> {
        if !self.changing {
            self.turn_generation(1)?;
            self.changing = true;
        }
        Ok(())
    }

    /// Allows CPUs to cache services, addresses and sources again. Must be called after the last write of a
    /// change; until then packets take longer.
    pub fn settle(&mut self) -> Result<(), TableError> {
        self.turn_generation(0)?;
        self.changing = false;
        Ok(())
    }

    /// Increments the generation, if its parity differs from `odd`.
    fn turn_generation(&mut self, odd: u64) -> Result<(), TableError> {
        let generation = self.generation.get(&0, 0).map_err(failed("read", MapName::Generation))?;
        if generation & 1 == odd {
            return Ok(());
        }
        // On every CPU, the writes to the tables must be visible before the new generation.
        fence(Ordering::SeqCst);
        self.generation
            .set(0, generation.wrapping_add(1), 0)
            .map_err(failed("write", MapName::Generation))?;
        fence(Ordering::SeqCst);
        Ok(())
    }
}
