// SPDX-License-Identifier: MIT OR Apache-2.0
//! Definitions of health checks, as an operator writes them.
#![forbid(unsafe_code)]

mod name; //     names of checks
mod period; //   durations of milliseconds
mod status; //   ranges of HTTP status codes
mod validate; // rules that a definition must meet

use serde::{Deserialize, Serialize};

pub use name::CheckName;
pub use period::Period;
pub use status::StatusRanges;

use crate::enums::option_enum;

option_enum! {
    /// Type of a health check.
    CheckType {
        /// Open a TCP connection; optionally send a text and expect an answer
        Tcp = "tcp",
        /// Send an HTTP request
        Http = "http",
        /// Send an HTTP request over TLS
        Https = "https",
        /// Send a UDP datagram and expect an answer
        Udp = "udp",
        /// Send a DNS query
        Dns = "dns",
        /// Send an ICMP echo request
        Ping = "ping",
        /// Run a command on the director
        Exec = "exec",
    }
}

option_enum! {
    /// Way of a probe to the real.
    #[derive(Default)]
    Via {
        /// To the VIP, along the forwarding path of clients
        #[default]
        Path = "path",
        /// To the RIP, by the director's own routes
        Direct = "direct",
    }
}

option_enum! {
    /// Examination of the certificate in an `https` check.
    #[derive(Default)]
    CertificatePolicy {
        /// Check the chain to a trusted CA, the name and the dates
        #[default]
        Verify = "verify",
        /// Accept every certificate
        None = "none",
    }
}

option_enum! {
    /// Record type of a DNS query.
    #[derive(Default)]
    DnsRecord {
        /// IPv4 address
        #[default]
        A = "A",
        /// IPv6 address
        Aaaa = "AAAA",
        /// Name server
        Ns = "NS",
        /// Start of authority
        Soa = "SOA",
        /// Mail exchanger
        Mx = "MX",
        /// Text
        Txt = "TXT",
        /// Alias
        Cname = "CNAME",
        /// Service location
        Srv = "SRV",
        /// Name of an address
        Ptr = "PTR",
        /// Any of them
        Any = "ANY",
    }
}

/// Schedule of a check, and the number of results that change a state.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub struct Timing {
    /// Interval between the starts of two probes of a real whose state is certain.
    pub interval: Period,
    /// Interval while the state is about to change, or after a passive sign; `None`: as `interval`.
    pub fast_interval: Option<Period>,
    /// Interval while the real is down; `None`: as `interval`.
    pub down_interval: Option<Period>,
    /// Time after which a probe without a result has failed.
    pub timeout: Period,
    /// Number of successes in a row after which a real that is down is up.
    pub rise: u32,
    /// Number of failures in a row after which a real that is up is down.
    pub fall: u32,
    /// Random variation of each interval, in percent of it.
    pub jitter: u8,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            interval: Period::from_millis(2000),
            fast_interval: None,
            down_interval: None,
            timeout: Period::from_millis(1000),
            rise: 2,
            fall: 3,
            jitter: 10,
        }
    }
}

/// Returns names of checks as in lists: `web, tls`, or `none`.
#[must_use]
pub fn list(names: &[CheckName]) -> String {
    if names.is_empty() {
        return CheckName::NONE.to_owned();
    }
    names.iter().map(CheckName::as_str).collect::<Vec<_>>().join(", ")
}

