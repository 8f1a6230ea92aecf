// SPDX-License-Identifier: MIT OR Apache-2.0
//! Words for messages.
#![forbid(unsafe_code)]

use std::borrow::Cow;

/// Returns a number with its noun: `1 real`, `2 reals`.
#[must_use]
pub fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Returns a text as one line: control characters are escaped, as `\n`.
#[must_use]
pub fn one_line(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let escape = |symbol: char| {
        if symbol.is_control() { symbol.escape_default().to_string() } else { symbol.to_string() }
    };
    Cow::Owned(text.chars().map(escape).collect())
}

/// Returns a time in one unit: `12s`, `5m`, `3h`, `2d`.
#[must_use]
pub fn duration(seconds: u64) -> String {
    match seconds {
        0..=99 => format!("{seconds}s"),
        100..=5_999 => format!("{}m", seconds / 60),
        6_000..=172_799 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// Returns the word among `known` of which `word` is most likely a misspelling, if any.
#[must_use]
pub fn likely<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    /// Similarity from which one word counts as a misspelling of the other.
    const ALIKE: f64 = 0.7;
    let word = word.to_lowercase();
    let scored = known.into_iter().map(|other| (strsim::normalized_damerau_levenshtein(&word, other), other));
    let best = scored.max_by(|(one, _), (other, _)| one.total_cmp(other))?;
    // In short words, one typo changes a large part of the letters.
    let is_near = best.0 >= ALIKE || strsim::osa_distance(&word, best.1) == 1;
    is_near.then_some(best.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(one_line("a é\nb\u{1b}[m"), "a é\\nb\\u{1b}[m");
        assert!(matches!(one_line("a b"), Cow::Borrowed(_)));
    }

    #[test]
    fn a_duration_has_one_unit() {
        let words = [0, 99, 100, 5_999, 6_000, 172_799, 172_800].map(duration);
        assert_eq!(words, ["0s", "99s", "1m", "99m", "1h", "47h", "2d"]);
    }

    #[test]
    fn a_slip_is_understood_and_another_word_is_not() {
        let known = ["tcp", "udp", "sctp", "group"];
        for (word, meant) in [
            ("tpc", Some("tcp")),
            ("TCP", Some("tcp")),
            ("grup", Some("group")),
            ("icmp", None),
            ("http", None),
        ] {
            assert_eq!(likely(word, known), meant, "{word}");
        }
        assert_eq!(likely("schedular", ["protocol", "scheduler"]), Some("scheduler"));
    }

    #[test]
    fn one_is_singular() {
        assert_eq!([count(0, "real"), count(1, "real"), count(2, "real")], ["0 reals", "1 real", "2 reals"]);
    }
}
