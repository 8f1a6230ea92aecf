// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ranges of HTTP status codes.
#![forbid(unsafe_code)]

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// HTTP status codes (RFC 9110, section 15), as ranges: `200-399` or `200,204,301-302`.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct StatusRanges(Vec<(u16, u16)>);

impl StatusRanges {
    /// Returns whether a status code is in a range.
    #[must_use]
    pub fn contain(&self, status: u16) -> bool {
        self.0.iter().any(|(first, last)| (*first..=*last).contains(&status))
    }
}

impl Default for StatusRanges {
    fn default() -> Self {
        Self(vec![(200, 399)])
    }
}

impl FromStr for StatusRanges {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let code = |text: &str| match text.trim().parse() {
            Ok(code @ 100..=599) => Ok(code),
            _ => Err(format!("'{text}' is not an HTTP status code, which has three digits: 100 to 599")),
        };
        let range = |text: &str| match text.split_once('-') {
            None => code(text).map(|code| (code, code)),
            Some((first, last)) => {
                let (first, last) = (code(first)?, code(last)?);
                if first > last {
                    return Err(format!("'{text}' is an empty range: write the lower code first"));
                }
                Ok((first, last))
            }
        };
        text.split(',').map(range).collect::<Result<_, _>>().map(Self)
    }
}

impl TryFrom<String> for StatusRanges {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<StatusRanges> for String {
    fn from(ranges: StatusRanges) -> Self {
        ranges.to_string()
    }
}

impl fmt::Display for StatusRanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (first, last)) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            write!(f, "{first}")?;
            if first != last {
                write!(f, "-{last}")?;
            }
        }
        Ok(())
    }
}

crate::text_schema!(StatusRanges, "Status codes such as 200-399,418.");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_back_and_contain_their_ends() {
        for text in ["200-399", "200", "200,204,301-302"] {
            assert_eq!(text.parse::<StatusRanges>().unwrap().to_string(), text);
        }
        let ranges: StatusRanges = "200,301-302".parse().unwrap();
        let contained = [199, 200, 201, 300, 301, 302, 303].map(|status| ranges.contain(status));
        assert_eq!(contained, [false, true, false, false, true, true, false]);
        for wrong in ["", "99", "600", "2xx", "302-301", "200-"] {
            assert!(wrong.parse::<StatusRanges>().is_err(), "{wrong}");
        }
    }
}
