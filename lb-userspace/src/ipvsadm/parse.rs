// SPDX-License-Identifier: MIT OR Apache-2.0
//! Parser of ipvsadm's command lines. Pure, except for names of hosts.
#![forbid(unsafe_code)]

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
};

use super::{
    address::{self, Place},
    daemons,
    grammar::{self, Given, Means, Verb},
    legal::{self, Topic},
    names::Names,
    order::{Order, What},
    page::Format,
    trouble::Trouble,
    tunnel,
    values::{LONGEST, illegal, number, scheduler_flag, seconds, service, timeout, timeouts},
};
use crate::api::sync::{SyncRole, SyncSettings};
use lb_control::{
    ipvs::{RealWords, ServiceWords, kept_port},
    options::{RealOptions, ServiceOptions, prefix},
};
use lb_model::{
    Endpoint, Forward, MAX_WEIGHT, Persistence, Protocol, RealAddress, Scheduler, SchedulerFlag, ServiceId,
    Tunnel, timeouts::TimeoutOptions,
};

/// Persistence timeout of `-p` without a value, in seconds. The manual page has 300, but ipvsadm uses six
/// minutes.
const PERSISTENT: i64 = 360;

/// Options collected from a command line.
#[derive(Default)]
struct Draft {
    topics: BTreeSet<Topic>,
    format: Format,
    service: Option<ServiceId>,
    scheduler: Option<String>,
    persistent: i64,
    netmask: Option<Ipv4Addr>,
    /// Netmask of IPv6 services.
    prefix: Option<u8>,
    one_packet: bool,
    flags: String,
    real: Option<String>,
    forward: Forward,
    weight: u32,
    upper: u32,
    lower: u32,
    tunnel: Option<String>,
    tunnel_port: Option<u16>,
    /// Sender or receiver of announcements.
    role: Option<SyncRole>,
    daemon: Option<SyncSettings>,
}

/// Parses the words of a command line, without the name of the program. Deviations from the command line are
/// added to `notes`.
///
/// # Errors
/// Fails as ipvsadm does, and for features that xvs lacks.
pub fn parse(words: &[String], names: &dyn Names, notes: &mut Vec<String>) -> Result<Order, Trouble> {
    if words.is_empty() {
        return Ok(Order::List(What::All, Format::default()));
    }
    let grammar::Reading { given, rest } = grammar::read(words)?;
    let mut given = given.iter();
    let Some((first, Means::Command(verb))) = given.next().map(|first| (first, first.entry.means)) else {
        return Err(Trouble::Help);
    };
    match verb {
        Verb::Help => return Ok(Order::Help),
        Verb::Version => return Ok(Order::Version),
        Verb::StartDaemon | Verb::StopDaemon if !["master", "backup"].contains(&first.text()) => {
            let what = if verb == Verb::StopDaemon { "start_daemon" } else { "start-daemon parameter" };
            return Err(illegal(what));
        }
        _ => {}
    }
    let role = match first.text() {
        "master" => Some(SyncRole::Master),
        "backup" => Some(SyncRole::Backup),
        _ => None,
    };
    let mut draft = Draft { weight: 1, role, ..Draft::default() };
    for given in given {
        draft.take(given, names)?;
    }
    if draft.persistent > LONGEST {
        notes.push(format!(
            "warning: -p {}: clients are kept for 24 days ({LONGEST} s), which is the longest time",
            draft.persistent
        ));
        draft.persistent = LONGEST;
    }
    let mut rest = rest.iter();
    let timeouts = if verb == Verb::Set { Some(timeouts(&mut rest)?) } else { None };
    if let Some(word) = rest.next() {
        return Err(Trouble::usage(format!("unexpected argument {word}")));
    }
    let flags = draft.flags()?;
    legal::check(verb, &draft.topics)?;
    draft.order(verb, flags, timeouts, names)
}

