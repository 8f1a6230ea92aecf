// SPDX-License-Identifier: MIT OR Apache-2.0
//! Debian packages.

use std::{collections::HashSet, process::Command};

use anyhow::{Context as _, Result, bail};

use crate::shell::{self, say};

/// Packages of the build; those of the compiler are in [`super::compiler`].
pub const BUILD: &[&str] = &[super::linker::LIBRARY];

/// Packages of the lab: namespaces, offloads, counters on the switch, and servers for the reals.
pub const LAB: &[&str] = &["iproute2", "ethtool", "nftables", "nginx-light"];

/// Packages of the tests and measurements in the lab.
pub const TESTS: &[&str] = &[
    "iptables",
    "tcpdump",
    // Captures of `xvs trace`.
    "tshark",
    "iputils-ping",
    "traceroute",
    "openssh-client",
    "openssh-server",
    "curl",
    "openssl",
    // schemathesis is a Python program.
    "python3-venv",
    // A DNS server, without the unit that would start it.
    "dnsmasq-base",
    // The status page.
    "chromium",
    "chromium-driver",
    "wrk",
    "iperf3",
    "prometheus",
    // ldirectord monitors reals and calls ipvsadm, in whose place the tests give it xvs.
    "ipvsadm",
    "ldirectord",
];

/// Packages that bring a daemon, and its unit.
const DAEMONS: &[(&str, &str)] = &[
    ("nginx-light", "nginx.service"),
    ("prometheus", "prometheus.service"),
    ("haproxy", "haproxy.service"),
    ("openssh-server", "ssh.service"),
    ("ipvsadm", "ipvsadm.service"),
    ("ldirectord", "ldirectord.service"),
];

/// Installs those of `packages` that are missing.
pub fn install(packages: &[&str]) -> Result<()> {
    let missing = missing(packages)?;
    if missing.is_empty() {
        return Ok(());
    }
    say!("installing Debian packages: {}", missing.join(" "));
    shell::run(shell::root("sh").args(["-euc", include_str!("install.sh"), "install.sh"]).args(&missing))
        .context("apt-get could not install everything; see its messages above")?;
    disable_daemons(&missing)
}

/// Disables the daemons of new packages, which must not start at the next boot either: the tests run their
/// own.
fn disable_daemons(installed: &[&str]) -> Result<()> {
    for (package, unit) in DAEMONS {
        if installed.contains(package) && shell::ask(Command::new("systemctl").arg("--version")).is_some() {
            shell::run(shell::root("systemctl").args(["disable", unit]))?;
        }
    }
    Ok(())
}

fn missing<'a>(packages: &[&'a str]) -> Result<Vec<&'a str>> {
    let Some(list) =
        shell::ask(Command::new("dpkg-query").args(["-W", "-f", "${Package} ${db:Status-Status}\n"]))
    else {
        bail!(
            "this machine has no dpkg: xtask knows Debian's packages only\n\
             hint: use Debian 12 or later, or install by hand what these packages hold: {}",
            packages.join(" ")
        );
    };
    let installed: HashSet<&str> = list.lines().filter_map(|line| line.strip_suffix(" installed")).collect();
    Ok(packages.iter().copied().filter(|package| !installed.contains(package)).collect())
}
