// SPDX-License-Identifier: MIT OR Apache-2.0
//! The config file: TOML. Unknown keys are errors, which give line and column.
#![forbid(unsafe_code)]

mod check;
mod director;
#[cfg(test)]
mod examples;
mod place;
mod plain;
mod sync;
mod write;

use std::{collections::BTreeSet, fs, path::Path};

use check::CheckSection;
pub use director::{DirectorSection, Size, SourceCheck, Timeout};
use place::Place;
use serde::Deserialize;
pub use sync::SyncSection;
use toml::Spanned;
pub use write::{Extent, write};

use super::{
    dips::Dips,
    options::{CheckList, HealthOptions, RealOptions, ServiceOptions},
    validate,
};
use lb_dataplane::Limits;
use lb_model::check::Period;
use lb_model::failure::Failure;
use lb_model::health::{Admin, Initial, MinHealthy, OnAllDown, OnDown};
use lb_model::text::count;
use lb_model::{
    Desired, Forward, GroupId, OnRemoval, Protocol, RealAddress, Scheduler, SchedulerFlag, Service,
    ServiceId, Tracking, Tunnel, written::WrittenAddress,
};

/// The file as deserialised, before validation.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    director: DirectorSection,
    #[serde(default)]
    sync: SyncSection,
    #[serde(default)]
    check: Vec<CheckSection>,
    #[serde(default)]
    group: Vec<GroupSection>,
    service: Option<Vec<ServiceSection>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GroupSection {
    id: Spanned<GroupId>,
    /// Endpoints, each like `tcp 10.0.0.100:80`.
    endpoints: Vec<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct ServiceSection {
    protocol: Option<Spanned<Protocol>>,
    address: Option<Spanned<WrittenAddress>>,
    group: Option<Spanned<GroupId>>,
    /// Selects only the IPv6 endpoints of the group.
    #[serde(default)]
    ipv6: bool,
    scheduler: Option<Scheduler>,
    flags: Option<BTreeSet<SchedulerFlag>>,
    tracking: Option<Tracking>,
    persistent: Option<Timeout>,
    netmask: Option<u8>,
    one_packet: Option<bool>,
    on_removal: Option<OnRemoval>,
    check: Option<CheckList>,
    initial: Option<Initial>,
    on_down: Option<OnDown>,
    slow_start: Option<Period>,
    hold_down: Option<Period>,
    min_healthy: Option<MinHealthy>,
    hysteresis: Option<u32>,
    on_all_down: Option<OnAllDown>,
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
    state: Option<Admin>,
    backup: Option<bool>,
    check: Option<CheckList>,
}

impl ServiceSection {
    /// Returns the id of the service, and its offset in the file.
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

    /// Returns the offset of the first of these keys in the file.
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
            health: HealthOptions {
                check: self.check.clone(),
                initial: self.initial,
                on_down: self.on_down,
                slow_start: self.slow_start,
                hold_down: self.hold_down,
                min_healthy: self.min_healthy,
                hysteresis: self.hysteresis,
                on_all_down: self.on_all_down,
            },
        }
    }
}

/// A parsed config file.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// The `[director]` section.
    pub director: DirectorSection,
    /// The `[sync]` section.
    pub sync: SyncSection,
    /// Desired services.
    pub desired: Desired,
    /// The file has `service = []`: no services, on purpose.
    pub says_no_services: bool,
}

impl Config {
    /// Refuses to remove all services because the file has none, unless the file has `service = []` and the
    /// operator insists.
    ///
    /// # Errors
    /// If services would be removed by accident; the failure is wrong input.
    pub fn may_replace(&self, present: &Desired, remove_all: bool) -> Result<(), Failure> {
        let would_go = present.services.len();
        if would_go == 0 || !self.desired.services.is_empty() || self.says_no_services && remove_all {
            return Ok(());
        }
        let services = count(would_go, "service");
        let why = if self.says_no_services { "says `service = []`" } else { "has no [[service]]" };
        Err(Failure::wrong_input(format!(
            "the file {why}: applying it would remove {services}, and nothing \
             was changed"
        ))
        .hint(
            "is it the right file? To remove every service, write `service = []` into it and give \
             --remove-all",
        ))
    }
}

/// Reads a config file.
///
/// # Errors
/// If the file is invalid; the failure is wrong input with file, line and column.
pub fn read(path: &Path) -> Result<Config, Failure> {
    let text = fs::read_to_string(path).map_err(|error| {
        Failure::wrong_input(format!("cannot read {}: {error}", path.display())).hint("is the path right?")
    })?;
    parse(&text, path)
}

/// Parses the text of a config file; `path` is for messages.
///
/// # Errors
/// If the text is invalid; the failure is wrong input with line and column.
pub fn parse(text: &str, path: &Path) -> Result<Config, Failure> {
    let place = Place { text, path: path.to_owned() };
    let file: File = toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        place.wrong(at, &plain::sentence(error.message(), place.line(at)))
    })?;
    let says_no_services = file.service.as_ref().is_some_and(Vec::is_empty);
    let mut desired = Desired::default();
    for section in file.check {
        let (name, at) = (section.name.get_ref().clone(), section.name.span().start);
        let check = section.check();
        validate::check(&name, &check).map_err(|failure| place.refine(at, failure))?;
        if desired.checks.insert(name.clone(), check).is_some() {
            return Err(place.wrong(at, &format!("check {name} is defined twice")));
        }
    }
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
            return Err(place.wrong(at, &format!("group {id} is defined twice")));
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
            let RealSection { forward, weight, upper, lower, tunnel, state, backup, check, .. } = real;
            let options = RealOptions { forward, weight, upper, lower, tunnel, admin: state, backup, check };
            let real = options.new_real();
            validate::real(&id, &address, &real).map_err(|failure| place.refine(at, failure))?;
            if service.reals.insert(address, real).is_some() {
                return Err(place.wrong(at, &format!("{id} has real {address} twice")));
            }
        }
        validate::service(&id, &service).map_err(|failure| place.refine(at, failure))?;
        let endpoints = desired.endpoints(&id);
        validate::checks_of(&id, &service, &desired.checks, &endpoints)
            .map_err(|failure| place.refine(at, failure))?;
        if desired.services.insert(id, service) {
            return Err(place.wrong(at, &format!("service {id} is defined twice")));
        }
    }
    // For sizes that the file lacks, the daemon's limits apply, which the daemon checks itself.
    let limits = file.director.limits_or(Limits { services: u32::MAX, reals: u32::MAX, ..Limits::default() });
    validate::desired(&desired, &limits).map_err(|failure| place.refine(0, failure))?;
    let addresses = &file.director.fnat_addresses;
    validate::fnat_addresses(addresses).map_err(|failure| place.refine(0, failure))?;
    validate::notify(&file.director.notify, file.director.notify_user.as_deref())
        .map_err(|failure| place.refine(0, failure))?;
    if let Some(fifo) = &file.director.notify_fifo {
        validate::notify_fifo(fifo).map_err(|failure| place.refine(0, failure))?;
    }
    validate::dips(&desired, &Dips::of(&Dips::default(), addresses))
        .map_err(|failure| place.refine(0, failure))?;
    if let Some(fault) = file.sync.fault() {
        let at = text.find("[sync]").unwrap_or(0);
        return Err(place.wrong(at, &fault));
    }
    Ok(Config { director: file.director, sync: file.sync, desired, says_no_services })
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use lb_common::ticks::Ticks;

    use super::*;
    use lb_model::timeouts::TimeoutOptions;

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
        assert_eq!(config.director.timeouts(TimeoutOptions::default()).tcp, Ticks::of_seconds(300));
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
