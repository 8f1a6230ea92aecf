// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every method in both IP versions over the links of a lab: requests of clients, and hosts with VLAN
//! devices.
//!
//! For the programs that `cargo xtask test-vm` runs, which continue after a failure, and report all failures
//! at the end.
#![expect(clippy::print_stdout, reason = "programs print what they see")]

use std::net::{IpAddr, Ipv4Addr};

use crate::lab::{
    CLIENT, CLIENT6, DIP, DIP6, DIRECTOR, DIRECTOR6, Host, Lab, Method, Process, VIP, VIP6, Way, rip6,
};

/// Requests to each service.
const REQUESTS: usize = 6;
/// Each way through a link that may lose packets.
const MEGABYTES: usize = 1;

/// Servers, the daemon, and a service of each method and version. `interface` is where reals have their RIPs.
#[must_use]
pub fn stage(lab: &Lab, interface: &str) -> Vec<Process> {
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

/// Sends requests by every method and version; returns the unanswered ones.
#[must_use]
pub fn requests(lab: &Lab, what: &str) -> Vec<String> {
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

/// Transfers a file in both directions by every method and version; returns the incomplete transfers.
#[must_use]
pub fn files(lab: &Lab, what: &str) -> Vec<String> {
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

/// Puts clients into VLAN 10 and reals into VLAN 20, the director into both by one interface: every packet
/// changes its tag. The reals' RIPs are at `eth0.20` then.
#[track_caller]
pub fn tag_all(lab: &Lab) {
    // A veth device keeps a tag beside the frame, where XDP does not see it.
    for host in [&*lab.client, &*lab.reals[0], &*lab.reals[1], &*lab.reals[2]] {
        host.sh("ethtool -K eth0 txvlan off rxvlan off").succeeds();
    }
    for port in ["client", "director", "real1", "real2", "real3"] {
        lab.switch.sh(&format!("ethtool -K {port} txvlan off rxvlan off")).succeeds();
    }
    tag(&lab.client, &[(10, &[CLIENT.into(), CLIENT6.into()])]);
    lab.client
        .ip(&format!("route replace 10.0.0.0/24 via {DIRECTOR}\nroute replace fd00::/64 via {DIRECTOR6}"));
    tag(&lab.director, &[(10, &[DIRECTOR.into(), DIRECTOR6.into()]), (20, &[DIP.into(), DIP6.into()])]);
    for real in &lab.reals {
        // Replies of `dr` and `tun` reals go straight into the clients' VLAN. Without an address there, the
        // kernel would use one from lo to ask for the client: the VIP, regardless of arp_announce.
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
}

/// Puts a host's addresses on VLAN devices above `eth0`.
fn tag(host: &Host, vlans: &[(u16, &[IpAddr])]) {
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
