// SPDX-License-Identifier: MIT OR Apache-2.0
//! The object with the programs, which the binary `xvs` embeds, for tests that load them without it.

use std::{fs, sync::LazyLock};

use lb_dataplane::object;

use crate::artifacts;

static OBJECT: LazyLock<Vec<u8>> =
    LazyLock::new(|| fs::read(artifacts::programs()).expect("an existing file can be read"));

/// Provides the object to this process.
///
/// # Panics
/// If the programs were not built.
pub fn provide() {
    object::provide(&OBJECT);
}
