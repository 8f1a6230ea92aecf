// SPDX-License-Identifier: MIT OR Apache-2.0
//! Options of services and reals: one definition for the command line, the API and the files.
#![forbid(unsafe_code)]

mod check; //  options of health checks
mod check_list; // `--check NAME…`
mod health; // options about the health of reals

use std::{collections::BTreeSet, net::Ipv4Addr};

use clap::Args;
use serde::{Deserialize, Serialize};

pub use check::CheckOptions;
pub use check_list::CheckList;
pub use health::HealthOptions;
use lb_model::{
    Forward, MAX_WEIGHT, OnRemoval, Persistence, Real, Scheduler, SchedulerFlag, Service, Tracking, Tunnel,
    health::Admin, timeouts::seconds, written::number,
};

/// Options of a service; what is not said stays, or is the default of a new one.
#[derive(Args, Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize, schemars::JsonSchema)]
#[serde(default)]
pub struct ServiceOptions {
    /// How a real is chosen for a new connection [new services: mh]
    #[arg(long, value_name = "NAME")]
    pub scheduler: Option<Scheduler>,
    /// Flags of the scheduler, joined by commas, or none: sh-fallback and sh-port for sh; mh-fallback and
    /// mh-port for mh [mh: mh-port]
    #[arg(long, value_name = "FLAGS", value_parser = flags)]
    pub flags: Option<BTreeSet<SchedulerFlag>>,
    /// Which connections get an entry in the flow table [new services: auto]
    #[arg(long, value_name = "WHICH")]
    pub tracking: Option<Tracking>,
    /// Persistence: send a client to the same real for this time after its last new connection; 0s turns it
    /// off
    #[arg(long, value_name = "DURATION", value_parser = seconds)]
    pub persistent: Option<u32>,
    /// Prefix length by which persistence groups clients: 24, 255.255.255.0, or 64 for IPv6 [new services:
    /// the whole address]
    #[arg(long, value_name = "PREFIX", value_parser = prefix)]
    pub netmask: Option<u8>,
    /// Choose a real for each UDP datagram
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub one_packet: Option<bool>,
    /// What happens to TCP connections of a removed real [new services: reset]
    #[arg(long, value_name = "WHAT")]
    pub on_removal: Option<OnRemoval>,
    /// Health checks, and what follows from their results.
    #[command(flatten)]
    #[serde(flatten)]
    pub health: HealthOptions,
}

/// Options of a real; what is not said stays, or is the default of a new one.
#[derive(Args, Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize, schemars::JsonSchema)]
#[serde(default)]
pub struct RealOptions {
    /// Forward method [new reals: dr]
    #[arg(long, value_name = "METHOD")]
    pub forward: Option<Forward>,
    /// Share of new connections relative to the other reals; 0 = none [new reals: 1]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = weight)]
    pub weight: Option<u32>,
    /// Most connections at a time; 0 = no limit [new reals: 0]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = limit)]
    pub upper: Option<u32>,
    /// After --upper was reached, accept new connections below this number; 0 = three quarters of --upper
    /// [new reals: 0]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = limit)]
    pub lower: Option<u32>,
    /// Encapsulation for tun: ipip, gre[:csum] or gue[:PORT][:csum] [new reals: ipip]
    #[arg(long, value_name = "KIND")]
    pub tunnel: Option<Tunnel>,
    /// State: enabled, drain (no new connections) or disabled (as if down) [new reals: enabled]
    #[arg(long = "state", value_name = "STATE")]
    #[serde(rename = "state")]
    pub admin: Option<Admin>,
    /// Serve only if every other real is down
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub backup: Option<bool>,
    /// Health checks of the real.
    #[command(flatten)]
    pub check: Option<CheckList>,
}

impl ServiceOptions {
    /// Applies the given options to a service.
    pub fn apply(&self, service: &mut Service) {
        if let Some(scheduler) = self.scheduler {
            if scheduler != service.scheduler {
                service.flags = scheduler.default_flags();
            }
            service.scheduler = scheduler;
        }
        if let Some(flags) = &self.flags {
            service.flags.clone_from(flags);
        }
        service.tracking = self.tracking.unwrap_or(service.tracking);
        match self.persistent {
            Some(0) => service.persistence = None,
            Some(seconds) => {
                let prefix = service.persistence.map_or(Persistence::WHOLE_ADDRESS, |old| old.prefix);
                service.persistence = Some(Persistence { seconds, prefix });
            }
            None => {}
        }
        if let (Some(prefix), Some(persistence)) = (self.netmask, &mut service.persistence) {
            persistence.prefix = prefix;
        }
        service.one_packet = self.one_packet.unwrap_or(service.one_packet);
        service.on_removal = self.on_removal.unwrap_or(service.on_removal);
        self.health.apply(&mut service.health);
    }

