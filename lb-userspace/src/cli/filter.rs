// SPDX-License-Identifier: MIT OR Apache-2.0
//! Filters of lists: words that a row must have.
#![forbid(unsafe_code)]

use std::str::FromStr;

/// A filter: each word is part of the text of a row, in upper or lower case; `!WORD` is not.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Filter {
    words: Vec<(String, bool)>,
}

impl Filter {
    /// Returns whether a row with these texts passes.
    #[must_use]
    pub fn passes(&self, texts: &[impl AsRef<str>]) -> bool {
        let texts: Vec<String> = texts.iter().map(|text| text.as_ref().to_lowercase()).collect();
        self.words.iter().all(|(word, wanted)| texts.iter().any(|text| text.contains(word)) == *wanted)
    }

    /// Returns whether every row passes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.words.is_empty()
    }
}

impl FromStr for Filter {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let word = |word: &str| match word.strip_prefix('!') {
            Some(word) => (word.to_owned(), false),
            None => (word.to_owned(), true),
        };
        let words = text.to_lowercase();
        let words = words.split_whitespace().map(word).filter(|(word, _)| !word.is_empty());
        Ok(Self { words: words.collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_must_be_there_or_must_not() {
        let row = ["tcp 192.0.2.100:80", "10.0.0.11:8080", "down"];
        let passes = |text: &str| text.parse::<Filter>().unwrap().passes(&row);
        for text in ["", " ", "down", "DOWN 192.0.2", "tcp !up", "!", ":80 !10.0.0.12"] {
            assert!(passes(text), "{text}");
        }
        for text in ["up", "down udp", "!down", "10.0.0.11 !tcp"] {
            assert!(!passes(text), "{text}");
        }
    }
}
