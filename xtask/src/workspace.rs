// SPDX-License-Identifier: MIT OR Apache-2.0
//! Paths of the workspace.

use std::path::{Path, PathBuf};

/// Returns the folder of the workspace's Cargo.toml.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is a folder of the workspace")
}

/// Returns cargo's target folder, which also keeps the tools and the programs that only this project uses.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// Returns the root folder of the tools that `setup` builds.
pub fn tools() -> PathBuf {
    target().join("tools")
}
