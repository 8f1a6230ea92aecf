// SPDX-License-Identifier: MIT OR Apache-2.0
//! Import of a list of IPVS's connections: the kernel announces no connection that is idle.
#![forbid(unsafe_code)]

use std::time::Duration;

use lb_common::sync::{Line, snapshot};
use lb_control::sync::Effect;
use lb_model::failure::Failure;
use tokio::time::sleep;

use super::super::{Shared, maps::Announcement};
use crate::api::sync::SyncImported;

/// Attempts for connections that the flow table has no place for: it grows meanwhile.
const ATTEMPTS: usize = 20;
/// Time between two attempts.
const BETWEEN: Duration = Duration::from_millis(250);

/// Imports the text of `/proc/net/ip_vs_conn` or of `ipvsadm -Lcn`. Lines that are neither connections nor headlines are
/// counted and left out.
///
/// # Errors
/// If a map cannot be read or written, or no line of the text is a connection or headline.
pub async fn import(shared: &Shared, text: &str) -> Result<SyncImported, Failure> {
    let mut imported = SyncImported::default();
    let mut announcements = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        imported.lines = number;
        match snapshot::line(line) {
            Ok(Line::Heading) => imported.headings += 1,
            Ok(Line::Connection { connection, has_engine, .. }) => {
                if connection.is_template() {
                    imported.templates += 1;
                } else {
                    imported.connections += 1;
                }
                announcements.push(Announcement { connection, snat: None, has_engine });
            }
            Err(error) => {
                imported.malformed += 1;
                imported.first_malformed.get_or_insert_with(|| format!("line {number}: {error}"));
            }
        }
    }
    // An empty text is that of a command which failed: an empty list has headlines.
    if announcements.is_empty() && imported.headings == 0 {
        let first = imported.first_malformed.unwrap_or_else(|| "it is empty".to_owned());
        return Err(Failure::wrong_input(format!("the text is no list of IPVS's connections: {first}"))
            .hint("import /proc/net/ip_vs_conn, or what `ipvsadm -Lcn` prints"));
    }
    shared.sync().known().counters.imported += announcements.len() as u64;
    let mut applied = super::apply::apply(shared, &announcements).await?;
    let (mut effects, mut full) = (applied.effects, std::mem::take(&mut applied.full));
    for _ in 0..ATTEMPTS {
        if full.is_empty() {
            break;
        }
        sleep(BETWEEN).await;
        let again = super::apply::apply(shared, &full).await?;
        effects.subtract(Effect::Full, full.len() as u64);
        effects.add(&again.effects);
        full = again.full;
    }
    imported.kept = effects.kept();
    imported.waiting = effects.of(Effect::NoService) + effects.of(Effect::NoReal);
    imported.effects = super::status::named(effects.iter().map(|(effect, number)| (effect.as_str(), number)));
    tracing::info!(
        connections = imported.connections,
        templates = imported.templates,
        kept = imported.kept,
        waiting = imported.waiting,
        malformed = imported.malformed,
        "connections of IPVS were imported"
    );
    Ok(imported)
}
