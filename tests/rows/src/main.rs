// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask bench --help` and `--list`.

use std::io::Write as _;

use clap::Parser as _;
use lb_rows::options::Options;
use serde as _;

fn main() {
    let mut out = std::io::stdout().lock();
    for row in Options::parse().rows() {
        // A reader that is gone has read enough.
        if writeln!(out, "{row}").is_err() {
            return;
        }
    }
}
