// SPDX-License-Identifier: MIT OR Apache-2.0
//! `virtual_server` and `real_server`: meaning of their words.
#![forbid(unsafe_code)]

use std::net::SocketAddr;

use super::{
    super::{Block, Imported, Kind, Left, Place},
    lines::Said,
    number::{socket, unsigned},
    real::Real,
    schedule::Schedule,
    silent::silent,
    way::{Taken, Way},
};
use crate::ipvsadm::host_number;
use lb_model::{Forward, MAX_WEIGHT, Protocol, Scheduler, SchedulerFlag};

/// Default persistence timeout, in seconds.
pub const PERSISTENT: u32 = 360;
/// Longest persistence timeouts that keepalived accepts, and that the programs can count, in seconds.
const MONTH: u32 = 86_400 * 31;
const LONGEST: u32 = 2_073_600;

/// Target of a server: the packets that it serves.
#[derive(Clone, Debug)]
pub enum Target {
    /// An address.
    Address(SocketAddr),
    /// A firewall mark.
    Mark(u32),
    /// A group.
    Group(String),
}

/// Grouping of clients for persistence.
#[derive(Clone, Copy, Debug)]
pub enum Granularity {
    /// By IPv4 netmask.
    Mask(u32),
    /// By IPv6 prefix length.
    Prefix(u8),
}

/// A `virtual_server`.
#[derive(Clone, Debug)]
pub struct Server {
    /// Block of the server.
    pub block: Block,
    /// Target.
    pub target: Target,
    /// The server is for IPv6 clients; `None` if the version is not known.
    pub ipv6: Option<bool>,
    /// Scheduler.
    pub scheduler: Option<Scheduler>,
    /// Three flags of the scheduler.
    pub flags: [bool; 3],
    /// One-packet scheduling: each packet is scheduled on its own.
    pub one_packet: bool,
    /// Default method of the reals.
    pub way: Way,
    /// Protocol.
    pub protocol: Option<Protocol>,
    /// Persistence timeout, in seconds.
    pub persistence: Option<u32>,
    /// Grouping of clients for persistence.
    pub granularity: Option<(Said, Granularity)>,
    /// Default weight of the reals.
    pub weight: u32,
    /// Real for the time when no other real is healthy.
    pub sorry: Option<Real>,
    /// Schedule of the checkers.
    pub schedule: Schedule,
    /// Connections of a real that is down stay on it.
    pub inhibit: Option<(Said, bool)>,
    /// Weight of the healthy reals below which the sorry server serves, and its tolerance.
    pub quorum: Option<(Said, u32)>,
    pub hysteresis: Option<(Said, u32)>,
    /// Name of the group of SNAT addresses for full NAT.
    pub local: Option<(Place, String)>,
    /// Reals.
    pub reals: Vec<Real>,
    /// Lines of the server.
    pub lines: Vec<Said>,
}

impl Server {
    /// Parses the words after `virtual_server`.
    ///
    /// # Errors
    /// If the line lacks a value, which prevents the start of keepalived. The inner error is the reason why
    /// the server is invalid.
    pub fn new(block: &Block, words: &[&str]) -> Result<Result<Self, String>, Left> {
        let target = match words {
            ["group" | "fwmark"] => {
                let why = "keepalived does not start with this line: a value is missing";
                return Err(Left::new(&block.place, &block.text, why, Kind::Service, None));
            }
            ["group", name, ..] => Target::Group((*name).to_owned()),
            ["fwmark", mark, ..] => match unsigned(mark, 0, u32::MAX, true).filter(|mark| *mark > 0) {
                Some(mark) => Target::Mark(mark),
                None => return Ok(Err(format!("{mark} is no firewall mark"))),
            },
            _ => match socket(words[0], words.get(1).copied()) {
                Some(address) => Target::Address(address),
                None => return Ok(Err("it has no address that keepalived understands".to_owned())),
            },
        };
        let ipv6 = match target {
            Target::Address(address) => Some(address.is_ipv6()),
            _ => None,
        };
        Ok(Ok(Self {
            block: block.clone(),
            target,
            ipv6,
            scheduler: None,
            flags: [false; 3],
            one_packet: false,
            way: Way::default(),
            protocol: None,
            persistence: None,
            granularity: None,
            weight: 1,
            sorry: None,
            schedule: Schedule::default(),
            inhibit: None,
            quorum: None,
            hysteresis: None,
            local: None,
            reals: Vec::new(),
            lines: vec![(block.place.clone(), block.text.clone())],
        }))
    }

