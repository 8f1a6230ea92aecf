// SPDX-License-Identifier: MIT OR Apache-2.0
//! Links that this project's own lab does not have: VLAN devices of the kernel on every host, bonds, and
//! links that lose, delay, repeat and reorder packets.
//!
//! Run by `cargo xtask test-vm` inside a virtual machine, since it needs a kernel with 8021q, bonding and
//! netem. Words choose among the tests: `kernel_links bonds`.
#![expect(clippy::print_stdout, reason = "it is here to show something")]

use std::process::ExitCode;

use lb_tests::{
    every_way::{files, requests, stage, tag_all},
    lab::{Lab, VIP, VIP6},
};

/// Impairments that each end applies to its packets.
const BAD_LINK: &str = "netem delay 2ms 1ms loss 1% duplicate 1% reorder 10%";

fn main() -> ExitCode {
    let mut failed = false;
    let words: Vec<_> = std::env::args().skip(1).collect();
    let tests: [(_, fn() -> _); 3] = [("VLAN devices", vlans), ("bonds", bonds), ("bad links", bad_links)];
    let chosen = |what: &str| words.is_empty() || words.iter().any(|word| what.contains(word.as_str()));
    for (what, test) in tests.into_iter().filter(|(what, _)| chosen(what)) {
        for wrong in test() {
            failed = true;
            eprintln!("error: {what}: {wrong}");
        }
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Clients in VLAN 10, reals in VLAN 20, the director in both by one interface: every packet changes its tag.
fn vlans() -> Vec<String> {
    let lab = Lab::new();
    lab.director.sh("ethtool -K eth0 txvlan off rxvlan off").succeeds();
    tag_all(&lab);
    let processes = stage(&lab, "eth0.20");
    let mut wrong = requests(&lab, "from VLAN 10 to VLAN 20");
    // In neighbour discovery an address is its interface's alone, and only its link hears an announcement.
    let home = lab.director.sh("ip address show dev eth0.10").succeeds().stdout;
    wrong.extend([VIP.to_string(), VIP6.to_string()].into_iter().filter(|vip| !home.contains(vip.as_str())));
    drop(processes);
    wrong
}

/// Tests a bond of two links, with the programs in the drivers, as the director's interface; then one of the
/// links fails.
fn bonds() -> Vec<String> {
    let mut wrong = Vec::new();
    for mode in ["active-backup", "balance-xor"] {
        let mut lab = Lab::new();
        bond(&lab, mode);
        lab.director.attach_to(&["bond0"]);
        let processes = stage(&lab, "eth0");
        let status = lab.director.xvs("status").succeeds();
        let native = lab.director.sh("ip -d link show bond0").succeeds().stdout;
        let native = native.contains("prog/xdp") && !native.contains("xdpgeneric");
        println!("bond of mode {mode}: XDP in the drivers: {native}");
        if !native {
            wrong.push(format!("{mode}: not in the drivers\n{status}"));
        }
        wrong.extend(requests(&lab, &format!("bond of mode {mode}")));
        wrong.extend(files(&lab, &format!("bond of mode {mode}")));
        lab.switch.ip("link set director down");
        // Longer than the bond takes to see it (miimon).
        std::thread::sleep(std::time::Duration::from_millis(500));
        wrong.extend(requests(&lab, &format!("bond of mode {mode}, one link of two")));
        drop(processes);
    }
    wrong
}

/// Makes the director's link one of two of a bond, which gets its addresses.
fn bond(lab: &Lab, mode: &str) {
    let director = lab.director.ns().name();
    lab.switch.ip(&format!(
        "link add director2 type veth peer name eth1 netns {director}\n\
         link set director2 master lan up"
    ));
    lab.director.ip(&format!(
        "link set eth0 down\n\
         link add bond0 type bond mode {mode} miimon 50 xmit_hash_policy layer3+4\n\
         link set eth0 master bond0\n\
         link set eth1 master bond0\n\
         link set bond0 up\n\
         address flush dev eth0"
    ));
    lab.address_director("bond0");
    lab.director.sysctl("ipv4/conf/bond0/rp_filter", "0");
    lab.stub("director2");
    for (host, device) in [(&lab.switch, "director2"), (&*lab.director, "eth1")] {
        host.sh(&format!("ethtool -K {device} rx off tx off tso off gso off")).succeeds();
    }
}

/// Checks that duplicated, late, reordered and lost packets do not corrupt the transferred data.
fn bad_links() -> Vec<String> {
    let lab = Lab::new();
    let processes = stage(&lab, "eth0");
    for host in [&*lab.client, &*lab.reals[0], &*lab.reals[1], &*lab.reals[2]] {
        host.sh(&format!("tc qdisc replace dev eth0 root {BAD_LINK}")).succeeds();
    }
    let wrong = files(&lab, &format!("by links with {BAD_LINK}"));
    drop(processes);
    wrong
}
