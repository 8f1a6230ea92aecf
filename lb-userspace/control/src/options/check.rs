// SPDX-License-Identifier: MIT OR Apache-2.0
//! Options of health checks.
#![forbid(unsafe_code)]

use clap::Args;
use serde::{Deserialize, Serialize};

use lb_model::{
    check::{CertificatePolicy, Check, CheckName, CheckType, DnsRecord, Period, StatusRanges, Via},
    written::number,
};

/// Options of a health check. An option that is not given keeps its value; in a new check, it has the default.
#[derive(Args, Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize, schemars::JsonSchema)]
#[serde(default)]
pub struct CheckOptions {
    /// Way of the probes: along the clients' path to the VIP, or directly to the RIP [new checks: path; exec:
    /// direct]
    #[arg(long, value_name = "WAY")]
    pub via: Option<Via>,
    /// Interval between two probes of a real [new checks: 2s]
    #[arg(long, value_name = "DURATION")]
    pub interval: Option<Period>,
    /// Interval while the state is about to change; 0s: as --interval [new checks: 0s]
    #[arg(long, value_name = "DURATION")]
    pub fast_interval: Option<Period>,
    /// Interval while the real is down; 0s: as --interval [new checks: 0s]
    #[arg(long, value_name = "DURATION")]
    pub down_interval: Option<Period>,
    /// Time after which a probe without a result has failed [new checks: 1s]
    #[arg(long, value_name = "DURATION")]
    pub timeout: Option<Period>,
    /// Successes in a row after which a real is up again [new checks: 2]
    #[arg(long, value_name = "N", value_parser = results)]
    pub rise: Option<u32>,
    /// Failures in a row after which a real is down [new checks: 3]
    #[arg(long, value_name = "N", value_parser = results)]
    pub fall: Option<u32>,
    /// Random variation of each interval, in percent of it [new checks: 10]
    #[arg(long, value_name = "PERCENT")]
    pub jitter: Option<u8>,
    /// Port of direct probes [new checks: the port of the real]
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
    /// http, https: path of the request [new checks: /]
    #[arg(long, value_name = "PATH")]
    pub path: Option<String>,
    /// http, https: `Host` header, and name in the certificate [new checks: the address of the probe]
    #[arg(long, value_name = "NAME")]
    pub host: Option<String>,
    /// http, https: status codes of a success [new checks: 200-399]
    #[arg(long, value_name = "CODES")]
    pub status: Option<StatusRanges>,
    /// http, https: regular expression that the body must match
    #[arg(long, value_name = "REGEX")]
    pub body: Option<String>,
    /// tcp, udp: text to send, with the escapes \r, \n, \t, \\ and \xHH
    #[arg(long, value_name = "TEXT")]
    pub send: Option<String>,
    /// tcp, udp: regular expression that the answer must match
    #[arg(long, value_name = "REGEX")]
    pub expect: Option<String>,
    /// dns: name of the query [new checks: the root]
    #[arg(long = "name", value_name = "DNSNAME")]
    pub dns_name: Option<String>,
    /// dns: record type of the query [new checks: A; without --name: NS]
    #[arg(long, value_name = "TYPE", ignore_case = true)]
    pub record: Option<DnsRecord>,
    /// https: examination of the certificate [new checks: verify]
    #[arg(long, value_name = "POLICY")]
    pub certificate: Option<CertificatePolicy>,
    /// https: server name in the TLS handshake [new checks: the name in --host]
    #[arg(long, value_name = "NAME")]
    pub sni: Option<String>,
    /// https: file with the certificates of the trusted CAs [new checks: those of this host]
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<String>,
    /// exec: unprivileged user that runs the command [new checks: nobody]
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
    /// exec: exit code 2 + N sets the weight to N percent
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub dynamic_weight: Option<bool>,
    /// exec: program with its full path, and its arguments
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

impl CheckOptions {
    /// Applies the given options to a check. An empty text removes an option.
    pub fn apply(&self, check: &mut Check) {
        let period = |new: Option<Period>, old: Option<Period>| match new {
            None => old,
            Some(new) => (!new.is_zero()).then_some(new),
        };
        let text = |new: &Option<String>, old: &mut Option<String>| {
            if let Some(new) = new {
                *old = (!new.is_empty()).then(|| new.clone());
            }
        };
        check.via = self.via.unwrap_or(check.via);
        let timing = &mut check.timing;
        timing.interval = self.interval.unwrap_or(timing.interval);
        timing.fast_interval = period(self.fast_interval, timing.fast_interval);
        timing.down_interval = period(self.down_interval, timing.down_interval);
        timing.timeout = self.timeout.unwrap_or(timing.timeout);
        timing.rise = self.rise.unwrap_or(timing.rise);
        timing.fall = self.fall.unwrap_or(timing.fall);
        timing.jitter = self.jitter.unwrap_or(timing.jitter);
        if let Some(port) = self.port {
            check.port = (port != 0).then_some(port);
        }
        text(&self.path, &mut check.path);
        text(&self.host, &mut check.host);
        if let Some(status) = &self.status {
            check.status.clone_from(status);
        }
        text(&self.body, &mut check.body);
        text(&self.send, &mut check.send);
        text(&self.expect, &mut check.expect);
        text(&self.dns_name, &mut check.dns_name);
        check.record = self.record.unwrap_or(check.record);
        check.certificate = self.certificate.unwrap_or(check.certificate);
        text(&self.sni, &mut check.sni);
        text(&self.ca_file, &mut check.ca_file);
        text(&self.user, &mut check.user);
        check.dynamic_weight = self.dynamic_weight.unwrap_or(check.dynamic_weight);
        if !self.command.is_empty() {
            check.command.clone_from(&self.command);
        }
    }