impl Draft {
    /// Applies one option.
    fn take(&mut self, given: &Given, names: &dyn Names) -> Result<(), Trouble> {
        let topic = match given.entry.means {
            Means::Option(topic) => topic,
            Means::Nothing => return Ok(()),
            // In IPVS, a mark has one service per IP version.
            Means::Ipv6 => match &mut self.service {
                Some(ServiceId::Group { ipv6, .. }) => {
                    *ipv6 = true;
                    return Ok(());
                }
                _ => return Err(Trouble::usage("-6 used before -f\n")),
            },
            Means::Command(_) => return Err(Trouble::usage(format!("invalid option `{}'", given.word))),
        };
        if !self.topics.insert(topic) {
            return Err(Trouble::usage(format!("multiple '{}' options specified", topic.name())));
        }
        let text = given.text();
        match topic {
            Topic::Service => self.service = Some(service(given.entry.long, text, names)?),
            Topic::Scheduler => self.scheduler = Some(text.to_owned()),
            Topic::Persistent if given.value.is_none() => self.persistent = PERSISTENT,
            Topic::Persistent => self.persistent = timeout(text, 1)?,
            Topic::Netmask if self.is_ipv6() => {
                let bits = text.parse().ok().filter(|bits| (1..=128).contains(bits));
                self.prefix = Some(bits.ok_or_else(|| illegal("ipv6 netmask"))?);
            }
            Topic::Netmask => {
                let mask =
                    address::host(text, names).ok_or_else(|| illegal("virtual server persistent mask"))?;
                self.netmask = Some(mask);
            }
            Topic::Server => self.real = Some(text.to_owned()),
            Topic::Forward => {
                self.forward = match given.entry.long {
                    "ipip" => Forward::Tun,
                    "masquerading" => Forward::Nat,
                    "fullnat" => Forward::Fnat,
                    _ => Forward::Dr,
                }
            }
            Topic::Weight => self.weight = number(text, 0, MAX_WEIGHT.into(), "weight")?,
            Topic::Upper => self.upper = number(text, 0, i32::MAX.into(), "u_threshold")?,
            Topic::Lower => self.lower = number(text, 0, i32::MAX.into(), "l_threshold")?,
            Topic::Numeric => self.format.numeric = true,
            Topic::Stats => self.format.stats = true,
            Topic::Rate => self.format.rate = true,
            Topic::Thresholds => self.format.thresholds = true,
            Topic::PersistentConn => self.format.persistent = true,
            Topic::TunInfo => self.format.tunnels = true,
            Topic::NoSort => self.format.unsorted = true,
            Topic::Exact => self.format.exact = true,
            Topic::Ops => self.one_packet = true,
            Topic::SchedulerFlags => text.clone_into(&mut self.flags),
            Topic::TunType if ["ipip", "gue", "gre"].contains(&text) => self.tunnel = Some(text.to_owned()),
            Topic::TunType => return Err(illegal("tunnel type")),
            Topic::TunPort => {
                self.tunnel_port = u16::try_from(number(text, 1, 65535, "tunnel port")?).ok();
            }
            Topic::SyncId => self.daemon().sync_id = number(text, 0, 255, "syncid")? as u8,
            Topic::McastPort => self.daemon().port = number(text, 1, 65535, "mcast-port")? as u16,
            Topic::McastTtl => self.daemon().ttl = number(text, 1, 255, "mcast-ttl")? as u8,
            Topic::SyncMaxlen => {
                self.daemon().max_length = number(text, 1, 65535 - 20 - 8, "sync-maxlen")? as u16;
            }
            Topic::McastInterface => self.daemon().interface = Some(text.to_owned()),
            Topic::McastGroup => {
                let group = text.parse().ok().filter(IpAddr::is_multicast);
                self.daemon().group = group.ok_or_else(|| illegal("mcast-group"))?;
            }
            // Refused with their command, or sufficiently expressed by their presence.
            Topic::Engine
            | Topic::Connection
            | Topic::Timeout
            | Topic::Daemon
            | Topic::TunNocsum
            | Topic::TunCsum
            | Topic::TunRemcsum => {}
        }
        Ok(())
    }

    /// Returns the settings of the daemon that synchronises connections.
    fn daemon(&mut self) -> &mut SyncSettings {
        self.daemon.get_or_insert_with(daemons::defaults)
    }

    fn has(&self, topic: Topic) -> bool {
        self.topics.contains(&topic)
    }

    /// Returns the flags of `-b`.
    fn flags(&self) -> Result<BTreeSet<SchedulerFlag>, Trouble> {
        let scheduler = self.scheduler.as_deref().unwrap_or(Scheduler::Wlc.as_str());
        let words = self.flags.split(',').filter(|word| !word.is_empty());
        let flags: Result<Vec<_>, _> = words.map(|word| scheduler_flag(word, scheduler)).collect();
        Ok(flags?.into_iter().flatten().collect())
    }

    fn order(
        self,
        verb: Verb,
        flags: BTreeSet<SchedulerFlag>,
        timeouts: Option<TimeoutOptions>,
        names: &dyn Names,
    ) -> Result<Order, Trouble> {
        Ok(match verb {
            Verb::Help => Order::Help,
            Verb::Version => Order::Version,
            Verb::Add => Order::AddService(self.id()?, self.service_options(flags)?),
            Verb::Edit => Order::EditService(self.id()?, self.service_options(flags)?),
            Verb::Delete => Order::RemoveService(self.id()?),
            Verb::Flush => Order::Clear,
            Verb::AddServer => {
                let real = self.real(names)?;
                Order::AddReal(self.id()?, self.kept_port(real)?, self.real_options()?)
            }
            Verb::EditServer => {
                let real = self.real(names)?;
                Order::EditReal(self.id()?, self.kept_port(real)?, self.real_options()?)
            }
            Verb::DeleteServer => Order::RemoveReal(self.id()?, self.real(names)?),
            Verb::List => {
                legal::check_list(&self.topics)?;
                let what = match self.service {
                    Some(id) => What::Service(id),
                    None if self.has(Topic::Connection) => What::Connections,
                    None if self.has(Topic::Timeout) => What::Timeouts,
                    None if self.has(Topic::Daemon) => What::Daemons,
                    None => What::All,
                };
                Order::List(what, self.format)
            }
            Verb::Save => Order::Save(self.format),
            Verb::Restore => Order::Restore,
            Verb::Zero => Order::Zero(self.service),
            Verb::Set => Order::SetTimeouts(timeouts.unwrap_or_default()),
            Verb::StopDaemon => Order::StopDaemon(self.role.ok_or(Trouble::Help)?),
            Verb::StartDaemon => {
                let settings = self.daemon.unwrap_or_else(daemons::defaults);
                if settings.interface.is_none() {
                    return Err(Trouble::kernel("No such device"));
                }
                Order::StartDaemon(self.role.ok_or(Trouble::Help)?, Box::new(settings))
            }
        })
    }

