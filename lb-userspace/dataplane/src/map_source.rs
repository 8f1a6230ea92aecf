// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sources of maps: the loaded object, or the pins of an earlier run.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use aya::{
    Ebpf,
    maps::{Map, MapData, MapError},
};

use super::tables::{TableError, failed};

/// A collection of maps by name.
pub(super) trait MapSource {
    /// Takes a map.
    ///
    /// # Errors
    /// [`TableError::Missing`] if there is none of that name.
    fn take_map(&mut self, name: &'static str) -> Result<Map, TableError>;
}

impl MapSource for Ebpf {
    fn take_map(&mut self, name: &'static str) -> Result<Map, TableError> {
        Self::take_map(self, name).ok_or(TableError::Missing(name))
    }
}

/// A folder of pinned maps.
pub(super) struct PinnedMaps(pub PathBuf);

impl MapSource for PinnedMaps {
    fn take_map(&mut self, name: &'static str) -> Result<Map, TableError> {
        let path = self.0.join(name);
        if !path.exists() {
            return Err(TableError::Missing(name));
        }
        MapData::from_pin(path).and_then(Map::from_map_data).map_err(failed("open", name))
    }
}

/// Takes a map and converts it to its type.
///
/// # Errors
/// [`TableError`] if there is none of that name, or it has another type.
pub(super) fn take<T: TryFrom<Map, Error = MapError>>(
    maps: &mut impl MapSource,
    name: impl Into<&'static str>,
) -> Result<T, TableError> {
    let name = name.into();
    maps.take_map(name)?.try_into().map_err(failed("open", name))
}
