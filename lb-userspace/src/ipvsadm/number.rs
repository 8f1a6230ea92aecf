// SPDX-License-Identifier: MIT OR Apache-2.0
//! Counters in nine columns.
#![forbid(unsafe_code)]

/// Returns a counter, right-aligned after a blank, and in thousands, millions… if it is large. `exact` shows
/// all digits, whatever their width.
#[must_use]
pub fn counter(value: u64, exact: bool) -> String {
    if exact {
        return format!(" {value:>8}");
    }
    let (value, unit) = match value {
        0..100_000_000 => return format!("{value:>9}"),
        100_000_000..1_000_000_000 => (value / 1_000, 'K'),
        1_000_000_000..100_000_000_000 => (value / 1_000_000, 'M'),
        100_000_000_000..100_000_000_000_000 => (value / 1_000_000_000, 'G'),
        _ => (value / 1_000_000_000_000, 'T'),
    };
    format!("{value:>8}{unit}")
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(0, "        0", "        0")]
    #[case(1234, "     1234", "     1234")]
    #[case(99_999_999, " 99999999", " 99999999")]
    #[case(100_000_000, "  100000K", " 100000000")]
    #[case(999_999_999, "  999999K", " 999999999")]
    #[case(1_000_000_000, "    1000M", " 1000000000")]
    #[case(99_999_999_999, "   99999M", " 99999999999")]
    #[case(100_000_000_000, "     100G", " 100000000000")]
    #[case(100_000_000_000_000, "     100T", " 100000000000000")]
    #[case(u64::MAX, "18446744T", " 18446744073709551615")]
    fn large_counters_are_scaled_unless_exact(#[case] value: u64, #[case] scaled: &str, #[case] exact: &str) {
        assert_eq!(counter(value, false), scaled);
        assert_eq!(counter(value, true), exact);
    }
}
