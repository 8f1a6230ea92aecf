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
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
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

    /// Returns the name of the kernel's module.
    const fn module(self) -> &'static str {
        match self {
            Self::Ipip => "ipip",
            Self::Ip6tnl => "ip6_tunnel",
            Self::Sit => "sit",
        }
    }

    /// Returns the kind of a device that set-up creates, by its name.
    #[must_use]
    pub fn of_device(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.device() == name)
    }

    /// Returns whether the kernel has such devices, as far as that can be determined without loading a module.
    #[must_use]
    pub fn support(self) -> Support {
        let module = self.module();
        if Path::new("/sys/module").join(module).exists() {
            return Support::Present;
        }
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let modules = Path::new("/lib/modules").join(release.trim());
        let lists =
            ["modules.dep", "modules.builtin"].map(|list| fs::read_to_string(modules.join(list)).ok());
        let can_load = Path::new("/proc/modules").exists();
        Support::judge(module, &lists, can_load || !Path::new("/sys/module").is_dir())
    }
}

/// Support of the kernel for a kind of device.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Support {
    /// It has them.
    Present,
    /// It does not have them.
    Absent,
    /// Only an attempt can tell.
    Unknown,
}

impl Support {
    /// Judges by the lists of the kernel's modules, and by whether it may load any, for a module that is not
    /// loaded.
    fn judge(module: &str, lists: &[Option<String>], may_load: bool) -> Self {
        let file = format!("/{module}.ko");
        match lists {
            lists if lists.iter().flatten().any(|list| list.contains(&file)) => Self::Present,
            // Modules that are built in are in /sys/module.
            [None, ..] if may_load => Self::Unknown,
            _ => Self::Absent,
        }
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

    #[rstest]
    #[case::module(
        Some("kernel/net/ipv4/ipip.ko.xz: kernel/net/ipv4/ip_tunnel.ko.xz"),
        None,
        true,
        Support::Present
    )]
    #[case::built_in(None, Some("kernel/net/ipv4/ipip.ko"), false, Support::Present)]
    #[case::not_listed(Some("kernel/net/ipv6/sit.ko:"), Some("kernel/net/core/x.ko"), true, Support::Absent)]
    #[case::no_lists_as_in_a_container(None, None, true, Support::Unknown)]
    #[case::no_modules_at_all(None, None, false, Support::Absent)]
    fn a_kernel_has_devices_or_not(
        #[case] modules: Option<&str>,
        #[case] built_in: Option<&str>,
        #[case] may_load: bool,
        #[case] expected: Support,
    ) {
        let lists = [modules, built_in].map(|list| list.map(str::to_owned));
        assert_eq!(Support::judge("ipip", &lists, may_load), expected);
    }
}
