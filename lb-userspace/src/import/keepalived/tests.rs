// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tests with files of keepalived, and the resulting services.

mod checks; // health checks, and what follows from them
mod files; //  includes, and rules about whole files
mod listed; // lists of lines that are not carried over

use std::path::Path;

use rstest::rstest;

use super::{super::Imported, import};
use crate::ipvsadm::tests::memory::saved;
use lb_control::config;
use lb_model::Desired;

fn of(text: &str) -> Imported {
    import(text, Path::new("keepalived.conf"), Some("lb1"))
}

/// Parses the resulting config.
fn read_back(imported: &Imported) -> Desired {
    config::parse(&imported.config(), Path::new("xvs.toml")).unwrap().desired
}

/// Returns the rules of a server at 10.1.0.1:80 with these lines, and with a real that has these lines.
fn rules(server: &str, real: &str) -> String {
    let text =
        format!("virtual_server 10.1.0.1 80 {{\n{server}\nreal_server 10.0.0.2 80 {{\n{real}\n}}\n}}\n");
    let imported = of(&text);
    assert_eq!(read_back(&imported), imported.desired, "{text}");
    saved(&imported.desired)
}

#[rstest]
#[case::nothing("", "-s wlc")]
#[case::scheduler("lb_algo rr // turns", "-s rr")]
#[case::other_word("lvs_sched sed ;", "-s sed")]
#[case::no_scheduler("lb_algo RR", "-s wlc")]
#[case::no_scheduler_of_others("lb_algo loadbalance", "-s wlc")]
#[case::the_last_one("lb_algo rr\nlb_algo wrr\nlb_algo x", "-s wrr")]
#[case::flags("lb_algo sh\nsh-port\nsh-fallback", "-s sh -b sh-fallback,sh-port")]
#[case::flags_before_it("sh-port\nlb_algo sh", "-s sh")]
#[case::flags_of_another("lb_algo mh\nsh-port\nmh-port", "-s mh -b mh-port")]
#[case::numbered_flags("flag-1\nflag-2\nflag-3\nlb_algo mh", "-s mh -b mh-fallback,mh-port")]
#[case::numbered_flags_of_any("lb_algo rr\nflag-3", "-s rr -b flag-3")]
#[case::flags_stay("lb_algo sh\nsh-port\nlb_algo rr", "-s rr -b flag-2")]
#[case::one_packet("ops", "-s wlc -o")]
#[case::persistent("persistence_timeout", "-s wlc -p 360")]
#[case::persistent_seconds("persistence_timeout 50 ;", "-s wlc -p 50")]
#[case::not_persistent("persistence_timeout 0", "-s wlc")]
#[case::no_number("persistence_timeout 50s", "-s wlc")]
#[case::too_long("persistence_timeout 2678400", "-s wlc -p 2073600")]
#[case::much_too_long("persistence_timeout 2678401", "-s wlc")]
#[case::netmask("persistence_granularity 255.255.255.0", "-s wlc -p 360 -M 255.255.255.0")]
#[case::netmask_first(
    "persistence_granularity 255.255.0.0\npersistence_timeout 9",
    "-s wlc -p 9 -M 255.255.0.0"
)]
#[case::all_clients("persistence_granularity 0.0.0.0", "-s wlc -p 360 -M 0.0.0.0")]
#[case::no_prefix("persistence_granularity 255.0.255.0", "-s wlc -p 360")]
#[case::no_netmask("persistence_granularity x.y", "-s wlc")]
#[case::quoted("lb_algo \"rr\"", "-s rr")]
#[case::of_ipv4("ip_family inet", "-s wlc")]
fn a_server(#[case] lines: &str, #[case] options: &str) {
    assert_eq!(
        rules(lines, ""),
        format!("-A -u 10.1.0.1:80 {options}\n-a -u 10.1.0.1:80 -r 10.0.0.2:80 -m -w 1\n")
    );
}

#[rstest]
#[case("protocol TCP", "-t")]
#[case("protocol tcp # web", "-t")]
#[case("protocol SCTP", "--sctp-service")]
#[case("protocol AH", "-u")]
#[case("protocol TCP\nops", "-t")]
fn a_protocol(#[case] lines: &str, #[case] option: &str) {
    let rules = rules(lines, "");
    assert!(rules.starts_with(&format!("-A {option} 10.1.0.1:80 -s wlc\n")), "{rules}");
}

