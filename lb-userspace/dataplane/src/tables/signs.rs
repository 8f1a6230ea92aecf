// SPDX-License-Identifier: MIT OR Apache-2.0
//! Passive signs.
#![forbid(unsafe_code)]

use aya::maps::Map;
use lb_common::schema::MapName;

use super::{TableError, Tables, batch_failed};
use crate::sign_reader::SignReader;

impl Tables {
    /// Returns a reader of the passive signs that is independent of these tables. The map keeps its size, so that the
    /// reader outlives a resize.
    ///
    /// # Errors
    /// If the map cannot be mapped.
    pub fn sign_reader(&self) -> Result<SignReader, TableError> {
        let Map::Array(signs) = &self.signs else { return Err(TableError::Missing(MapName::Signs.as_str())) };
        SignReader::new(signs.fd()).map_err(batch_failed("map", MapName::Signs))
    }
}
