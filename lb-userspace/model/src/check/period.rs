// SPDX-License-Identifier: MIT OR Apache-2.0
//! Durations of whole milliseconds.
#![forbid(unsafe_code)]

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

/// A duration of whole milliseconds, up to a day, written as `500ms`, `2s` or `1m 30s`.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Period(u32);

impl Period {
    /// Longest period, in milliseconds: a day.
    const LONGEST: u32 = 24 * 60 * 60 * 1000;

    /// Creates a period of that many milliseconds.
    #[must_use]
    pub const fn from_millis(milliseconds: u32) -> Self {
        Self(milliseconds)
    }

    /// Returns the period in milliseconds.
    #[must_use]
    pub const fn millis(self) -> u32 {
        self.0
    }

    /// Returns whether the period has no length.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// Returns the period as a [`Duration`].
    #[must_use]
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.0 as u64)
    }
}

impl FromStr for Period {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let duration = humantime::parse_duration(text)
            .map_err(|error| format!("'{text}' is not a duration such as 500ms, 2s or 1m: {error}"))?;
        match u32::try_from(duration.as_millis()) {
            Ok(milliseconds @ 0..=Self::LONGEST) if duration.subsec_nanos() % 1_000_000 == 0 => {
                Ok(Self(milliseconds))
            }
            Ok(0..=Self::LONGEST) => Err(format!("'{text}' is not a whole number of milliseconds")),
            _ => Err(format!("{text} is more than a day")),
        }
    }
}

impl TryFrom<String> for Period {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Period> for String {
    fn from(period: Period) -> Self {
        period.to_string()
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&humantime::format_duration(self.duration()).to_string())
    }
}

crate::text_schema!(Period, "A duration such as 500ms or 2s.");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_is_read_back() {
        for (text, milliseconds) in [("0s", 0), ("500ms", 500), ("2s", 2000), ("1m 30s", 90_000)] {
            let period: Period = text.parse().unwrap();
            assert_eq!((period.millis(), &*period.to_string()), (milliseconds, text));
        }
        for (text, why) in [("2", "such as 500ms"), ("1us", "milliseconds"), ("25h", "more than a day")] {
            assert!(text.parse::<Period>().unwrap_err().contains(why), "{text}");
        }
    }
}