#[rstest]
#[case::dr("lb_kind DR // direct", "", "-g -w 1")]
#[case::lower_case("lb_kind dr", "", "-m -w 1")]
#[case::unknown("lvs_method DIRECT", "", "-m -w 1")]
#[case::its_own("lb_kind DR", "lvs_method NAT", "-m -w 1")]
#[case::not_a_word_of_reals("lb_kind DR", "lb_kind TUN", "-g -w 1")]
#[case::full_nat("lb_kind FNAT", "", "--fullnat -w 1")]
#[case::tunnel("lb_kind TUN type ipip", "", "-i -w 1 --tun-type ipip")]
#[case::gre("lb_kind TUN csum type gre", "", "-i -w 1 --tun-type gre --tun-csum")]
#[case::gue("lb_kind TUN type gue csum port 6080", "", "-i -w 1 --tun-type gue --tun-port 6080 --tun-csum")]
#[case::gue_turned(
    "lb_kind TUN port 6080 nocsum type gue",
    "",
    "-i -w 1 --tun-type gue --tun-port 6080 --tun-nocsum"
)]
#[case::gue_without_port("lb_kind TUN type gue", "", "-i -w 1 --tun-type ipip")]
#[case::unknown_option("lb_kind TUN type gre // x", "", "-i -w 1 --tun-type ipip")]
#[case::weight_of_all("weight 7", "", "-m -w 7")]
#[case::weight("weight 7", "weight 3 ;", "-m -w 3")]
#[case::heavy("", "weight 65536", "-m -w 65536")]
#[case::heaviest("", "weight 2147483647", "-m -w 2147483647")]
#[case::too_heavy("", "weight 2147483648", "-m -w 1")]
#[case::negative("", "weight -1", "-m -w 1")]
#[case::no_number("", "weight abc", "-m -w 0")]
#[case::thresholds("", "uthreshold 9\nlthreshold 3", "-m -w 1 -x 9 -y 3")]
fn a_real(#[case] server: &str, #[case] real: &str, #[case] options: &str) {
    let expected = format!("-a -u 10.1.0.1:80 -r 10.0.0.2:80 {options}\n");
    let rules = rules(server, real);
    assert_eq!(rules.split_once('\n').unwrap().1, expected);
}

/// Tests the services of a `virtual_server …`.
#[rstest]
#[case::no_port("10.1.0.1", "-A -u 10.1.0.1:0 -s wlc -p 360")]
#[case::port_zero("10.1.0.1 0", "-A -u 10.1.0.1:0 -s wlc -p 360")]
#[case::more_words("10.1.0.1 80 80", "-A -u 10.1.0.1:80 -s wlc")]
#[case::a_range("10.1.0.1-3 80", "-A -u 10.1.0.1:80 -s wlc")]
#[case::a_prefix("10.1.0.1/32 80", "-A -u 10.1.0.1:80 -s wlc")]
#[case::a_port_with_more("10.1.0.1 80-82", "-A -u 10.1.0.1:80 -s wlc")]
#[case::a_mark("fwmark 7", "-A -f 7 -s wlc")]
#[case::no_mark("fwmark x", "")]
#[case::a_name("localhost 80", "")]
#[case::brackets("[2001:db8::1] 80", "")]
#[case::no_group("group NONE", "")]
fn a_target(#[case] words: &str, #[case] service: &str) {
    let imported = of(&format!("virtual_server {words} {{\nreal_server 10.0.0.2\n{{\n}}\n}}\n"));
    assert_eq!(saved(&imported.desired).lines().next().unwrap_or_default(), service);
    assert_eq!(
        service.is_empty(),
        imported.left.iter().any(|left| left.place.line == 1 && !left.why.is_empty())
            && imported.desired.services.is_empty()
    );
}

