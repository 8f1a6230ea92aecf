// SPDX-License-Identifier: MIT OR Apache-2.0
//! Two directors, and connections that move from one to the other.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket},
    thread::sleep,
    time::Duration,
};

use lb_common::sync::{Connection, Flags, MESSAGE, Writer};
use lb_tests::lab::{CLIENT, Director, Lab, Method, Open, Options, Process, RIPS, Server, VIP, eventually};

/// Two directors with the same services, each with its daemon, and servers.
struct Pair {
    lab: Lab,
    _daemons: Vec<Process>,
    _servers: Vec<Server>,
}

/// Settings of the pair: a `[sync]` section of each director.
fn pair(options: [&str; 2], sync: bool) -> Pair {
    let lab = Lab::with(Options { second_director: true, ..Options::default() });
    let mut servers = Vec::new();
    for real in &lab.reals {
        real.set_up(Method::Tun);
        for port in [80, 81, 82, 83, 84] {
            servers.push(Server::greeter(real, SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port)));
        }
    }
    let mut daemons = Vec::new();
    for (director, options) in [&lab.director, lab.second()].into_iter().zip(options) {
        let config = director.path("toml");
        let section = if sync { "[sync]\ninterface = 'eth0'\nsend = 7\nreceive = 7\n" } else { "" };
        fs::write(&config, format!("{section}{options}")).expect("the lab's folder is writable");
        let manages = director.name() == "director";
        let vips = if manages { "" } else { "--no-manage-vips" };
        daemons.push(director.start_daemon_with(&format!("--config {} {vips}", config.display())));
    }
    // The stack of the second director has the VIP, too: what xvs does not forward is reset.
    lab.second().sh(&format!("ip address add {VIP}/32 dev lo")).succeeds();
    Pair { lab, _daemons: daemons, _servers: servers }
}

/// Adds a service with all reals to both directors.
#[track_caller]
fn serve(lab: &Lab, port: u16, scheduler: &str, method: Method) {
    for director in [&lab.director, lab.second()] {
        director.serve("tcp", port, scheduler, method, port);
    }
}

/// Waits until the second director has `flows` announced flows.
#[track_caller]
fn wait_for_flows(director: &Director, flows: usize) {
    eventually("the flows are announced", || {
        let listed = director.xvs("--json connections").succeeds().stdout;
        let number = listed.matches("\"state\"").count();
        if number >= flows {
            Ok(())
        } else {
            Err(format!("{number} of {flows}\n{}", director.xvs("sync status")))
        }
    });
}

/// Opens 60 connections of `dr`, `tun` and `nat` at the first director, moves them, and returns how many break.
fn moved(sync: bool) -> usize {
    let pair = pair(["", ""], sync);
    let lab = &pair.lab;
    for (port, method) in [(80, Method::Dr), (81, Method::Tun), (82, Method::Nat)] {
        serve(lab, port, "wrr", method);
    }
    let mut open: Vec<Open> = (0..60).map(|number| Open::new(lab, 80 + number % 3, 1)).collect();
    if sync {
        wait_for_flows(lab.second(), 60);
    }
    lab.move_to_second();
    Open::broken(&mut open)
}

#[test]
fn tracked_connections_of_every_method_survive_a_move() {
    assert_eq!(moved(true), 0);
}

#[test]
fn without_announcements_tracked_connections_break_in_a_move() {
    let broken = moved(false);
    assert!(broken > 20, "{broken}");
}

#[test]
fn flows_of_a_hashing_scheduler_survive_a_pool_change_and_a_move() {
    let pair = pair(["", ""], true);
    let lab = &pair.lab;
    serve(lab, 83, "mh", Method::Dr);
    for director in [&lab.director, lab.second()] {
        director.xvs(&format!("service edit tcp {VIP}:83 --tracking full --flags mh-port")).succeeds();
    }
    let mut open: Vec<Open> = (0..60).map(|_| Open::new(lab, 83, 1)).collect();
    for director in [&lab.director, lab.second()] {
        director.xvs(&format!("real edit tcp {VIP}:83 {}:83 --weight 0", RIPS[0])).succeeds();
    }
    wait_for_flows(lab.second(), 60);
    lab.move_to_second();
    assert_eq!(Open::broken(&mut open), 0);
}

