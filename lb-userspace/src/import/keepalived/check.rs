// SPDX-License-Identifier: MIT OR Apache-2.0
//! Checkers of a real, such as `TCP_CHECK`: meaning of their words.
#![forbid(unsafe_code)]

mod build; //    resulting checks
mod http; //     `url`
mod misc; //     `MISC_CHECK`
mod udp; //      `UDP_CHECK`

use std::net::IpAddr;

use super::{
    super::Kind,
    lines::Said,
    number::{socket, unsigned},
    schedule::Schedule,
    way::Taken,
};
use lb_model::check::DnsRecord;

pub use build::{Aim, Built, build};

use http::Url;
use misc::Misc;
use udp::Udp;

/// Reason why a line is not carried over: keepalived does not know its word.
const UNKNOWN: &str = "keepalived 2.2.7 does not know it here";

/// A checker.
#[derive(Clone, Debug)]
pub struct Checker {
    /// First line.
    pub said: Said,
    /// Other lines of its block.
    pub lines: Vec<Said>,
    /// Schedule, as far as the checker has its own.
    pub schedule: Schedule,
    /// Destination of the probes.
    target: Target,
    /// Question and expected answer.
    asks: Asks,
    /// A block inside the checker's block is open.
    inner: bool,
}

/// Destination of probes; the real, unless given.
#[derive(Clone, Debug, Default)]
struct Target {
    ip: Option<(Said, IpAddr)>,
    port: Option<u16>,
    mark: Option<Said>,
}

/// Question and expected answer of a checker.
#[derive(Clone, Debug)]
enum Asks {
    Tcp,
    /// Requests by HTTP, or over TLS.
    Http(bool, Vec<Url>),
    /// Destinations, if there are several, with their timeouts.
    Smtp(Vec<(Target, Schedule)>),
    Dns(DnsRecord, Option<String>),
    Misc(Misc),
    Udp(Udp),
    Ping,
    /// A checker that has no equivalent, for this reason.
    Nothing(&'static str),
}

impl Checker {
    /// Creates a checker with keepalived's defaults.
    #[must_use]
    pub fn new(said: Said, word: &str) -> Self {
        let asks = match word {
            "HTTP_GET" => Asks::Http(false, Vec::new()),
            "SSL_GET" => Asks::Http(true, Vec::new()),
            "SMTP_CHECK" => Asks::Smtp(Vec::new()),
            "DNS_CHECK" => Asks::Dns(DnsRecord::Soa, None),
            "MISC_CHECK" => Asks::Misc(Misc::default()),
            "UDP_CHECK" => Asks::Udp(Udp::default()),
            "PING_CHECK" => Asks::Ping,
            "FILE_CHECK" => Asks::Nothing(
                "no check reads a file: an exec check can (`[[check]] type = \"exec\"`), or `xvs real drain` \
                 and `enable` from the program that writes the file",
            ),
            "BFD_CHECK" => Asks::Nothing(
                "there is no BFD: a ping check by path with a short interval notices a silent real as well",
            ),
            _ => Asks::Tcp,
        };
        let (schedule, target) = (Schedule::default(), Target::default());
        Self { said, lines: Vec::new(), schedule, target, asks, inner: false }
    }

    /// Begins a block inside the checker's block.
    pub fn open(&mut self) {
        self.inner = true;
        match &mut self.asks {
            Asks::Http(_, urls) => urls.push(Url::default()),
            Asks::Smtp(hosts) => hosts.push((self.target.clone(), Schedule::default())),
            _ => {}
        }
    }

    /// Ends the block inside the checker's block.
    pub fn close(&mut self) {
        self.inner = false;
    }

