// SPDX-License-Identifier: MIT OR Apache-2.0
//! The `[director]` section of the config file: settings of the daemon.
#![forbid(unsafe_code)]

use std::{net::IpAddr, path::PathBuf, time::Duration};

use lb_common::{
    flow_table::Value,
    schema::{Settings, Timeouts},
    ticks::Ticks,
};
use serde::Deserialize;

use crate::{
    bounds::MOST_FLOWS,
    dips::Ports,
    tunnel_sources::TunnelSources,
    vips::{Announce, VipPing},
};
use lb_dataplane::{Limits, Mode};
use lb_model::{
    check::Period,
    timeouts::{LONGEST, TimeoutOptions},
    written::ListenAddress,
};

/// The `[director]` section. Flags of `xvs run` take precedence over it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct DirectorSection {
    /// Interfaces by which packets of clients and replies of `nat` reals arrive.
    #[serde(default)]
    pub interfaces: Vec<String>,
    /// Listening address of the metrics.
    pub metrics: Option<ListenAddress>,
    /// Listening address of the agent API.
    pub api: Option<ListenAddress>,
    /// File with the token that agents must present.
    pub api_token_file: Option<PathBuf>,
    /// Listening address of the API, the metrics and the status page over TCP.
    pub http: Option<ListenAddress>,
    /// Reading by that listener needs no token (default: true).
    pub http_anonymous: Option<bool>,
    /// Names of the director that requests to that listener may have, beside its addresses.
    #[serde(default)]
    pub http_hosts: Vec<String>,
    /// Certificate of that listener and those that lead to its CA: then it uses TLS.
    pub http_cert: Option<PathBuf>,
    /// Private key of the certificate.
    pub http_key: Option<PathBuf>,
    /// CAs of clients of that listener: each client needs a certificate of one of them.
    pub http_client_ca: Option<PathBuf>,
    /// File with the tokens of people and programs.
    pub tokens: Option<PathBuf>,
    /// XDP mode.
    #[serde(default)]
    pub xdp_mode: Mode,
    /// Adds VIPs to the interface of their network (default: true).
    pub manage_vips: Option<bool>,
    /// How the director makes its VIPs known (default: arp).
    pub announce: Option<Announce>,
    /// Interface that has the VIPs with `announce = "address"` (default: lo).
    pub vip_interface: Option<String>,
    /// File that has 0 while the director is ready, for `track_file` of keepalived.
    pub ready_file: Option<PathBuf>,
    /// Condition under which VIPs answer pings (default: always).
    #[serde(default)]
    pub vip_ping: VipPing,
    /// Check of the source addresses of clients' packets (default: strict).
    #[serde(default)]
    pub source_check: SourceCheck,
    /// Key of the flow hash: directors with the same config and seed choose the same reals.
    #[serde(default)]
    pub seed: u64,
    /// Maximum number of services.
    pub max_services: Option<Size<MOST_SERVICES>>,
    /// Maximum number of reals, of all services together.
    pub max_reals: Option<Size<MOST_REALS>>,
    /// Size of the IPv4 flow table, in flows.
    pub max_flows: Option<Size>,
    /// Size of the IPv6 flow table, in flows (default: a quarter of `max-flows`).
    pub max_flows6: Option<Size>,
    /// SNAT addresses of `fnat` requests (default: the source address of the route to each real).
    #[serde(default)]
    pub fnat_addresses: Vec<IpAddr>,
    /// SNAT ports. All of them are available per address and real (default: `1024-32767`).
    pub fnat_ports: Option<Ports>,
    /// Networks from which the outer source addresses of tunnels are taken (default: the director's address
    /// towards each real).
    #[serde(default)]
    pub tunnel_sources: TunnelSources,
    /// Idle time after which established TCP flows end, such as `15m`.
    pub tcp_timeout: Option<Timeout>,
    /// Idle time after which closing TCP flows end.
    pub tcp_fin_timeout: Option<Timeout>,
    /// Idle time after which UDP flows end.
    pub udp_timeout: Option<Timeout>,
    /// Time for which a failure of nearly all reals of several services does not count (default: 10s).
    pub freeze_for: Option<Period>,
    /// Program that is run for each event of health, by its full path, and its arguments.
    #[serde(default)]
    pub notify: Vec<String>,
    /// User that runs the program (default: nobody).
    pub notify_user: Option<String>,
    /// FIFO that gets a line for each change of a real or a service, as keepalived writes them.
    pub notify_fifo: Option<PathBuf>,
}

