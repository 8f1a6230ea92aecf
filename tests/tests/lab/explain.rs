// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xvs explain` predicts the fate of a real packet, and changes nothing.

use std::{
    fmt::Write as _,
    net::{Ipv4Addr, SocketAddrV4},
};

use lb_tests::lab::{CLIENT, CLIENT6, Lab, Method, Outcome, Server, Stage, VIP, VIP6, rip6};
use serde_json::Value;

pub fn explain(lab: &Lab, line: &str) -> Value {
    lab.director.xvs(&format!("--output json explain {line}")).succeeds().json()
}

pub fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("no {field} in {value:#}"))
}

/// Returns the new value of a header field.
pub fn after<'a>(told: &'a Value, field: &str) -> Option<&'a str> {
    let changes = told["rewrite"].as_array().expect("a list");
    changes.iter().find(|change| change["field"] == field).and_then(|change| change["after"].as_str())
}

pub fn greeters(lab: &Lab) -> Vec<Server> {
    let at = |port| SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port);
    let ports = Method::real_ports();
    lab.reals.iter().flat_map(|real| ports.map(|port| Server::greeter(real, at(port)))).collect()
}

/// A capture of one frame, as `tcpdump -w` writes it.
pub fn pcap(frame: &[u8]) -> Vec<u8> {
    let length = frame.len() as u32;
    let words = [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, 1, 0, 0, length, length];
    [&words.map(u32::to_le_bytes).concat(), frame].concat()
}

fn bytes(hex: &str) -> Vec<u8> {
    let pair = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal digits");
    (0..hex.len()).step_by(2).map(pair).collect()
}

#[test]
fn it_names_the_real_that_a_connection_then_reaches() {
    let stage = Stage::new();
    let lab = &stage.lab;
    let _servers = greeters(lab);
    stage.serve_all_methods("tcp", "mh");
    for method in Method::ALL {
        let mut reached = std::collections::BTreeSet::new();
        for port in 21_000..21_006 {
            let told = explain(lab, &format!("tcp {CLIENT}:{port} {}", method.service()));
            let greeting = lab.client.greeting_from(port, method.service()).unwrap();
            let real = lab.reals.iter().find(|real| real.name() == greeting).expect("one of the reals");
            let address = SocketAddrV4::new(real.rip, method.real_port());
            assert_eq!(text(&told, "real"), address.to_string(), "{told:#}");
            assert_eq!(text(&told, "reason"), "forwarded", "{told:#}");
            assert_eq!(text(&told, "service"), format!("tcp {}", method.service()));
            assert!(after(&told, "MAC destination").is_some(), "{told:#}");
            let rip = real.rip.to_string();
            let port = (method.real_port() != method.port()).then(|| method.real_port().to_string());
            match method {
                Method::Dr => assert_eq!(after(&told, "destination"), None),
                Method::Tun => assert_eq!(after(&told, "outer destination"), Some(&*rip), "{told:#}"),
                Method::Nat | Method::Fnat => {
                    assert_eq!(after(&told, "destination"), Some(&*rip), "{told:#}");
                }
            }
            assert_eq!(after(&told, "destination port"), port.as_deref(), "{told:#}");
            reached.insert(greeting);
        }
        assert!(reached.len() > 1, "all of {}'s connections went to {reached:?}", method.as_str());
    }
}

#[test]
fn counters_and_flows_stay_as_they_are() {
    let stage = Stage::new();
    let lab = &stage.lab;
    let _servers = greeters(lab);
    stage.serve_all_methods("tcp", "rr");
    let open: Vec<_> = Method::ALL.map(|method| lab.client.connect(method.service()).unwrap()).into();
    // Retransmissions and late acknowledgements are over.
    std::thread::sleep(std::time::Duration::from_secs(1));
    let flows = || {
        let mut all = lab.director.xvs("--output json connections").succeeds().json();
        for flow in all.as_array_mut().expect("a list") {
            for clock in ["idle_seconds", "expires_seconds"] {
                flow.as_object_mut().expect("a flow").remove(clock);
            }
        }
        all
    };
    let stats = || lab.director.xvs("--output json stats").succeeds().json();
    let before = (stats(), flows());
    assert_eq!(before.1.as_array().map(Vec::len), Some(4), "{:#}", before.1);
    for number in 0..50 {
        let service = Method::ALL[number % 4].service();
        let flag = ["syn", "ack", "fin", "rst"][number / 4 % 4];
        explain(lab, &format!("tcp {CLIENT}:{} {service} --flags {flag}", 22_000 + number));
        let known = open[number % 4].local_addr().unwrap();
        explain(lab, &format!("tcp {known} {service} --flags {flag}"));
    }
    assert_eq!((stats(), flows()), before);
}

