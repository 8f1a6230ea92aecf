// SPDX-License-Identifier: MIT OR Apache-2.0
//! The config file: TOML, in which an unknown key is an error with line and column.
#![forbid(unsafe_code)]

mod place;
mod plain;
mod write;

use std::{
    collections::BTreeSet,
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use lb_common::{
    schema::{Settings, Timeouts},
    track,
};
use place::Place;
use serde::Deserialize;
use toml::Spanned;
pub use write::{Extent, write};

use super::{
    bounds::LONGEST,
    dips::{Dips, Ports},
    model::{
        Desired, Forward, GroupId, OnRemoval, Protocol, RealAddress, Scheduler, SchedulerFlag, Service,
        ServiceId, Tracking, Tunnel,
        written::{ListenAddress, WrittenAddress},
    },
    options::{RealOptions, ServiceOptions},
    tunnel_sources::TunnelSources,
    validate,
    vips::VipPing,
};
use crate::{
    api::types::TimeoutOptions,
    dataplane::{Limits, Mode},
    failure::Failure,
    text::count,
};

/// A config file as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    director: DirectorSection,
    #[serde(default)]
    group: Vec<GroupSection>,
    service: Option<Vec<ServiceSection>>,
}

/// The `[director]` section. Flags of `xvs run` win over it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct DirectorSection {
    /// Interfaces that clients' packets and nat reals' replies come in by.
    #[serde(default)]
    pub interfaces: Vec<String>,
    /// Where Prometheus scrapes.
    pub metrics: Option<ListenAddress>,
    /// Where agents of real servers ask.
    pub api: Option<ListenAddress>,
    /// The file with the token that they must show.
    pub api_token_file: Option<PathBuf>,
    /// Where in the kernel the program runs.
    #[serde(default)]
    pub xdp_mode: Mode,
    /// Whether VIPs are added to the first interface (default: true).
    pub manage_vips: Option<bool>,
    /// When VIPs answer pings (default: always).
    #[serde(default)]
    pub vip_ping: VipPing,
    /// How the sources of clients' packets are checked (default: strict).
    #[serde(default)]
    pub source_check: SourceCheck,
    /// Key of the flow hash: directors that share config and seed choose alike.
    #[serde(default)]
    pub seed: u64,
    /// Services that fit.
    pub max_services: Option<Size>,
    /// Reals that fit, of all services together.
    pub max_reals: Option<Size>,
    /// Tracked flows of IPv4 that fit.
    pub max_flows: Option<Size>,
    /// Tracked flows of IPv6 that fit (default: a quarter of `max-flows`).
    pub max_flows6: Option<Size>,
    /// Addresses of the director that flows by `fnat` come from (default: that of the route to each real).
    #[serde(default)]
    pub fnat_addresses: Vec<IpAddr>,
    /// Their ports, of which each real can have all (default: `1024-32767`).
    pub fnat_ports: Option<Ports>,
    /// Networks that the outer sources of tunnels are taken from (default: the director's address towards each real).
    #[serde(default)]
    pub tunnel_sources: TunnelSources,
    /// Idle time of established TCP flows, such as `15m`.
    pub tcp_timeout: Option<Timeout>,
    /// Idle time of closing TCP flows.
    pub tcp_fin_timeout: Option<Timeout>,
    /// Idle time of UDP flows.
    pub udp_timeout: Option<Timeout>,
}

/// How the sources of clients' packets are checked. Addresses that no client can have are never taken.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum SourceCheck {
    /// The address of a real is taken by the interface that leads to the real alone, and datagrams only from the real's own
    /// link-layer address.
    #[default]
    Strict,
    /// The address of a real is taken from anywhere: for directors that reach their reals by several interfaces.
    Loose,
}

/// How much a table holds: at least 1, at most what the kernel makes.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(try_from = "u32")]
pub struct Size(pub u32);

impl TryFrom<u32> for Size {
    type Error = String;

