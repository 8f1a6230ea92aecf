// SPDX-License-Identifier: MIT OR Apache-2.0
//! Rules of IPVS and of keepalived as a config of xvs, with a list of what was not carried over.
#![forbid(unsafe_code)]

pub mod ipvsadm; //    what ipvsadm-save wrote
pub mod keepalived; // keepalived.conf
mod left; //           what is not carried over
mod summary; //        the same, one line a block

use std::{collections::BTreeSet, fmt::Write as _, net::IpAddr, path::PathBuf, sync::Arc};

pub use left::{Block, Kind, Left};
pub use summary::summary;

use crate::{
    api::types::Change,
    control::config::{self, Extent},
    daemon,
    dataplane::Limits,
    failure::Failure,
    model::{Desired, timeouts::TimeoutOptions},
};

/// Where a line stands.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Place {
    /// The file.
    pub file: Arc<PathBuf>,
    /// The number of the line, from 1.
    pub line: usize,
}

/// What a file came to.
#[derive(Clone, Debug, Default)]
pub struct Imported {
    /// The services.
    pub desired: Desired,
    /// Timeouts that the file sets.
    pub timeouts: TimeoutOptions,
    /// Addresses of the director that connections by full NAT come from.
    pub fnat_addresses: Vec<IpAddr>,
    /// Whether another program keeps VIPs.
    pub vips_elsewhere: bool,
    /// Reals that were checked, and no longer are.
    pub checked: usize,
    /// Lines that the config says.
    pub carried: BTreeSet<Place>,
    /// What it does not say.
    pub left: BTreeSet<Left>,
    /// Why the other program would not have read the file.
    pub refused: Option<Left>,
}

impl Imported {
    /// The config file.
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
        // Last: lists that are empty are written as keys of no section.
        let services = config::write(&self.desired, Extent::Differences);
        if text.is_empty() { services } else { format!("{services}\n[director]\n{text}") }
    }

    /// Makes a change, unless it would not be valid.
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
