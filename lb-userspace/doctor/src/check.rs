// SPDX-License-Identifier: MIT OR Apache-2.0
//! Checks of the doctor: one table of every fault that it can report.
//!
//! A new check begins with a line in the table. docs/doctor.md needs a row and a section for it; the tests of this file
//! compare both with the table. The code of the check returns a [`Finding`](super::Finding).
#![forbid(unsafe_code)]

use std::fmt;

use lb_model::finding::Severity;

macro_rules! checks {
    ($($(#[doc = $meaning:literal])+ $variant:ident = $name:literal, $severity:ident $(or $other:ident)?;)*) => {
        /// A check of the doctor: the kind of a finding.
        ///
        /// Names are never reused for another fault.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub enum Check { $($(#[doc = $meaning])+ $variant,)* }

        impl Check {
            /// Every check, in the order of docs/doctor.md.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Returns the name in output, in metrics and in docs/doctor.md.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Returns the severities that findings of this check can have, the usual one first.
            #[must_use]
            pub const fn severities(self) -> &'static [Severity] {
                match self { $(Self::$variant => &[Severity::$severity $(, Severity::$other)?],)* }
            }

            /// Returns the fault in one line.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => concat!($($meaning),+).trim_ascii(),)* }
            }
        }
    };
}

checks! {
    /// Another machine answers ARP for a VIP, and clients bypass the director.
    ArpLeak = "arp-leak", Error;
    /// Another machine answers neighbour discovery for a VIP, and clients bypass the director.
    NdpLeak = "ndp-leak", Error;
    /// A `dr` real answers for its RIP, but not for the VIP.
    DrBlackhole = "dr-blackhole", Error;
    /// A `dr` or `tun` real answers neighbours for the VIP, but not clients in another network.
    RpFilter = "rp-filter", Warning;
    /// Replies of a `dr` or `tun` real to clients go through the director, whose kernel drops them.
    RepliesComeBack = "replies-come-back", Error;
    /// A `tun` real reports by ICMP that it does not accept the tunnel.
    TunNotUnwrapped = "tun-not-unwrapped", Error;
    /// A `tun` real answers for its RIP, but not through the tunnel.
    TunBlackhole = "tun-blackhole", Error;
    /// The path to a `tun` real loses large packets.
    TunnelMtu = "tunnel-mtu", Error;
    /// Replies of a `nat` real do not return through the director.
    NatReplies = "nat-replies", Error;
    /// Replies of a `fnat` real do not arrive at the director's address.
    FnatReplies = "fnat-replies", Error;
    /// A real accepts packets of the service and refuses connections.
    NotListening = "not-listening", Error;
    /// A firewall on the real rejects or drops packets for the service's port.
    RealFirewall = "real-firewall", Error;
    /// A real answers ARP or neighbour discovery, and nothing else.
    RealSilent = "real-silent", Error;
    /// The director has no next hop for a real, or a wrong one.
    NextHop = "next-hop", Error;
    /// The path to a `dr` real leads through a router.
    DrNotOnLink = "dr-not-on-link", Error;
    /// The programs do not forward packets for a real.
    NotForwarded = "not-forwarded", Error;
    /// The director does not answer for a VIP.
    VipMissing = "vip-missing", Error or Warning;
    /// The director has a VIP twice.
    VipTwice = "vip-twice", Warning;
    /// The driver of an interface drops packets that the program sends.
    XdpTxLost = "xdp-tx-lost", Error;
    /// An interface of `xvs run` no longer exists.
    InterfaceGone = "interface-gone", Error;
    /// A service has no reals, or none that is enabled and has a weight above 0.
    NoReal = "no-real", Error;
    /// No real of a service is healthy.
    NoHealthyReal = "no-healthy-real", Error;
    /// Fewer reals of a service are healthy than it needs.
    FewHealthyReals = "few-healthy-reals", Warning;
    /// A real is down by its health checks, and the doctor finds no other fault.
    RealDown = "real-down", Warning;
    /// The states of reals are frozen, because nearly all health checks fail at once or the director cannot reach itself.
    ChecksFrozen = "checks-frozen", Warning;
    /// The program is detached from an interface of `xvs run`.
    XdpDetached = "xdp-detached", Error;
    /// The program runs in generic mode, although native mode was requested.
    XdpGeneric = "xdp-generic", Warning;
    /// Another XDP program runs on an interface of `xvs run`, or on an interface to reals.
    XdpOther = "xdp-other", Error or Warning;
    /// An interface of `xvs run` is down.
    InterfaceDown = "interface-down", Error;
    /// An offload of an interface changes packets before the program receives them.
    Offload = "offload", Warning;
    /// A `nat` or `fnat` real sends packets with wrong checksums.
    Checksum = "checksum", Error;
    /// A firewall rule of the director is meant for a service, and has no effect on its packets.
    Firewall = "firewall", Warning;
    /// The kernel has no room for the neighbour entries of all reals, or soon none.
    NeighbourTable = "neighbour-table", Error or Warning;
    /// A program on the director is a client of a service that has no real on the director.
    LocalClient = "local-client", Warning;
    /// The flow table is nearly full, or has evicted living flows.
    FlowTable = "flow-table", Warning;
}