    /// Parses a line of the checker's block, or of the block inside it.
    pub fn take(&mut self, said: &Said, words: &[&str]) -> Taken {
        if let Asks::Nothing(why) = self.asks {
            return Taken::No(why.to_owned(), Kind::Health);
        }
        let is_http = matches!(self.asks, Asks::Http(..));
        let schedule = &mut self.schedule;
        let mut scheduled = |is_script: bool| match words[0] {
            "virtualhost" if !is_http => None,
            "nb_get_retry" if is_http && words.len() > 1 => schedule.take(said, &["retry", words[1]]),
            // A script knows itself where it connects.
            "connect_timeout" if is_script => None,
            "log_all_failures" => {
                let why = "the log has changes of state: `xvs real list` has the last result of each real";
                Some(Taken::No(why.to_owned(), Kind::Health))
            }
            _ => schedule.take(said, words),
        };
        let taken = match &mut self.asks {
            Asks::Http(_, urls) if self.inner => urls.last_mut().and_then(|url| url.take(said, words)),
            Asks::Smtp(hosts) if self.inner => {
                let own = hosts.last_mut();
                own.and_then(|(target, times)| target.take(said, words).or_else(|| times.take(said, words)))
            }
            _ if self.inner => None,
            Asks::Misc(misc) => misc.take(said, words).or_else(|| scheduled(true)),
            asks => {
                asks.take(said, words).or_else(|| self.target.take(said, words)).or_else(|| scheduled(false))
            }
        };
        taken.unwrap_or_else(|| Taken::No(UNKNOWN.to_owned(), Kind::Health))
    }

    /// Returns the checker's lines, the first one first.
    pub fn all_lines(&self) -> impl Iterator<Item = &Said> {
        std::iter::once(&self.said).chain(&self.lines)
    }
}

impl Asks {
    /// Parses a line about the question; `None` if it is about something else.
    fn take(&mut self, said: &Said, words: &[&str]) -> Option<Taken> {
        let value = words.get(1).copied().unwrap_or_default();
        let lost = |why: String| Some(Taken::No(why, Kind::Health));
        match (&mut *self, words[0]) {
            (Self::Dns(record, _), "type") => match value.to_ascii_uppercase().parse() {
                Ok(known) if !matches!(known, DnsRecord::Any | DnsRecord::Srv | DnsRecord::Ptr) => {
                    *record = known;
                }
                _ if matches!(value.to_ascii_uppercase().as_str(), "RRSIG" | "DNSKEY") => {
                    return lost(format!("no check asks for {value}: this one asks for {record}"));
                }
                _ => return lost(format!("keepalived knows no type {value} and ignores the line")),
            },
            (Self::Dns(_, name), "name") if name.is_none() && words.len() > 1 => {
                *name = (value != ".").then(|| value.to_owned());
            }
            (Self::Smtp(_), "helo_name") => {
                return lost(
                    "the check examines the banner of the server (220), and sends nothing".to_owned(),
                );
            }
            (Self::Http(..), "http_protocol") if value != "1.1" => {
                return lost("requests are of HTTP/1.1, with `Connection: close`".to_owned());
            }
            // Servers get the name in `host` in any case, and a real is up after one success.
            (Self::Http(..), "http_protocol" | "enable_sni" | "fast_recovery") => {}
            (Self::Udp(udp), _) => return udp.take(said, words),
            _ => return None,
        }
        Some(Taken::Yes)
    }
}

impl Target {
    /// Parses a line about the destination; `None` if it is about something else.
    fn take(&mut self, said: &Said, words: &[&str]) -> Option<Taken> {
        let value = words.get(1).copied().unwrap_or_default();
        let lost = |why: &str| Some(Taken::No(why.to_owned(), Kind::Health));
        match words[0] {
            "connect_ip" => match socket(value, None) {
                Some(address) => self.ip = Some((said.clone(), address.ip())),
                None => return lost("it is no address: keepalived ignores the line"),
            },
            "connect_port" => match unsigned(value, 1, 65535, true).and_then(|port| port.try_into().ok()) {
                Some(port) => self.port = Some(port),
                None => return lost("it is no port: keepalived ignores the line"),
            },
            "fwmark" => self.mark = Some(said.clone()),
            "bindto" | "bind_if" | "bind_port" => {
                return lost("the source of a probe follows from the route to its destination");
            }
            _ => return None,
        }
        Some(Taken::Yes)
    }
}
