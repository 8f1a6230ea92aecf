// SPDX-License-Identifier: MIT OR Apache-2.0
//! The config file: TOML, in which an unknown key is an error with line and column.
#![forbid(unsafe_code)]

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use lb_common::{schema::Settings, track};
use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::{
    model::{Desired, Forward, Protocol, Real, RealAddress, Scheduler, Service, ServiceId, Tracking},
    validate,
};
use crate::{
    dataplane::{Limits, Mode},
    failure::Failure,
};

/// A config file as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    director: DirectorSection,
    #[serde(default)]
    service: Vec<ServiceSection>,
}

/// The `[director]` section. Flags of `xvs run` win over it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct DirectorSection {
    /// Interfaces that clients' packets and nat reals' replies come in by.
    #[serde(default)]
    pub interfaces: Vec<String>,
    /// Where Prometheus scrapes.
    pub metrics: Option<SocketAddr>,
    /// Where in the kernel the program runs.
    #[serde(default)]
    pub xdp_mode: Mode,
    /// Whether VIPs are added to the first interface (default: true).
    pub manage_vips: Option<bool>,
    /// Key of the flow hash: directors that share config and seed choose alike.
    #[serde(default)]
    pub seed: u64,
    /// Services that fit.
    pub max_services: Option<u32>,
    /// Reals that fit, of all services together.
    pub max_reals: Option<u32>,
    /// Tracked flows that fit.
    pub max_flows: Option<u32>,
    /// Idle time of established TCP flows, such as `15m`.
    pub tcp_timeout: Option<Timeout>,
    /// Idle time of closing TCP flows.
    pub tcp_fin_timeout: Option<Timeout>,
    /// Idle time of UDP flows.
    pub udp_timeout: Option<Timeout>,
}

/// A duration such as `300s` or `5m`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(try_from = "String")]
pub struct Timeout(pub Duration);

impl TryFrom<String> for Timeout {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let duration = humantime::parse_duration(&text)
            .map_err(|error| format!("'{text}' is not a duration such as 300s or 5m: {error}"))?;
        match duration.as_secs() {
            1..=2_592_000 => Ok(Self(duration)),
            _ => Err(format!("{text} is not between 1s and 30days")),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ServiceSection {
    protocol: Protocol,
    address: Spanned<SocketAddr>,
    #[serde(default)]
    scheduler: Scheduler,
    #[serde(default)]
    tracking: Tracking,
    #[serde(default)]
    real: Vec<RealSection>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RealSection {
    address: Spanned<RealAddress>,
    #[serde(default)]
    forward: Forward,
    #[serde(default = "default_weight")]
    weight: u32,
}

const fn default_weight() -> u32 {
    1
}

/// A config file that was understood.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// How the director runs.
    pub director: DirectorSection,
    /// What it does.
    pub desired: Desired,
}

impl DirectorSection {
    /// The sizes of the tables.
    #[must_use]
    pub fn limits(&self) -> Limits {
        let default = Limits::default();
        Limits {
            services: self.max_services.unwrap_or(default.services),
            reals: self.max_reals.unwrap_or(default.reals),
            flows: self.max_flows.unwrap_or(default.flows),
        }
    }

    /// The options of the programs.
    #[must_use]
    pub fn settings(&self) -> Settings {
        let ticks = |timeout: Option<Timeout>, default: u32| {
            timeout.map_or(default, |t| track::ticks_of_seconds(t.0.as_secs()))
        };
        let default = Settings::DEFAULT;
        Settings {
            seed: self.seed,
            tcp: ticks(self.tcp_timeout, default.tcp),
            tcp_fin: ticks(self.tcp_fin_timeout, default.tcp_fin),
            udp: ticks(self.udp_timeout, default.udp),
            ..default
        }
    }
}

/// Reads a config file.
///
/// # Errors
/// Wrong input, with the file, line and column of what is wrong.
pub fn read(path: &Path) -> Result<Config, Failure> {
    let text = fs::read_to_string(path).map_err(|error| {
        Failure::wrong_input(format!("cannot read {}: {error}", path.display())).hint("is the path right?")
    })?;
    parse(&text, path)
}

/// Understands the text of a config file; `path` is for messages.
///
/// # Errors
/// Wrong input, with line and column of what is wrong.
pub fn parse(text: &str, path: &Path) -> Result<Config, Failure> {
    let place = Place { text, path: path.to_owned() };
    let file: File = toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        place.wrong(at, error.message())
    })?;
    let mut desired = Desired::default();
    for section in file.service {
        let at = section.address.span().start;
        let id = ServiceId { protocol: section.protocol, address: *section.address.get_ref() };
        let mut service =
            Service { scheduler: section.scheduler, tracking: section.tracking, ..Service::default() };
        for real in section.real {
            let at = real.address.span().start;
            let address = real.address.get_ref().of_service(&id);
            let real = Real { forward: real.forward, weight: real.weight };
            validate::real(&id, &address, &real).map_err(|failure| place.refine(at, failure))?;
            if service.reals.insert(address, real).is_some() {
                return Err(place.wrong(at, &format!("{id} has real {address} twice")));
            }
        }
        validate::service(&id, &service).map_err(|failure| place.refine(at, failure))?;
        if desired.services.insert(id, service).is_some() {
            return Err(place.wrong(at, &format!("service {id} is there twice")));
        }
    }
    validate::desired(&desired, &file.director.limits()).map_err(|failure| place.refine(0, failure))?;
    Ok(Config { director: file.director, desired })
}

