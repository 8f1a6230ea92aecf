// SPDX-License-Identifier: MIT OR Apache-2.0
//! Links that this project's own lab does not have: VLAN devices of the kernel on every host, bonds, and links that lose,
//! delay, repeat and reorder packets.
//!
//! Run by `cargo xtask test-vm` inside a virtual machine, since it needs a kernel with 8021q, bonding and netem. Words choose
//! among the tests: `kernel_links bonds`.
#![expect(clippy::print_stdout, reason = "it is here to show something")]

use std::{
    net::{IpAddr, Ipv4Addr},
    process::ExitCode,
};

use lb_tests::lab::{
    CLIENT, CLIENT6, DIP, DIP6, DIRECTOR, DIRECTOR6, Host, Lab, Method, Process, VIP, VIP6, Way, rip6,
};

/// Requests to each service.
const REQUESTS: usize = 6;
/// Each way through a link that loses packets.
const MEGABYTES: usize = 1;
/// What each end does to what it sends.
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

/// Servers, the daemon, and a service of each method and version. `interface` is where reals have their RIPs.
fn stage(lab: &Lab, interface: &str) -> Vec<Process> {
    let mut processes = vec![lab.director.start_daemon()];
    for real in &lab.reals {
        real.xvs_host(&format!("setup --vip {VIP} --vip {VIP6} --forward tun --interface {interface}"))
            .succeeds();
        processes.push(real.start_nginx(&Method::real_ports()));
    }
    Way::all().for_each(|way| way.serve(&lab.director, "tcp", "rr"));
    lab.director.wait_for_next_hops();
    processes
}

/// Clients in VLAN 10, reals in VLAN 20, the director in both by one interface: every packet changes its tag.
fn vlans() -> Vec<String> {
    let lab = Lab::new();
    tag(&lab.client, &[(10, &[CLIENT.into(), CLIENT6.into()])]);
    lab.client
        .ip(&format!("route replace 10.0.0.0/24 via {DIRECTOR}\nroute replace fd00::/64 via {DIRECTOR6}"));
    tag(&lab.director, &[(10, &[DIRECTOR.into(), DIRECTOR6.into()]), (20, &[DIP.into(), DIP6.into()])]);
    for real in &lab.reals {
        // Replies of dr and tun go straight into the clients' VLAN.
        // Without an address there, the kernel would take one from lo to ask for the client: the VIP, whatever arp_announce says.
        tag(real, &[(10, &[]), (20, &[real.rip.into(), rip6(real.rip).into()])]);
        let in_ten = Ipv4Addr::new(192, 0, 2, real.rip.octets()[3]);
        real.ip(&format!("address add {in_ten}/24 dev eth0.10 noprefixroute"));
        for line in [
            format!("-4 route replace default via {DIP}"),
            format!("-6 route replace default via {DIP6}"),
            "-4 route replace 192.0.2.0/24 dev eth0.10 table 100".to_owned(),
            "-6 route replace 2001:db8::/64 dev eth0.10 table 100".to_owned(),
        ] {
            real.sh(&format!("ip {line}")).succeeds();
        }
    }
    for port in ["client", "director", "real1", "real2", "real3"] {
        lab.switch.sh(&format!("ethtool -K {port} txvlan off rxvlan off")).succeeds();
    }
    let processes = stage(&lab, "eth0.20");
    let mut wrong = requests(&lab, "from VLAN 10 to VLAN 20");
    // In neighbour discovery an address is its interface's alone, and only its link hears an announcement.
    let home = lab.director.sh("ip address show dev eth0.10").succeeds().stdout;
    wrong.extend([VIP.to_string(), VIP6.to_string()].into_iter().filter(|vip| !home.contains(vip.as_str())));
    drop(processes);
    wrong
}

/// Some requests by every way; what was not answered.
fn requests(lab: &Lab, what: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    for way in Way::all() {
        let url = format!("http://{}/", way.service());
        let answered =
            (0..REQUESTS).filter(|_| lab.client.sh(&format!("curl -sf --max-time 5 {url}")).is_success());
        let answered = answered.count();
        println!("{what}, {}: {answered} of {REQUESTS} answered", way.name());
        if answered != REQUESTS {
            wrong.push(format!(
                "{what}, {}: {answered} of {REQUESTS}\n{:?}",
                way.name(),
                lab.director.stats()
            ));
        }
    }
    wrong
}

/// The director's interface is a bond of two links, with the programs in the drivers; then one of the links goes.
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
         address flush dev eth0\n\
         address add {DIRECTOR}/24 dev bond0\n\
         address add {DIRECTOR6}/64 dev bond0 nodad\n\
         address add {DIP}/24 dev bond0\n\
         address add {DIP6}/64 dev bond0 nodad"
    ));
    lab.director.sysctl("ipv4/conf/bond0/rp_filter", "0");
    lab.stub("director2");
    for (host, device) in [(&lab.switch, "director2"), (&*lab.director, "eth1")] {
        host.sh(&format!("ethtool -K {device} rx off tx off tso off gso off")).succeeds();
    }
}

/// Puts a host's addresses on VLAN devices above `eth0`, with the tags in the frames, where XDP sees them.
fn tag(host: &Host, vlans: &[(u16, &[IpAddr])]) {
    host.sh("ethtool -K eth0 txvlan off rxvlan off").succeeds();
    host.ip("address flush dev eth0");
    for (id, addresses) in vlans {
        let device = format!("eth0.{id}");
        host.ip(&format!("link add link eth0 name {device} type vlan id {id}\nlink set {device} up"));
        host.sysctl(&format!("ipv4/conf/{device}/rp_filter"), "0");
        for address in *addresses {
            let (prefix, options) = if address.is_ipv6() { (64, "nodad") } else { (24, "") };
            host.ip(&format!("address add {address}/{prefix} dev {device} {options}"));
        }
    }
}

/// What arrives twice, late, in another order or not at all does not spoil what is sent.
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

/// A file both ways by every way; what did not arrive whole.
fn files(lab: &Lab, what: &str) -> Vec<String> {
    let big = lab.big_file("big", MEGABYTES);
    let curl = "curl --silent --show-error --fail --max-time 60";
    let mut wrong = Vec::new();
    for way in Way::all() {
        let (service, down, sent) = (way.service(), lab.client.path("down"), big.display());
        let got = lab.client.sh(&format!("{curl} --output {} http://{service}/files/big", down.display()));
        let same = got.is_success() && lab.client.sh(&format!("cmp {sent} {}", down.display())).is_success();
        let name = format!("up-{}", way.name().replace(' ', "-"));
        let put = lab.client.sh(&format!("{curl} --upload-file {sent} http://{service}/upload/{name}"));
        let stored = lab.reals.iter().map(|real| real.uploaded(&name)).find(|path| path.exists());
        let kept = put.is_success()
            && stored
                .is_some_and(|path| lab.client.sh(&format!("cmp {sent} {}", path.display())).is_success());
        println!("{what}, {}: {MEGABYTES} MB down {same}, up {kept}", way.name());
        if !same || !kept {
            wrong.push(format!(
                "{what}, {}: down {same}, up {kept}: {got} {put}\n{:?}\n{}{}",
                way.name(),
                lab.director.stats(),
                lab.director.sh("ip -s link"),
                lab.director.sh("ip neighbour"),
            ));
        }
    }
    wrong
}