    fn id(&self) -> Result<ServiceId, Trouble> {
        self.service.ok_or(Trouble::Help)
    }

    /// Returns the options of a service. `-A` and `-E` set all options that IPVS knows; those that are not
    /// given get their default.
    fn service_options(&self, flags: BTreeSet<SchedulerFlag>) -> Result<ServiceOptions, Trouble> {
        let endpoint = self.id()?.endpoint();
        let is = |test: fn(&Endpoint) -> bool| endpoint.as_ref().is_some_and(test);
        if is(|endpoint| endpoint.address.port() == 0) && self.persistent == 0 {
            return Err(Trouble::usage("Zero port specified for non-persistent service"));
        }
        if is(|endpoint| endpoint.protocol != Protocol::Udp) && self.one_packet {
            return Err(Trouble::usage("One-Packet Scheduling is only for UDP virtual services"));
        }
        if self.has(Topic::Engine) {
            return Err(Trouble::refused(
                "there are no persistence engines: clients are known by their addresses",
                "leave --pe off",
            ));
        }
        let netmask = match self.netmask {
            None | Some(Ipv4Addr::BROADCAST) => self.prefix.unwrap_or(Persistence::WHOLE_ADDRESS),
            Some(Ipv4Addr::UNSPECIFIED) => 0,
            Some(netmask) => prefix(&netmask.to_string()).map_err(|_| {
                Trouble::refused(format!("netmask {netmask} is no prefix"), "write it as 255.255.255.0")
            })?,
        };
        let scheduler = self.scheduler.as_deref().map_or(Ok(Scheduler::Wlc), str::parse);
        let scheduler =
            scheduler.map_err(|_| Trouble::kernel("Scheduler or persistence engine not found"))?;
        let persistent = seconds(self.persistent)?;
        let words = ServiceWords { scheduler, flags, persistent, netmask, one_packet: self.one_packet };
        Ok(words.options())
    }

    /// Returns the options of a real. `-a` and `-e` set all options that IPVS knows; those that are not given
    /// get their default.
    fn real_options(&self) -> Result<RealOptions, Trouble> {
        let tunnel = self.tunnel()?;
        if self.lower > self.upper {
            return Err(Trouble::kernel("Numerical result out of range"));
        }
        let Self { forward, weight, upper, lower, .. } = *self;
        Ok(RealWords { forward, tunnel, weight, upper, lower }.options())
    }

    /// Returns the encapsulation, with its options.
    fn tunnel(&self) -> Result<Tunnel, Trouble> {
        tunnel::read(self.forward, self.tunnel.as_deref(), self.tunnel_port, |topic| self.has(topic))
    }

    /// Returns whether the service is for IPv6.
    fn is_ipv6(&self) -> bool {
        match &self.service {
            Some(ServiceId::Endpoint(endpoint)) => endpoint.address.is_ipv6(),
            Some(ServiceId::Group { ipv6, .. }) => *ipv6,
            None => false,
        }
    }

    /// Returns the address of `-r`; without a port, it gets that of the service.
    fn real(&self, names: &dyn Names) -> Result<RealAddress, Trouble> {
        let id = self.id()?;
        let protocol = id.endpoint().map(|endpoint| endpoint.protocol);
        let text = self.real.as_deref().unwrap_or_default();
        let Place { host, port } =
            address::place(text, protocol, names).ok_or_else(|| illegal("real server address[:port]"))?;
        if self.forward != Forward::Tun && self.is_ipv6() != host.is_ipv6() {
            return Err(Trouble::usage("Different address family is allowed only for tunneling servers"));
        }
        Ok(RealAddress { ip: host, port: Some(port.unwrap_or(id.port())) })
    }

    /// Determines the port of a real. Direct routing and tunnels cannot change the port: ipvsadm then uses
    /// the service's, even if another one is given. It keeps the port of a mark's real, which has no effect.
    /// A service for every port uses the client's destination port, even with nat.
    fn kept_port(&self, mut real: RealAddress) -> Result<RealAddress, Trouble> {
        real.port = kept_port(&self.id()?, self.forward).or(real.port);
        Ok(real)
    }
}