/// Tests the services of a group's entries with a real that has that method.
#[rstest]
#[case::addresses("10.1.0.1 80\n10.1.0.2 80", "DR", "10.0.0.2", &["-u 10.1.0.1:80", "-u 10.1.0.2:80"])]
#[case::range("10.1.0.1-3 80", "DR", "10.0.0.2", &["-u 10.1.0.1:80", "-u 10.1.0.2:80", "-u 10.1.0.3:80"])]
#[case::whole_range("10.1.0.255-10.1.1.1 80", "DR", "10.0.0.2", &["-u 10.1.0.255:80", "-u 10.1.1.0:80", "-u 10.1.1.1:80"])]
#[case::prefix("10.1.0.4/31 80", "DR", "10.0.0.2", &["-u 10.1.0.4:80", "-u 10.1.0.5:80"])]
#[case::bad_prefix("10.1.0.5/31 80\n10.1.0.9 80", "DR", "10.0.0.2", &["-u 10.1.0.9:80"])]
#[case::six("2001:db8::1-2 80", "DR", "2001:db8::9", &["-u [2001:db8::1]:80", "-u [2001:db8::2]:80"])]
#[case::both_by_tunnel("10.1.0.1 80\n2001:db8::1 80", "TUN", "10.0.0.2", &["-u 10.1.0.1:80", "-u [2001:db8::1]:80"])]
#[case::both("10.1.0.1 80\n2001:db8::1 80", "DR", "10.0.0.2", &[])]
#[case::of_the_other_version("2001:db8::1 80", "DR", "10.0.0.2", &[])]
#[case::marks("fwmark 7 inet\nfwmark 8 // eight", "DR", "10.0.0.2", &["-f 7"])]
#[case::mark_of_six("fwmark 7 inet6", "DR", "2001:db8::9", &["-f 7 -6"])]
#[case::mark_of_both("fwmark 7 inet\nfwmark 7 inet6", "TUN", "10.0.0.2", &["-f 7", "-f 7 -6"])]
#[case::mark_of_its_reals("fwmark 7", "DR", "2001:db8::9", &["-f 7 -6"])]
#[case::empty("# nothing", "DR", "10.0.0.2", &[])]
fn a_group(#[case] entries: &str, #[case] method: &str, #[case] rip: &str, #[case] services: &[&str]) {
    let imported = of(&format!(
        "virtual_server_group G {{\n{entries}\n}}\nvirtual_server group G {{\nlb_kind {method}\nreal_server {rip} 80 {{\n}}\n}}\n"
    ));
    let rules = saved(&imported.desired);
    let found: Vec<&str> =
        rules.lines().filter_map(|line| Some(line.strip_prefix("-A ")?.split_once(" -s ")?.0)).collect();
    assert_eq!(found, services, "{:#?}", imported.left);
    assert_eq!(rules.matches("-a ").count(), services.len(), "{rules}");
}

/// Tests the services of lines before a server at $VIP.
#[rstest]
#[case::plain("$VIP=10.1.0.1", &["10.1.0.1"])]
#[case::comment("$VIP=10.1.0.1 # the main one", &["10.1.0.1"])]
#[case::used_when_used("$N=9\n$VIP=10.1.0.$N\n$N=2", &["10.1.0.2"])]
#[case::not_there_when_defined("$VIP=10.1.0.${N}\n$N=2", &["10.1.0.2"])]
#[case::again("$VIP=10.1.0.1\n$VIP=10.1.0.2", &["10.1.0.2"])]
#[case::blanks_before_the_sign("$VIP =10.1.0.1", &[])]
#[case::none("", &[])]
#[case::of_itself("$VIP=${VIP}", &[])]
#[case::of_each_other("$VIP=x${B}\n$B=${VIP}", &[])]
fn a_variable(#[case] lines: &str, #[case] vips: &[&str]) {
    let imported = of(&format!("{lines}\nvirtual_server $VIP 80 {{\nreal_server 10.0.0.2 80 {{\n}}\n}}\n"));
    let found: Vec<String> = imported.desired.vips().map(|vip| vip.to_string()).collect();
    assert_eq!(found, vips, "{:#?}", imported.left);
    assert_eq!(vips.is_empty(), !imported.left.is_empty(), "{:#?}", imported.left);
}