    /// Parses a line of the server's block.
    pub fn take(&mut self, said: &Said, words: &[&str]) -> Taken {
        let value = words.get(1).copied().unwrap_or_default();
        let setting = |why: String| Taken::No(why, Kind::Setting);
        match words[0] {
            "ip_family" => {
                let ipv6 = match value {
                    "inet" => false,
                    "inet6" => true,
                    _ => return setting(format!("{value} is none of inet, inet6")),
                };
                if self.ipv6.is_some_and(|before| before != ipv6) {
                    return setting("the server is of the other version of IP".to_owned());
                }
                self.ipv6 = Some(ipv6);
            }
            "lb_algo" | "lvs_sched" => match value.parse() {
                Ok(scheduler) => self.scheduler = Some(scheduler),
                Err(_) => {
                    return setting(format!("keepalived knows no scheduler {value} and ignores the line"));
                }
            },
            "lb_kind" | "lvs_method" => return self.way.take(words),
            "ops" => self.one_packet = true,
            "hashed" => {}
            "flag-1" | "sh-fallback" | "mh-fallback" | "flag-2" | "sh-port" | "mh-port" | "flag-3" => {
                let flag: Option<SchedulerFlag> = words[0].parse().ok();
                let belongs = flag.and_then(SchedulerFlag::scheduler);
                if belongs.is_some() && belongs != self.scheduler {
                    return setting(
                        "keepalived ignores it: it stands before its scheduler, or for another".to_owned(),
                    );
                }
                let bit = match flag {
                    Some(SchedulerFlag::Flag3) => 2,
                    Some(SchedulerFlag::Flag2 | SchedulerFlag::ShPort | SchedulerFlag::MhPort) => 1,
                    _ => 0,
                };
                self.flags[bit] = true;
            }
            "persistence_timeout" if words.len() == 1 => self.persistence = Some(PERSISTENT),
            "persistence_timeout" => {
                let Some(seconds) = unsigned(value, 1, MONTH, false) else {
                    return setting(format!("{value} is no number of seconds from 1 to {MONTH}"));
                };
                self.persistence = Some(seconds.min(LONGEST));
                if seconds > LONGEST {
                    return setting(format!(
                        "24 days ({LONGEST} s) are the longest: that is what it becomes"
                    ));
                }
            }
            "persistence_engine" => {
                return setting(
                    "there are no persistence engines: clients are kept by their addresses".to_owned(),
                );
            }
            "persistence_granularity" => return self.granularity(said, value),
            "protocol" => match value.to_ascii_lowercase().parse() {
                Ok(protocol) => self.protocol = Some(protocol),
                Err(_) => {
                    return setting(format!("keepalived knows no protocol {value} and ignores the line"));
                }
            },
            "weight" => match unsigned(value, 1, MAX_WEIGHT, true) {
                Some(weight) => self.weight = weight,
                None => return setting(format!("{value} is no weight from 1 to {MAX_WEIGHT}")),
            },
            "laddr_group_name" if words.len() > 1 => self.local = Some((said.0.clone(), value.to_owned())),
            "sorry_server" | "sorry_server_inhibit" | "sorry_server_lvs_method" => {
                return self.sorry(said, words);
            }
            "inhibit_on_failure" => self.inhibit = Some((said.clone(), true)),
            "quorum" => match unsigned(value, 1, u32::MAX, false) {
                Some(quorum) => self.quorum = Some((said.clone(), quorum)),
                None => return setting(format!("{value} is no quorum: keepalived ignores the line")),
            },
            "hysteresis" => match unsigned(value, 0, u32::MAX, false) {
                Some(hysteresis) => self.hysteresis = Some((said.clone(), hysteresis)),
                None => return setting(format!("{value} is no hysteresis: keepalived ignores the line")),
            },
            _ => {
                let taken = self.schedule.take(said, words).or_else(|| silent(words));
                return taken.unwrap_or_else(|| setting("keepalived 2.2.7 does not know it here".to_owned()));
            }
        }
        Taken::Yes
    }

