// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Reasons: what the data plane did with a packet, and why.
//!
//! One enum from the kernel to the dashboard: it is the error type of every stage of the data plane, the
//! index of a counter, the label of a metric, a row of `xvs stats` and a heading of docs/reasons.md.

/// The action of the kernel on a packet that ends with a [`Reason`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fate {
    /// Sent to a real server or, with `nat` and `fnat`, back to the client.
    Sent,
    /// Passed to the director's own network stack.
    Passed,
    /// Dropped.
    Dropped,
    /// Dropped, and answered with an ICMP error or a TCP reset.
    Answered,
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $name:literal, $fate:ident;)*) => {
        /// The reason for the fate of a packet.
        ///
        /// Numbers and names are never reused for another meaning.
        #[repr(u32)]
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub enum Reason { $($(#[$doc])* $variant = $number,)* }

        impl Reason {
            /// Every reason, ordered by number.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Returns the reason with this number, if it exists.
            #[inline(always)]
            #[must_use]
            pub const fn from_number(number: u32) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)* _ => None }
            }

            /// Returns the name in metrics, the CLI and docs/reasons.md.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Returns the fate of a packet with this reason.
            #[inline(always)]
            #[must_use]
            pub const fn fate(self) -> Fate {
                match self { $(Self::$variant => Fate::$fate,)* }
            }
        }
    };
}

reasons! {
    /// A packet sent by the real's forwarding method, or a reply sent back. Counted per real, not here.
    Forwarded = 0, "forwarded", Sent;
    /// A packet of no service. Never counted.
    NotOurs = 1, "not_ours", Passed;
    /// A packet passed to the director's own stack, because the real's method is `local`. Counted per real
    /// too.
    Local = 2, "local", Passed;
    /// A frame that ends before the headers that it announces.
    Truncated = 3, "truncated", Dropped;
    /// No real of the service accepts a new connection; the director sends "port unreachable".
    NoReal = 4, "no_real", Answered;
    /// A TCP or SCTP packet that neither opens a connection nor belongs to a tracked one, where the scheduler
    /// or `fnat` requires a tracked connection.
    NoFlow = 5, "no_flow", Passed;
    /// The MAC address of the next hop towards the real is not known yet.
    NextHopUnknown = 6, "next_hop_unknown", Dropped;
    /// The kernel has no room before the packet for an outer header or a VLAN tag.
    NoHeadroom = 7, "no_headroom", Dropped;
    /// A packet larger than the MTU towards the real. The director sends "fragmentation needed" or "packet
    /// too big" with the MTU, also if the packet allows fragmentation, which XDP cannot do.
    TooBig = 8, "too_big", Answered;
    /// A later fragment larger than the MTU towards the real; the first fragment was already answered.
    TooBigFragment = 9, "too_big_fragment", Dropped;
    /// A packet whose time to live has expired. The director answers a request; it passes a reply, an ICMP
    /// error or a later fragment to its stack.
    TtlExceeded = 10, "ttl_exceeded", Answered;
    /// A ping of the VIP, answered by the director's stack.
    IcmpEcho = 11, "icmp_echo", Passed;
    /// Any other ICMP message to the VIP that is not an error.
    IcmpOther = 12, "icmp_other", Passed;
    /// An ICMP error to the VIP about a flow unknown to xvs.
    IcmpUnknownFlow = 13, "icmp_unknown_flow", Passed;
    /// A later fragment whose first fragment is unknown.
    FragmentUnknown = 14, "fragment_unknown", Passed;
    /// The interface towards the real accepts no frames from XDP.
    RedirectFailed = 15, "redirect_failed", Dropped;
    /// A packet that required an ICMP error when the limit of errors per second was reached.
    IcmpLimited = 16, "icmp_limited", Dropped;
    /// An ICMP error larger than the MTU of the tunnel: an error is never answered with an error.
    TooBigIcmp = 17, "too_big_icmp", Dropped;
    /// The hashed real has reached its upper threshold, and the scheduler has no fallback; the director sends
    /// "port unreachable".
    Overloaded = 18, "overloaded", Answered;
    /// A packet of a connection on a removed real; the director answers with a TCP reset.
    RealRemoved = 19, "real_removed", Answered;
    /// An IPv6 packet whose ports are behind an extension header that xvs cannot read.
    ExtensionHeader = 20, "extension_header", Passed;
    /// No SNAT port was free for a new `fnat` flow; the director sends "port unreachable".
    PortsExhausted = 21, "ports_exhausted", Answered;
    /// A first fragment that ends within the transport header (RFC 1858).
    FragmentTiny = 22, "fragment_tiny", Dropped;
    /// A fragment with bytes of its datagram that another fragment had (RFC 5722).
    FragmentOverlap = 23, "fragment_overlap", Dropped;
    /// A ping of a VIP that is silent because none of its reals accepts connections.
    IcmpEchoSilent = 24, "icmp_echo_silent", Dropped;
    /// A packet for a service whose source cannot be a host on another link: unspecified, loopback,
    /// link-local, multicast or broadcast (RFC 1122, section 3.2.1.3; RFC 3927, section 2.7; RFC 4291,
    /// section 2.5.6).
    SourceInvalid = 25, "source_invalid", Dropped;
    /// A packet for a service whose source is a VIP or another address of the director: it is forged.
    SourceOwn = 26, "source_own", Dropped;
    /// A packet for a service whose source is the address of a real, but which did not arrive from that real:
    /// it is forged, and would make two servers answer each other endlessly (CVE-2024-2169).
    SourceReal = 27, "source_real", Dropped;
    /// A packet of a service that reached the director's stack without passing the XDP program, which is not
    /// attached. The guard dropped the packet, since the stack would have reset the connection.
    Guarded = 28, "guarded", Dropped;
    /// Every real of the service is down or disabled, and the service has `on-all-down = "drop"`.
    AllDown = 29, "all_down", Dropped;
    /// A packet that begins a flow which needs a flow table entry, and the flow table has no place for it: flows that
    /// have proven that they live hold all places that the flow may have.
    FlowTableFull = 30, "flow_table_full", Dropped;
    /// A packet that begins a flow which another CPU begins at the same instant; the sender repeats it.
    FlowContended = 31, "flow_contended", Dropped;
}

impl Reason {
    /// Number of counters per service in `REASONS`: a power of two with room to grow.
    pub const SLOTS: usize = 32;

    /// Returns the index of this reason's counter.
    #[must_use]
    pub const fn index(self) -> u32 {
        self as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_dense_and_names_are_words() {
        for (index, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(reason.index() as usize, index);
            assert!(reason.as_str().bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
        }
        assert!(Reason::ALL.len() <= Reason::SLOTS);
    }

    #[test]
    fn each_is_explained_in_the_docs_with_its_fate_and_number() {
        let docs = include_str!("../../docs/reasons.md");
        for reason in Reason::ALL {
            let (name, number) = (reason.as_str(), reason.index());
            let fate = format!("{:?}", reason.fate()).to_lowercase();
            assert!(docs.contains(&format!("\n## {name}\n")), "no heading for {name}");
            let row = format!("| [{name}](#{name}) | {fate} | {number} |");
            assert!(docs.contains(&row), "no row {row}");
        }
    }
}
