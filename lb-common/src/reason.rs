// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! What became of a packet, and why.
//!
//! One enum from the kernel to the dashboard: it is the error type of every stage of the data plane, the
//! index of a counter, the label of a metric, a row of `xvs stats` and a heading of docs/reasons.md.

/// What the kernel does with a packet that ends for a [`Reason`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fate {
    /// Sent on to a real server or, in nat, back to the client.
    Sent,
    /// Left to the director's own network stack.
    Passed,
    /// Dropped.
    Dropped,
    /// Dropped, and answered with an ICMP error.
    Answered,
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $name:literal, $fate:ident;)*) => {
        /// Why a packet went where it went.
        ///
        /// Numbers and names are never used again for another meaning.
        #[repr(u32)]
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub enum Reason { $($(#[$doc])* $variant = $number,)* }

        impl Reason {
            /// Every reason, in the order of its number.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The reason of that number, if there is one.
            #[inline(always)]
            #[must_use]
            pub const fn from_number(number: u32) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)* _ => None }
            }

            /// The name in metrics, the CLI and docs/reasons.md.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What the kernel does with the packet.
            #[inline(always)]
            #[must_use]
            pub const fn fate(self) -> Fate {
                match self { $(Self::$variant => Fate::$fate,)* }
            }
        }
    };
}

reasons! {
    /// Sent on by the real's forwarding method, or a reply sent back. Counted per real, not here.
    Forwarded = 0, "forwarded", Sent;
    /// Not a packet of any service. Never counted.
    NotOurs = 1, "not_ours", Passed;
    /// Given to the director's own stack, because the real's method is `local`. Counted per real too.
    Local = 2, "local", Passed;
    /// The frame ends before the headers that it announces.
    Truncated = 3, "truncated", Dropped;
    /// No real of the service can take a new connection; the client is told "port unreachable".
    NoReal = 4, "no_real", Answered;
    /// TCP without a SYN that belongs to no known connection, on a service that must know it.
    NoFlow = 5, "no_flow", Passed;
    /// The link-layer address of the way to the real is not known yet.
    NextHopUnknown = 6, "next_hop_unknown", Dropped;
    /// The kernel has no room before the packet for an outer header.
    NoHeadroom = 7, "no_headroom", Dropped;
    /// Larger than the way to the real takes; the client is told the MTU that fits, also if it allows fragmentation,
    /// which XDP cannot do.
    TooBig = 8, "too_big", Answered;
    /// A later fragment larger than the way to the real takes; the sender was told so for the first one.
    TooBigFragment = 9, "too_big_fragment", Dropped;
    /// The time to live has run out. A request is answered; a reply, an ICMP error or a later fragment is left to the
    /// director's stack.
    TtlExceeded = 10, "ttl_exceeded", Answered;
    /// A ping of the VIP, answered by the director's stack.
    IcmpEcho = 11, "icmp_echo", Passed;
    /// Any other ICMP message to the VIP that is not an error.
    IcmpOther = 12, "icmp_other", Passed;
    /// An ICMP error to the VIP about a flow that xvs does not know.
    IcmpUnknownFlow = 13, "icmp_unknown_flow", Passed;
    /// A later fragment whose first one was not seen.
    FragmentUnknown = 14, "fragment_unknown", Passed;
    /// The device towards the real takes no frames from XDP.
    RedirectFailed = 15, "redirect_failed", Dropped;
    /// An ICMP error was due, but the limit of errors per second was reached.
    IcmpLimited = 16, "icmp_limited", Dropped;
    /// An ICMP error larger than the tunnel takes: an error is never answered with an error.
    TooBigIcmp = 17, "too_big_icmp", Dropped;
    /// The hashed real has reached its upper threshold, and the scheduler has no fallback; the client is told
    /// "port unreachable".
    Overloaded = 18, "overloaded", Answered;
    /// The connection was on a real that was removed; the client's packet is answered with a TCP reset.
    RealRemoved = 19, "real_removed", Answered;
    /// An IPv6 packet whose ports are behind an extension header that xvs cannot read.
    ExtensionHeader = 20, "extension_header", Passed;
    /// No port of the director was free for a new flow by `fnat`; the client is told "port unreachable".
    PortsExhausted = 21, "ports_exhausted", Answered;
    /// A first fragment that ends within the transport header (RFC 1858).
    FragmentTiny = 22, "fragment_tiny", Dropped;
    /// A fragment with bytes of its datagram that another one has had (RFC 5722).
    FragmentOverlap = 23, "fragment_overlap", Dropped;
    /// A ping of a VIP that is silent because none of its reals takes connections.
    IcmpEchoSilent = 24, "icmp_echo_silent", Dropped;
    /// A packet for a service whose source is no host's address on another link: unspecified, loopback, link-local,
    /// multicast or broadcast (RFC 1122, section 3.2.1.3; RFC 3927, section 2.7; RFC 4291, section 2.5.6).
    SourceInvalid = 25, "source_invalid", Dropped;
    /// A packet for a service whose source is a VIP or another address of the director: it is forged.
    SourceOwn = 26, "source_own", Dropped;
    /// A packet for a service whose source is the address of a real, and which did not come from where that real is: it is
    /// forged, and would have two servers talk to each other for ever (CVE-2024-2169).
    SourceReal = 27, "source_real", Dropped;
    /// A packet of a service that reached the director's stack without having met the XDP program, which is not attached:
    /// the guard dropped it, since the stack would have reset the connection.
    Guarded = 28, "guarded", Dropped;
}

impl Reason {
    /// How many counters a service has in the map of reasons: a power of two with room to grow.
    pub const SLOTS: usize = 32;

    /// The index of this reason's counter.
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