/// Check of the source addresses of clients' packets. Addresses that no client can have are always refused.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum SourceCheck {
    /// A packet with the source address of a real is accepted only from the interface that leads to the real,
    /// and a UDP datagram only from the real's own link-layer address.
    #[default]
    Strict,
    /// Packets with the source address of a real are accepted from everywhere: for directors that reach their
    /// reals through several interfaces.
    Loose,
}

/// The largest number of services: while a change is made, twice as many exist, and the keys of flows have 16 bits for
/// the number of a service's endpoint.
pub const MOST_SERVICES: u32 = u16::MAX as u32 / 2;

/// The largest number of reals: while a change is made, twice as many exist, and flows have 20 bits for an id.
pub const MOST_REALS: u32 = Value::MAX_REAL / 2;

/// Size of a table: at least 1, at most `MOST`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(try_from = "u32")]
pub struct Size<const MOST: u32 = MOST_FLOWS>(pub u32);

impl<const MOST: u32> TryFrom<u32> for Size<MOST> {
    type Error = String;

    fn try_from(size: u32) -> Result<Self, Self::Error> {
        if (1..=MOST).contains(&size) {
            Ok(Self(size))
        } else {
            Err(format!("{size} is not between 1 and {MOST}"))
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
    /// Returns the sizes of the tables.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits_or(Limits::default())
    }

    /// Returns the sizes of the tables, with those of `default` where the file has none.
    pub(super) fn limits_or(&self, default: Limits) -> Limits {
        let flows = self.max_flows.map_or(default.flows, |size| size.0);
        Limits {
            services: self.max_services.map_or(default.services, |size| size.0),
            reals: self.max_reals.map_or(default.reals, |size| size.0),
            flows,
            flows6: self.max_flows6.map_or((flows / 4).max(1), |size| size.0),
            flow_places: default.flow_places,
        }
    }

    /// Returns the settings of the programs.
    #[must_use]
    pub fn settings(&self) -> Settings {
        let settings = self.tunnel_sources.put_in(Settings { seed: self.seed, ..Settings::DEFAULT });
        self.fnat_ports.as_ref().map_or(settings, |ports| ports.put_in(settings))
    }

    /// Returns the timeouts of idle flows: those of the file, else those that the operator has `said`, else
    /// the defaults of IPVS.
    #[must_use]
    pub fn timeouts(&self, said: TimeoutOptions) -> Timeouts {
        let ticks = |timeout: Option<Timeout>, said: Option<u32>, default: Ticks| {
            let seconds = timeout.map(|timeout| timeout.0.as_secs()).or(said.map(u64::from));
            // State files of an earlier version may have 0, which would end every connection at once.
            let seconds = seconds.filter(|seconds| *seconds > 0);
            seconds.map_or(default, Ticks::of_seconds)
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
    /// Returns the keys whose values differ between two sections.
    #[must_use]
    pub fn differing_keys(&self, other: &Self) -> Vec<String> {
        keys!(self, other:
            interfaces metrics api api_token_file http http_anonymous http_hosts http_cert http_key http_client_ca tokens xdp_mode manage_vips announce vip_interface ready_file vip_ping source_check seed
            max_services max_reals max_flows max_flows6 fnat_addresses fnat_ports tunnel_sources
            tcp_timeout tcp_fin_timeout udp_timeout freeze_for notify notify_user notify_fifo
        )
    }

    /// Returns a warning if `new` has changed keys that a running director, which started with `self`,
    /// applies only at its next start.
    #[must_use]
    pub fn needs_restart(&self, new: &Self) -> Option<String> {
        let keys = self.differing_keys(new);
        (!keys.is_empty()).then(|| {
            let keys = keys.join(", ");
            format!(
                "[director] is read when the daemon starts: restart it with this file as --config to \
                 change {keys}"
            )
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
