// SPDX-License-Identifier: MIT OR Apache-2.0
//! Lists of lines that are not carried over.

use proptest::prelude::*;

use super::{of, read_back};
use crate::import::{Imported, Kind, summary};

const EXAMPLE: &str = r#"! a comment
global_defs {
    router_id LB
    notification_email {
        root@localhost
    }
}
vrrp_instance VI_1 {
    authentication {
        auth_type PASS
        auth_pass geheim
    }
}
virtual_server_group WEB {
    192.0.2.10-11 80   # two
    fwmark 7
}
virtual_server group WEB {
    ha_suspend
    lb_algo mh
    mh-port
    lb_kind DR
    persistence_timeout 60
    protocol TCP
    sorry_server 10.0.0.9 80
    real_server 10.0.0.2 80 {
        weight 5
        TCP_CHECK {
            bindto 10.0.0.1
        }
    }
    real_server nobody 80 {
        weight 6
    }
}
virtual_server nowhere 53
{
    protocol "UDP"
    real_server 10.0.0.2 5353 { inhibit_on_failure }
}
virtual_server 192.0.2.12 53 {
    foo bar
    real_server 10.0.0.2 53 {
    }
}
"#;

fn left(imported: &Imported) -> Vec<(usize, Kind)> {
    imported.left.iter().map(|left| (left.place.line, left.kind)).collect()
}

#[test]
fn each_line_that_is_not_carried_over_is_listed_once() {
    let imported = of(EXAMPLE);
    assert_eq!(read_back(&imported), imported.desired);
    let (rest, health) = (Kind::Rest, Kind::Health);
    assert_eq!(
        left(&imported),
        [
            (2, rest),
            (3, rest),
            (4, rest),
            (5, rest),
            (8, rest),
            (9, rest),
            (10, rest),
            (11, rest),
            // The endpoints of the mark.
            (16, Kind::Service),
            (19, health),
            (29, health),
            (32, Kind::Real),
            (33, Kind::Real),
            (36, Kind::Service),
            (38, Kind::Service),
            (39, Kind::Service),
            (39, Kind::Service),
            (42, Kind::Setting),
        ],
        "{:#?}",
        imported.left
    );
    assert_eq!((imported.checked, imported.unchecked), (1, 0));
    assert!(!imported.left.iter().any(|left| left.to_string().contains("geheim")));
}

#[test]
fn the_list_has_a_line_for_each_block_and_the_worst_are_first() {
    let lines = summary(&of(EXAMPLE));
    assert_eq!(
        lines,
        [
            "keepalived.conf:14: virtual_server_group WEB: the service is there, but which packets have mark 7 stands in the \
             firewall's rules: name them as endpoints of [[group]] id = 7",
            "keepalived.conf:36: virtual_server nowhere 53: it has no address that keepalived understands (4 \
             lines)",
            "keepalived.conf:18: virtual_server group WEB: real nobody 80: nobody 80 is no address with a port; health checks \
             (ha_suspend: checks go on without the VIP, so that a director on standby knows the health, bindto: the source of a \
             probe follows from the route to its destination)",
            "keepalived.conf:41: virtual_server 192.0.2.12 53: foo bar: keepalived 2.2.7 does not know it \
             here",
            "keepalived.conf:2: global_defs: it is about keepalived or the host (4 lines)",
            "keepalived.conf:8: vrrp_instance VI_1: VRRP is not part of xvs: keepalived keeps doing it (4 \
             lines)",
        ]
    );
}

#[test]
fn a_reason_that_many_lines_have_is_named_once() {
    let real =
        |number: u8| format!("real_server 10.0.0.{number} 80 {{\nBFD_CHECK {{\n}}\nnotify_up /x\n}}\n");
    let lines = summary(&of(&format!("virtual_server 10.1.0.1 80 {{\n{}{}}}\n", real(2), real(3))));
    assert_eq!(lines.len(), 1);
    assert!(lines[0].contains("health checks (2 × BFD_CHECK: there is no BFD"), "{lines:?}");
    assert!(lines[0].contains(", 2 × notify_up: the director starts no scripts"), "{lines:?}");
}

#[test]
fn lines_of_no_block_are_one_line() {
    let rules = "-A -t 10.0.0.1:80 -s rr\n-a -t 10.0.0.1:80 -r 10.0.0.2:80 -g\n-A -t 10.0.0.2:80\n";
    let lines = summary(&of(rules));
    assert_eq!(lines.len(), 1);
    assert!(lines[0].starts_with("keepalived.conf: 3 lines, such as line 1: -A -t "), "{lines:?}");
}