#[test]
fn announced_flows_are_looked_up_in_steady_slots() {
    let pair = pair(["", ""], true);
    let lab = &pair.lab;
    let service = format!("tcp {VIP}:84");
    lab.director.xvs(&format!("service add {service} --scheduler mh --flags mh-port")).succeeds();
    for rip in &RIPS[..2] {
        lab.director.add_real("tcp", 84, *rip, 84, Method::Dr, 100);
    }
    let mut open: Vec<Open> = (0..60).map(|_| Open::new(lab, 84, 1)).collect();
    assert!(lab.director.xvs("--json connections").succeeds().stdout.starts_with("[]"), "no flow is tracked");
    // A third of the flows stay on reals that their slots do not have any more.
    lab.director.add_real("tcp", 84, RIPS[2], 84, Method::Dr, 100);
    assert_eq!(Open::broken(&mut open), 0);
    // The second director has never known another pool: its slots are steady.
    lab.second().xvs(&format!("service add {service} --scheduler mh --flags mh-port")).succeeds();
    for rip in RIPS {
        lab.second().add_real("tcp", 84, rip, 84, Method::Dr, 100);
    }
    let tracked = lab.director.xvs("--json connections").succeeds().stdout.matches("\"state\"").count();
    assert!(tracked > 5, "{tracked}");
    // Those that the first director announced before the service existed have waited for it.
    wait_for_flows(lab.second(), tracked);
    lab.move_to_second();
    assert_eq!(Open::broken(&mut open), 0);
}

/// Returns the number with this name in the status of the announcements, by its path.
#[track_caller]
fn number(director: &Director, pointer: &str) -> u64 {
    let status = director.xvs("--json sync status").succeeds().stdout;
    let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
    status.pointer(pointer).and_then(serde_json::Value::as_u64).unwrap_or(0)
}

/// Returns a message that announces connections of a client to a real.
fn message(sync_id: u8, port: u16, real: Ipv4Addr, client_ports: impl Iterator<Item = u16>) -> Vec<u8> {
    let mut buffer = [0; MESSAGE];
    let mut writer = Writer::new(&mut buffer, sync_id, false).expect("room for a header");
    for client_port in client_ports {
        let connection = Connection {
            protocol: 6,
            client: SocketAddrV4::new(CLIENT, client_port).into(),
            vip: SocketAddrV4::new(VIP, port).into(),
            real: SocketAddrV4::new(real, port).into(),
            flags: Flags(0x83),
            state: 1,
            mark: 0,
            timeout: 900,
        };
        assert!(writer.push(&connection, &[]));
    }
    writer.finish().expect("entries").to_vec()
}

/// Sends messages from the client to the group of IPVS.
#[track_caller]
fn send(lab: &Lab, messages: impl Iterator<Item = Vec<u8>> + Send) {
    let group = SocketAddr::from((lb_common::sync::GROUP, lb_common::sync::PORT));
    lab.client.run(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
        for (message, number) in messages.zip(0_usize..) {
            socket.send_to(&message, group).expect("a route to the group");
            if number % 16 == 0 {
                sleep(Duration::from_millis(2));
            }
        }
    });
}