impl Check {
    /// Returns the usual severity of findings of this check.
    #[must_use]
    pub const fn severity(self) -> Severity {
        match self.severities() {
            [Severity::Warning, ..] => Severity::Warning,
            [Severity::Error, ..] | [] => Severity::Error,
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const DOCS: &str = include_str!("../../../docs/doctor.md");

    /// Returns the part of docs/doctor.md about the checks: the table, and the sections below it.
    fn docs() -> (&'static str, &'static str) {
        let (_, checks) = DOCS.split_once("\n## Checks\n").expect("a chapter about the checks");
        let (checks, _) = checks.split_once("\n## ").unwrap_or((checks, ""));
        checks.split_at(checks.find("\n### ").expect("sections"))
    }

    #[test]
    fn names_are_words_with_hyphens_and_each_exists_once() {
        let names: BTreeSet<&str> = Check::ALL.iter().map(|check| check.as_str()).collect();
        assert_eq!(names.len(), Check::ALL.len());
        for name in names {
            assert!(name.split('-').all(|word| !word.is_empty()), "{name}");
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{name}");
        }
    }

    #[test]
    fn names_of_released_checks_still_exist() {
        // docs/versioning.md promises these names: add new ones, and remove or rename none.
        let released = "arp-leak checksum dr-blackhole dr-not-on-link firewall flow-table fnat-replies interface-down \
                        interface-gone local-client nat-replies ndp-leak neighbour-table next-hop no-real not-forwarded \
                        not-listening offload real-firewall real-silent replies-come-back rp-filter tun-blackhole \
                        tun-not-unwrapped tunnel-mtu vip-missing vip-twice xdp-detached xdp-generic xdp-other xdp-tx-lost";
        let names: BTreeSet<&str> = Check::ALL.iter().map(|check| check.as_str()).collect();
        for name in released.split_whitespace() {
            assert!(names.contains(name), "{name}");
        }
    }

    #[test]
    fn the_table_in_the_docs_has_each_check_with_its_severity_and_meaning() {
        let (table, _) = docs();
        let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| [")).collect();
        let expected: Vec<String> = Check::ALL
            .iter()
            .map(|check| {
                let severities: Vec<&str> =
                    check.severities().iter().map(|severity| severity.as_str()).collect();
                let meaning = check.meaning().trim_end_matches('.');
                format!("| [`{check}`](#{check}) | {} | {meaning} |", severities.join(" or "))
            })
            .collect();
        assert_eq!(rows, expected, "docs/doctor.md (left) and the table of checks");
    }

    #[test]
    fn each_check_has_a_section_in_the_docs_with_meaning_evidence_and_fix() {
        let (_, sections) = docs();
        let sections: Vec<&str> = sections.split("\n### ").skip(1).collect();
        let headings: Vec<&str> = sections.iter().filter_map(|section| section.lines().next()).collect();
        let names: Vec<&str> = Check::ALL.iter().map(|check| check.as_str()).collect();
        assert_eq!(headings, names, "sections of docs/doctor.md (left) and the table of checks");
        for (section, check) in sections.iter().zip(Check::ALL) {
            let words: Vec<&str> = section.split_whitespace().collect();
            assert!(words.join(" ").starts_with(&format!("{check} {}", check.meaning())), "{section}");
            assert!(section.contains("\n- Evidence: ") && section.contains("\n- Fix: "), "{section}");
        }
    }
}
