// SPDX-License-Identifier: MIT OR Apache-2.0
//! Long reads of the flow tables, made without the lock on the director.
#![forbid(unsafe_code)]

use std::time::Instant;

use super::{Shared, maps::FlowCounts};
use lb_model::failure::Failure;

/// Counts the flows of each real without the lock on the director. Callers that wait at the same time share one
/// pass over the flow tables, which begins after they have asked: many clients cost no more than one.
///
/// # Errors
/// If the map cannot be read.
pub async fn count_flows(director: &Shared) -> Result<FlowCounts, Failure> {
    let asked = Instant::now();
    let mut last = director.last_count().await;
    if let Some((began, counts)) = &*last
        && *began >= asked
    {
        return Ok(counts.clone());
    }
    let counter = director.lock().await.maps.flow_counter()?;
    let began = Instant::now();
    let counts = off_the_lock(move || counter.count()).await?;
    *last = Some((began, counts.clone()));
    Ok(counts)
}

/// Runs a long task that awaits nothing on a thread of its own.
///
/// # Errors
/// Fails as `task` does.
pub(super) async fn off_the_lock<T: Send + 'static>(
    task: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(task)
        .await
        .unwrap_or_else(|error| Err(Failure::failed(format!("internal error: {error}"))))
}
