// SPDX-License-Identifier: MIT OR Apache-2.0
//! `lvs_timeouts`.
#![forbid(unsafe_code)]

use super::number::unsigned;
use lb_model::timeouts::TimeoutOptions;

/// Longest timeouts in seconds: 31 days in keepalived, 24 days in the programs.
const MONTH: u32 = 86_400 * 31;
const LONGEST: u32 = 2_073_600;

/// Parses `tcp N tcpfin N udp N`, each of which is optional; 0 leaves a timeout unchanged.
///
/// # Errors
/// If some are invalid; the message names them, and the others are set.
pub fn timeouts(words: &[&str], timeouts: &mut TimeoutOptions) -> Result<(), String> {
    let mut wrong = Vec::new();
    for pair in words.chunks(2) {
        let value = pair.get(1).and_then(|value| unsigned(value, 0, MONTH, false));
        let timeout = match pair[0] {
            "tcp" => Some(&mut timeouts.tcp),
            "tcpfin" => Some(&mut timeouts.tcp_fin),
            "udp" => Some(&mut timeouts.udp),
            _ => None,
        };
        match (timeout, value.filter(|seconds| *seconds <= LONGEST)) {
            (Some(timeout), Some(seconds)) => *timeout = Some(seconds).filter(|seconds| *seconds > 0),
            _ => wrong.push(pair.join(" ")),
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(format!("{} is no timeout up to 24 days", wrong.join(", "))) }
}
