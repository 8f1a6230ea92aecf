// SPDX-License-Identifier: MIT OR Apache-2.0
//! Full NAT: reals that have neither the VIP nor a route through the director.

use std::{
    io::{BufRead as _, BufReader},
    net::{Ipv4Addr, SocketAddrV4},
};

use lb_tests::lab::{Lab, Method, Server, VIP, eventually};

const PORT: u16 = 8004;
/// Addresses of the director that only this pool has.
const POOL: &str = "[director]
fnat-addresses = [\"10.0.0.201\", \"10.0.0.202\"]
fnat-ports = \"5000-5002\"
tcp-fin-timeout = \"1s\"
";

fn greeters(lab: &Lab) -> Vec<Server> {
    let address = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 9004);
    lab.reals.iter().map(|real| Server::greeter(real, address)).collect()
}

/// A real without a route to the client, whose answer contains the source of the request.
#[test]
fn a_pool_is_used_up_refused_and_given_back() {
    let lab = Lab::new();
    let _servers = greeters(&lab);
    let config = lab.director.path("xvs.toml");
    std::fs::write(&config, POOL).unwrap();
    let _daemon = lab.director.start_daemon_with(&format!("--config {}", config.display()));
    // One real: two addresses of three ports each.
    lab.director.xvs(&format!("service add tcp {VIP}:{PORT} --scheduler rr")).succeeds();
    lab.director.add_real("tcp", PORT, lab.reals[0].rip, 9004, Method::Fnat, 1);
    lab.director.wait_for_next_hops();
    lab.reals[0].sh("ip route flush default").succeeds();
    for address in ["10.0.0.201", "10.0.0.202"] {
        lab.director.sh("ip address show").succeeds().says(&format!("{address}/32"));
    }

    let service = SocketAddrV4::new(VIP, PORT);
    let open: Vec<_> = (0..6)
        .map(|_| {
            let stream = lab.client.connect(service).unwrap();
            BufReader::new(&stream).read_line(&mut String::new()).unwrap();
            stream
        })
        .collect();
    let seen = lab.reals[0].sh("ss -Htn state established sport = :9004").succeeds().stdout;
    let peers: std::collections::BTreeSet<&str> =
        seen.lines().filter_map(|line| line.split_whitespace().nth(3)).collect();
    let expected =
        ["10.0.0.201", "10.0.0.202"].map(|ip| [5000, 5001, 5002].map(|port| format!("{ip}:{port}"))).concat();
    assert_eq!(peers, expected.iter().map(String::as_str).collect(), "{seen}");

    let refused = lab.client.connect(service).unwrap_err();
    assert!(refused.contains("refused"), "{refused}");
    assert!(lab.director.stats().reason("ports_exhausted") > 0);
    assert!(lab.director.metrics().contains("reason=\"ports_exhausted\""));

    drop(open);
    eventually("the ports come back when their connections have ended", || {
        lab.client.greeting(service).map(drop)
    });
}
