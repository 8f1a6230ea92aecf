// SPDX-License-Identifier: MIT OR Apache-2.0
//! Rules that the definition of a check must meet.
#![forbid(unsafe_code)]

use regex::bytes::Regex;

use super::{Check, CheckType, DnsRecord, Period, StatusRanges, Timing, Via};

/// Shortest interval between two probes of a real.
const SHORTEST: Period = Period::from_millis(50);
/// Largest number of successes or failures in a row.
const MOST: u32 = 100;

impl Check {
    /// Checks the definition.
    ///
    /// # Errors
    /// If an option has an impossible value, is missing, or is not for this type; the message is a clause
    /// without a subject's name.
    pub fn validate(&self) -> Result<(), String> {
        self.timing.validate()?;
        self.options_fit()?;
        for (name, pattern) in [("body", &self.body), ("expect", &self.expect)] {
            if let Some(pattern) = pattern {
                Regex::new(pattern).map_err(|error| {
                    format!("{name} is not a regular expression: {}", in_one_line(&error.to_string()))
                })?;
            }
        }
        if let Some(send) = &self.send {
            unescape(send)?;
        }
        if let Some(path) = &self.path
            && (!path.starts_with('/') || !path.bytes().all(|byte| byte.is_ascii_graphic()))
        {
            return Err(format!("path '{path}' must begin with / and have no spaces"));
        }
        if let Some(host) = &self.host
            && (host.is_empty() || !host.bytes().all(|byte| byte.is_ascii_graphic()))
        {
            return Err(format!("host '{host}' is not the name of a host"));
        }
        if let Some(name) = &self.dns_name {
            let labels = || name.trim_end_matches('.').split('.');
            let is_label = |label: &str| (1..=63).contains(&label.len()) && label.is_ascii();
            if name != "." && (name.len() > 254 || !labels().all(is_label)) {
                return Err(format!("name '{name}' is not a DNS name"));
            }
        }
        self.command_is_safe()
    }