    fn sorry(&mut self, said: &Said, words: &[&str]) -> Taken {
        match (words[0], &mut self.sorry) {
            ("sorry_server", _) => match Real::new(said, &words[1..], self.way) {
                Ok(real) => self.sorry = Some(Real { backup: true, ..real }),
                Err(why) => return Taken::No(why, Kind::Real),
            },
            ("sorry_server_lvs_method", Some(sorry)) => return sorry.way.take(words),
            // A backup that no longer serves keeps its connections in any case.
            ("sorry_server_inhibit", Some(_)) => {}
            _ => {
                let why = "keepalived ignores it: it stands before sorry_server";
                return Taken::No(why.to_owned(), Kind::Setting);
            }
        }
        Taken::Yes
    }

    fn granularity(&mut self, said: &Said, value: &str) -> Taken {
        let ipv6 = self.ipv6.unwrap_or(!value.contains('.'));
        let granularity = if ipv6 {
            unsigned(value, 1, 128, false).and_then(|bits| u8::try_from(bits).ok()).map(Granularity::Prefix)
        } else {
            host_number(value).map(|mask| Granularity::Mask(mask.to_bits()))
        };
        let Some(granularity) = granularity else {
            return Taken::No(format!("{value} is no netmask"), Kind::Setting);
        };
        self.granularity = Some((said.clone(), granularity));
        self.ipv6 = self.ipv6.or(Some(ipv6));
        self.persistence = self.persistence.or(Some(PERSISTENT));
        Taken::Yes
    }

    /// Adds a real at the end of its block. Returns the real if keepalived does not add it, because only a
    /// tunnel connects different IP versions.
    pub fn add(&mut self, real: Real) -> Option<Real> {
        if real.way.forward != Some(Forward::Tun) {
            let ipv6 = real.address.is_ipv6();
            if *self.ipv6.get_or_insert(ipv6) != ipv6 {
                return Some(real);
            }
        }
        self.reals.push(real);
        None
    }

    /// Determines the IP version at the end of the block. Returns the sorry server if keepalived does not add
    /// it, because only a tunnel connects different IP versions.
    pub fn end(&mut self) -> Option<Real> {
        let mut lost = None;
        let sorry = self.sorry.as_ref().filter(|sorry| sorry.way.forward != Some(Forward::Tun));
        if let Some(ipv6) = sorry.map(|sorry| sorry.address.is_ipv6())
            && *self.ipv6.get_or_insert(ipv6) != ipv6
        {
            lost = self.sorry.take();
        }
        if self.ipv6.is_none() && !matches!(self.target, Target::Group(_)) {
            let mut all = self.sorry.iter().chain(&self.reals).map(|real| real.address.is_ipv6());
            let first = all.next().unwrap_or(false);
            self.ipv6 = Some(first && all.all(|ipv6| ipv6));
        }
        lost
    }

    /// Lists the whole server as not carried over.
    pub fn leave(&self, imported: &mut Imported, why: &str) {
        for (place, text) in &self.lines {
            imported.leave(place, text, why, Kind::Service, Some(&self.block));
        }
        for real in &self.reals {
            real.leave(imported, &self.block, why);
        }
    }
}
