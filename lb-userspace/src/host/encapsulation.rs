// SPDX-License-Identifier: MIT OR Apache-2.0
//! Combinations of inner and outer IP version, and the kernel's device for each.

use std::{fmt, fs, net::IpAddr, path::Path};

/// The two headers of a tunnelled packet.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Encapsulation {
    /// The inner packet, from the client, is IPv6.
    pub inner_six: bool,
    /// The outer header, from the director, is IPv6.
    pub outer_six: bool,
}

/// A kind of device that decapsulates.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// IPv4 within IPv4.
    Ipip,
    /// Either version within IPv6.
    Ip6tnl,
    /// IPv6 within IPv4.
    Sit,
}

impl Encapsulation {
    /// Returns the encapsulation of packets for `vip` with the outer destination `outer`.
    #[must_use]
    pub const fn of(vip: IpAddr, outer: IpAddr) -> Self {
        Self { inner_six: vip.is_ipv6(), outer_six: outer.is_ipv6() }
    }

    /// Returns the kind of device for the encapsulation.
    #[must_use]
    pub const fn kind(self) -> Kind {
        match (self.inner_six, self.outer_six) {
            (_, true) => Kind::Ip6tnl,
            (true, false) => Kind::Sit,
            (false, false) => Kind::Ipip,
        }
    }

    /// Returns the length of the outer header without options (RFC 791, RFC 8200), in bytes.
    #[must_use]
    pub const fn overhead(self) -> u32 {
        if self.outer_six { 40 } else { 20 }
    }

    /// Returns the length of the inner IP and TCP headers without options, in bytes.
    #[must_use]
    pub const fn headers(self) -> u32 {
        if self.inner_six { 60 } else { 40 }
    }

    /// Returns whether the device that the kernel creates by itself can decapsulate, if it is set up:
    /// `ip6tnl0` does not accept IPv4 (`ip6_fb_tnl_dev_init` in `net/ipv6/ip6_tunnel.c`).
    #[must_use]
    pub const fn has_kernels_device(self) -> bool {
        self.inner_six || !self.outer_six
    }
}

impl fmt::Display for Encapsulation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = |six| if six { "IPv6" } else { "IPv4" };
        write!(f, "{} within {}", version(self.inner_six), version(self.outer_six))
    }
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Ipip, Self::Ip6tnl, Self::Sit];

    /// Returns the kernel's name of the kind.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ipip => "ipip",
            Self::Ip6tnl => "ip6tnl",
            Self::Sit => "sit",
        }
    }

    /// Returns the name of the device that set-up creates.
    #[must_use]
    pub const fn device(self) -> &'static str {
        match self {
            Self::Ipip => "xvs-ipip",
            Self::Ip6tnl => "xvs-ip6tnl",
            Self::Sit => "xvs-sit",
        }
    }

    /// Returns the name of the device that the kernel creates by itself when its module is loaded; it is in
    /// use if LVS was set up by hand.
    #[must_use]
    pub const fn kernels_device(self) -> &'static str {
        match self {
            Self::Ipip => "tunl0",
            Self::Ip6tnl => "ip6tnl0",
            Self::Sit => "sit0",
        }
    }

    /// Returns the name of the kernel's module, and its path.
    const fn module(self) -> (&'static str, &'static str) {
        match self {
            Self::Ipip => ("ipip", "/net/ipv4/ipip.ko"),
            Self::Ip6tnl => ("ip6_tunnel", "/net/ipv6/ip6_tunnel.ko"),
            Self::Sit => ("sit", "/net/ipv6/sit.ko"),
        }
    }

    /// Returns whether the kernel has such devices, as far as that can be determined without loading a module.
    #[must_use]
    pub fn seems_to_be_there(self) -> bool {
        let (module, file) = self.module();
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let modules = Path::new("/lib/modules").join(release.trim());
        Path::new("/sys/module").join(module).exists()
            || ["modules.dep", "modules.builtin"]
                .iter()
                .any(|list| fs::read_to_string(modules.join(list)).is_ok_and(|list| list.contains(file)))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("192.0.2.100", "10.0.0.11", "IPv4 within IPv4", "xvs-ipip", true)]
    #[case("192.0.2.100", "fd00::11", "IPv4 within IPv6", "xvs-ip6tnl", false)]
    #[case("2001:db8::100", "10.0.0.11", "IPv6 within IPv4", "xvs-sit", true)]
    #[case("2001:db8::100", "fd00::11", "IPv6 within IPv6", "xvs-ip6tnl", true)]
    fn each_has_its_device(
        #[case] vip: IpAddr,
        #[case] outer: IpAddr,
        #[case] name: &str,
        #[case] device: &str,
        #[case] kernels: bool,
    ) {
        let encapsulation = Encapsulation::of(vip, outer);
        assert_eq!(encapsulation.to_string(), name);
        assert_eq!(encapsulation.kind().device(), device);
        assert_eq!(encapsulation.has_kernels_device(), kernels);
        // The kernel accepts names of fifteen bytes.
        assert!(device.len() < 16);
    }
}
