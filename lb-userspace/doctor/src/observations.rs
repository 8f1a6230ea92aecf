// SPDX-License-Identifier: MIT OR Apache-2.0
//! Results of the probes of one real.
#![forbid(unsafe_code)]

use std::net::IpAddr;

/// Result of a probe.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Outcome {
    /// No reply arrived.
    #[default]
    NoReply,
    /// The real's stack refused: no socket listens.
    Refused,
    /// A firewall rejected the probe.
    Rejected,
    /// The real replied.
    Replied,
}

/// Observations about a target.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Observations {
    /// Outcome for the VIP through the forwarding path.
    pub(super) via_path: Outcome,
    /// Outcome for the RIP without the forwarding path.
    pub(super) direct: Outcome,
    /// Outcome for the VIP through the forwarding path from an address in the clients' network; `None` if the director
    /// has no such address.
    pub(super) far: Option<Outcome>,
    /// The real reported that it does not decapsulate.
    pub(super) no_tunnel: bool,
    /// A reply had a wrong checksum.
    pub(super) wrong_checksum: bool,
    /// The VIP answers a ping, while the service's port does not answer.
    pub(super) answers_ping: bool,
    /// The RIP answers inside the tunnel, while the VIP does not; `None` if that was not probed.
    pub(super) decapsulates: Option<bool>,
    /// Real that answered instead: this one lacks the VIP and forwards packets for it.
    pub(super) other_real: Option<IpAddr>,
    /// Reason why the programs do not send packets to the real.
    pub(super) not_forwarded: Option<&'static str>,
}

impl Observations {
    /// Returns whether no reply of any kind arrived.
    pub(super) fn is_silent(&self) -> bool {
        let outcomes = [self.via_path, self.direct, self.far.unwrap_or_default()];
        outcomes.iter().all(|outcome| *outcome == Outcome::NoReply)
            && !self.no_tunnel
            && !self.answers_ping
            && self.not_forwarded.is_none()
    }
}
