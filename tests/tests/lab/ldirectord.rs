// SPDX-License-Identifier: MIT OR Apache-2.0
//! An unmodified ldirectord, which runs xvs where it expects ipvsadm.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead as _, BufReader},
    net::{Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, TcpStream},
    os::unix::fs::PermissionsExt as _,
    process::Command,
    time::Duration,
};

use lb_tests::{
    artifacts,
    lab::{Client, Director, Host, Lab, Process, Server, VIP, eventually},
};

const PORT: u16 = 8001;
/// Addresses that do not fit the columns of a list.
const LONG_VIP: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0xaaaa, 0xbbbb, 0xcccc, 0xdddd);
const LONG_RIPS: [Ipv6Addr; 2] = [
    Ipv6Addr::new(0xfd00, 0, 0, 0, 0x1111, 0x2222, 0x3333, 0x4441),
    Ipv6Addr::new(0xfd00, 0, 0, 0, 0x1111, 0x2222, 0x3333, 0x4442),
];

/// Starts ldirectord. It calls ipvsadm by an absolute path, so the link is mounted over that path where
/// ldirectord alone sees it.
#[track_caller]
fn start(director: &Director) -> Process {
    let [first, second] = LONG_RIPS;
    let config = format!(
        "checktimeout = 1
checkinterval = 1
autoreload = no
virtual = {VIP}:{PORT}
\treal = 10.0.0.11:{PORT} gate
\treal = 10.0.0.12:{PORT} gate
\tfallback = 127.0.0.1:{PORT} gate
\tscheduler = rr
\tprotocol = tcp
\tchecktype = connect
\tquiescent = no
virtual6 = [{LONG_VIP}]:{PORT}
\treal6 = [{first}]:{PORT} gate
\treal6 = [{second}]:{PORT} gate
\tfallback6 = [::1]:{PORT} gate
\tscheduler = wrr
\tprotocol = tcp
\tchecktype = connect
\tquiescent = yes
"
    );
    let path = director.path("ldirectord.cf");
    fs::write(&path, config).expect("the lab's folder is writable");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("our own file");
    let script = format!(
        "mount -t tmpfs tmpfs /run && touch /run/ipvsadm && mount --bind {} /usr/sbin/ipvsadm && exec \
         ldirectord -d {} start",
        artifacts::xvs().display(),
        path.display()
    );
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "sh", "-c", &script]).env("XVS_SOCKET", director.socket());
    director.start("ldirectord", &mut unshare)
}

fn serve(host: &Host) -> Server {
    Server::greeter(host, SocketAddr::from((Ipv6Addr::UNSPECIFIED, PORT)))
}

/// Waits until ipvsadm lists these reals, with their methods and weights, of both services.
#[track_caller]
fn lists(director: &Director, expected: &[&str]) {
    eventually("ldirectord has set the reals", || {
        let list = director.xvs("ipvsadm -L -n").succeeds().stdout;
        let reals = list.lines().filter_map(|line| line.strip_prefix("  -> ")).skip(1);
        let shown: Vec<String> =
            reals.map(|line| line.split_whitespace().take(3).collect::<Vec<_>>().join(" ")).collect();
        if shown == expected { Ok(()) } else { Err(list) }
    });
}

/// Returns the servers that answer ten connections to the VIP, ordered by name.
#[track_caller]
fn answers(client: &Client) -> BTreeSet<String> {
    let greeting = |_| client.greeting(SocketAddrV4::new(VIP, PORT)).expect("a server answers");
    (0..10).map(greeting).collect()
}

/// Returns the server that answers at the IPv6 VIP.
#[track_caller]
fn greeting6(client: &Host) -> String {
    let address = SocketAddr::V6(SocketAddrV6::new(LONG_VIP, PORT, 0, 0));
    let stream = client.run(|| TcpStream::connect_timeout(&address, Duration::from_secs(5)));
    let mut line = String::new();
    BufReader::new(stream.expect("a server answers")).read_line(&mut line).expect("it says who it is");
    line.trim().to_owned()
}

#[test]
fn ldirectord_adds_quiesces_removes_and_restores_reals_and_falls_back_to_the_director() {
    let lab = Lab::new();
    let director = &lab.director;
    for (real, rip) in lab.reals.iter().zip(LONG_RIPS) {
        real.ip(&format!("address add {rip}/64 dev eth0 nodad"));
        real.xvs_host(&format!("setup --vip {VIP} --vip {LONG_VIP} --forward dr --interface eth0"))
            .succeeds();
    }
    let _daemon = director.start_daemon();
    let _fallback = serve(director);
    let mut first = Some(serve(&lab.reals[0]));
    let second = serve(&lab.reals[1]);
    let ldirectord = start(director);
    let both = [
        "10.0.0.11:8001 Route 1",
        "10.0.0.12:8001 Route 1",
        "[fd00::1111:2222:3333:4441]:8001 Route 1",
        "[fd00::1111:2222:3333:4442]:8001 Route 1",
    ];
    lists(director, &both);
    director.wait_for_next_hops();
    assert_eq!(Vec::from_iter(answers(&lab.client)), ["real1", "real2"]);

    // ldirectord removes a real that has stopped, or sets its weight to 0 with `quiescent`.
    drop(first.take());
    lists(
        director,
        &[
            "10.0.0.12:8001 Route 1",
            "[fd00::1111:2222:3333:4441]:8001 Route 0",
            "[fd00::1111:2222:3333:4442]:8001 Route 1",
        ],
    );
    assert_eq!(Vec::from_iter(answers(&lab.client)), ["real2"]);
    assert_eq!(greeting6(&lab.client), "real2");

    // Without any real, the director serves itself.
    drop(second);
    lists(
        director,
        &[
            "127.0.0.1:8001 Local 1",
            "[::1]:8001 Local 1",
            "[fd00::1111:2222:3333:4441]:8001 Route 0",
            "[fd00::1111:2222:3333:4442]:8001 Route 0",
        ],
    );
    assert_eq!(Vec::from_iter(answers(&lab.client)), ["director"]);
    assert_eq!(greeting6(&lab.client), "director");

    let _servers = [serve(&lab.reals[0]), serve(&lab.reals[1])];
    lists(director, &both);
    director.wait_for_next_hops();
    assert_eq!(Vec::from_iter(answers(&lab.client)), ["real1", "real2"]);
    let log = ldirectord.log();
    assert!(!log.contains("Unknown line") && !log.contains(") failed"), "{log}");
}
