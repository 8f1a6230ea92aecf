// SPDX-License-Identifier: MIT OR Apache-2.0
//! Words about the schedule of checkers, which a server and a real set for their checkers.
#![forbid(unsafe_code)]

use super::{super::Kind, lines::Said, number::unsigned, way::Taken};
use lb_model::check::{Period, Timing};

/// Defaults of keepalived, in milliseconds.
const DELAY_LOOP: u32 = 60_000;
const CONNECT_TIMEOUT: u32 = 5000;
/// Shortest interval of a check, in milliseconds.
const SHORTEST: u32 = 50;
/// Longest period of a check, in milliseconds.
const DAY: u32 = 24 * 60 * 60 * 1000;
/// Largest number of failures in a row.
const MOST: u32 = 100;

/// Lines that are not carried over exactly, with the reasons.
pub type Notes = Vec<(Said, String)>;

/// Words about the schedule, with their lines; times are in milliseconds.
#[derive(Clone, Debug, Default)]
pub struct Schedule {
    delay_loop: Option<(Said, u32)>,
    retry: Option<(Said, u32)>,
    delay_before_retry: Option<(Said, u32)>,
    /// Timeout of a probe.
    pub timeout: Option<(Said, u32)>,
    /// The real is down until the first success.
    pub alpha: Option<(Said, bool)>,
    /// `Host` header.
    pub virtualhost: Option<String>,
}

/// Defaults of a type of checker.
#[derive(Clone, Copy, Debug)]
pub struct Defaults {
    /// Number of retries.
    pub retry: u32,
    /// Interval between retries, in milliseconds; `None`: the ordinary interval.
    pub delay_before_retry: Option<u32>,
    /// Timeout in milliseconds; `None`: the ordinary interval.
    pub timeout: Option<u32>,
}

impl Defaults {
    /// Most types.
    pub const USUAL: Self = Self { retry: 1, delay_before_retry: Some(1000), timeout: Some(CONNECT_TIMEOUT) };
}

impl Schedule {
    /// Parses a line; `None` if it is about something else.
    pub fn take(&mut self, said: &Said, words: &[&str]) -> Option<Taken> {
        let value = words.get(1).copied().unwrap_or_default();
        let wrong = |what: &str| {
            let why = format!("{value} is no {what}: keepalived ignores the line");
            Some(Taken::No(why, Kind::Health))
        };
        let timed = |time: u32| Some((said.clone(), time));
        match words[0] {
            "delay_loop" => match timer(value).filter(|time| *time > 0) {
                Some(time) => self.delay_loop = timed(time),
                None => return wrong("number of seconds"),
            },
            "delay_before_retry" => match timer(value) {
                Some(time) => self.delay_before_retry = timed(time),
                None => return wrong("number of seconds"),
            },
            "connect_timeout" => match timer(value).filter(|time| *time > 0) {
                Some(time) => self.timeout = timed(time),
                None => return wrong("number of seconds"),
            },
            "retry" => match unsigned(value, 0, u32::MAX, false) {
                Some(retry) => self.retry = timed(retry),
                None => return wrong("number of retries"),
            },
            // The first probes of a check are spread over its interval.
            "warmup" => {}
            "alpha" => match switch(words) {
                Some(alpha) => self.alpha = Some((said.clone(), alpha)),
                None => return wrong("switch"),
            },
            "virtualhost" if words.len() > 1 => self.virtualhost = Some(value.to_owned()),
            _ => return None,
        }
        Some(Taken::Yes)
    }

    /// Returns the schedule with the words of the enclosing block where it has none.
    #[must_use]
    pub fn or(&self, outer: &Self) -> Self {
        fn first<T: Clone>(own: Option<&T>, outer: Option<&T>) -> Option<T> {
            own.or(outer).cloned()
        }
        Self {
            delay_loop: first(self.delay_loop.as_ref(), outer.delay_loop.as_ref()),
            retry: first(self.retry.as_ref(), outer.retry.as_ref()),
            delay_before_retry: first(self.delay_before_retry.as_ref(), outer.delay_before_retry.as_ref()),
            timeout: first(self.timeout.as_ref(), outer.timeout.as_ref()),
            alpha: first(self.alpha.as_ref(), outer.alpha.as_ref()),
            virtualhost: first(self.virtualhost.as_ref(), outer.virtualhost.as_ref()),
        }
    }

