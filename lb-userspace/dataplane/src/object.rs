// SPDX-License-Identifier: MIT OR Apache-2.0
//! The object with the programs.
//!
//! The binary embeds it and passes it on, so that this library compiles before the programs are built, and is not
//! compiled again when they change.

use std::sync::OnceLock;

static OBJECT: OnceLock<&[u8]> = OnceLock::new();

/// Provides the object that `cargo xtask build-ebpf` built, aligned to 8 bytes. Only the first call has an effect.
pub fn provide(object: &'static [u8]) {
    OBJECT.get_or_init(|| object);
}

/// Returns the object.
///
/// # Panics
/// If the process has provided none.
pub(super) fn object() -> &'static [u8] {
    OBJECT.get().expect("the process provides the object before it loads programs")
}
