// SPDX-License-Identifier: MIT OR Apache-2.0
//! axe-core, which finds faults of accessibility in a page. It is kept in the target folder.

use std::{fs, process::Command};

use anyhow::{Context as _, Result, ensure};

use super::packages;
use crate::{
    shell::{self, say},
    workspace,
};

/// Version of the package.
const VERSION: &str = "4.10.3";

/// SHA-256 of the script in the package.
const HASH: &str = "880970c081707360e64f34cea25ff91892f5bc95675b0776925b9709dd8a68bb";

/// Fetches the script by npm, unless it is here.
pub fn find_or_fetch() -> Result<()> {
    let folder = workspace::tools().join("axe-core");
    let script = folder.join("package/axe.min.js");
    if hash(&script).is_some_and(|hash| hash == HASH) {
        return Ok(());
    }
    if shell::ask(Command::new("npm").arg("--version")).is_none() {
        packages::install(&["npm"])?;
    }
    say!("fetching axe-core {VERSION}");
    fs::create_dir_all(&folder)?;
    let mut pack = Command::new("npm");
    pack.args(["pack", "--silent", &format!("axe-core@{VERSION}")]).current_dir(&folder);
    shell::run(&mut pack).context("npm cannot fetch axe-core, which the tests of the status page need")?;
    let mut unpack = Command::new("tar");
    unpack.args(["-xzf", &format!("axe-core-{VERSION}.tgz"), "package/axe.min.js"]).current_dir(&folder);
    shell::run(&mut unpack)?;
    let found = hash(&script);
    ensure!(found.as_deref() == Some(HASH), "axe-core {VERSION} has the hash {found:?} instead of {HASH}");
    Ok(())
}

/// Returns the SHA-256 of a file, if there is one.
fn hash(file: &std::path::Path) -> Option<String> {
    let said = shell::ask(Command::new("sha256sum").arg(file))?;
    said.split_whitespace().next().map(str::to_owned)
}