    /// Creates a check of a type with these options, and defaults for the others.
    #[must_use]
    pub fn new_check(&self, kind: CheckType) -> Check {
        let mut check = Check::new(kind);
        if kind == CheckType::Dns && self.dns_name.is_none() {
            // The root has no address.
            check.record = DnsRecord::Ns;
        }
        self.apply(&mut check);
        check
    }

    /// Returns the options of a check that differ from the defaults of its type: applied to a new check of the
    /// type, they make it equal.
    #[must_use]
    pub fn of(check: &Check) -> Self {
        fn differs<T: Clone + PartialEq>(own: &T, default: &T) -> Option<T> {
            (own != default).then(|| own.clone())
        }
        let named = Self { dns_name: check.dns_name.clone(), ..Self::default() };
        let default = named.new_check(check.kind);
        let (timing, usual) = (&check.timing, &default.timing);
        Self {
            via: differs(&check.via, &default.via),
            interval: differs(&timing.interval, &usual.interval),
            fast_interval: timing.fast_interval,
            down_interval: timing.down_interval,
            timeout: differs(&timing.timeout, &usual.timeout),
            rise: differs(&timing.rise, &usual.rise),
            fall: differs(&timing.fall, &usual.fall),
            jitter: differs(&timing.jitter, &usual.jitter),
            port: check.port,
            path: check.path.clone(),
            host: check.host.clone(),
            status: differs(&check.status, &default.status),
            body: check.body.clone(),
            send: check.send.clone(),
            expect: check.expect.clone(),
            dns_name: check.dns_name.clone(),
            record: differs(&check.record, &default.record),
            certificate: differs(&check.certificate, &default.certificate),
            sni: check.sni.clone(),
            ca_file: check.ca_file.clone(),
            user: check.user.clone(),
            dynamic_weight: differs(&check.dynamic_weight, &default.dynamic_weight),
            command: check.command.clone(),
        }
    }
}

/// Parses a number of results in a row.
fn results(text: &str) -> Result<u32, String> {
    number(text, 1, 100)
}

/// Parses the name of a check, or `none`, which is an empty list.
///
/// # Errors
/// If the name is invalid.
pub fn check_names(texts: &[String]) -> Result<Vec<CheckName>, String> {
    if let [only] = texts
        && only == CheckName::NONE
    {
        return Ok(Vec::new());
    }
    let mut names: Vec<CheckName> = Vec::new();
    for text in texts.iter().flat_map(|text| text.split(',')) {
        let name = text.trim().parse()?;
        if names.contains(&name) {
            return Err(format!("check {name} is named twice"));
        }
        names.push(name);
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_options_of_a_check_make_another_equal() {
        let given = CheckOptions {
            via: Some(Via::Direct),
            interval: Some("5s".parse().unwrap()),
            fast_interval: Some("1s".parse().unwrap()),
            rise: Some(1),
            port: Some(8080),
            path: Some("/health".to_owned()),
            status: Some("200".parse().unwrap()),
            ..CheckOptions::default()
        };
        let check = given.new_check(CheckType::Http);
        assert_eq!(CheckOptions::of(&check), given);
        assert_eq!(CheckOptions::of(&check).new_check(CheckType::Http), check);
        let mut edited = check.clone();
        let edit = CheckOptions {
            path: Some(String::new()),
            fast_interval: Some(Period::default()),
            ..CheckOptions::default()
        };
        edit.apply(&mut edited);
        assert_eq!((edited.path, edited.timing.fast_interval, edited.port), (None, None, Some(8080)));
    }

    #[test]
    fn the_root_is_asked_for_name_servers() {
        let root = CheckOptions::default().new_check(CheckType::Dns);
        assert_eq!((root.record, CheckOptions::of(&root)), (DnsRecord::Ns, CheckOptions::default()));
        let named = CheckOptions { dns_name: Some("example.org".to_owned()), ..CheckOptions::default() };
        assert_eq!(named.new_check(CheckType::Dns).record, DnsRecord::A);
    }

    #[test]
    fn none_is_an_empty_list() {
        let names = |texts: &[&str]| check_names(&texts.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(names(&["none"]), Ok(Vec::new()));
        assert_eq!(names(&["web,tls", "dns"]).unwrap().len(), 3);
        assert!(names(&["web", "none"]).unwrap_err().contains("no check"));
        assert!(names(&["web", "web"]).unwrap_err().contains("twice"));
    }
}
