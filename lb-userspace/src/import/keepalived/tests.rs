// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files of keepalived, and what they come to.

use std::{fs, path::Path};

use proptest::prelude::*;

use super::{super::Imported, import};
use crate::control::{config, model::Desired};

fn of(text: &str) -> Imported {
    import(text, Path::new("keepalived.conf"), Some("lb1"))
}

/// The config, read back.
fn read_back(imported: &Imported) -> Desired {
    config::parse(&imported.config(), Path::new("xvs.toml")).unwrap().desired
}

fn left(imported: &Imported) -> Vec<(usize, String)> {
    imported.left.iter().map(|left| (left.place.line, left.text.clone())).collect()
}

const EXAMPLE: &str = r#"! a comment
global_defs {
    router_id LB
}
$RIP=10.0.0.2
virtual_server_group WEB {
    192.0.2.10-11 80   # two
    fwmark 7
}
virtual_server group WEB {
    delay_loop 6
    lb_algo mh
    mh-port
    lb_kind DR
    persistence_timeout 60
    persistence_granularity 255.255.255.0
    protocol TCP
    sorry_server 10.0.0.9 80
    real_server $RIP 80 {
        weight 5
        TCP_CHECK {
            connect_timeout 3
        }
    }
    @lb1 real_server 10.0.0.3 80 { weight 0 }
    @lb2 real_server 10.0.0.4 80 { weight 1 }
    @^lb2 real_server 10.0.0.5 80 {
        uthreshold 9
        lthreshold 3
    }
}
virtual_server 192.0.2.12 53
{
    protocol "UDP"
    lvs_sched rr
    lvs_method NAT
    ops
    real_server 10.0.0.2 5353 { inhibit_on_failure }
}
virtual_server 2001:db8::1 80 {
    real_server 2001:db8::2 80
}
virtual_server 2001:db8::1 81 {
    real_server 10.0.0.2 81
}
"#;

#[test]
fn virtual_servers_become_services() {
    let imported = of(EXAMPLE);
    let desired = read_back(&imported);
    assert_eq!(desired, imported.desired);
    let shown: Vec<String> = desired
        .services
        .iter()
        .flat_map(|(id, service)| {
            let reals = service.reals.iter().map(|(ip, real)| format!("  {ip} {}", real.describe()));
            std::iter::once(format!("{id} {}", service.describe())).chain(reals.collect::<Vec<_>>())
        })
        .collect();
    let web = [
        "scheduler mh, tracking full, persistent 60s, netmask 24",
        "  10.0.0.2:80 forward dr, weight 5",
        "  10.0.0.3:80 forward dr, weight 0",
        "  10.0.0.5:80 forward dr, weight 1, upper 9, lower 3",
    ];
    for (line, expected) in [
        (0, format!("tcp 192.0.2.10:80 {}", web[0])),
        (1, web[1].to_owned()),
        (3, web[3].to_owned()),
        (4, format!("tcp 192.0.2.11:80 {}", web[0])),
        (8, "tcp [2001:db8::1]:80 scheduler wlc, tracking auto".to_owned()),
        (9, "  [2001:db8::2]:80 forward nat, weight 1".to_owned()),
        (10, "tcp [2001:db8::1]:81 scheduler wlc, tracking auto".to_owned()),
        (11, "udp 192.0.2.12:53 scheduler rr, tracking auto, one packet".to_owned()),
        (12, "  10.0.0.2:5353 forward nat, weight 1".to_owned()),
        (13, format!("group 7 {}", web[0])),
        (14, "  10.0.0.2:0 forward dr, weight 5".to_owned()),
    ] {
        assert_eq!(shown[line], expected, "{shown:#?}");
    }
}

#[test]
fn kinds_of_tunnels_are_carried_over_and_their_checksums_with_them() {
    let of_kind = |kind: &str| {
        let imported = of(&format!(
            "virtual_server 192.0.2.1 80 {{\nlvs_method {kind}\nreal_server 10.0.0.2 80 {{\n}}\n}}\n"
        ));
        let reals = imported.desired.services.values().flat_map(|service| service.reals.values());
        (reals.map(crate::control::model::Real::describe).collect::<Vec<_>>(), imported.left.len())
    };
    assert_eq!(of_kind("TUN"), (vec!["forward tun, weight 1".to_owned()], 0));
    assert_eq!(of_kind("TUN type ipip"), (vec!["forward tun, weight 1".to_owned()], 0));
    assert_eq!(of_kind("TUN type gre"), (vec!["forward tun, weight 1, tunnel gre".to_owned()], 0));
    let gue = (vec!["forward tun, weight 1, tunnel gue:6080".to_owned()], 0);
    assert_eq!(of_kind("TUN type gue port 6080 nocsum"), gue);
    let checked = (vec!["forward tun, weight 1, tunnel gue:6080:csum".to_owned()], 0);
    assert_eq!(of_kind("TUN type gue port 6080 csum"), checked);
    assert_eq!(of_kind("TUN type gre csum"), (vec!["forward tun, weight 1, tunnel gre:csum".to_owned()], 0));
    for kind in ["TUN type gue port 6080 remcsum", "TUN type gue", "TUN type vxlan", "NAT type gre"] {
        let (reals, left) = of_kind(kind);
        assert!(reals.is_empty() && left > 0, "{kind}: {reals:?}");
    }
}

