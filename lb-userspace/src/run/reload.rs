// SPDX-License-Identifier: MIT OR Apache-2.0
//! SIGHUP: reads the tokens and applies the config file again. The signal never ends the daemon, since `systemctl reload` and
//! closing terminals send it.
#![forbid(unsafe_code)]

use std::path::Path;

use super::servers::Files;
use crate::daemon::{Shared, sync};
use lb_control::config;
use lb_model::failure::Failure;

/// Reads the tokens again, applies the config file of `xvs run` again, as `xvs apply` does, and logs the result.
pub(super) async fn reload(file: Option<&Path>, director: &Shared, files: Option<&Files>) {
    if let Some(files) = files {
        files.reload();
    }
    let Some(file) = file else {
        tracing::info!("SIGHUP: there is no file to read, since `xvs run` has no --config");
        return;
    };
    let shown = file.display();
    match apply(file, director).await {
        Ok(None) => tracing::info!("SIGHUP: {shown} has no services: those of the state file stay"),
        Ok(Some(0)) => tracing::info!("SIGHUP: {shown} has no changes"),
        Ok(Some(1)) => tracing::info!("SIGHUP: 1 change from {shown}"),
        Ok(Some(changes)) => tracing::info!("SIGHUP: {changes} changes from {shown}"),
        Err(failure) => {
            director.lock().await.note_bad_config();
            tracing::error!("SIGHUP: nothing was changed: {}", failure.message);
            if let Some(hint) = failure.hint {
                tracing::error!("hint: {hint}");
            }
        }
    }
}

/// Applies the config file. Returns the number of changes; `None` if the file has no services, which leaves
/// them as they are.
async fn apply(file: &Path, shared: &Shared) -> Result<Option<usize>, Failure> {
    let config = config::read(file)?;
    // All that may be refused comes before the first change.
    let announcements = sync::prepare(shared, &config.sync).await?;
    if config.desired.services.is_empty() {
        announcements.start(shared).await;
        return Ok(None);
    }
    let mut director = shared.lock().await;
    director.may_replace_all()?;
    let done = director.replace(config.desired, false).await?;
    director.note_config_file(file);
    let waits = director.needs_restart(&config.director);
    drop(director);
    announcements.start(shared).await;
    shared.note("SIGHUP".to_owned());
    for warning in done.warnings.iter().chain(&waits) {
        tracing::warn!("{warning}");
    }
    Ok(Some(done.changes.len()))
}
