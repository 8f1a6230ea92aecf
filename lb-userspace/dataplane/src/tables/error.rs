// SPDX-License-Identifier: MIT OR Apache-2.0
//! Errors of maps.
#![forbid(unsafe_code)]

use std::io;

use aya::maps::MapError;
use thiserror::Error;

/// Reason why a map cannot be read or written.
#[derive(Debug, Error)]
pub enum TableError {
    /// The map is missing: the object, or the folder of pins, is not of this version.
    #[error("there is no map {0}")]
    Missing(&'static str),
    /// The kernel refused an operation.
    #[error("cannot {doing} {map}")]
    Map {
        /// Name of the map.
        map: &'static str,
        /// Operation.
        doing: &'static str,
        /// Error of the kernel.
        source: MapError,
    },
    /// A batch could not be read or written.
    #[error("cannot {doing} {map}")]
    Batch {
        /// Name of the map.
        map: &'static str,
        /// Operation.
        doing: &'static str,
        /// Error of the kernel.
        source: io::Error,
    },
}

/// Converts a [`MapError`] to a [`TableError`].
pub(crate) fn failed(doing: &'static str, map: impl Into<&'static str>) -> impl Fn(MapError) -> TableError {
    let map = map.into();
    move |source| TableError::Map { map, doing, source }
}

/// Converts the error of a system call to a [`TableError`].
pub(crate) fn batch_failed(
    doing: &'static str,
    map: impl Into<&'static str>,
) -> impl Fn(io::Error) -> TableError {
    let map = map.into();
    move |source| TableError::Batch { map, doing, source }
}

/// Treats `ENOENT` on delete as success.
pub(crate) fn gone(result: Result<(), MapError>) -> Result<(), MapError> {
    match result {
        Err(MapError::SyscallError(e)) if e.io_error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
