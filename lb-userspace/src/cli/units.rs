// SPDX-License-Identifier: MIT OR Apache-2.0
//! Numbers for people: three digits and a unit.
#![forbid(unsafe_code)]

/// How numbers are written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Units {
    /// Every digit, without a unit.
    pub exact: bool,
}

impl Units {
    /// Returns a number: `999`, `1.23k`, `45.6M`.
    #[must_use]
    pub fn count(self, number: u64) -> String {
        if self.exact { number.to_string() } else { scaled(number, 1000, ["", "k", "M", "G", "T", "P", "E"]) }
    }

    /// Returns a number of bytes: `999B`, `1.23KiB`, `45.6GiB`.
    #[must_use]
    pub fn bytes(self, number: u64) -> String {
        let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        if self.exact { number.to_string() } else { scaled(number, 1024, units) }
    }

    /// Returns a number of seconds: `99s`, `14m`, `3h`.
    #[must_use]
    pub fn seconds(self, seconds: u64) -> String {
        if self.exact { seconds.to_string() } else { lb_model::text::duration(seconds) }
    }
}

/// Returns a number with the largest unit in which it is at least 1, in three digits.
fn scaled(number: u64, base: u64, units: [&str; 7]) -> String {
    let mut size = 1_u64;
    let mut unit = 0;
    // 999.5 units would be written as 1000: that is 1 of the next unit.
    while unit + 1 < units.len() && u128::from(number) * 2 >= u128::from(size) * 1999 {
        size *= base;
        unit += 1;
    }
    if unit == 0 {
        return format!("{number}{}", units[0]);
    }
    // Below 1 of a unit of 1024, there are four digits: 1023 becomes 1.00.
    let hundredths = (u128::from(number) * 100 + u128::from(size) / 2) / u128::from(size);
    let (whole, rest) = (hundredths / 100, hundredths % 100);
    let digits = match whole {
        0..=9 => format!("{whole}.{rest:02}"),
        10..=99 => format!("{whole}.{}", rest / 10),
        _ => whole.to_string(),
    };
    format!("{digits}{}", units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_three_digits_and_a_unit() {
        let units = Units::default();
        let written =
            [0, 999, 1000, 1234, 45_678, 999_499, 999_500, 1_500_000, u64::MAX].map(|n| units.count(n));
        assert_eq!(written, ["0", "999", "1.00k", "1.23k", "45.6k", "999k", "1.00M", "1.50M", "18.4E"]);
        let written = [0, 1023, 1024, 1536, 10 << 20, 5 << 30].map(|n| units.bytes(n));
        assert_eq!(written, ["0B", "1.00KiB", "1.00KiB", "1.50KiB", "10.0MiB", "5.00GiB"]);
    }

    #[test]
    fn exact_numbers_have_every_digit() {
        let units = Units { exact: true };
        assert_eq!(units.count(1_234_567), "1234567");
        assert_eq!((units.bytes(1024), units.seconds(900)), ("1024".to_owned(), "900".to_owned()));
    }

    #[test]
    fn every_number_is_short() {
        for shift in 0..64 {
            for number in [1_u64 << shift, (1 << shift) - 1, u64::MAX >> shift] {
                let units = Units::default();
                assert!(units.count(number).len() <= 5, "{}", units.count(number));
                assert!(units.bytes(number).len() <= 7, "{}", units.bytes(number));
            }
        }
    }
}