    /// Checks that options are given only with the types that use them.
    fn options_fit(&self) -> Result<(), String> {
        let kind = self.kind;
        let is_http = matches!(kind, CheckType::Http | CheckType::Https);
        let has_text = matches!(kind, CheckType::Tcp | CheckType::Udp);
        let default = Self::new(kind);
        for (is_given, name, fits, types) in [
            (self.path.is_some(), "path", is_http, "http and https"),
            (self.host.is_some(), "host", is_http, "http and https"),
            (self.status != StatusRanges::default(), "status", is_http, "http and https"),
            (self.body.is_some(), "body", is_http, "http and https"),
            (self.send.is_some(), "send", has_text, "tcp and udp"),
            (self.expect.is_some(), "expect", has_text, "tcp and udp"),
            (self.dns_name.is_some(), "name", kind == CheckType::Dns, "dns"),
            (self.record != DnsRecord::A, "record", kind == CheckType::Dns, "dns"),
            (self.certificate != default.certificate, "certificate", kind == CheckType::Https, "https"),
            (self.sni.is_some(), "sni", kind == CheckType::Https, "https"),
            (self.ca_file.is_some(), "ca-file", kind == CheckType::Https, "https"),
            (!self.command.is_empty(), "a command", kind == CheckType::Exec, "exec"),
            (self.user.is_some(), "user", kind == CheckType::Exec, "exec"),
            (self.dynamic_weight, "dynamic-weight", kind == CheckType::Exec, "exec"),
        ] {
            if is_given && !fits {
                return Err(format!("a {kind} check has no {name}: that is for {types}"));
            }
        }
        match (kind, self.via, self.port) {
            (CheckType::Exec, Via::Path, _) => {
                Err("an exec check cannot go by path: the command decides itself where it connects"
                    .to_owned())
            }
            (CheckType::Exec | CheckType::Ping, _, Some(_)) => Err(format!("a {kind} check has no port")),
            (_, Via::Path, Some(_)) => {
                Err("port is for via direct: a check by path goes to the port of the service".to_owned())
            }
            (_, _, Some(0)) => Err("port 0 is not a port".to_owned()),
            (CheckType::Udp, ..) if self.expect.is_some() && self.send.is_none() => {
                Err("a udp check with expect needs send: nothing answers an empty question".to_owned())
            }
            (CheckType::Exec, ..) if self.command.is_empty() => {
                Err("an exec check needs a command, behind `--`".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// Checks that a command is named by its full path, and does not run as root.
    fn command_is_safe(&self) -> Result<(), String> {
        let Some(program) = self.command.first() else { return Ok(()) };
        if !program.starts_with('/') {
            return Err(format!("'{program}' is not the full path of a program, such as /usr/lib/xvs/check"));
        }
        if self.command.iter().any(|word| word.contains('\0')) {
            return Err("the command contains a zero byte".to_owned());
        }
        if matches!(self.user.as_deref(), Some("root" | "0" | "")) {
            return Err("user root is refused: a command runs as an unprivileged user".to_owned());
        }
        Ok(())
    }
}

impl Timing {
    fn validate(&self) -> Result<(), String> {
        let Self { interval, fast_interval, down_interval, timeout, rise, fall, jitter } = self;
        let given = [("interval", Some(interval)), ("fast-interval", fast_interval.as_ref())];
        for (name, period) in given.into_iter().chain([("down-interval", down_interval.as_ref())]) {
            let Some(period) = period else { continue };
            if *period < SHORTEST {
                return Err(format!("{name} {period} is shorter than {SHORTEST}"));
            }
            if timeout > period {
                return Err(format!("timeout {timeout} is longer than {name} {period}"));
            }
        }
        if timeout.is_zero() {
            return Err("timeout 0s leaves no time for an answer".to_owned());
        }
        for (name, number) in [("rise", *rise), ("fall", *fall)] {
            if !(1..=MOST).contains(&number) {
                return Err(format!("{name} {number} is not a number from 1 to {MOST}"));
            }
        }
        if *jitter > 50 {
            return Err(format!("jitter {jitter}% is more than 50%"));
        }
        Ok(())
    }
}

/// Returns the bytes of a text with the escapes `\r`, `\n`, `\t`, `\0`, `\\` and `\xHH`.
///
/// # Errors
/// If an escape is unknown.
pub(super) fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        bytes.extend_from_slice(before.as_bytes());
        let wrong =
            || format!("send: unknown escape in '\\{after}'; there are \\r, \\n, \\t, \\0, \\\\ and \\xHH");
        let Some(escape) = after.chars().next() else { return Err(wrong()) };
        rest = &after[escape.len_utf8()..];
        bytes.push(match escape {
            'r' => b'\r',
            'n' => b'\n',
            't' => b'\t',
            '0' => 0,
            '\\' => b'\\',
            'x' => {
                let digits = rest.get(..2).ok_or_else(wrong)?;
                rest = &rest[2..];
                u8::from_str_radix(digits, 16).map_err(|_| wrong())?
            }
            _ => return Err(wrong()),
        });
    }
    bytes.extend_from_slice(rest.as_bytes());
    Ok(bytes)
}

impl Check {
    /// Returns the bytes to send; empty if nothing is sent.
    #[must_use]
    pub fn bytes_to_send(&self) -> Vec<u8> {
        self.send.as_deref().and_then(|text| unescape(text).ok()).unwrap_or_default()
    }
}

/// Returns the last line of a message of the parser of regular expressions, which draws its other lines.
fn in_one_line(message: &str) -> String {
    let last = message.lines().last().unwrap_or(message);
    last.trim_start_matches("error: ").to_owned()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn of(kind: CheckType, change: impl FnOnce(&mut Check)) -> Check {
        let mut check = Check::new(kind);
        if kind == CheckType::Exec {
            check.command = vec!["/bin/true".to_owned()];
        }
        change(&mut check);
        check
    }

    #[test]
    fn the_defaults_of_every_type_are_valid() {
        for kind in CheckType::ALL {
            assert_eq!(of(*kind, |_| ()).validate(), Ok(()), "{kind}");
        }
    }

    #[rstest]
    #[case(of(CheckType::Http, |it| it.body = Some("(".into())), "not a regular expression")]
    #[case(of(CheckType::Tcp, |it| it.timing.timeout = "3s".parse().unwrap()), "longer than interval 2s")]
    #[case(of(CheckType::Tcp, |it| it.timing.fast_interval = Some("500ms".parse().unwrap())), "longer than fast-interval")]
    #[case(of(CheckType::Tcp, |it| it.timing.rise = 0), "rise 0")]
    #[case(of(CheckType::Tcp, |it| it.path = Some("/".into())), "for http and https")]
    #[case(of(CheckType::Http, |it| it.path = Some("x".into())), "begin with /")]
    #[case(of(CheckType::Tcp, |it| it.port = Some(80)), "via direct")]
    #[case(of(CheckType::Exec, |it| it.user = Some("root".into())), "user root")]
    #[case(of(CheckType::Exec, |it| it.command = vec!["true".into()]), "full path")]
    #[case(of(CheckType::Exec, |it| it.command.clear()), "needs a command")]
    #[case(of(CheckType::Exec, |it| it.via = Via::Path), "cannot go by path")]
    #[case(of(CheckType::Tcp, |it| it.send = Some("\\q".into())), "unknown escape")]
    #[case(of(CheckType::Dns, |it| it.dns_name = Some("a..b".into())), "not a DNS name")]
    #[case(of(CheckType::Ping, |it| { it.via = Via::Direct; it.port = Some(7); }), "has no port")]
    fn a_wrong_definition_is_refused(#[case] check: Check, #[case] why: &str) {
        let refused = check.validate().unwrap_err();
        assert!(refused.contains(why), "{refused}");
    }

    #[test]
    fn escapes_become_bytes() {
        assert_eq!(unescape("PING\\r\\n").unwrap(), b"PING\r\n");
        assert_eq!(unescape("\\x00\\xff\\\\").unwrap(), [0, 255, b'\\']);
        assert!(unescape("\\x1").is_err() && unescape("\\").is_err());
    }
}
