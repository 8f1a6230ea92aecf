// SPDX-License-Identifier: MIT OR Apache-2.0
//! Health of reals: the operator's state, the state by checks, results, and what follows from them.
#![forbid(unsafe_code)]

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    check::{self, CheckName, Period},
    enums::option_enum,
};

option_enum! {
    /// State of a real as the operator set it.
    #[derive(Default)]
    Admin {
        /// The real takes connections
        #[default]
        Enabled = "enabled",
        /// The real keeps its connections and takes no new ones
        Drain = "drain",
        /// The real takes no connections, and its existing ones end as if it were down
        Disabled = "disabled",
    }
}

option_enum! {
    /// State of a real as its checks find it.
    #[derive(Default)]
    Health {
        /// No check has a verdict yet
        #[default]
        Unknown = "unknown",
        /// All checks succeed
        Up = "up",
        /// A check fails
        Down = "down",
    }
}

option_enum! {
    /// Assumed state of a real before the first verdict of its checks.
    #[derive(Default)]
    Initial {
        /// The real takes no connections
        #[default]
        Down = "down",
        /// The real takes connections
        Up = "up",
    }
}

option_enum! {
    /// Fate of the connections of a real that is down.
    #[derive(Default)]
    OnDown {
        /// reschedule if the real does not answer at all (L4), keep if it answers wrongly (L6, L7)
        #[default]
        Auto = "auto",
        /// They stay on the real
        Keep = "keep",
        /// They are answered with a RST
        Reset = "reset",
        /// Their next packet goes to another real
        Reschedule = "reschedule",
    }
}

option_enum! {
    /// Fate of new connections to a service whose reals are all down.
    #[derive(Default)]
    OnAllDown {
        /// The backup reals serve; without any, as reject
        #[default]
        Backup = "backup",
        /// Packets are dropped
        Drop = "drop",
        /// Packets are answered with "port unreachable"
        Reject = "reject",
        /// Health is ignored: all reals serve
        All = "all",
    }
}

option_enum! {
    /// Result of a probe, in the words of `HAProxy`: the layer, and what happened there.
    ResultCode {
        /// The connection was accepted, or an answer arrived
        L4Ok = "L4OK",
        /// No answer within the timeout
        L4Timeout = "L4TOUT",
        /// The connection was refused or is impossible
        L4Connection = "L4CON",
        /// The TLS handshake succeeded
        L6Ok = "L6OK",
        /// The TLS handshake did not end within the timeout
        L6Timeout = "L6TOUT",
        /// The TLS handshake failed, or the certificate is invalid
        L6Response = "L6RSP",
        /// The answer is as expected
        L7Ok = "L7OK",
        /// The answer did not arrive within the timeout
        L7Timeout = "L7TOUT",
        /// The answer is invalid or does not match
        L7Response = "L7RSP",
        /// The answer has an error status
        L7Status = "L7STS",
        /// The command succeeded
        ProcessOk = "PROCOK",
        /// The command failed
        ProcessError = "PROCERR",
        /// The command did not end within the timeout
        ProcessTimeout = "PROCTOUT",
        /// The probe could not be sent: an error of the director, which is no verdict
        SocketError = "SOCKERR",
    }
}

impl ResultCode {
    /// Returns whether the result is a success, a failure, or (`None`) no verdict about the real.
    #[must_use]
    pub const fn verdict(self) -> Option<bool> {
        match self {
            Self::L4Ok | Self::L6Ok | Self::L7Ok | Self::ProcessOk => Some(true),
            Self::SocketError => None,
            _ => Some(false),
        }
    }

    /// Returns whether the real did not answer at all.
    #[must_use]
    pub const fn is_silent(self) -> bool {
        matches!(self, Self::L4Timeout | Self::L4Connection)
    }
}

/// Smallest healthy part of a pool: `50%`, or `2` reals.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub enum MinHealthy {
    /// Percent of the reals, from 0 to 100.
    Percent(u8),
    /// Number of reals.
    Reals(u32),
}

impl MinHealthy {
    /// No minimum.
    pub const NONE: Self = Self::Reals(0);

    /// Returns the number of healthy reals that a pool of `reals` needs.
    #[must_use]
    pub fn of(self, reals: usize) -> usize {
        match self {
            Self::Percent(percent) => (reals * usize::from(percent)).div_ceil(100),
            Self::Reals(number) => number as usize,
        }
    }
}