/// Turns offsets into lines and columns.
struct Place<'a> {
    text: &'a str,
    path: PathBuf,
}

impl Place<'_> {
    fn name(&self, at: usize) -> String {
        let before = &self.text[..at.min(self.text.len())];
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        format!("{}, line {line}, column {column}", self.path.display())
    }

    fn wrong(&self, at: usize, why: &str) -> Failure {
        Failure::wrong_input(format!("{}: {why}", self.name(at)))
            .hint("docs/cli.md shows every key of the config file; nothing was changed")
    }

    fn refine(&self, at: usize, failure: Failure) -> Failure {
        Failure { message: format!("{}: {}", self.name(at), failure.message), ..failure }
    }
}

/// Writes services as a config file that [`parse`] reads back.
#[must_use]
pub fn write(desired: &Desired) -> String {
    #[derive(Serialize)]
    struct File {
        service: Vec<ServiceOut>,
    }
    #[derive(Serialize)]
    struct ServiceOut {
        protocol: Protocol,
        address: SocketAddr,
        scheduler: Scheduler,
        tracking: Tracking,
        real: Vec<RealOut>,
    }
    #[derive(Serialize)]
    struct RealOut {
        address: SocketAddr,
        forward: Forward,
        weight: u32,
    }
    let service = desired.services.iter().map(|(id, service)| ServiceOut {
        protocol: id.protocol,
        address: id.address,
        scheduler: service.scheduler,
        tracking: service.tracking,
        real: service
            .reals
            .iter()
            .map(|(address, real)| RealOut { address: *address, forward: real.forward, weight: real.weight })
            .collect(),
    });
    toml::to_string(&File { service: service.collect() }).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = r#"
[director]
interfaces = ["eth0"]
metrics = "127.0.0.1:9471"
tcp-timeout = "5m"

[[service]]
protocol = "tcp"
address = "10.0.0.100:80"
scheduler = "wrr"
  [[service.real]]
  address = "10.0.0.2"
  forward = "dr"
  weight = 100
  [[service.real]]
  address = "10.0.0.3:8080"
  forward = "nat"
"#;

    fn of(text: &str) -> Result<Config, Failure> {
        parse(text, Path::new("xvs.toml"))
    }

    #[test]
    fn what_is_written_is_read_back() {
        let config = of(EXAMPLE).unwrap();
        assert_eq!(config.director.settings().tcp, track::ticks_of_seconds(300));
        assert_eq!(of(&write(&config.desired)).unwrap().desired, config.desired);
        let service = config.desired.services.values().next().unwrap();
        assert_eq!(service.reals.keys().map(SocketAddr::port).collect::<Vec<_>>(), [80, 8080]);
    }

    #[rstest::rstest]
    #[case::unknown_key("[director]\ninterface = \"eth0\"\n", "line 2, column 1", "unknown field")]
    #[case::no_toml("[[service]\n", "line 1", "")]
    #[case::unknown_scheduler(
        "[[service]]\nprotocol = \"tcp\"\naddress = \"10.0.0.1:80\"\nscheduler = \"xx\"\n",
        "line 4, column 13",
        "xx"
    )]
    #[case::negative_weight(
        "[[service]]\nprotocol = \"tcp\"\naddress = \"10.0.0.1:80\"\n[[service.real]]\naddress = \"10.0.0.2\"\nweight = -1\n",
        "line 6, column 10",
        "-1"
    )]
    #[case::twice(
        "[[service]]\nprotocol = \"tcp\"\naddress = \"10.0.0.1:80\"\n[[service]]\nprotocol = \"tcp\"\naddress = \"10.0.0.1:80\"\n",
        "line 6, column 11",
        "twice"
    )]
    #[case::dr_to_another_port(
        "[[service]]\nprotocol = \"tcp\"\naddress = \"10.0.0.1:80\"\n[[service.real]]\naddress = \"10.0.0.2:81\"\n",
        "line 5, column 11",
        "cannot change the port"
    )]
    fn what_is_wrong_is_shown_where_it_stands(#[case] text: &str, #[case] place: &str, #[case] why: &str) {
        let message = of(text).unwrap_err().message;
        assert!(message.contains(place) && message.contains(why), "{message}");
    }
}