#[test]
fn what_is_no_services_and_what_is_no_question() {
    let stage = Stage::new();
    let lab = &stage.lab;
    stage.serve_all_methods("tcp", "mh");
    let told = explain(lab, &format!("udp {CLIENT}:4000 10.0.0.250:53 --length 100"));
    assert_eq!((text(&told, "reason"), text(&told, "action")), ("not_ours", "XDP_PASS"), "{told:#}");
    assert!(told["service"].is_null() && told["real"].is_null(), "{told:#}");
    assert_eq!(told["frame_in"], told["frame_out"], "{told:#}");
    let near = Method::Dr.service();
    lab.director
        .xvs(&format!("explain udp {CLIENT}:4000 {near}"))
        .succeeds()
        .says(&format!("no service is udp {near}; there are tcp {near}, tcp {VIP}:"));

    let ask = |words: &str| -> Outcome { lab.director.xvs(&format!("explain {words}")) };
    let service = Method::Dr.service();
    ask(&format!("tcp {CLIENT}:4000 {service} --interface nowhere")).fails(2).says("not attached to nowhere");
    ask(&format!("tcp [fd00::1]:4000 {service}")).fails(2).says("same version of IP");
    ask(&format!("udp {CLIENT}:4000 {VIP}:53 --flags ack")).fails(2).says("--flags is for tcp");
    ask(&format!("tcp {CLIENT}:4000 {service} --length 9000")).fails(2).says("14 to 3,520 bytes");
    ask("--pcap /nonexistent").fails(2).says("cannot read /nonexistent");
    ask("tcp").fails(2);
}

#[test]
fn a_captured_packet_is_explained_as_the_same_flow_is() {
    let stage = Stage::new();
    let lab = &stage.lab;
    stage.serve_all_methods("tcp", "mh");
    for method in Method::ALL {
        let told = explain(lab, &format!("tcp {CLIENT}:4000 {}", method.service()));
        let file = lab.director.path("one.pcap");
        std::fs::write(&file, pcap(&bytes(text(&told, "frame_in")))).unwrap();
        let captured = explain(lab, &format!("--pcap {}", file.display()));
        assert_eq!(captured["real"], told["real"]);
        assert_eq!(captured["frame_in"], told["frame_in"]);
        let shown = lab.director.xvs(&format!("explain --pcap {}", file.display())).succeeds();
        shown.says("parse").says("MAC destination").says("forwarded").says("1 of 1 in ");
    }
    let file = lab.director.path("one.pcap");
    let absent = lab.director.xvs(&format!("explain --pcap {} --packet 2", file.display()));
    absent.fails(2).says("there is no packet 2").says("hint: ");
}