impl Default for MinHealthy {
    fn default() -> Self {
        Self::NONE
    }
}

impl FromStr for MinHealthy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("'{text}' is neither a percentage such as 50% nor a number of reals such as 2");
        match text.strip_suffix('%') {
            Some(percent) => match percent.parse() {
                Ok(percent @ 0..=100) => Ok(Self::Percent(percent)),
                _ => Err(wrong()),
            },
            None => text.parse().map(Self::Reals).map_err(|_| wrong()),
        }
    }
}

impl TryFrom<String> for MinHealthy {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<MinHealthy> for String {
    fn from(minimum: MinHealthy) -> Self {
        minimum.to_string()
    }
}

impl fmt::Display for MinHealthy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Percent(percent) => f.pad(&format!("{percent}%")),
            Self::Reals(number) => f.pad(&number.to_string()),
        }
    }
}

/// Health checks of a service, and what follows from their results.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HealthPolicy {
    /// Checks of each real that has none of its own. A real is up if all its checks succeed.
    pub checks: Vec<CheckName>,
    /// Assumed state of a new real.
    pub initial: Initial,
    /// Fate of the connections of a real that is down.
    pub on_down: OnDown,
    /// Time in which the weight of a real that is up again grows to its full value.
    pub slow_start: Period,
    /// Time for which a real that went down stays down at least. It doubles with each further failure within
    /// ten minutes, up to five minutes; 0 disables it.
    pub hold_down: Period,
    /// Smallest healthy part of the pool: with less, health is ignored.
    pub min_healthy: MinHealthy,
    /// Number of reals that must be healthy beyond `min_healthy` before health counts again.
    pub hysteresis: u32,
    /// Fate of new connections if all reals are down.
    pub on_all_down: OnAllDown,
}

impl Default for HealthPolicy {
    fn default() -> Self {
        Self {
            checks: Vec::new(),
            initial: Initial::Down,
            on_down: OnDown::Auto,
            slow_start: Period::default(),
            hold_down: Period::from_millis(10_000),
            min_healthy: MinHealthy::NONE,
            hysteresis: 0,
            on_all_down: OnAllDown::Backup,
        }
    }
}

impl HealthPolicy {
    /// Returns each option with its value, in the same order for every service.
    #[must_use]
    pub fn traits(&self) -> Vec<(&'static str, String)> {
        vec![
            ("check", check::list(&self.checks)),
            ("initial", self.initial.to_string()),
            ("on down", self.on_down.to_string()),
            ("slow start", self.slow_start.to_string()),
            ("hold down", self.hold_down.to_string()),
            ("min healthy", self.min_healthy.to_string()),
            ("hysteresis", self.hysteresis.to_string()),
            ("on all down", self.on_all_down.to_string()),
        ]
    }
}

/// Latest result of a probe.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, schemars::JsonSchema)]
pub struct LastResult {
    /// Result.
    pub code: ResultCode,
    /// Explanation, such as `HTTP 500`; empty for a plain success.
    pub text: String,
    /// Duration of the probe in microseconds.
    pub duration_us: u64,
    /// End of the probe, in milliseconds since 1970.
    pub at_ms: u64,
}

impl fmt::Display for LastResult {
    /// Writes the result in words: `L7STS HTTP 500`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if self.text.is_empty() { Ok(()) } else { write!(f, " {}", self.text) }
    }
}

crate::text_schema!(MinHealthy, "A number of reals, or a part such as 50%.");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minimum_is_read_back_and_rounded_up() {
        for text in ["50%", "0", "3", "100%"] {
            assert_eq!(text.parse::<MinHealthy>().unwrap().to_string(), text);
        }
        let half: MinHealthy = "50%".parse().unwrap();
        assert_eq!([half.of(0), half.of(1), half.of(3), half.of(4)], [0, 1, 2, 2]);
        for wrong in ["101%", "-1", "half", "%"] {
            assert!(wrong.parse::<MinHealthy>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_error_of_the_director_is_no_verdict() {
        assert_eq!(ResultCode::SocketError.verdict(), None);
        assert_eq!(ResultCode::L7Ok.verdict(), Some(true));
        let failures = ResultCode::ALL.iter().filter(|code| code.verdict() == Some(false)).count();
        assert_eq!(failures, 9);
    }
}
