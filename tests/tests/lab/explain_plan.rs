// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xvs explain --plan` about packets of existing flows: a connection's next packet, a real's reply, an
//! error, a later fragment. For a change that does not concern them the answer is that of `xvs explain`.

use std::net::{IpAddr, SocketAddr, SocketAddrV4, UdpSocket};

use etherparse::{
    Icmpv4Type, IpFragOffset, IpNumber, Ipv4Header, PacketBuilder, icmpv4::DestUnreachableHeader,
};
use lb_tests::lab::{CLIENT, DIP, Lab, Method, Server, Stage, VIP};
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
use serde_json::Value;

use crate::explain::{after, explain, greeters, pcap, text};

/// Two services that share a real's port.
const TWINS: [SocketAddrV4; 2] = [SocketAddrV4::new(VIP, 8201), SocketAddrV4::new(VIP, 8202)];
/// A service whose destinations stay on their reals.
const LOCAL: SocketAddrV4 = SocketAddrV4::new(VIP, 8203);
/// A service of datagrams.
const DATAGRAMS: SocketAddrV4 = SocketAddrV4::new(VIP, 8204);

/// A frame to the director's interface, which `xvs explain` fills in.
fn frame(from: SocketAddrV4, to: SocketAddrV4) -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2([2; 6], [0; 6])
        .ipv4(from.ip().octets(), to.ip().octets(), 64)
        .tcp(from.port(), to.port(), 1, 1000)
        .ack(1)
        .write(&mut frame, b"data")
        .expect("a vector takes everything");
    frame
}

/// A "host unreachable" from a router about a packet that was sent from one end to the other.
fn error(about: (SocketAddrV4, SocketAddrV4)) -> Vec<u8> {
    let quoted = &frame(about.0, about.1)[14..];
    let kind = Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::Host);
    let mut frame = Vec::new();
    PacketBuilder::ethernet2([2; 6], [0; 6])
        .ipv4([192, 0, 2, 10], about.0.ip().octets(), 64)
        .icmpv4(kind)
        .write(&mut frame, quoted)
        .expect("a vector takes everything");
    frame
}

/// Part of an IPv4 datagram, without Ethernet.
fn fragment(offset: u16, more: bool) -> Vec<u8> {
    let mut body = vec![7; 64];
    if offset == 0 {
        body[..8].copy_from_slice(&[4000_u16, DATAGRAMS.port(), 1000, 0].map(u16::to_be_bytes).concat());
    }
    let mut ip = Ipv4Header::new(64, 64, IpNumber::UDP, CLIENT.octets(), VIP.octets()).expect("a small one");
    (ip.identification, ip.more_fragments) = (4711, more);
    ip.fragment_offset = IpFragOffset::try_new(offset).expect("a small one");
    ip.header_checksum = ip.calc_header_checksum();
    [ip.to_bytes().to_vec(), body].concat()
}

fn client_of(stream: &std::net::TcpStream) -> SocketAddrV4 {
    let Ok(SocketAddr::V4(address)) = stream.local_addr() else { panic!("IPv4 only") };
    address
}

/// Returns the explanation of a captured frame.
fn told_of(lab: &Lab, frame: &[u8], options: &str) -> Value {
    let file = lab.director.path("one.pcap");
    std::fs::write(&file, pcap(frame)).expect("the lab's folder is writable");
    explain(lab, &format!("--pcap {} {options}", file.display()))
}

/// Returns the steps without those that describe the change.
fn steps(told: &Value) -> Vec<&Value> {
    told["steps"].as_array().expect("a list").iter().filter(|step| step["step"] != "plan").collect()
}