/// Asserts that an explained change matches the fate of the packet after it, and that the question changes
/// nothing.
#[test]
fn a_change_is_explained_before_it_is_made() {
    let stage = Stage::new();
    let lab = &stage.lab;
    let _servers = greeters(lab);
    stage.serve_all_methods("tcp", "mh");
    let turns = SocketAddrV4::new(VIP, 8100);
    lab.director.serve("tcp", turns.port(), "rr", Method::Nat, Method::Nat.real_port());
    let open: Vec<_> = (0..3).map(|_| lab.client.connect(turns).unwrap()).collect();
    let kept = SocketAddrV4::new(VIP, 8101);
    lab.director.serve("tcp", kept.port(), "rr", Method::Nat, Method::Nat.real_port());
    lab.director.xvs(&format!("service edit tcp {kept} --persistent 300s")).succeeds();
    lab.client.connect(kept).unwrap();

    // The change removes the second real, sets the weight of the third to 0, and adds a service.
    let [_, second, third] = &lab.reals;
    let export = lab.director.xvs("export").succeeds().stdout;
    let mut file = String::new();
    let mut sections: Vec<String> = export.split("[[service.real]]").map(str::to_owned).collect();
    for section in &mut sections {
        if section.contains(&format!("\"{}:", third.rip)) {
            *section = section.replace("weight = 100", "weight = 0");
        }
    }
    for (at, section) in sections.iter().enumerate() {
        let gone = section.contains(&format!("\"{}:", second.rip));
        if at > 0 && !gone {
            file.push_str("[[service.real]]");
        }
        let end = section.find("[[service]]").unwrap_or(section.len());
        file.push_str(if at > 0 && gone { &section[end..] } else { section });
    }
    let _infallible = write!(
        file,
        "\n[[service]]\nprotocol = \"udp\"\naddress = \"{VIP}:53\"\n[[service.real]]\naddress = \"{}\"\n",
        third.rip
    );
    let path = lab.director.path("after.toml");
    std::fs::write(&path, &file).unwrap();

    let questions: Vec<String> = Method::ALL
        .iter()
        .flat_map(|method| (23_000..23_010).map(|port| format!("tcp {CLIENT}:{port} {}", method.service())))
        .chain(open.iter().map(|stream| format!("tcp {} {turns} --flags ack", stream.local_addr().unwrap())))
        .chain([turns, kept].map(|service| format!("tcp {CLIENT}:4000 {service}")))
        .chain([format!("udp {CLIENT}:4000 {VIP}:53")])
        .collect();
    let answer = |told: &Value| {
        let field = |name: &str| told[name].to_string();
        // The port of the director for a flow by full NAT is drawn again each time.
        let drawn = told["service"] == format!("tcp {}", Method::Fnat.service());
        let frame = if drawn { String::new() } else { field("frame_out") };
        [field("service"), field("real"), field("reason"), frame]
    };
    let now: Vec<_> = questions.iter().map(|line| answer(&explain(lab, line))).collect();
    let then: Vec<_> = questions
        .iter()
        .map(|line| answer(&explain(lab, &format!("{line} --plan {}", path.display()))))
        .collect();
    let planned = lab.director.xvs(&format!("plan {}", path.display())).succeeds();
    planned.says("will add service udp").says(&format!("will remove real {}", second.rip));
    assert_eq!(questions.iter().map(|line| answer(&explain(lab, line))).collect::<Vec<_>>(), now);
    assert_eq!(lab.director.xvs("export").succeeds().stdout, export);
    assert!(then.iter().zip(&now).any(|(then, now)| then != now));

    lab.director.xvs(&format!("apply {}", path.display())).succeeds();
    for (line, then) in questions.iter().zip(&then) {
        assert_eq!(&answer(&explain(lab, line)), then, "{line}");
    }
    std::fs::write(&path, "[[service]]\nprotocol = \"tcp\"\n").unwrap();
    let ask = format!("explain {} --plan {}", questions[0], path.display());
    lab.director.xvs(&ask).fails(2).says("after.toml");
}

/// IPv6, SCTP and a VLAN tag, through the daemon.
#[test]
fn other_versions_protocols_and_links_are_explained() {
    let stage = Stage::new();
    let lab = &stage.lab;
    let six = format!("[{VIP6}]:80");
    let rip = rip6(lab.reals[0].rip);
    lab.director.xvs(&format!("service add tcp {six}")).succeeds();
    lab.director.xvs(&format!("real add tcp {six} [{rip}]:8080 --forward nat")).succeeds();
    lab.director.xvs(&format!("service add sctp {VIP}:9")).succeeds();
    lab.director.xvs(&format!("real add sctp {VIP}:9 {} --forward dr", lab.reals[0].rip)).succeeds();
    lab.director.wait_for_next_hops();

    let told = explain(lab, &format!("tcp [{CLIENT6}]:4000 {six}"));
    assert_eq!(after(&told, "destination"), Some(&*rip.to_string()), "{told:#}");
    assert_eq!(after(&told, "destination port"), Some("8080"));
    let told = explain(lab, &format!("sctp {CLIENT}:4000 {VIP}:9"));
    assert_eq!(text(&told, "reason"), "forwarded", "{told:#}");

    // The tag stays: the real is in the VLAN of the client.
    let mut tagged = bytes(text(&told, "frame_in"));
    tagged.splice(12..12, [0x81, 0, 0, 42]);
    let file = lab.director.path("tagged.pcap");
    std::fs::write(&file, pcap(&tagged)).unwrap();
    let told = explain(lab, &format!("--pcap {}", file.display()));
    assert_eq!(text(&told, "reason"), "forwarded", "{told:#}");
    assert_eq!(bytes(text(&told, "frame_out"))[12..16], [0x81, 0, 0, 42]);
}
