// SPDX-License-Identifier: MIT OR Apache-2.0
//! The objects with the programs, which the binary `xvs` embeds, for tests that load them without it.

use std::{fs, path::PathBuf, sync::LazyLock};

use lb_dataplane::object::{self, Objects};

use crate::artifacts;

static PROGRAMS: LazyLock<Vec<u8>> = LazyLock::new(|| read(artifacts::programs()));
static TRACING: LazyLock<Vec<u8>> = LazyLock::new(|| read(artifacts::tracing()));

fn read(path: PathBuf) -> Vec<u8> {
    fs::read(path).expect("an existing file can be read")
}

/// Provides the objects to this process.
///
/// # Panics
/// If the programs were not built.
pub fn provide() {
    object::provide(Objects { programs: &PROGRAMS, tracing: &TRACING });
}