    fn try_from(size: u32) -> Result<Self, Self::Error> {
        match size {
            1..=33_554_432 => Ok(Self(size)),
            _ => Err(format!("{size} is not between 1 and 33554432")),
        }
    }
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
        match u32::try_from(duration.as_secs()).unwrap_or(u32::MAX) {
            1..=LONGEST => Ok(Self(duration)),
            _ => Err(format!("{text} is not between 1s and 24days")),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GroupSection {
    id: Spanned<GroupId>,
    /// `tcp 10.0.0.100:80` each.
    endpoints: Vec<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct ServiceSection {
    protocol: Option<Spanned<Protocol>>,
    address: Option<Spanned<WrittenAddress>>,
    group: Option<Spanned<GroupId>>,
    /// Whether the service has the group's IPv6 endpoints alone.
    #[serde(default)]
    ipv6: bool,
    scheduler: Option<Scheduler>,
    flags: Option<BTreeSet<SchedulerFlag>>,
    tracking: Option<Tracking>,
    persistent: Option<Timeout>,
    netmask: Option<u8>,
    one_packet: Option<bool>,
    on_removal: Option<OnRemoval>,
    #[serde(default)]
    real: Vec<RealSection>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RealSection {
    address: Spanned<RealAddress>,
    forward: Option<Forward>,
    weight: Option<u32>,
    upper: Option<u32>,
    lower: Option<u32>,
    tunnel: Option<Tunnel>,
}

impl ServiceSection {
    /// Which service, and where the file names it.
    fn id(&self) -> Result<(ServiceId, usize), &'static str> {
        match (&self.protocol, &self.address, &self.group) {
            (Some(protocol), Some(address), None) if !self.ipv6 => {
                Ok((ServiceId::new(*protocol.get_ref(), address.get_ref().0), address.span().start))
            }
            (None, None, Some(group)) => {
                Ok((ServiceId::Group { group: *group.get_ref(), ipv6: self.ipv6 }, group.span().start))
            }
            _ => {
                Err("a service has a `protocol` and an `address`, or a `group`, which may have `ipv6 = true`")
            }
        }
    }

    /// Where the section begins, as far as its keys tell.
    fn place(&self) -> usize {
        let protocol = self.protocol.as_ref().map(|key| key.span().start);
        let address = self.address.as_ref().map(|key| key.span().start);
        let group = self.group.as_ref().map(|key| key.span().start);
        [protocol, address, group].into_iter().flatten().min().unwrap_or(0)
    }

    fn options(&self) -> ServiceOptions {
        ServiceOptions {
            scheduler: self.scheduler,
            flags: self.flags.clone(),
            tracking: self.tracking,
            persistent: self.persistent.map(|timeout| timeout.0.as_secs() as u32),
            netmask: self.netmask,
            one_packet: self.one_packet,
            on_removal: self.on_removal,
        }
    }
}

/// A config file that was understood.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// How the director runs.
    pub director: DirectorSection,
    /// What it does.
    pub desired: Desired,
    /// Whether the file says `service = []`: no services, on purpose.
    pub says_no_services: bool,
}

impl Config {
    /// Refuses to take every service away by a file that names none, unless the file and the operator both insist.
    ///
    /// # Errors
    /// Wrong input, if services would go that were not meant to.
    pub fn may_replace(&self, present: &Desired, remove_all: bool) -> Result<(), Failure> {
        let would_go = present.services.len();
        if would_go == 0 || !self.desired.services.is_empty() || self.says_no_services && remove_all {
            return Ok(());
        }
        let services = count(would_go, "service");
        let why = if self.says_no_services { "says `service = []`" } else { "has no [[service]]" };
        Err(Failure::wrong_input(format!("the file {why}: applying it would remove {services}, and nothing was changed"))
            .hint("is it the right file? To remove every service, write `service = []` into it and give --remove-all"))
    }
}

impl DirectorSection {
    /// The sizes of the tables.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits_or(Limits::default())
    }

    /// The same, and what the file does not say as in `default`.
    fn limits_or(&self, default: Limits) -> Limits {
        let flows = self.max_flows.map_or(default.flows, |size| size.0);
        Limits {
            services: self.max_services.map_or(default.services, |size| size.0),
            reals: self.max_reals.map_or(default.reals, |size| size.0),
            flows,
            flows6: self.max_flows6.map_or((flows / 4).max(1), |size| size.0),
        }
    }

    /// The options of the programs.
    #[must_use]
    pub fn settings(&self) -> Settings {
        let settings = self.tunnel_sources.put_in(Settings { seed: self.seed, ..Settings::DEFAULT });
        self.fnat_ports.as_ref().map_or(settings, |ports| ports.put_in(settings))
    }

    /// How long silent flows live: what the file says, else what the operator `said`, else what IPVS has.
    #[must_use]
    pub fn timeouts(&self, said: TimeoutOptions) -> Timeouts {
        let ticks = |timeout: Option<Timeout>, said: Option<u32>, default: u32| {
            let seconds = timeout.map(|timeout| timeout.0.as_secs()).or(said.map(u64::from));
            // An earlier version kept 0, which ends every connection at once.
            let seconds = seconds.filter(|seconds| *seconds > 0);
            seconds.map_or(default, track::ticks_of_seconds)
        };
        let default = Timeouts::DEFAULT;
        Timeouts {
            tcp: ticks(self.tcp_timeout, said.tcp, default.tcp),
            tcp_fin: ticks(self.tcp_fin_timeout, said.tcp_fin, default.tcp_fin),
            udp: ticks(self.udp_timeout, said.udp, default.udp),
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
        place.wrong(at, &plain::sentence(error.message(), place.line(at)))
    })?;
    let says_no_services = file.service.as_ref().is_some_and(Vec::is_empty);
    let mut desired = Desired::default();
    for section in file.group {
        let at = section.id.span().start;
        let mut members = BTreeSet::new();
        for endpoint in section.endpoints {
            let at = endpoint.span().start;
            let parsed = endpoint.get_ref().parse().map_err(|why: String| place.wrong(at, &why))?;
            if !members.insert(parsed) {
                return Err(place.wrong(at, &format!("the group has {parsed} twice")));
            }
        }
        let id = *section.id.get_ref();
        if desired.groups.insert(id, members).is_some() {
            return Err(place.wrong(at, &format!("group {id} is there twice")));
        }
    }
    for section in file.service.unwrap_or_default() {
        let (id, at) = section.id().map_err(|why| place.wrong(section.place(), why))?;
        let mut service = Service::default();
        validate::netmask(&id, section.netmask).map_err(|failure| place.refine(at, failure))?;
        section.options().apply(&mut service);
        for real in section.real {
            let at = real.address.span().start;
            let address = real.address.get_ref().of_service(&id);
            let RealSection { forward, weight, upper, lower, tunnel, .. } = real;
            let real = RealOptions { forward, weight, upper, lower, tunnel }.new_real();
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
    // What the file does not say about sizes is the daemon's, which judges by itself.
    let limits = file.director.limits_or(Limits { services: u32::MAX, reals: u32::MAX, ..Limits::default() });
    validate::desired(&desired, &limits).map_err(|failure| place.refine(0, failure))?;
    let addresses = &file.director.fnat_addresses;
    validate::fnat_addresses(addresses).map_err(|failure| place.refine(0, failure))?;
    validate::dips(&desired, &Dips::of(&Dips::default(), addresses))
        .map_err(|failure| place.refine(0, failure))?;
    Ok(Config { director: file.director, desired, says_no_services })
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

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
  upper = 10

[[group]]
id = 7
endpoints = ["tcp 10.0.0.101:80", "tcp 10.0.0.101:443"]

[[service]]
group = 7
persistent = "1m"
netmask = 24
on-removal = "drain"

[[service]]
group = 7
ipv6 = true
  [[service.real]]
  address = "2001:db8::2"
  weight = 2147483647
"#;

    fn of(text: &str) -> Result<Config, Failure> {
        parse(text, Path::new("xvs.toml"))
    }

    #[test]
    fn what_is_written_is_read_back() {
        let config = of(EXAMPLE).unwrap();
        assert_eq!(config.director.timeouts(TimeoutOptions::default()).tcp, track::ticks_of_seconds(300));
        for extent in [Extent::Differences, Extent::All] {
            assert_eq!(of(&write(&config.desired, extent)).unwrap().desired, config.desired);
        }
        let service = config.desired.services.values().next().unwrap();
        assert_eq!(service.reals.keys().map(SocketAddr::port).collect::<Vec<_>>(), [80, 8080]);
    }

    #[rstest::rstest]
    #[case::unknown_key(
        "[director]\ninterface = \"eth0\"\n",
        "line 2, column 1",
        "unknown key 'interface'; did you mean interfaces?"
    )]
    #[case::no_toml("[[service]\n", "line 1", "")]
    #[case::unknown_scheduler(
        "[[service]]\nprotocol = \"tcp\"\naddress = \"10.0.0.1:80\"\nscheduler = \"xx\"\n",
        "line 4, column 13",
        "xx"
    )]
    #[case::negative_weight(
        "[[service]]\nprotocol = \"tcp\"\naddress = \"10.0.0.1:80\"\n[[service.real]]\naddress = \"10.0.0.2\"\nweight = -1\n",
        "line 6, column 10",
        "a whole number from 0 to 4294967295"
    )]
    #[case::twice(
        "[[service]]\nprotocol = \"tcp\"\naddress = \"10.0.0.1:80\"\n[[service]]\nprotocol = \"tcp\"\naddress = \"10.0.0.1:80\"\n",
        "line 6, column 11",
        "twice"
    )]
    #[case::no_name("[[service]]\nprotocol = \"tcp\"\n", "line 2, column 12", "`address`")]
    #[case::no_endpoint("[[group]]\nid = 1\nendpoints = [\"x\"]\n", "line 3, column 14", "tcp 10.0.0.100:80")]
    #[case::ipv6_of_an_address(
        "[[service]]\nprotocol = \"tcp\"\naddress = \"10.0.0.1:80\"\nipv6 = true\n",
        "line 2, column 12",
        "`ipv6 = true`"
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
