// SPDX-License-Identifier: MIT OR Apache-2.0
//! The objects with the programs.
//!
//! The binary embeds them and passes them on, so that this library compiles before the programs are built, and is not
//! compiled again when they change.

use std::sync::OnceLock;

/// The objects that `cargo xtask build-ebpf` builds, each aligned to 8 bytes.
#[derive(Clone, Copy, Debug)]
pub struct Objects {
    /// The programs.
    pub programs: &'static [u8],
    /// The tracing build of the programs, which takes samples of packets.
    pub tracing: &'static [u8],
}

static OBJECTS: OnceLock<Objects> = OnceLock::new();

/// Provides the objects. Only the first call has an effect.
pub fn provide(objects: Objects) {
    OBJECTS.get_or_init(|| objects);
}

/// Returns the objects.
///
/// # Panics
/// If the process has provided none.
pub(super) fn objects() -> &'static Objects {
    OBJECTS.get().expect("the process provides the objects before it loads programs")
}
