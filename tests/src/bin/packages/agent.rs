// SPDX-License-Identifier: MIT OR Apache-2.0
//! The agent's unit on a real server of its own, which follows the director in the other system.

use std::{net::SocketAddrV4, path::Path};

use lb_tests::lab::{API, Lab, Machine, VIP, eventually};

use crate::{REQUESTS, files, install_old, is_as_before, property};

/// A second VIP, which the director gets while the agent runs.
const ANOTHER: &str = "192.0.2.101";
/// A VIP without the director.
const BY_HAND: &str = "192.0.2.102";
/// Files that `xvs host setup --persist` writes.
const PERSISTENT: [&str; 2] = ["/etc/sysctl.d/60-xvs-host.conf", "/etc/systemd/system/xvs-host.service"];
/// The token of both sides.
const TOKEN: &str = "0123456789abcdef0123456789abcdef";
/// Settings of a real server that answers no ARP requests for its VIPs.
const ARP: &str = "cat /proc/sys/net/ipv4/conf/all/arp_ignore /proc/sys/net/ipv4/conf/all/arp_announce";

/// Puts a bare machine into service by its agent, and takes it out again.
pub fn follows(lab: &Lab, director: &Machine<'_>, root: &Path) {
    let real = &lab.more_reals[0];
    let rip = real.rip;
    let _nginx = real.start_nginx(&[80]);
    let machine = Machine::boot(real, root.to_str().expect("the target folder has such a name"));
    let before = files(&machine);
    let arp = machine.sh(ARP).succeeds().stdout;
    install_old(&machine);

    let token = format!("(umask 077; echo {TOKEN} > /etc/xvs/token)");
    director.sh(&token).succeeds();
    director
        .sh(&format!(
            "sed -i 's|^metrics = .*|&\\napi = \"{API}\"\\napi-token-file = \"/etc/xvs/token\"|' /etc/xvs/xvs.toml \
             && systemctl restart xvs"
        ))
        .succeeds();
    machine.sh(&token).succeeds();
    machine
        .sh(&format!("sed -i 's|^XVS_DIRECTOR=.*|XVS_DIRECTOR=http://{API}|' /etc/default/xvs-agent"))
        .succeeds();
    machine.sh("systemctl enable --now xvs-agent").succeeds();
    eventually("systemd shows the director", || match property(&machine, "xvs-agent", "StatusText") {
        status if status.contains(API) => Ok(()),
        status => Err(status),
    });

    // From the director alone: the VIP, settings for ARP, then requests.
    director.sh(&format!("xvs real add tcp {VIP}:80 {rip}")).succeeds();
    has_vip(&machine, &VIP.to_string(), true);
    assert_ne!(machine.sh(ARP).succeeds().stdout, arp);
    eventually("the new real answers", || {
        let spread = lab.client.requests(SocketAddrV4::new(VIP, 80), REQUESTS);
        if spread.answers.contains_key(real.name()) { Ok(()) } else { Err(format!("{spread:?}")) }
    });
    director.sh(&format!("xvs service add tcp {ANOTHER}:80 --real {rip}")).succeeds();
    has_vip(&machine, ANOTHER, true);
    director.sh(&format!("xvs service remove tcp {ANOTHER}:80")).succeeds();
    has_vip(&machine, ANOTHER, false);

    // The set-up outlives the agent, and a restart finds it.
    machine.sh("systemctl stop xvs-agent").succeeds();
    has_vip(&machine, &VIP.to_string(), true);
    machine.sh("systemctl start xvs-agent").succeeds();
    assert_eq!(property(&machine, "xvs-agent", "ActiveState"), "active");
    has_vip(&machine, &VIP.to_string(), true);

    // A removal reverts it.
    director.sh(&format!("xvs real remove tcp {VIP}:80 {rip}")).succeeds();
    has_vip(&machine, &VIP.to_string(), false);
    director.sh(&format!("xvs real add tcp {VIP}:80 {rip}")).succeeds();
    has_vip(&machine, &VIP.to_string(), true);
    // Beside the agent, an operator has set up a VIP for every start.
    machine.sh(&format!("xvs host setup --vip {BY_HAND} --interface eth0 --persist")).succeeds();
    has_vip(&machine, BY_HAND, true);
    machine.sh(&format!("test -e {} -a -e {}", PERSISTENT[0], PERSISTENT[1])).succeeds();
    machine.sh("dpkg --remove xvs").succeeds();
    for vip in [&VIP.to_string(), BY_HAND] {
        has_vip(&machine, vip, false);
    }
    for file in PERSISTENT {
        machine.sh(&format!("test ! -e {file}")).succeeds();
    }
    assert_eq!(machine.sh(ARP).succeeds().stdout, arp, "the settings of before");
    machine.sh("dpkg --purge xvs").succeeds();
    is_as_before(&machine, &before);
    director.sh(&format!("xvs real remove tcp {VIP}:80 {rip}")).succeeds();
}

/// Waits until a VIP is on the loopback interface, or is not.
fn has_vip(machine: &Machine<'_>, vip: &str, expected: bool) {
    eventually("the agent follows", || {
        let shown = machine.sh("ip -4 address show dev lo").succeeds().stdout;
        if shown.contains(vip) == expected { Ok(()) } else { Err(format!("{vip}: {shown}")) }
    });
}
