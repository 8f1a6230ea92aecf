// SPDX-License-Identifier: MIT OR Apache-2.0
//! cargo-fuzz, kept in the target folder.

use std::{path::PathBuf, process::Command};

use anyhow::{Context as _, Result};

use crate::{
    shell::{self, say},
    workspace,
};

const VERSION: &str = "0.13.2";

/// Returns the path of cargo-fuzz; builds it if it is missing or of another version.
pub fn find_or_build() -> Result<PathBuf> {
    let tool = workspace::tools().join("bin/cargo-fuzz");
    if !shell::ask(Command::new(&tool).arg("--version")).is_some_and(|said| said.ends_with(VERSION)) {
        say!("building cargo-fuzz {VERSION}: half a minute, once");
        let mut install = shell::cargo();
        install.args(["install", "cargo-fuzz", "--locked", "--force", "--version", VERSION, "--root"]);
        shell::run(install.arg(workspace::tools())).context("cannot build cargo-fuzz")?;
    }
    Ok(tool)
}