/// Tests lines in a server, by the last numbers and weights of its reals in 10.0.0.0/24.
#[rstest]
#[case::sequence("~SEQ(N, 2, 4) real_server 10.0.0.$N 80 { weight $N }", &["2:2", "3:3", "4:4"])]
#[case::down("~SEQ(N, 4, 3) real_server 10.0.0.$N 80 { }", &["4:1", "3:1"])]
#[case::steps("~SEQ(N, 1, 3, 8) real_server 10.0.0.$N 80 { }", &["1:1", "4:1", "7:1"])]
#[case::from_one("~SEQ(N, 2) real_server 10.0.0.$N 80 { }", &["1:1", "2:1"])]
#[case::with_a_variable("$E=3\n~SEQ(N, 2, $E) real_server 10.0.0.$N 80 { }", &["2:1", "3:1"])]
#[case::hexadecimal("~SEQx(N, 0x10, 18) real_server 10.0.0.$N 80 { }", &["10:1", "11:1", "12:1"])]
#[case::no_sequence("~SEQ(N) real_server 10.0.0.$N 80 { }", &[])]
#[case::no_steps("~SEQ(N, 1, 0, 9) real_server 10.0.0.$N 80 { }", &[])]
#[case::list("~LST(N, 5, 9) real_server 10.0.0.$N 80 { }", &["5:1", "9:1"])]
#[case::lists("~LST({N, W}, {5, 7}, {9, 8}) real_server 10.0.0.$N 80 { weight $W }", &["5:7", "9:8"])]
#[case::too_many("~LST(N, {5, 7}) real_server 10.0.0.$N 80 { }", &[])]
#[case::of_several_lines("$RS= \\\n real_server 10.0.0.2 80 { \\\n weight 3\\\n uthreshold 9 \\\n }\n\n$RS", &["2:3"])]
#[case::with_comments("$RS= \\\n#\\\n real_server 10.0.0.2 80 { \\\n # weight 4 \\\n weight 3 # three \\\n }\n\n$RS", &["2:3"])]
#[case::twice("$RS= \\\n real_server 10.0.0.$N 80 { \\\n weight 3 \\\n }\n\n$N=2\n$RS\n$N=3\n$RS", &["2:3", "3:3"])]
#[case::lines_of_a_sequence("$RS= \\\n real_server 10.0.0.$N 80 { \\\n weight $N \\\n }\n\n~SEQ(N, 2, 3) $RS", &["2:2", "3:3"])]
#[case::sequence_in_lines("$RS= \\\n ~SEQ(N, 2, 3) real_server 10.0.0.$N 80 { } \\\n real_server 10.0.0.9 80 { } \\\n\n$RS", &["2:1", "3:1", "9:1"])]
#[case::lines_in_lines("$W= \\\n weight 4 \\\n uthreshold 9\n$RS= \\\n real_server 10.0.0.2 80 { \\\n $W \\\n }\n$RS\nreal_server 10.0.0.3 80 {\n}", &["2:4", "3:1"])]
#[case::not_at_the_end("$RS= \\\n real_server \\\n\n$RS 10.0.0.2 80 { }", &[])]
#[case::name_in_braces("$A=\n$N=2\nreal_server 10.0.${A}0.${N} 80 { }", &["2:1"])]
#[case::name_that_is_not_there("$N=2\nreal_server 10.0.${A}0.${N} 80 { }\nreal_server 10.0.0.3 80 { }", &[])]
#[case::dollars_in_comments("# $5 {\nreal_server 10.0.0.2 80 { } # $6 }", &["2:1"])]
#[case::more_words("real_server 10.0.0.2 80 weight 5 {\n}\nreal_server 10.0.0.3 80 // {\n}", &["2:1", "3:1"])]
#[case::one_line("real_server 10.0.0.2 80 { weight 3 } real_server 10.0.0.3 80 { weight 4 }", &["2:3", "3:4"])]
#[case::braces_of_their_own("real_server 10.0.0.2 80\n\n# c\n{ weight 3 }", &["2:3"])]
#[case::unknown_words("real_server 10.0.0.2 80 {\nfoo bar\nweight 3\n}", &["2:3"])]
#[case::unknown_block("real_server 10.0.0.2 80 {\nFOO {\nweight 3\n}\nweight 4\n}\nreal_server 10.0.0.3 80 {\n}", &["2:3"])]
#[case::weights_of_checks("real_server 10.0.0.2 80 {\nHTTP_GET {\nurl {\nweight 9\n}\nweight 8\n}\nweight 3\n}", &["2:3"])]
#[case::twice_the_same("real_server 10.0.0.2 80 {\nweight 3\n}\nreal_server 10.0.0.2 80 {\nweight 7\n}", &["2:3"])]
#[case::continued("real_server \\\n10.0.0.2 80 {\n}", &[])]
#[case::quotes("real_server \"10.0.0.2\" 80 {\nnotify_up \"/x { y }\"\nweight \"3\"\n}", &["2:3"])]
#[case::apostrophes("real_server 10.0.0.2 80 {\nvirtualhost it's\nweight 3\n}", &["2:3"])]
#[case::escapes("real_server 10.0.0.2 80 {\nvirtualhost a\\#b\nweight 3\n}", &["2:3"])]
#[case::of_this_host("@lb1 real_server 10.0.0.2 80 {\n}\n@lb2 real_server 10.0.0.3 80 { }\n@^lb2 real_server 10.0.0.4 80 { }", &["2:1", "4:1"])]
#[case::no_end("real_server 10.0.0.2 80 {\nweight 3", &["2:3"])]
#[case::no_end_of_a_check("real_server 10.0.0.2 80 {\nTCP_CHECK {\n}\nreal_server 10.0.0.3 80 {\n}\n}", &["2:1"])]
fn reals(#[case] lines: &str, #[case] expected: &[&str]) {
    let imported = of(&format!("virtual_server 10.1.0.1 80 {{\n{lines}\n}}\n"));
    let reals = imported.desired.services.values().flat_map(|service| &service.reals);
    let shown: Vec<String> = reals
        .map(|(address, real)| {
            format!("{}:{}", address.ip().to_string().rsplit('.').next().unwrap(), real.weight)
        })
        .collect();
    assert_eq!(shown, expected, "{:#?}", imported.left);
}

