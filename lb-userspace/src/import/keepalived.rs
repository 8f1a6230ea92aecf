// SPDX-License-Identifier: MIT OR Apache-2.0
//! Virtual servers of keepalived.conf, as keepalived 2.2.7 reads them.
//!
//! keepalived has no grammar of the whole file: it looks each line up in the words of the open block, ignores
//! an unknown word with its line only, and ignores a brace that opens no known block. So the meaning of a
//! file is defined by keepalived's parser, which this one imitates.

mod assign; //      checks of services and reals
mod check; //       `TCP_CHECK`, `HTTP_GET`…
mod definitions; // `$NAME=value`
mod group; //       `virtual_server_group`
mod lines; //       comments, includes, conditions
mod number; //      numbers as strtoul reads them
mod parse; //       blocks
mod policy; //      `alpha`, `quorum`…
mod real; //        `real_server`
#[cfg(test)]
mod recorded; // files as keepalived itself reads them
mod schedule; //    `delay_loop`, `retry`…
mod sequence; // `~SEQ`, `~LST`
mod server; //   `virtual_server`
mod services; // resulting services
mod silent; //   scripts and mails
mod timeouts; // `lvs_timeouts`
mod way; //      forward methods
mod words; //    words of a line

use std::path::Path;

use super::Imported;

/// Reads a file, for a host of that name (keepalived's `--config-id`).
#[must_use]
pub fn import(text: &str, path: &Path, host: Option<&str>) -> Imported {
    let mut imported = Imported::default();
    match parse::Parser::new(text, path, host, &mut imported).file() {
        Ok(file) => services::add(&mut imported, file),
        Err(refused) => imported.refused = Some(refused),
    }
    imported
}

#[cfg(test)]
mod tests;
