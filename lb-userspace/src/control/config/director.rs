// SPDX-License-Identifier: MIT OR Apache-2.0
//! The `[director]` section of the config file: how the director runs.
#![forbid(unsafe_code)]

use std::{net::IpAddr, path::PathBuf, time::Duration};

use lb_common::{
    schema::{Settings, Timeouts},
    track,
};
use serde::Deserialize;

use crate::{
    control::{dips::Ports, tunnel_sources::TunnelSources, vips::VipPing},
    dataplane::{Limits, Mode},
    model::{
        timeouts::{LONGEST, TimeoutOptions},
        written::ListenAddress,
    },
};

/// The `[director]` section. Flags of `xvs run` win over it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
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
    /// Tracked IPv4 flows that fit.
    pub max_flows: Option<Size>,
    /// Tracked IPv6 flows that fit (default: a quarter of `max-flows`).
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

impl DirectorSection {
    /// The sizes of the tables.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits_or(Limits::default())
    }

    /// The same, and what the file does not say as in `default`.
    pub(super) fn limits_or(&self, default: Limits) -> Limits {
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

/// Pairs each field with its key in the file, and fails to compile if a field is missing.
macro_rules! keys {
    ($old:ident, $new:ident: $($field:ident)+) => {{
        let DirectorSection { $($field: _),+ } = $old;
        let differing = [$((stringify!($field), $old.$field != $new.$field)),+];
        differing.into_iter().filter(|(_, differs)| *differs).map(|(field, _)| field.replace('_', "-")).collect()
    }};
}

impl DirectorSection {
    /// Returns the keys whose values differ between two files.
    #[must_use]
    pub fn differing_keys(&self, other: &Self) -> Vec<String> {
        keys!(self, other:
            interfaces metrics api api_token_file xdp_mode manage_vips vip_ping source_check seed
            max_services max_reals max_flows max_flows6 fnat_addresses fnat_ports tunnel_sources
            tcp_timeout tcp_fin_timeout udp_timeout
        )
    }

    /// Returns a warning if `new` has keys that a running director, which began with `self`, takes at its next start only.
    #[must_use]
    pub fn needs_restart(&self, new: &Self) -> Option<String> {
        let keys = self.differing_keys(new);
        (!keys.is_empty()).then(|| {
            let keys = keys.join(", ");
            format!("[director] is read when the daemon starts: restart it with this file as --config to change {keys}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_wait_for_a_restart_are_named() {
        let running = DirectorSection { max_flows: Some(Size(1000)), ..DirectorSection::default() };
        assert_eq!(running.needs_restart(&running.clone()), None);
        let interfaces = vec!["eth0".to_owned()];
        let new = DirectorSection {
            interfaces,
            udp_timeout: Some(Timeout(Duration::from_secs(9))),
            ..running.clone()
        };
        assert_eq!(running.differing_keys(&new), ["interfaces", "udp-timeout"]);
        let warning = running.needs_restart(&new).unwrap();
        assert!(warning.ends_with("to change interfaces, udp-timeout"), "{warning}");
    }
}
