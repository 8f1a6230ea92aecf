// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Answers to packets that are not forwarded: an ICMP error or a TCP reset.

use lb_common::{
    packet::{self, Parsed},
    reason::Reason,
};

use crate::{icmp, reset, verdict::Verdict};

out_of_line! {
    /// Converts the packet into its answer, and returns the XDP action.
    pub fn answer [answer, answer6](frame; parsed: &Parsed<A>; verdict: Verdict) -> u32 {
        let error = match verdict.reason {
            Reason::RealRemoved => return reset::answer(frame, parsed),
            Reason::TooBig => packet::Error::TooBig(verdict.mtu),
            Reason::TtlExceeded => packet::Error::TimeExceeded,
            _ => packet::Error::PortUnreachable,
        };
        icmp::answer(frame, parsed, error, verdict.service)
    }
}
