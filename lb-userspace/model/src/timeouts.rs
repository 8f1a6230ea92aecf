// SPDX-License-Identifier: MIT OR Apache-2.0
//! Idle timeouts of flows, as an operator sets them.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

/// How long silent flows live, in seconds; what is not said stays.
#[derive(
    clap::Args, Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize, schemars::JsonSchema,
)]
#[serde(default)]
pub struct TimeoutOptions {
    /// Established TCP flows
    #[arg(long, value_name = "DURATION", value_parser = seconds)]
    pub tcp: Option<u32>,
    /// Closing TCP flows
    #[arg(long, value_name = "DURATION", value_parser = seconds)]
    pub tcp_fin: Option<u32>,
    /// UDP flows
    #[arg(long, value_name = "DURATION", value_parser = seconds)]
    pub udp: Option<u32>,
}

/// Longest timeout in seconds: 24 days. The programs count in ticks, half of whose range is 26 days.
pub const LONGEST: u32 = 24 * 24 * 60 * 60;

/// Parses a duration in whole seconds.
///
/// # Errors
/// If the text is invalid; the message shows the valid forms.
pub fn seconds(text: &str) -> Result<u32, String> {
    let duration = humantime::parse_duration(text)
        .map_err(|error| format!("'{text}' is not a duration such as 300s or 5m: {error}"))?;
    match u32::try_from(duration.as_secs()) {
        Ok(seconds @ 0..=LONGEST) => Ok(seconds),
        _ => Err(format!("{text} is more than 24 days")),
    }
}
