// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which version of IP arrives within which, and the kernel's device for that.

use std::{fmt, fs, net::IpAddr, path::Path};

/// The two headers of a tunnelled packet.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Encapsulation {
    /// What the client sent is IPv6.
    pub inner_six: bool,
    /// What the director put around it is IPv6.
    pub outer_six: bool,
}

/// A kind of device that unwraps.
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
    /// Packets for `vip` that are sent to `outer`.
    #[must_use]
    pub const fn of(vip: IpAddr, outer: IpAddr) -> Self {
        Self { inner_six: vip.is_ipv6(), outer_six: outer.is_ipv6() }
    }

    /// The device for it.
    #[must_use]
    pub const fn kind(self) -> Kind {
        match (self.inner_six, self.outer_six) {
            (_, true) => Kind::Ip6tnl,
            (true, false) => Kind::Sit,
            (false, false) => Kind::Ipip,
        }
    }

    /// Bytes of the outer header without options (RFC 791, RFC 8200).
    #[must_use]
    pub const fn overhead(self) -> u32 {
        if self.outer_six { 40 } else { 20 }
    }

    /// Bytes of the inner IP and TCP headers without options, which no payload has room in.
    #[must_use]
    pub const fn headers(self) -> u32 {
        if self.inner_six { 60 } else { 40 }
    }

    /// Whether a device that the kernel made by itself, and somebody set up, unwraps it: `ip6tnl0` takes no IPv4
    /// (`ip6_fb_tnl_dev_init` in `net/ipv6/ip6_tunnel.c`).
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
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Ipip, Self::Ip6tnl, Self::Sit];

    /// The kernel's name for the kind.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ipip => "ipip",
            Self::Ip6tnl => "ip6tnl",
            Self::Sit => "sit",
        }
    }

    /// The device that set-up makes.
    #[must_use]
    pub const fn device(self) -> &'static str {
        match self {
            Self::Ipip => "xvs-ipip",
            Self::Ip6tnl => "xvs-ip6tnl",
            Self::Sit => "xvs-sit",
        }
    }

    /// The one that the kernel makes by itself when its module is loaded; in use where LVS was set up by hand.
    #[must_use]
    pub const fn kernels_device(self) -> &'static str {
        match self {
            Self::Ipip => "tunl0",
            Self::Ip6tnl => "ip6tnl0",
            Self::Sit => "sit0",
        }
    }

    /// The kernel's module, and where that is.
    const fn module(self) -> (&'static str, &'static str) {
        match self {
            Self::Ipip => ("ipip", "/net/ipv4/ipip.ko"),
            Self::Ip6tnl => ("ip6_tunnel", "/net/ipv6/ip6_tunnel.ko"),
            Self::Sit => ("sit", "/net/ipv6/sit.ko"),
        }
    }

    /// Whether the kernel has it, as far as can be known without trying, which would load a module.
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
        // The kernel takes names of fifteen bytes.
        assert!(device.len() < 16);
    }
}