    /// Returns the schedule of a check. A note names each line that is not carried over exactly.
    pub fn timing(&self, defaults: Defaults, notes: &mut Notes) -> Timing {
        let time = |given: &Option<(Said, u32)>| given.as_ref().map(|(_, time)| *time);
        let mut note = |given: &Option<(Said, u32)>, why: String| {
            if let Some((said, _)) = given {
                notes.push((said.clone(), why));
            }
        };
        let shown = |milliseconds: u32| Period::from_millis(milliseconds).to_string();
        let asked = time(&self.delay_loop).unwrap_or(DELAY_LOOP);
        let mut interval = asked.clamp(SHORTEST, DAY);
        let timeout = time(&self.timeout).or(defaults.timeout).unwrap_or(interval).clamp(1, DAY);
        if timeout > interval {
            // keepalived begins the next probe when the interval after the last one is over.
            interval = timeout;
            let why = format!("the interval becomes {}, the timeout of a probe", shown(timeout));
            note(if self.delay_loop.is_some() { &self.delay_loop } else { &self.timeout }, why);
        } else if interval != asked {
            note(&self.delay_loop, format!("the interval becomes {}", shown(interval)));
        }
        let retry = time(&self.retry).unwrap_or(defaults.retry);
        let fall = retry.saturating_add(1).min(MOST);
        if fall <= retry {
            note(&self.retry, format!("a real is down after {MOST} failures at the latest"));
        }
        let before = time(&self.delay_before_retry).or(defaults.delay_before_retry).unwrap_or(interval);
        let fast = before.max(timeout).clamp(SHORTEST, DAY);
        // Without a retry, nothing comes between the first failure and the verdict.
        let has_fast = retry > 0 && fast != interval;
        if retry > 0 && fast != before {
            let why = format!(
                "the fast interval becomes {}: a probe ends before the next one begins (timeout {})",
                shown(fast),
                shown(timeout)
            );
            note(&self.delay_before_retry, why);
        }
        Timing {
            interval: Period::from_millis(interval),
            fast_interval: has_fast.then(|| Period::from_millis(fast)),
            down_interval: None,
            timeout: Period::from_millis(timeout),
            rise: 1,
            fall,
            jitter: Timing::default().jitter,
        }
    }
}

/// Parses a number of seconds with decimals; text behind it is ignored. Returns milliseconds.
pub fn timer(text: &str) -> Option<u32> {
    let text = text.strip_prefix('+').unwrap_or(text);
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (whole, decimals) = text[..end].split_once('.').unwrap_or((&text[..end], ""));
    if whole.is_empty() {
        return None;
    }
    let decimals: String =
        decimals.chars().take_while(char::is_ascii_digit).chain("000".chars()).take(3).collect();
    let milliseconds = whole.parse::<u32>().ok()?.checked_mul(1000)?;
    milliseconds.checked_add(decimals.parse().ok()?)
}

/// Parses the switch behind a word, which is on without one.
pub fn switch(words: &[&str]) -> Option<bool> {
    match words.get(1).copied() {
        None | Some("on" | "true" | "yes") => Some(true),
        Some("off" | "false" | "no") => Some(false),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    #[rstest]
    #[case("6", Some(6000))]
    #[case("0.5", Some(500))]
    #[case("2.71828", Some(2718))]
    #[case("3;", Some(3000))]
    #[case("0", Some(0))]
    #[case("x", None)]
    #[case("-1", None)]
    #[case("99999999999", None)]
    fn times_have_decimals(#[case] text: &str, #[case] milliseconds: Option<u32>) {
        assert_eq!(super::timer(text), milliseconds);
    }
}