#[test]
fn what_is_known_of_a_packet_is_known_to_the_plan() {
    let stage = Stage::new();
    let lab = &stage.lab;
    let _greeters = greeters(lab);
    let _echo = Server::udp_echo(&lab.reals[0], DATAGRAMS);
    stage.serve_all_methods("tcp", "mh");
    let tracked = SocketAddrV4::new(VIP, 8200);
    for (service, scheduler, method) in [
        (tracked, "rr", Method::Nat),
        (TWINS[0], "rr", Method::Nat),
        (TWINS[1], "rr", Method::Nat),
        (LOCAL, "lblc", Method::Dr),
    ] {
        let port = if service == LOCAL { service.port() } else { Method::Nat.real_port() };
        lab.director.xvs(&format!("service add tcp {service} --scheduler {scheduler}")).succeeds();
        let reals = if TWINS.contains(&service) { &lab.reals[..1] } else { &lab.reals[..] };
        for real in reals {
            lab.director.add_real("tcp", service.port(), real.rip, port, method, 100);
        }
    }
    lab.director.xvs(&format!("service add udp {DATAGRAMS} --scheduler rr")).succeeds();
    lab.director.add_real("udp", DATAGRAMS.port(), lab.reals[0].rip, DATAGRAMS.port(), Method::Dr, 100);
    let _local = lab.reals.each_ref().map(|real| Server::greeter(real, LOCAL));

    // A connection to each service, and the first fragment of a datagram.
    let services = [tracked, TWINS[0], TWINS[1], LOCAL].into_iter().chain(Method::ALL.map(Method::service));
    let open: Vec<_> = services.map(|to| (to, lab.client.connect(to).unwrap())).collect();
    let raw: UdpSocket = lab
        .client
        .run(|| socket(AddressFamily::Inet, SockType::Raw, SockFlag::SOCK_CLOEXEC, Some(SockProtocol::Raw)))
        .unwrap()
        .into();
    raw.send_to(&fragment(0, true), (VIP, 0)).unwrap();

    let mut frames =
        vec![("a later fragment", [&[2; 6][..], &[2; 6], &[8, 0], &fragment(8, false)].concat())];
    frames[0].1[..6].fill(0);
    for (service, stream) in &open {
        let client = client_of(stream);
        frames.push(("the next packet", frame(client, *service)));
        frames.push(("an error", error((*service, client))));
        let asked = explain(lab, &format!("tcp {client} {service} --flags ack"));
        let rip: SocketAddrV4 = text(&asked, "real").parse().unwrap();
        if after(&asked, "destination").is_some() {
            // The real's answer uses the addresses of the request.
            let source = after(&asked, "source").map_or(*client.ip(), |address| address.parse().unwrap());
            let port = after(&asked, "source port").map_or(client.port(), |port| port.parse().unwrap());
            frames.push(("a reply", frame(rip, SocketAddrV4::new(source, port))));
            assert_eq!(source == DIP, *service == Method::Fnat.service());
        }
    }

    let plan = lab.director.path("plan.toml");
    let other = format!("[[service]]\nprotocol = \"udp\"\naddress = \"{VIP}:53\"\n");
    let export = lab.director.xvs("export").succeeds().stdout;
    std::fs::write(&plan, format!("{export}\n{other}")).unwrap();
    let with_plan = format!("--plan {}", plan.display());
    for (what, frame) in &frames {
        let (now, then) = (told_of(lab, frame, ""), told_of(lab, frame, &with_plan));
        assert_eq!(text(&now, "reason"), "forwarded", "{what}: {now:#}");
        assert_eq!(now["frame_out"], then["frame_out"], "{what}: {now:#}\n{then:#}");
        assert_eq!(steps(&now), steps(&then), "{what}");
        if *what == "a reply" {
            assert_eq!(after(&then, "source").map(str::parse), Some(Ok(IpAddr::from(VIP))), "{then:#}");
        }
    }

    // The change removes all services but one: flows of the others are no longer forwarded.
    std::fs::write(&plan, other).unwrap();
    for (what, frame) in &frames {
        let then = told_of(lab, frame, &with_plan);
        assert_ne!(text(&then, "reason"), "forwarded", "{what}: {then:#}");
    }
    assert_eq!(lab.director.xvs("export").succeeds().stdout, export);
}