#[test]
fn a_range_of_ipv6_ends_in_its_last_part() {
    let imported = of("virtual_server_group G {\n2001:db8::9-b 80\n}\nvirtual_server group G {\n}\n");
    let shown: Vec<String> = imported.desired.services.keys().map(ToString::to_string).collect();
    assert_eq!(shown, ["tcp [2001:db8::9]:80", "tcp [2001:db8::a]:80", "tcp [2001:db8::b]:80"]);
}

#[test]
fn what_has_no_counterpart_is_listed_with_its_line() {
    let lines: Vec<usize> = left(&of(EXAMPLE)).iter().map(|(line, _)| *line).collect();
    assert_eq!(lines, [2, 3, 8, 11, 18, 21, 22, 26, 38, 44, 44]);
}

#[test]
fn entries_of_a_group_are_listed_when_its_server_is_not_carried_over() {
    let imported =
        of("virtual_server_group G {\n192.0.2.1 80\n}\nvirtual_server group G {\nprotocol DCCP\n}\n");
    assert!(left(&imported).contains(&(2, "192.0.2.1 80".to_owned())), "{:?}", imported.left);
}

#[test]
fn flags_can_come_before_their_scheduler() {
    let imported = of("virtual_server 192.0.2.1 80 {\nsh-port\nlb_algo sh\n}\n");
    assert!(imported.left.is_empty() && imported.config().contains("sh-port"), "{:?}", imported.left);
}

#[test]
fn files_include_others() {
    let folder = tempfile::tempdir().unwrap();
    let main = folder.path().join("keepalived.conf");
    fs::create_dir(folder.path().join("conf.d")).unwrap();
    fs::write(folder.path().join("conf.d/a.conf"), "virtual_server 192.0.2.1 80 {\n lb_kind DR\n bad\n}\n")
        .unwrap();
    let imported = import("include conf.d/*.conf\ninclude nowhere.conf\n", &main, None);
    assert_eq!(imported.desired.services.len(), 1);
    let places: Vec<String> = imported.left.iter().map(ToString::to_string).collect();
    assert!(places[0].contains("a.conf:3: bad: ") || places[1].contains("a.conf:3: bad: "), "{places:?}");
    assert_eq!(places.len(), 2);
}

#[test]
fn broken_files_are_listed_too() {
    for (text, why) in [
        ("}\n", "closes no block"),
        ("virtual_server 192.0.2.1 80 {\n", "not closed"),
        ("virtual_server 192.0.2.1 80 {\nlb_algo \"rr\n}\n", "quote"),
        ("virtual_server $VIP 80 {\n}\n", "$VIP"),
        ("virtual_server group NONE {\n}\n", "no virtual_server_group"),
        ("virtual_server 192.0.2.1 80 {\n protocol DCCP\n}\n", "tcp, udp"),
        ("virtual_server 192.0.2.1 80 {\n lb_algo best\n}\n", "'best'"),
    ] {
        let imported = of(text);
        assert!(imported.left.iter().any(|left| left.why.contains(why)), "{text}: {:?}", imported.left);
    }
}

const LINES: &[&str] = &[
    "virtual_server 192.0.2.1 80 {",
    "virtual_server 192.0.2.2 0 {",
    "virtual_server group G {",
    "virtual_server_group G {",
    "192.0.2.3-5 443",
    "real_server 10.0.0.2 80 {",
    "real_server 10.0.0.3 {",
    "HTTP_GET {",
    "url {",
    "}",
    "weight 3",
    "weight x",
    "lb_algo wrr",
    "lb_algo nonsense",
    "lb_kind TUN",
    "protocol SCTP",
    "@lb1 ops",
    "@lb2 ops",
    "$A=5",
    "weight $A",
    "path \"/x y\"",
    "whatever it is",
    "{",
];

proptest! {
    #[test]
    fn each_line_is_reflected_or_listed(lines in prop::collection::vec(prop::sample::select(LINES), 0..24)) {
        let imported = of(&lines.join("\n"));
        prop_assert_eq!(read_back(&imported), imported.desired.clone());
        for (index, line) in lines.iter().enumerate().filter(|(_, line)| !["{", "}"].contains(line)) {
            let here = |number: usize| number == index + 1;
            let carried = imported.carried.iter().any(|place| here(place.line));
            let listed = imported.left.iter().any(|left| here(left.place.line));
            prop_assert!(carried || listed, "line {}: {line}: {:#?}", index + 1, imported.left);
        }
    }
}