#[rstest::rstest]
#[case("virtual_server $VIP 80 {\n}\n", 1, "no address")]
#[case("virtual_server group NONE {\nreal_server 10.0.0.2 80 {\n}\n}\n", 1, "no virtual_server_group NONE")]
#[case("virtual_server 10.1.0.1 80 {\n}\n", 1, "without real servers")]
#[case("virtual_server 10.1.0.1 80 {\nreal_server 2001:db8::2 80 {\n}\n}\n", 2, "other version")]
#[case("virtual_server 224.0.0.1 80 {\nreal_server 10.0.0.2 80 {\n}\n}\n", 1, "not an address of a host")]
#[case("virtual_server_group G {\n10.1.0.1 80\n}\n", 2, "no virtual_server that is carried over")]
#[case(
    "virtual_server 10.1.0.1 80 {\npersistence_engine sip\nreal_server 10.0.0.2 80 {\n}\n}\n",
    2,
    "no persistence engines"
)]
#[case(
    "virtual_server 10.1.0.1 80 {\nreal_server 10.0.0.2 80 {\nlthreshold 9\n}\n}\n",
    2,
    "above its uthreshold"
)]
#[case(
    "virtual_server 10.1.0.1 80 {\nreal_server 10.0.0.2 80 {\n}\nvirtual_server 10.1.0.2 80 {\n}\n",
    4,
    "brace missing"
)]
#[case("virtual_server 10.1.0.1 80 {\n}\n}\nreal_server 10.0.0.2 80 {\n}\n", 4, "brace too many")]
#[case("@lb2 virtual_server 10.1.0.1 80 {\n", 1, "not for host lb1")]
#[case("~SEQ(N) foo\n", 1, "no sequence")]
#[case("\u{feff}virtual_server 10.1.0.1 80 {\n}\n", 1, "byte order mark")]
fn what_is_wrong_is_named(#[case] text: &str, #[case] line: usize, #[case] why: &str) {
    let imported = of(text);
    let found = imported.left.iter().any(|left| left.place.line == line && left.why.contains(why));
    assert!(found, "{text}: {:#?}", imported.left);
}

const LINES: &[&str] = &[
    "virtual_server 192.0.2.1 80 {",
    "virtual_server 192.0.2.2 0 {",
    "virtual_server group G {",
    "virtual_server_group G {",
    "192.0.2.3-5 443",
    "fwmark 7 inet6",
    "real_server 10.0.0.2 80 {",
    "real_server 10.0.0.3 {",
    "real_server $RIP 80 {",
    "HTTP_GET {",
    "url {",
    "}",
    "}",
    "weight 3",
    "weight x",
    "lb_algo wrr",
    "lb_algo nonsense",
    "lb_kind TUN type gue port 6080",
    "protocol SCTP",
    "@lb1 ops",
    "@lb2 ops",
    "$A=5",
    "weight $A",
    "$RIP=10.0.0.$A # five",
    "$RS= \\",
    "real_server 10.0.0.7 80 { \\",
    "$RS",
    "~SEQ(N, 1, 3) real_server 10.0.0.$N 80 {",
    "~LST(N, 1, 3) weight $N",
    "~SEQ(N) x",
    "vrrp_instance V {",
    "static_routes {",
    "static_rules",
    "net_namespace n",
    "global_defs {",
    "notification_email {",
    "local_address_group L {",
    "lb_kind FNAT",
    "laddr_group_name L",
    "sorry_server 10.0.0.9 80",
    "sorry_server_inhibit",
    "path \"/x y\"",
    "path \"/x",
    "whatever it is",
    "TCP_CHECK {",
    "SSL_GET {",
    "status_code 200-299 700",
    "regex \"a(?=b)\"",
    "digest 9b3a0c85a887a256d6939da88aabd8cd",
    "virtualhost www.example.org",
    "SMTP_CHECK {",
    "host {",
    "MISC_CHECK {",
    "misc_path \"/bin/true 'a b'\"",
    "misc_dynamic",
    "user root",
    "DNS_CHECK {",
    "type MX",
    "name example.org",
    "UDP_CHECK {",
    "payload 0a",
    "require_reply 1x",
    "PING_CHECK {",
    "BFD_CHECK {",
    "delay_loop 5",
    "retry 200",
    "delay_before_retry 2",
    "connect_timeout 9",
    "connect_port 81",
    "connect_ip 192.0.2.1",
    "fwmark 3",
    "alpha",
    "inhibit_on_failure",
    "quorum 3",
    "hysteresis 1",
    "omega",
    "notify_up /bin/true",
    "{",
];

proptest! {
    #[test]
    fn each_line_is_reflected_or_listed(lines in prop::collection::vec(prop::sample::select(LINES), 0..48)) {
        let imported = of(&lines.join("\n"));
        prop_assert!(imported.refused.is_none());
        prop_assert_eq!(read_back(&imported), imported.desired.clone());
        prop_assert!(summary(&imported).len() <= lines.len());
        for (index, line) in lines.iter().enumerate().filter(|(_, line)| !["{", "}"].contains(line)) {
            let here = |number: usize| number == index + 1;
            let carried = imported.carried.iter().any(|place| here(place.line));
            let listed = imported.left.iter().any(|left| here(left.place.line));
            prop_assert!(carried || listed, "line {}: {line}: {:#?}", index + 1, imported.left);
        }
    }
}