/// Definition of a health check. Fields that the type does not use are empty: see [`Check::validate`].
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Check {
    /// Type of the check.
    pub kind: CheckType,
    /// Way of the probes.
    pub via: Via,
    /// Schedule, and number of results.
    pub timing: Timing,
    /// Port of direct probes; `None`: the real's port.
    pub port: Option<u16>,
    /// Path of an HTTP request; `None`: `/`.
    pub path: Option<String>,
    /// `Host` header of an HTTP request; `None`: the address and port of the probe. Also the name in a
    /// certificate.
    pub host: Option<String>,
    /// Status codes of an HTTP answer that are successes.
    pub status: StatusRanges,
    /// Regular expression that the first 64 KiB of the body of an HTTP answer must match.
    pub body: Option<String>,
    /// Text to send, with the escapes `\r`, `\n`, `\t`, `\\` and `\xHH`.
    pub send: Option<String>,
    /// Regular expression that the answer must match.
    pub expect: Option<String>,
    /// Name of a DNS query; `None`: the root.
    pub dns_name: Option<String>,
    /// Record type of a DNS query.
    pub record: DnsRecord,
    /// Examination of the certificate.
    pub certificate: CertificatePolicy,
    /// Server name in the TLS handshake; `None`: the name in `host`, if it has one.
    pub sni: Option<String>,
    /// File with the certificates of the trusted CAs (PEM); `None`: those of this host.
    pub ca_file: Option<String>,
    /// Command and its arguments, without a shell.
    pub command: Vec<String>,
    /// User that runs the command.
    pub user: Option<String>,
    /// The exit code of the command sets the weight: code 2 + n means n percent of the configured weight, as
    /// keepalived's `misc_dynamic` does.
    pub dynamic_weight: bool,
}

impl Check {
    /// User that runs commands by default.
    pub const USER: &'static str = "nobody";

    /// Creates a definition with defaults.
    #[must_use]
    pub fn new(kind: CheckType) -> Self {
        Self {
            kind,
            via: if kind == CheckType::Exec { Via::Direct } else { Via::Path },
            timing: Timing::default(),
            port: None,
            path: None,
            host: None,
            status: StatusRanges::default(),
            body: None,
            send: None,
            expect: None,
            dns_name: None,
            record: DnsRecord::A,
            certificate: CertificatePolicy::default(),
            sni: None,
            ca_file: None,
            command: Vec::new(),
            user: None,
            dynamic_weight: false,
        }
    }

    /// Returns each option that is set, with its value, in the same order for every check.
    #[must_use]
    pub fn traits(&self) -> Vec<(&'static str, String)> {
        let Timing { interval, fast_interval, down_interval, timeout, rise, fall, jitter } = &self.timing;
        let or = |period: &Option<Period>| period.unwrap_or(*interval).to_string();
        let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "none".to_owned());
        vec![
            ("type", self.kind.to_string()),
            ("via", self.via.to_string()),
            ("interval", interval.to_string()),
            ("fast interval", or(fast_interval)),
            ("down interval", or(down_interval)),
            ("timeout", timeout.to_string()),
            ("rise", rise.to_string()),
            ("fall", fall.to_string()),
            ("jitter", format!("{jitter}%")),
            ("port", self.port.map_or_else(|| "none".to_owned(), |port| port.to_string())),
            ("path", text(&self.path)),
            ("host", text(&self.host)),
            ("status", self.status.to_string()),
            ("body", text(&self.body)),
            ("send", text(&self.send)),
            ("expect", text(&self.expect)),
            ("name", text(&self.dns_name)),
            ("record", self.record.to_string()),
            ("certificate", self.certificate.to_string()),
            ("sni", text(&self.sni)),
            ("ca file", text(&self.ca_file)),
            ("command", if self.command.is_empty() { "none".to_owned() } else { self.command.join(" ") }),
            ("user", text(&self.user)),
            ("dynamic weight", self.dynamic_weight.to_string()),
        ]
    }

    /// Returns the options that differ from the defaults of the type, in one line.
    #[must_use]
    pub fn describe(&self) -> String {
        let default = Self::new(self.kind).traits();
        let mut words = vec![self.kind.to_string(), format!("via {}", self.via)];
        let differ = self.traits().into_iter().zip(default).skip(2).filter(|(own, default)| own != default);
        words.extend(differ.map(|((name, value), _)| format!("{name} {value}")));
        words.join(", ")
    }
}
