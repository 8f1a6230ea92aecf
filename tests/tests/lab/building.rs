// SPDX-License-Identifier: MIT OR Apache-2.0
//! The lab itself, without xvs.

use std::{
    net::{Ipv4Addr, SocketAddrV4, UdpSocket},
    path::Path,
    time::Duration,
};

use lb_tests::lab::{CLIENT, DIP, DIRECTOR, Lab, Layout, Options, RIPS, Server, eventually, icmp};

const ANY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

#[test]
fn everyone_reaches_the_director_and_each_other() {
    for layout in [Layout::OneArm, Layout::TwoArm] {
        let lab = Lab::with(Options { layout, ..Options::default() });

        lab.client.sh(&format!("ping -c 1 -W 5 {DIRECTOR}")).succeeds();
        lab.client.sh("ping -c 1 -W 5 2001:db8::1").succeeds();
        for real in &lab.reals {
            real.sh(&format!("ping -c 1 -W 5 {DIP}")).succeeds();
            real.sh(&format!("ping -c 1 -W 5 {CLIENT}")).succeeds();
        }
    }
}

#[test]
fn web_servers_say_who_they_are_and_store_what_they_get() {
    let lab = Lab::new();
    let file = lab.big_file("big", 8);
    let _nginx: Vec<_> = lab.reals.iter().map(|real| real.start_nginx(&[80, 8080])).collect();

    for real in &lab.reals {
        let name = lab.client.get(SocketAddrV4::new(real.rip, 8080), "/");
        assert_eq!(name.unwrap().trim(), real.name());

        let upload =
            format!("curl --silent --fail --upload-file {} http://{}/upload/it", file.display(), real.rip);
        lab.client.sh(&upload).succeeds();
        lab.client.sh(&format!("cmp {} {}", file.display(), real.uploaded("it").display())).succeeds();
    }
}

#[test]
fn small_servers_greet_and_echo() {
    let lab = Lab::new();
    let [real, ..] = &lab.reals;
    let address = |port| SocketAddrV4::new(real.rip, port);
    let _greeter = Server::greeter(real, SocketAddrV4::new(ANY, 7000));
    let _echo = Server::udp_echo(real, SocketAddrV4::new(ANY, 7001));

    let spread = lab.client.spread(address(7000), 200);
    assert_eq!(spread.is_complete(200).by("real1"), 200);

    let socket = lab.client.run(|| UdpSocket::bind((CLIENT, 0))).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket.send_to(b"hello", address(7001)).unwrap();
    let mut buffer = [0; 64];
    let length = socket.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"real1 hello");
}

#[test]
fn the_switch_tells_direct_replies_from_those_through_the_director() {
    let lab = Lab::new();
    let _nginx = lab.reals[0].start_nginx(&[80]);
    let before = lab.crossing();

    lab.client.requests(SocketAddrV4::new(RIPS[0], 80), 10).is_complete(10);

    // The director routes every packet to a RIP once.
    let crossed = lab.crossing() - before;
    assert!(crossed.client_to_director.packets >= 50, "{crossed:?}");
    assert_eq!(crossed.director_to_reals, crossed.client_to_director, "{crossed:?}");
    assert_eq!(crossed.director_to_client, crossed.reals_to_director, "{crossed:?}");
    assert_eq!(crossed.reals_to_client.packets, 0, "{crossed:?}");
}

#[test]
fn an_icmp_message_is_heard_where_it_arrives() {
    let lab = Lab::new();
    let listeners = lab.reals.each_ref().map(|real| icmp::Listener::on(real));
    let (source, destination) = (SocketAddrV4::new(RIPS[1], 80), SocketAddrV4::new(CLIENT, 4000));

    icmp::send_frag_needed(&lab.client, source, destination, 1000);

    let heard = listeners[1].hears();
    assert_eq!((heard.to, heard.mtu), (RIPS[1], 1000));
    assert_eq!((heard.source, heard.destination), (source, destination));
    listeners[0].heard_nothing();
    listeners[2].heard_nothing();
}

#[test]
fn nothing_is_left_of_a_dropped_lab() {
    let lab = Lab::new();
    let nginx = lab.reals[0].start_nginx(&[80]);
    // As after a kill of the test: the handle does not end this process.
    std::mem::forget(nginx);
    let folder = lab.client.folder().to_owned();
    let namespaces = [&lab.client, &*lab.director, &lab.switch].map(|host| host.ns().name().to_owned());
    let config = lab.reals[0].path("nginx.conf").display().to_string();
    assert!(folder.exists() && processes().any(|command| command.contains(&config)));

    drop(lab);

    assert!(!folder.exists());
    for name in namespaces {
        assert!(!Path::new("/run/netns").join(name).exists());
    }
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(&folder.display().to_string()), "{mounts}");
    eventually("nginx is gone", || match processes().find(|command| command.contains(&config)) {
        None => Ok(()),
        Some(command) => Err(command),
    });
}

/// Returns the command lines of all processes.
fn processes() -> impl Iterator<Item = String> {
    let entries = std::fs::read_dir("/proc").expect("/proc is mounted").flatten();
    entries.filter_map(|entry| std::fs::read_to_string(entry.path().join("cmdline")).ok())
}