#[test]
fn spoofed_and_malformed_messages_and_a_flood_harm_no_own_connection() {
    let lab = Lab::new();
    let _servers: Vec<Server> = lab
        .reals
        .iter()
        .map(|real| {
            real.set_up(Method::Dr);
            Server::greeter(real, SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 80))
        })
        .collect();
    lab.client.sh("ip route add 224.0.0.0/4 dev eth0").succeeds();
    let config = lab.director.path("toml");
    let text = "[director]\nmax-flows = 8192\nmax-flows6 = 8192\n[sync]\ninterface = 'eth0'\nreceive = 7\n";
    fs::write(&config, text).unwrap();
    let _daemon = lab.director.start_daemon_with(&format!("--config {}", config.display()));
    lab.director.serve("tcp", 80, "wrr", Method::Dr, 80);
    let mut open: Vec<Open> = (0..60).map(|_| Open::new(&lab, 80, 1)).collect();

    // Each connection is announced on each real.
    let listed = lab.director.xvs("--json connections").succeeds().stdout;
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let own: Vec<u16> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["client"].as_str().unwrap().parse::<SocketAddrV4>().unwrap().port())
        .collect();
    assert_eq!(own.len(), 60);
    let spoofed = RIPS.into_iter().flat_map(|rip| own.chunks(40).map(move |some| (rip, some)));
    send(&lab, spoofed.map(|(rip, ports)| message(7, 80, rip, ports.iter().copied())));
    eventually("the spoofed announcements are refused", || {
        let refused = number(&lab.director, "/effects/own");
        if refused == 180 { Ok(()) } else { Err(format!("{refused} of 180")) }
    });
    assert_eq!(Open::broken(&mut open), 0);

    // Malformed messages, and those with another sync ID.
    let valid = message(7, 80, RIPS[0], 1..2);
    let mut long = valid.clone();
    long.push(0);
    let mut of_type_2 = valid.clone();
    of_type_2[8] = 2;
    let mut bad_state = valid.clone();
    bad_state[17] = 99;
    let messages =
        [Vec::new(), vec![0; 3], long, of_type_2, bad_state, message(8, 80, RIPS[0], 1..2), vec![255; 1400]];
    send(&lab, messages.into_iter());
    eventually("the malformed messages are counted", || {
        let director = &lab.director;
        let counted =
            ["/dropped/malformed", "/dropped/sync_id", "/malformed"].map(|name| number(director, name));
        if counted == [4, 1, 2] { Ok(()) } else { Err(format!("{counted:?}")) }
    });

    // Four times as many flows as the table takes.
    let ports = |number: u16| (number * 40 + 1024)..(number * 40 + 1064);
    let flood = (0..1600_u16).map(|number| message(7, 80, RIPS[usize::from(number) % 3], ports(number)));
    send(&lab, flood);
    eventually("the flood is bounded", || {
        let [share, received] = ["/effects/share", "/received"].map(|name| number(&lab.director, name));
        if share > 1000 && received > 60_000 { Ok(()) } else { Err(format!("{share}, {received}")) }
    });
    let most = number(&lab.director, "/announced_flows_max");
    assert_eq!(most, 8192);
    assert!(number(&lab.director, "/announced_flows") <= most);
    assert_eq!(Open::broken(&mut open), 0, "no own connection was evicted");
    let mut more: Vec<Open> = (0..60).map(|_| Open::new(&lab, 80, 1)).collect();
    assert_eq!(Open::broken(&mut more), 0, "new connections have places");
    assert_eq!(number(&lab.director, "/dropped/rate"), 0);
}

#[test]
fn messages_between_peers_are_signed() {
    let key = std::env::temp_dir().join(format!("xvs-sync-key-{}", std::process::id()));
    fs::write(&key, "a secret that both directors have\n").unwrap();
    let section = format!("key-file = '{}'\n", key.display());
    let pair = pair([&section, &section], true);
    let lab = &pair.lab;
    serve(lab, 80, "wrr", Method::Dr);
    let mut open: Vec<Open> = (0..20).map(|_| Open::new(lab, 80, 1)).collect();
    wait_for_flows(lab.second(), 20);
    lab.client.sh("ip route add 224.0.0.0/4 dev eth0").succeeds();
    send(lab, [message(7, 80, RIPS[0], 1..41)].into_iter());
    eventually("the message without a signature is dropped", || {
        let dropped = number(lab.second(), "/dropped/signature");
        if dropped == 1 { Ok(()) } else { Err(format!("{dropped}")) }
    });
    lab.move_to_second();
    assert_eq!(Open::broken(&mut open), 0);
    fs::remove_file(&key).unwrap();
}

