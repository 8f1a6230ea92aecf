// SPDX-License-Identifier: MIT OR Apache-2.0
//! schemathesis, which tests the API by its document, in a Python environment in the target folder.

use std::process::Command;

use anyhow::{Context as _, Result};

use crate::{
    shell::{self, say},
    workspace,
};

const VERSION: &str = "4.32.5";

/// Installs schemathesis, if it is missing or of another version.
pub fn install() -> Result<()> {
    let folder = workspace::tools().join("schemathesis");
    let tool = folder.join("bin/schemathesis");
    if shell::ask(Command::new(&tool).arg("--version")).is_some_and(|said| said.trim().ends_with(VERSION)) {
        return Ok(());
    }
    say!("installing schemathesis {VERSION}: half a minute, once");
    let mut python = Command::new("python3");
    shell::run(python.args(["-m", "venv", "--clear"]).arg(&folder))
        .context("cannot make a Python environment")?;
    let mut pip = Command::new(folder.join("bin/pip"));
    let wanted = format!("schemathesis=={VERSION}");
    shell::run(pip.args(["install", "--quiet", "--disable-pip-version-check", &wanted]))
        .context("cannot install schemathesis")
}