#[test]
fn a_server_that_is_there_already_gets_the_reals_of_the_second() {
    let server = |sched: &str, real: &str| {
        format!(
            "virtual_server 10.1.0.1 80 {{\nlb_algo {sched}\nlb_kind DR\nreal_server {real} 80 {{\n}}\n}}\n"
        )
    };
    let imported = of(&(server("rr", "10.0.0.2") + &server("wrr", "10.0.0.3")));
    assert_eq!(
        saved(&imported.desired),
        "-A -u 10.1.0.1:80 -s rr\n-a -u 10.1.0.1:80 -r 10.0.0.2:80 -g -w 1\n-a -u 10.1.0.1:80 -r 10.0.0.3:80 -g -w 1\n"
    );
    let why: Vec<String> = imported.left.iter().map(ToString::to_string).collect();
    assert_eq!(why.len(), 1, "{why:?}");
    assert!(
        why[0].starts_with("keepalived.conf:7: virtual_server 10.1.0.1 80: udp 10.1.0.1:80 exists already"),
        "{why:?}"
    );
}

/// Tests lines before a server that keepalived skips, or does not treat as a block.
#[rstest]
#[case::addresses("static_ipaddress {\n10.0.0.1/24 dev eth0\n}")]
#[case::no_block("static_routes")]
#[case::one_line("net_namespace a\ninstance b\nuse_pid_dir")]
#[case::vrrp("vrrp_instance V {\nauthentication {\nauth_pass x\n}\nvirtual_ipaddress {\n10.1.0.1\n}\n}")]
#[case::brace_of_its_own("vrrp_script chk\n{\nscript \"/x { y }\"\n}")]
#[case::global("global_defs {\nnotification_email {\na@b\n}\nrouter_id x\nweight\n}")]
#[case::unknown("foo bar {\nweight\n}")]
#[case::unknown_inside("global_defs {\nfoo {\nbar\n}\n}")]
#[case::two_braces_too_many("}\n}")]
#[case::an_odd_one("{")]
fn what_is_before_a_server(#[case] lines: &str) {
    let imported =
        of(&format!("{lines}\nvirtual_server 10.1.0.1 80 {{\nreal_server 10.0.0.2 80 {{\n}}\n}}\n"));
    assert_eq!(imported.desired.services.len(), 1, "{:#?}", imported.left);
    assert_eq!(imported.left.is_empty(), lines.starts_with(['{', '}']), "{:#?}", imported.left);
}