#[test]
fn a_list_of_connections_is_imported_and_waits_for_its_real() {
    let lab = Lab::new();
    let _daemon = lab.director.start_daemon();
    lab.director.serve("tcp", 80, "wrr", Method::Dr, 80);
    let file = lab.director.path("list");
    let later = Ipv4Addr::new(10, 0, 0, 99);
    fs::write(
        &file,
        format!(
            "IPVS connection entries\n\
             pro expire state       source             virtual            destination\n\
             TCP 14:57  ESTABLISHED {CLIENT}:40001     {VIP}:80      {}:80\n\
             TCP 14:57  ESTABLISHED {CLIENT}:40002     {VIP}:80      {later}:80\n\
             TCP 14:57  ESTABLISHED {CLIENT}:40003     {VIP}:81      {}:81\n\
             TCP 14:57  LISTEN      {CLIENT}:40004     {VIP}:80      {}:80\n\
             what is this\n",
            RIPS[1], RIPS[1], RIPS[1]
        ),
    )
    .unwrap();
    let imported = lab.director.xvs(&format!("sync import ipvs {}", file.display())).succeeds();
    assert_eq!(
        imported.stdout,
        "7 lines: 4 connections, 0 templates, 2 headlines, 1 malformed; 1 kept, 2 waiting, 1 state"
    );
    let list = || lab.director.xvs("connections").succeeds().stdout;
    assert!(list().contains(&format!("{CLIENT}:40001")) && list().contains(&format!("{}:80", RIPS[1])));
    lab.director.xvs(&format!("real add tcp {VIP}:80 {later}:80")).succeeds();
    eventually("the connection has its real", || {
        let list = list();
        if list.contains(&format!("{later}:80")) { Ok(()) } else { Err(list) }
    });
    assert_eq!(number(&lab.director, "/waiting"), 1);
    lab.director.xvs(&format!("sync import ipvs {}", lab.director.state().display())).fails(2);
}

#[test]
fn sender_and_receiver_follow_an_interface_that_is_created_again() {
    let lab = Lab::new();
    let director = &lab.director;
    lab.reals[0].set_up(Method::Dr);
    let _server = Server::greeter(&lab.reals[0], SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 80));
    let create = |host: &lb_tests::lab::Host, last: u8| {
        let own = "link add link eth0 name sync0 type macvlan mode bridge";
        host.ip(&format!("{own}\naddress add 10.9.9.{last}/24 dev sync0\nlink set sync0 up"));
    };
    create(&lab.client, 1);
    lab.client.sh("ip route add 224.0.0.0/4 dev sync0").succeeds();
    create(director, 2);
    let config = director.path("toml");
    fs::write(&config, "[sync]\ninterface = 'sync0'\nsend = 7\nreceive = 7\n").unwrap();
    let _daemon = director.start_daemon_with(&format!("--config {}", config.display()));
    director.xvs(&format!("service add tcp {VIP}:80 --scheduler wrr")).succeeds();
    director.add_real("tcp", 80, RIPS[0], 80, Method::Dr, 100);
    let receives = |more: u64| {
        let before = number(director, "/messages_received");
        eventually("messages are received", || {
            send(&lab, [message(7, 80, RIPS[0], 1..2)].into_iter());
            let received = number(director, "/messages_received");
            if received >= before + more { Ok(()) } else { Err(format!("{received}")) }
        });
    };
    let mut open = Vec::new();
    let mut sends = |what: &str| {
        let before = number(director, what);
        open.push(Open::new(&lab, 80, 1));
        eventually("the flow is announced", || {
            let sent = number(director, what);
            if sent > before { Ok(()) } else { Err(director.xvs("sync status").stdout) }
        });
    };
    receives(1);
    sends("/messages_sent");
    director.sh("ip link del sync0").succeeds();
    sends("/send_errors");
    create(director, 2);
    receives(1);
    sends("/messages_sent");
}
