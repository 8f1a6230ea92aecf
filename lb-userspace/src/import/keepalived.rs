// SPDX-License-Identifier: MIT OR Apache-2.0
//! The virtual servers of keepalived.conf, as keepalived 2.2.7 reads them.
//!
//! keepalived does not know a grammar of the whole file: each line is looked up in the words of the block that is open, what is
//! unknown is ignored with its line alone, and a brace that opens no known block is ignored too. What a file means is
//! therefore what its parser does, and this one does the same.

mod definitions; // $NAME=value
mod group; //       virtual_server_group
mod lines; //       comments, includes, conditions
mod number; //      numbers as strtoul reads them
mod parse; //       blocks
#[cfg(test)]
mod recorded; //    files that keepalived was seen to read
mod sequence; //    ~SEQ, ~LST
mod server; //      virtual_server, real_server
mod services; //    what they come to
mod timeouts; //    lvs_timeouts
mod way; //         how packets reach a real
mod words; //       of a line

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
