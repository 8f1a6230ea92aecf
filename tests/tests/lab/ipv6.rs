// SPDX-License-Identifier: MIT OR Apache-2.0
//! IPv6 clients and reals, and tunnels of one IP version for clients of the other.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, ErrorKind, Write as _},
    net::{IpAddr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket},
    time::Duration,
};

use lb_tests::lab::{CLIENT6, Director, Lab, Method, Process, RIPS, Server, VIP, VIP6, rip6};

/// A service of the scene: the IP versions of clients and reals, and the method.
#[derive(Clone, Copy, Debug)]
struct Way {
    vip: IpAddr,
    port: u16,
    method: Method,
    real_port: u16,
    /// True if reals are reached by their IPv6 addresses.
    six: bool,
}

const DR: Way = Way { vip: IpAddr::V6(VIP6), port: 8001, method: Method::Dr, real_port: 8001, six: true };
const TUN: Way = Way { vip: IpAddr::V6(VIP6), port: 8002, method: Method::Tun, real_port: 8002, six: true };
const NAT: Way = Way { vip: IpAddr::V6(VIP6), port: 8003, method: Method::Nat, real_port: 9003, six: true };
const SIX_IN_FOUR: Way = Way { port: 8004, real_port: 8004, six: false, ..TUN };
const FOUR_IN_SIX: Way = Way { vip: IpAddr::V4(VIP), port: 8005, real_port: 8005, ..TUN };
const FNAT: Way = Way { vip: IpAddr::V6(VIP6), port: 8006, method: Method::Fnat, real_port: 9006, six: true };
const WAYS: [Way; 6] = [DR, TUN, NAT, SIX_IN_FOUR, FOUR_IN_SIX, FNAT];

impl Way {
    fn service(self) -> SocketAddr {
        SocketAddr::new(self.vip, self.port)
    }

    #[track_caller]
    fn serve(self, director: &Director, protocol: &str) {
        let service = self.service();
        director.xvs(&format!("service add {protocol} {service}")).succeeds();
        for rip in RIPS {
            let rip = if self.six { rip6(rip).into() } else { IpAddr::V4(rip) };
            let (real, forward) = (SocketAddr::new(rip, self.real_port), self.method.as_str());
            director.xvs(&format!("real add {protocol} {service} {real} --forward {forward}")).succeeds();
        }
    }
}

/// Reals that are set up for every way, and the daemon.
fn scene(protocol: &str) -> (Lab, Process) {
    let lab = Lab::new();
    for real in &lab.reals {
        real.xvs_host(&format!("setup --vip {VIP} --vip {VIP6} --forward tun --interface eth0")).succeeds();
        real.xvs_host(&format!("check --vip {VIP} --vip {VIP6} --forward tun --interface eth0")).succeeds();
    }
    let daemon = lab.director.start_daemon();
    for way in WAYS {
        way.serve(&lab.director, protocol);
    }
    lab.director.wait_for_next_hops();
    (lab, daemon)
}

#[test]
fn every_way_serves_tcp() {
    let (lab, _daemon) = scene("tcp");
    let ports = WAYS.map(|way| way.real_port);
    let _nginx = lab.reals.each_ref().map(|real| real.start_nginx(&ports));
    let big = lab.big_file("big", 5);
    let before = lab.crossing();
    for way in WAYS {
        let service = way.service();
        let mut answers: BTreeMap<String, u32> = BTreeMap::new();
        for _ in 0..30 {
            let answer =
                lab.client.sh(&format!("curl --silent --fail --max-time 5 http://{service}/")).succeeds();
            *answers.entry(answer.stdout.trim().to_owned()).or_default() += 1;
        }
        assert_eq!(answers.len(), 3, "{way:?}: {answers:?}");

        // Too large for the tunnel: the sender must get an ICMP error, and obey it.
        let (down, sent) = (lab.client.path("down"), big.display());
        let curl = "curl --silent --show-error --fail --max-time 30";
        lab.client.sh(&format!("{curl} --output {} http://{service}/files/big", down.display())).succeeds();
        lab.client.sh(&format!("cmp {sent} {}", down.display())).succeeds();
        let name = format!("up{}", way.port);
        lab.client.sh(&format!("{curl} --upload-file {sent} http://{service}/upload/{name}")).succeeds();
        let stored = lab.reals.iter().filter(|real| real.uploaded(&name).exists()).collect::<Vec<_>>();
        assert_eq!(stored.len(), 1, "{way:?}");
        lab.client.sh(&format!("cmp {sent} {}", stored[0].uploaded(&name).display())).succeeds();
    }
    let seen = lab.crossing() - before;
    assert!(seen.client_to_director.packets > 0, "{seen:?}");
    let stats = lab.director.stats();
    assert_eq!(stats.reason("no_flow") + stats.reason("truncated"), 0, "{stats:?}");
    // Only flows of moved slots have entries, and no slot was moved.
    assert!(stats.services.iter().all(|service| service.count.new_flows >= 30), "{stats:?}");
    lab.director.xvs(&format!("service show tcp {}", DR.service())).succeeds();
    lab.director.xvs("ipvsadm -L -n").succeeds().says(&format!("TCP  {} mh", NAT.service()));
}