#[test]
fn the_first_group_of_a_name_counts() {
    let imported = of("virtual_server_group G {\n10.1.0.1 80\n}\nvirtual_server_group G {\n10.1.0.2 80\n}\n\
         virtual_server group G {\nreal_server 10.0.0.2 80 {\n}\n}\n");
    assert_eq!(
        imported.desired.services.keys().map(ToString::to_string).collect::<Vec<_>>(),
        ["udp 10.1.0.1:80"]
    );
    assert!(imported.left.iter().any(|left| left.place.line == 5), "{:#?}", imported.left);
}

#[test]
fn ports_are_those_of_ipvs() {
    let reals = "real_server 10.0.0.2 {\n}\nreal_server 10.0.0.3 8080 {\n}\n";
    let imported = of(&format!(
        "virtual_server fwmark 3 {{\nlb_kind DR\n{reals}}}\nvirtual_server fwmark 4 {{\n{reals}}}\n\
         virtual_server 10.1.0.1 80 {{\nlb_kind DR\n{reals}}}\nvirtual_server 10.1.0.2 80 {{\n{reals}}}\n"
    ));
    let rules = saved(&imported.desired);
    let found: Vec<&str> = rules.lines().filter_map(|line| line.split(" -r ").nth(1)).collect();
    assert_eq!(
        found,
        [
            "10.0.0.2:80 -g -w 1",
            "10.0.0.3:80 -g -w 1",
            "10.0.0.2:80 -m -w 1",
            "10.0.0.3:8080 -m -w 1",
            "10.0.0.2:0 -g -w 1",
            "10.0.0.3:0 -g -w 1",
            "10.0.0.2:0 -m -w 1",
            "10.0.0.3:8080 -m -w 1",
        ]
    );
    // The ignored port 8080 of a real with direct routing is only reported where packets go elsewhere.
    assert!(
        imported.left.iter().any(|left| left.text == "real_server 10.0.0.3 8080" && left.why.contains("80"))
    );
}

#[test]
fn the_director_serves_at_its_own_addresses() {
    let own = |real: &str, kind: &str| {
        let text = format!(
            "virtual_server 10.1.0.1 80 {{\nlb_kind {kind}\nreal_server {real} {{\n}}\nreal_server 10.0.0.2 80 {{\n}}\n}}\n"
        );
        let imported = of(&text);
        let (id, service) = imported.desired.services.first_key_value().unwrap();
        let locals = service.reals.keys().filter(|real| id.is_served_here(real.ip())).count();
        (locals, imported.left.iter().map(|left| left.why.clone()).collect::<Vec<_>>())
    };
    for kind in ["DR", "TUN", "NAT"] {
        assert_eq!(own("127.0.0.1 80", kind), (1, vec![]), "{kind}");
        assert_eq!(own("10.1.0.1 80", kind), (1, vec![]), "{kind}");
    }
    // nat to another port of the director itself would require a rewrite.
    let (locals, why) = own("10.1.0.1 8080", "NAT");
    assert_eq!(locals, 0);
    assert!(why.len() == 1 && why[0].contains("the port stays 80"), "{why:?}");
}

#[test]
fn full_nat_has_the_addresses_of_its_group() {
    let imported = of(
        "local_address_group laddr_g1 {\n    192.0.2.200-201 eth0\n    192.0.2.201\n}\nvirtual_server 10.1.0.1 80 {\nprotocol TCP\nlb_kind FNAT\n\
         laddr_group_name laddr_g1\nreal_server 10.0.0.2 8080 {\n}\n}\n",
    );
    assert!(imported.left.is_empty(), "{:#?}", imported.left);
    let config = config::parse(&imported.config(), Path::new("xvs.toml")).unwrap();
    assert_eq!(
        config.director.fnat_addresses,
        ["192.0.2.200", "192.0.2.201"].map(|ip| ip.parse::<std::net::IpAddr>().unwrap())
    );
    assert_eq!(
        saved(&config.desired),
        "-A -t 10.1.0.1:80 -s wlc\n-a -t 10.1.0.1:80 -r 10.0.0.2:8080 --fullnat -w 1\n"
    );
}
