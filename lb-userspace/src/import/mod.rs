// SPDX-License-Identifier: MIT OR Apache-2.0
//! Conversion of IPVS rules and keepalived files to a config of xvs, with a list of lines that are not
//! carried over.
#![forbid(unsafe_code)]

pub mod ipvsadm; //    output of ipvsadm-save
pub mod keepalived; // keepalived.conf
mod left; //           lines that are not carried over
mod summary; //        summary of those lines by block

use std::{collections::BTreeSet, fmt::Write as _, net::IpAddr, path::PathBuf, sync::Arc};

pub use left::{Block, Kind, Left};
pub use summary::summary;

use crate::{api::types::Change, daemon};
use lb_control::config::{self, Extent};
use lb_dataplane::Limits;
use lb_model::failure::Failure;
use lb_model::{Desired, timeouts::TimeoutOptions};

/// Position of a line.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Place {
    /// File.
    pub file: Arc<PathBuf>,
    /// Number of the line, from 1.
    pub line: usize,
}

/// Result of an import.
#[derive(Clone, Debug, Default)]
pub struct Imported {
    /// Services.
    pub desired: Desired,
    /// Timeouts in the file.
    pub timeouts: TimeoutOptions,
    /// SNAT addresses for full NAT.
    pub fnat_addresses: Vec<IpAddr>,
    /// Another program manages VIPs.
    pub vips_elsewhere: bool,
    /// Number of reals with checks.
    pub checked: usize,
    /// Number of reals of which a check is not carried over.
    pub unchecked: usize,
    /// Lines that the config covers.
    pub carried: BTreeSet<Place>,
    /// Lines that the config does not cover.
    pub left: BTreeSet<Left>,
    /// Reason why the other program would not have read the file.
    pub refused: Option<Left>,
}

impl Imported {
    /// Returns the config file.
    #[must_use]
    pub fn config(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail, here and below.
        if self.vips_elsewhere {
            let _ = writeln!(text, "manage-vips = false");
        }
        if !self.fnat_addresses.is_empty() {
            let addresses: Vec<String> = self.fnat_addresses.iter().map(|ip| format!("\"{ip}\"")).collect();
            let _ = writeln!(text, "fnat-addresses = [{}]", addresses.join(", "));
        }
        let usual = Limits::default();
        let Desired { services, .. } = &self.desired;
        let endpoints: usize = services.keys().map(|id| self.desired.endpoints(id).len().max(1)).sum();
        let reals: usize = services.values().map(|service| service.reals.len()).sum();
        for (key, count, limit) in
            [("max-services", endpoints, usual.services), ("max-reals", reals, usual.reals)]
        {
            if count > limit as usize {
                let _ = writeln!(text, "{key} = {}", count.next_power_of_two());
            }
        }
        let TimeoutOptions { tcp, tcp_fin, udp } = self.timeouts;
        let timeouts = [("tcp-timeout", tcp), ("tcp-fin-timeout", tcp_fin), ("udp-timeout", udp)];
        for (key, seconds) in timeouts {
            let _ = seconds.map(|seconds| writeln!(text, "{key} = \"{seconds}s\""));
        }
        // `[director]` comes last: in TOML, a key after a section would belong to it, and empty lists are
        // written as such keys.
        let services = config::write(&self.desired, Extent::Differences);
        if text.is_empty() { services } else { format!("{services}\n[director]\n{text}") }
    }

    /// Makes a change, unless the result would be invalid.
    fn change(&mut self, change: &Change) -> Result<(), Failure> {
        daemon::apply(&mut self.desired, change)
    }

    fn carry(&mut self, place: &Place) {
        self.carried.insert(place.clone());
    }

    /// Lists a line that is not carried over; of several reasons for one line, the first one counts.
    fn leave(
        &mut self,
        place: &Place,
        text: &str,
        why: impl Into<String>,
        kind: Kind,
        block: Option<&Block>,
    ) {
        self.left.insert(Left::new(place, text, &why.into(), kind, block));
    }
}