#[test]
fn every_way_serves_udp_whole_and_in_fragments() {
    let (lab, _daemon) = scene("udp");
    let mut servers = Vec::new();
    for way in WAYS {
        for (real, rip) in lab.reals.iter().zip(RIPS) {
            let address = if way.method.replies_directly() { way.vip } else { rip6(rip).into() };
            servers.push(Server::udp_echo(real, SocketAddr::new(address, way.real_port)));
        }
    }
    for way in WAYS {
        let from = if way.vip.is_ipv6() { IpAddr::V6(CLIENT6) } else { lb_tests::lab::CLIENT.into() };
        let socket = lab.client.run(|| UdpSocket::bind((from, 0))).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        socket.connect(way.service()).unwrap();
        // The largest datagram comes in fragments of the size that the ICMP error demands.
        for length in [0, 7, 1200, 4000] {
            let answer = (0..5).find_map(|_| {
                socket.send(&vec![7; length]).ok()?;
                socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
                let mut buffer = [0; 8192];
                socket.recv(&mut buffer).ok().map(|length| buffer[..length].to_vec())
            });
            let answer = answer
                .unwrap_or_else(|| panic!("{way:?}: no echo of {length} bytes\n{:?}", lab.director.stats()));
            assert_eq!(answer.len(), "real1 ".len() + length, "{way:?}");
        }
    }
}

/// The attached program calls those for IPv6: they must outlive the daemon too.
#[test]
fn forwarding_goes_on_without_the_daemon_and_with_the_next_one() {
    let (lab, mut daemon) = scene("tcp");
    let ports = WAYS.map(|way| way.real_port);
    let _nginx = lab.reals.each_ref().map(|real| real.start_nginx(&ports));
    let tracked: SocketAddr = SocketAddr::new(VIP6.into(), 7000);
    lab.director.xvs(&format!("service add tcp {tracked} --scheduler wrr")).succeeds();
    for rip in RIPS {
        let real = SocketAddr::new(rip6(rip).into(), 7000);
        lab.director.xvs(&format!("real add tcp {tracked} {real} --forward nat")).succeeds();
    }
    let _greeters = lab
        .reals
        .each_ref()
        .map(|real| Server::greeter(real, SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 7000)));
    lab.director.wait_for_next_hops();
    let connection = lab.client.run(|| TcpStream::connect_timeout(&tracked, Duration::from_secs(5))).unwrap();
    connection.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut reader = BufReader::new(&connection);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let listed = lab.director.xvs("connections").succeeds();
    listed.says(&format!("[{CLIENT6}]:{}", connection.local_addr().unwrap().port()));
    let mut echoes = |what: &str| {
        (&connection).write_all(format!("{what}\n").as_bytes()).unwrap();
        line.clear();
        reader.read_line(&mut line).unwrap();
        assert_eq!(line.trim(), what);
        for way in WAYS {
            lab.client.sh(&format!("curl --silent --fail --max-time 5 http://{}/", way.service())).succeeds();
        }
    };
    echoes("with the daemon");

    let status = lab.director.xvs("--output json status").succeeds().json();
    assert_eq!(
        (status["flows"].as_u64(), status["flows6"].as_u64()),
        (Some(0), Some(2)),
        "of wrr and of fnat: {status}"
    );
    assert!(lab.director.metrics().contains("xvs_flows6 2\n"));

    daemon.kill();
    echoes("without it");

    let _next = lab.director.start_daemon();
    echoes("with the next one");
    lab.director.xvs("connections").succeeds().says("ESTABLISHED");
    lab.director.xvs("ipvsadm -L -n -c").succeeds().says(&tracked.to_string());
    lab.director.xvs("export").succeeds().says(&format!("address = \"{tracked}\""));
}

/// Asserts that traceroute finds the director, which answers as the VIP, and behind it the real.
#[test]
fn traceroute_finds_the_director_and_the_real() {
    let (lab, _daemon) = scene("tcp");
    let ports = WAYS.map(|way| way.real_port);
    let _nginx = lab.reals.each_ref().map(|real| real.start_nginx(&ports));
    for way in WAYS {
        let (vip, port) = (way.vip, way.port);
        let said =
            lab.client.sh(&format!("traceroute -n -T -p {port} -w 2 -q 1 -m 5 {vip}")).succeeds().stdout;
        let hops: Vec<Vec<&str>> =
            said.lines().skip(1).map(|line| line.split_whitespace().take(2).collect()).collect();
        let vip = vip.to_string();
        assert_eq!(hops, [["1", &vip], ["2", &vip]], "{way:?}: {said}");
    }
    assert_eq!(lab.director.stats().reason("ttl_exceeded"), WAYS.len() as u64);
}

/// Asserts that a real's error about a datagram for a closed port reaches the client as an error of the
/// service.
#[test]
fn an_error_of_a_nat_real_reaches_the_client() {
    let (lab, _daemon) = scene("udp");
    let socket = lab.client.run(|| UdpSocket::bind((CLIENT6, 0))).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket.connect(NAT.service()).unwrap();
    socket.send(b"is anybody there?").unwrap();
    assert_eq!(socket.recv(&mut [0; 9]).unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

/// The director has the VIP, answers pings of it, and is found by neighbour discovery; no real is.
#[test]
fn the_vip_is_the_directors() {
    let (lab, _daemon) = scene("tcp");
    lab.client.sh(&format!("ping -6 -c 3 -i 0.1 -W 2 {VIP6}")).succeeds().says("0% packet loss");
    lab.client.sh("ip -6 neighbour flush all").succeeds();
    lab.client.sh(&format!("ping -6 -c 1 -W 2 {VIP6}")).succeeds();
    let neighbour = lab.client.sh(&format!("ip -6 neighbour show {VIP6}")).succeeds();
    neighbour.says("02:00:c0:00:02:01");
    lab.director.sh("ip -6 address show dev eth0").succeeds().says(&format!("{VIP6}/128"));
    for way in WAYS {
        lab.director.xvs(&format!("service remove tcp {}", way.service())).succeeds();
    }
    let left = lab.director.sh("ip -6 address show dev eth0").succeeds();
    assert!(!left.stdout.contains(&VIP6.to_string()), "{left}");
}
