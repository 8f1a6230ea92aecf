// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xvs host` sets a real server up, checks it, and restores it.

use lb_tests::lab::{Lab, Method, Real, VIP};

#[test]
fn a_real_is_set_up_checked_and_restored() {
    for method in [Method::Dr, Method::Tun] {
        let lab = Lab::new();
        let [real, ..] = &lab.reals;
        let before = state(real);
        real.host_check(method).fails(1);

        real.host_setup(method).succeeds();
        real.host_check(method).succeeds();
        real.sh("ip -br address show dev lo").succeeds().says(&format!("{VIP}/32"));
        // A second run has nothing to do, and keeps the record of the original values.
        real.host_setup(method).succeeds();

        real.host_restore().succeeds();
        assert_eq!(state(real), before, "{method:?}");
    }
}

/// Returns the settings that `xvs host setup` may change.
fn state(real: &Real) -> String {
    let sysctls = ["arp_ignore", "arp_announce", "rp_filter"]
        .map(|name| ["all", "lo", "eth0"].map(|device| format!("net.ipv4.conf.{device}.{name}")).join(" "));
    let values = real.sh(&format!("sysctl {}", sysctls.join(" "))).succeeds().stdout;
    let addresses = real.sh("ip -br address").succeeds().stdout;
    let programs = real.sh("ip -o link show dev eth0").succeeds().stdout;
    format!("{values}\n{addresses}\n{programs}")
}