    /// Returns all options of a service: applied to any other service, they make it equal.
    #[must_use]
    pub fn of(service: &Service) -> Self {
        Self {
            scheduler: Some(service.scheduler),
            flags: Some(service.flags.clone()),
            tracking: Some(service.tracking),
            persistent: Some(service.persistence.map_or(0, |persistence| persistence.seconds)),
            netmask: service.persistence.map(|persistence| persistence.prefix),
            one_packet: Some(service.one_packet),
            on_removal: Some(service.on_removal),
            health: HealthOptions::of(&service.health),
        }
    }
}

impl RealOptions {
    /// Applies the given options to a real.
    pub fn apply(&self, real: &mut Real) {
        real.forward = self.forward.unwrap_or(real.forward);
        real.weight = self.weight.unwrap_or(real.weight);
        real.upper = self.upper.unwrap_or(real.upper);
        real.lower = self.lower.unwrap_or(real.lower);
        // The tunnel options are reset with the method, unless the operator gives them, which validation then
        // refuses.
        let before = if real.forward == Forward::Tun { real.tunnel } else { Tunnel::Ipip };
        real.tunnel = self.tunnel.unwrap_or(before);
        real.admin = self.admin.unwrap_or(real.admin);
        real.backup = self.backup.unwrap_or(real.backup);
        if let Some(CheckList(checks)) = &self.check {
            real.checks = Some(checks.clone());
        }
    }

    /// Creates a real with these options, and defaults for the others.
    #[must_use]
    pub fn new_real(&self) -> Real {
        let mut real = Real::new(Forward::Dr, 1);
        self.apply(&mut real);
        real
    }
}

/// Parses a weight.
fn weight(text: &str) -> Result<u32, String> {
    number(text, 0, MAX_WEIGHT)
}

/// Parses a limit of connections.
fn limit(text: &str) -> Result<u32, String> {
    number(text, 0, u32::MAX)
}

/// Parses `mh-port,mh-fallback` or `none`.
fn flags(text: &str) -> Result<BTreeSet<SchedulerFlag>, String> {
    if text == "none" {
        return Ok(BTreeSet::new());
    }
    text.split(',').map(str::parse).collect()
}

/// Parses a netmask: `24`, `/24` or `255.255.255.0`; for IPv6 `64` or `/64`.
///
/// # Errors
/// If the text is invalid; the message shows the valid forms.
pub fn prefix(text: &str) -> Result<u8, String> {
    let wrong = || format!("'{text}' is not a netmask; write 24 or 255.255.255.0");
    if let Ok(mask) = text.parse::<Ipv4Addr>() {
        let bits = mask.to_bits();
        return if bits.leading_ones() + bits.trailing_zeros() >= 32 {
            Ok(bits.leading_ones() as u8)
        } else {
            Err(wrong())
        };
    }
    match text.trim_start_matches('/').parse() {
        Ok(bits @ 0..=128) => Ok(bits),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_a_service_makes_another_alike() {
        let said = ServiceOptions {
            scheduler: Some(Scheduler::Sh),
            flags: Some([SchedulerFlag::ShPort].into()),
            persistent: Some(60),
            netmask: Some(24),
            one_packet: Some(true),
            ..ServiceOptions::default()
        };
        let mut one = Service::default();
        said.apply(&mut one);
        let mut other = Service::default();
        ServiceOptions::of(&one).apply(&mut other);
        assert_eq!(one, other);
        ServiceOptions { persistent: Some(0), ..ServiceOptions::default() }.apply(&mut other);
        assert_eq!(other.persistence, None);
    }

    #[test]
    fn another_scheduler_has_its_own_flags() {
        let mut service = Service::default();
        ServiceOptions { scheduler: Some(Scheduler::Wlc), ..ServiceOptions::default() }.apply(&mut service);
        assert!(service.flags.is_empty());
    }

    #[test]
    fn netmasks_and_durations() {
        assert_eq!([prefix("24"), prefix("/24"), prefix("255.255.255.0")], [Ok(24), Ok(24), Ok(24)]);
        assert_eq!(prefix("/64"), Ok(64));
        assert_eq!([prefix("0"), prefix("0.0.0.0")], [Ok(0), Ok(0)]);
        for wrong in ["129", "255.0.255.0", "x"] {
            assert!(prefix(wrong).is_err(), "{wrong}");
        }
        assert_eq!(seconds("5m"), Ok(300));
        assert!(seconds("90000days").is_err());
    }
}
