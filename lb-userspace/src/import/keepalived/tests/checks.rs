// SPDX-License-Identifier: MIT OR Apache-2.0
//! Health checks, and what follows from their results.

use proptest::prelude::*;
use rstest::rstest;

use super::{of, read_back};
use crate::import::Imported;
use lb_model::check::CheckName;

/// Imports a TCP server with these lines, and with a real at 10.0.0.2:80 that has these lines. The config must be
/// read back.
fn with(server: &str, real: &str) -> Imported {
    served(
        "10.1.0.1 80",
        &format!("protocol TCP\n{server}"),
        &format!("real_server 10.0.0.2 80 {{\n{real}\n}}"),
    )
}

/// Imports a server.
fn served(target: &str, server: &str, reals: &str) -> Imported {
    let imported = of(&format!("virtual_server {target} {{\n{server}\n{reals}\n}}\n"));
    assert_eq!(read_back(&imported), imported.desired, "{}", imported.config());
    imported
}

/// Returns each check with its options that differ from the defaults.
fn checks(imported: &Imported) -> Vec<String> {
    imported.desired.checks.iter().map(|(name, check)| format!("{name}: {}", check.describe())).collect()
}

/// Returns the lines that are not carried over, with the first words of the reasons.
fn left(imported: &Imported) -> Vec<String> {
    imported.left.iter().map(|left| format!("{}: {}", left.text, left.why)).collect()
}

/// Tests a checker with `delay_loop 10` whose lines are all carried over. Defaults of xvs, such as a timeout of 1 s,
/// are not shown.
#[rstest]
#[case::tcp(
    "TCP_CHECK {\n}",
    "tcp: tcp, via direct, interval 10s, fast interval 5s, timeout 5s, rise 1, fall 2"
)]
#[case::another_port(
    "TCP_CHECK {\nconnect_port 8080 // admin\nconnect_timeout 1\n}",
    "tcp: tcp, via direct, interval 10s, fast interval 1s, rise 1, fall 2, port 8080"
)]
#[case::its_own_port(
    "TCP_CHECK {\nconnect_ip 10.0.0.2\nconnect_port 80\nconnect_timeout 1\n}",
    "tcp: tcp, via direct, interval 10s, fast interval 1s, rise 1, fall 2"
)]
#[case::schedule(
    "TCP_CHECK {\nconnect_timeout 1.5\nretry 4\ndelay_before_retry 4\ndelay_loop 20\nwarmup 7\n}",
    "tcp: tcp, via direct, interval 20s, fast interval 4s, timeout 1s 500ms, rise 1, fall 5"
)]
#[case::no_retry(
    "TCP_CHECK {\nconnect_timeout 1\nretry 0\ndelay_before_retry 2\n}",
    "tcp: tcp, via direct, interval 10s, fast interval 10s, rise 1, fall 1"
)]
#[case::schedule_of_the_real(
    "connect_timeout 2\nretry 2\ndelay_before_retry 3\nTCP_CHECK {\n}",
    "tcp: tcp, via direct, interval 10s, fast interval 3s, timeout 2s, rise 1"
)]
#[case::http(
    "HTTP_GET {\nconnect_timeout 3\nurl {\npath /\n}\n}",
    "http: http, via direct, interval 10s, fast interval 3s, timeout 3s, rise 1, fall 2, status 200-299"
)]
#[case::http_of_a_host(
    "HTTP_GET {\nconnect_timeout 3\nnb_get_retry 3\nvirtualhost a.example\nurl {\npath /health?x=1\nstatus_code 200\nvirtualhost b.example\n}\n}",
    "http-health-x-1: http, via direct, interval 10s, fast interval 3s, timeout 3s, rise 1, fall 4, path /health?x=1, host b.example, status 200"
)]
#[case::https(
    "virtualhost a.example\nSSL_GET {\nconnect_timeout 3\nenable_sni\nurl {\npath /ping\nstatus_code 200-204 301\n}\n}",
    "https-ping: https, via direct, interval 10s, fast interval 3s, timeout 3s, rise 1, fall 2, path /ping, host a.example, status 200-204,301, certificate none"
)]
#[case::body(
    "HTTP_GET {\nconnect_timeout 3\nhttp_protocol 1.1\nurl {\npath /up\nregex \"^ok \\\\d+ \\\\.\"\nregex_options caseless multiline\n}\n}",
    "http-up: http, via direct, interval 10s, fast interval 3s, timeout 3s, rise 1, fall 2, path /up, status 200-299, body (?im)^ok \\d+ \\."
)]
#[case::smtp(
    "SMTP_CHECK {\nconnect_timeout 5\nretry 1\ndelay_before_retry 5\n}",
    "smtp: tcp, via direct, interval 10s, fast interval 5s, timeout 5s, rise 1, fall 2, expect ^220"
)]
#[case::dns(
    "DNS_CHECK {\n}",
    "dns: dns, via direct, interval 10s, fast interval 10s, timeout 5s, rise 1, fall 4, record SOA"
)]
#[case::dns_of_a_name(
    "DNS_CHECK {\ntype a\nname www.example.org\nretry 1\ndelay_before_retry 5\n}",
    "dns-www.example.org: dns, via direct, interval 10s, fast interval 5s, timeout 5s, rise 1, fall 2, name www.example.org"
)]
#[case::misc(
    "MISC_CHECK {\nmisc_path \"/usr/lib/check_db.sh --host '10.0.0.2 x' 80\"\nmisc_timeout 4\nuser nobody\n}",
    "exec-check_db: exec, via direct, interval 10s, fast interval 10s, timeout 4s, rise 1, fall 1, command /usr/lib/check_db.sh --host 10.0.0.2 x 80"
)]
#[case::misc_dynamic(
    "weight 100\nMISC_CHECK {\nmisc_path /bin/load\nmisc_dynamic\nuser daemon\nretry 1\n}",
    "exec-load: exec, via direct, interval 10s, fast interval 10s, timeout 10s, rise 1, fall 2, command /bin/load, user daemon, dynamic weight true"
)]
#[case::udp(
    "UDP_CHECK {\npayload 00 Ff\nrequire_reply 0a 1x\n}",
    "udp: udp, via direct, interval 10s, fast interval 5s, timeout 5s, rise 1, fall 2, send \\x00\\xff, expect (?s-u)\\A\\x0a[\\x10-\\x1f]"
)]
#[case::udp_silent(
    "UDP_CHECK {\nconnect_port 53\n}",
    "udp: udp, via direct, interval 10s, fast interval 5s, timeout 5s, rise 1, fall 2, port 53"
)]
#[case::ping(
    "PING_CHECK {\nconnect_timeout 1\n}",
    "ping: ping, via direct, interval 10s, fast interval 1s, rise 1, fall 2"
)]
#[case::by_path(
    "TCP_CHECK {\nconnect_ip 10.1.0.1\nfwmark 3\nconnect_timeout 1\n}",
    "tcp: tcp, via path, interval 10s, fast interval 1s, rise 1, fall 2"
)]
fn a_checker(#[case] real: &str, #[case] expected: &str) {
    let imported = with("delay_loop 10", real);
    // The interval of a real that is down is always the ordinary one.
    let short = |one: &String| {
        one.split(", ").filter(|word| !word.starts_with("down interval")).collect::<Vec<_>>().join(", ")
    };
    let found: Vec<String> = checks(&imported).iter().map(short).collect();
    assert_eq!(found, [expected]);
    assert_eq!((left(&imported), imported.checked, imported.unchecked), (vec![], 1, 0));
    let service = imported.desired.services.values().next().unwrap();
    assert_eq!(service.health.checks, [imported.desired.checks.keys().next().unwrap().clone()]);
    assert_eq!((service.health.initial.as_str(), service.health.on_down.as_str()), ("up", "auto"));
}

/// Tests lines that are not carried over, or not exactly, and the number of checks that remain.
#[rstest]
#[case::timeout("delay_loop 2", "TCP_CHECK {\nconnect_timeout 3\n}", 1, &["delay_loop 2: the interval becomes 3s"])]
#[case::short("delay_loop 0.01", "TCP_CHECK {\nconnect_timeout 0.01\n}", 1, &["delay_loop 0.01: the interval becomes 50ms"])]
#[case::retry("retry 1000", "TCP_CHECK {\n}", 1, &["retry 1000: a real is down after 100 failures"])]
#[case::fast("", "TCP_CHECK {\ndelay_before_retry 1\n}", 1, &["delay_before_retry 1: the fast interval becomes 5s"])]
#[case::source("", "TCP_CHECK {\nbindto 10.0.0.1\nbind_port 9\n}", 1, &["bindto 10.0.0.1: the source", "bind_port 9: the source"])]
#[case::mark("", "TCP_CHECK {\nfwmark 3\n}", 1, &["fwmark 3: probes have no mark"])]
#[case::another_host("", "TCP_CHECK {\nconnect_ip 10.0.0.9\n}", 0, &["TCP_CHECK: it probes 10.0.0.9", "connect_ip 10.0.0.9: it probes"])]
#[case::another_vip("", "TCP_CHECK {\nconnect_ip 10.0.0.9\nfwmark 3\n}", 0, &["TCP_CHECK: it probes 10.0.0.9, which is not the VIP", "connect_ip", "fwmark"])]
#[case::port_of_the_path("", "TCP_CHECK {\nconnect_ip 10.1.0.1\nfwmark 3\nconnect_port 81\n}", 0, &["TCP_CHECK: it probes port 81", "connect_ip", "fwmark", "connect_port"])]
#[case::protocol_of_the_path("", "DNS_CHECK {\nconnect_ip 10.1.0.1\nfwmark 3\n}", 0, &["DNS_CHECK: only tcp travels along", "connect_ip", "fwmark"])]
#[case::digest("", "HTTP_GET {\nurl {\npath /a\ndigest 9b3a0c85a887a256d6939da88aabd8cd\n}\n}", 1, &["digest 9b3a0c85a887a256d6939da88aabd8cd: the check examines the status"])]
#[case::no_url("", "HTTP_GET {\n}", 0, &["HTTP_GET: keepalived ignores a checker without a url"])]
#[case::no_path("", "HTTP_GET {\nurl {\nstatus_code 200\n}\n}", 0, &["HTTP_GET: keepalived ignores", "url: ", "status_code 200: "])]
#[case::status("", "HTTP_GET {\nurl {\npath /\nstatus_code 200 700\n}\n}", 1, &["status_code 200 700: 700 is no status"])]
#[case::lookahead("", "HTTP_GET {\nurl {\npath /\nregex \"a(?=b)\"\n}\n}", 1, &["regex \"a(?=b)\": the pattern has a feature of PCRE"])]
#[case::no_match("", "HTTP_GET {\nurl {\npath /\nregex b\nregex_no_match\n}\n}", 1, &["regex b: a check cannot demand"])]
#[case::old_http("", "HTTP_GET {\nhttp_protocol 1.0\nurl {\npath /\n}\n}", 1, &["http_protocol 1.0: requests are of HTTP/1.1"])]
#[case::spaces("", "HTTP_GET {\nurl {\npath \"/a b\"\n}\n}", 0, &["HTTP_GET: path '/a b' must begin", "url: ", "path \"/a b\": "])]
#[case::helo("", "SMTP_CHECK {\nhelo_name me\n}", 1, &["helo_name me: the check examines the banner"])]
#[case::record("", "DNS_CHECK {\ntype RRSIG\n}", 1, &["type RRSIG: no check asks for RRSIG"])]
#[case::root("", "MISC_CHECK {\nmisc_path /bin/true\nuser root\n}", 0, &["MISC_CHECK: it runs as root", "misc_path", "user root"])]
#[case::any_user("", "MISC_CHECK {\nmisc_path /bin/true\n}", 1, &["misc_path /bin/true: it runs as nobody here"])]
#[case::unknown_user("", "MISC_CHECK {\nmisc_path /bin/true\nuser no-such-user\n}", 0, &["MISC_CHECK: check exec-true: this host has no user", "misc_path", "user"])]
#[case::by_path("", "MISC_CHECK {\nmisc_path true\nuser nobody\n}", 0, &["MISC_CHECK: true is found by PATH", "misc_path", "user"])]
#[case::no_script("", "MISC_CHECK {\nuser nobody\n}", 0, &["MISC_CHECK: keepalived ignores a checker without misc_path", "user"])]
#[case::unquoted("", "MISC_CHECK {\nmisc_path /bin/true a\nuser nobody\n}", 1, &["misc_path /bin/true a: keepalived ignores the words"])]
#[case::weight("", "MISC_CHECK {\nmisc_path /bin/true\nuser nobody\nmisc_dynamic\n}", 1, &["misc_dynamic: exit code 2 + N"])]
#[case::connection("", "MISC_CHECK {\nmisc_path /bin/true\nuser nobody\nconnect_port 9\n}", 1, &["connect_port 9: keepalived 2.2.7 does not know it here"])]
#[case::script_timeout("", "MISC_CHECK {\nmisc_path /bin/true\nuser nobody\nconnect_timeout 9\n}", 1, &["connect_timeout 9: keepalived 2.2.7 does not know it here"])]
#[case::reply("", "UDP_CHECK {\nrequire_reply\n}", 1, &["require_reply: an answer needs a payload"])]
#[case::file("", "FILE_CHECK {\ntrack_file x\n}", 0, &["FILE_CHECK: no check reads a file", "track_file x: no check reads a file"])]
#[case::bfd("", "BFD_CHECK {\nname x\n}", 0, &["BFD_CHECK: there is no BFD", "name x: there is no BFD"])]
#[case::unknown("", "TCP_CHECK {\nvirtualhost a\n}", 1, &["virtualhost a: keepalived 2.2.7 does not know it here"])]
#[case::log("", "TCP_CHECK {\nlog_all_failures\n}", 1, &["log_all_failures: the log has changes"])]
#[case::unknown_word("", "TCP_CHECK {\nfoo bar\n}", 1, &["foo bar: keepalived 2.2.7 does not know it here"])]
#[case::scripts("quorum_up /x\nomega\nha_suspend\nsmtp_alert off", "notify_down /x\nTCP_CHECK {\n}", 1, &["quorum_up /x: the director starts no scripts", "omega: ", "ha_suspend: ", "notify_down /x: the director starts no scripts"])]
fn what_is_not_carried_over(
    #[case] server: &str,
    #[case] real: &str,
    #[case] kept: usize,
    #[case] expected: &[&str],
) {
    let imported = with(server, real);
    let left = left(&imported);
    assert_eq!((imported.desired.checks.len(), left.len()), (kept, expected.len()), "{left:#?}");
    assert_eq!((imported.checked, imported.unchecked), (kept, 1 - kept));
    for (line, expected) in left.iter().zip(expected) {
        assert!(line.starts_with(expected), "{line}, not {expected}");
    }
}

/// Returns the names of the checks of the service, and of its reals.
fn used(imported: &Imported) -> (Vec<&str>, Vec<Option<Vec<&str>>>) {
    fn names(list: &[CheckName]) -> Vec<&str> {
        list.iter().map(CheckName::as_str).collect()
    }
    let service = imported.desired.services.values().next().unwrap();
    let reals = service.reals.values().map(|real| real.checks.as_deref().map(names)).collect();
    (names(&service.health.checks), reals)
}

/// Returns real servers at 10.0.0.2 and the next addresses, with these lines.
fn reals(lines: &[&str]) -> String {
    let real =
        |(index, lines): (usize, &&str)| format!("real_server 10.0.0.{} 80 {{\n{lines}\n}}\n", index + 2);
    lines.iter().enumerate().map(real).collect()
}

const TCP: &str = "TCP_CHECK {\n}";
const OTHER: &str = "TCP_CHECK {\nconnect_port 81\n}";

#[test]
fn equal_checks_are_one_check_of_the_service() {
    let imported = served("10.1.0.1 80", "protocol TCP", &reals(&[TCP, TCP, TCP]));
    assert_eq!(used(&imported), (vec!["tcp"], vec![None, None, None]));
    assert_eq!((checks(&imported).len(), imported.checked), (1, 3));
}

#[test]
fn different_checks_are_those_of_the_reals() {
    let imported =
        served("10.1.0.1 80", "protocol TCP", &reals(&[TCP, &format!("{TCP}\n{OTHER}\n{TCP}"), ""]));
    assert_eq!(used(&imported), (vec![], vec![Some(vec!["tcp"]), Some(vec!["tcp", "tcp-2"]), None]));
    assert_eq!(imported.checked, 2);
}

#[test]
fn each_url_and_each_host_is_a_check() {
    let imported = with(
        "",
        "HTTP_GET {\nurl {\npath /a\n}\nurl {\npath /b\n}\n}\nSMTP_CHECK {\nhost {\nconnect_port 25\n}\nhost {\nconnect_port 26\nconnect_timeout 1\n}\n}",
    );
    assert_eq!(used(&imported).0, ["http-a", "http-b", "smtp", "smtp-2"]);
    assert_eq!(left(&imported), Vec::<String>::new());
    let ports: Vec<_> = imported.desired.checks.values().map(|check| check.port).collect();
    assert_eq!(ports, [None, None, Some(25), Some(26)]);
}

#[test]
fn the_services_of_a_group_share_a_check() {
    let imported = of(&format!(
        "virtual_server_group G {{\n10.1.0.1-2 80\n10.1.0.3 8080\n}}\nvirtual_server group G {{\nprotocol TCP\nlb_kind NAT\n{}}}\n",
        reals(&[TCP])
    ));
    assert_eq!(read_back(&imported), imported.desired);
    assert_eq!((imported.desired.checks.len(), imported.desired.services.len()), (1, 3));
    assert!(imported.desired.services.values().all(|service| service.health.checks.len() == 1));
    assert_eq!(imported.checked, 1);
}

#[test]
fn a_port_that_does_not_change_is_still_the_one_that_is_probed() {
    let imported =
        served("10.1.0.1 80", "protocol TCP\nlb_kind DR", "real_server 10.0.0.2 8080 {\nTCP_CHECK {\n}\n}");
    assert_eq!(imported.desired.checks.values().map(|check| check.port).collect::<Vec<_>>(), [Some(8080)]);
    let without = served("fwmark 3", "lb_kind DR", "real_server 10.0.0.2 {\nTCP_CHECK {\n}\n}");
    assert!(
        left(&without).iter().any(|line| line.starts_with("TCP_CHECK: it has no port")),
        "{:?}",
        left(&without)
    );
}

#[test]
fn the_user_of_scripts_is_that_of_the_file() {
    let text = |user: &str| {
        let real = reals(&["MISC_CHECK {\nmisc_path /bin/true\n}"]);
        of(&format!("global_defs {{\nscript_user {user}\n}}\nvirtual_server 10.1.0.1 80 {{\n{real}}}\n"))
    };
    let imported = text("daemon");
    assert_eq!(imported.desired.checks.values().next().unwrap().user.as_deref(), Some("daemon"));
    assert!(!left(&imported).iter().any(|line| line.starts_with("script_user")), "{:?}", left(&imported));
    assert!(text("root").desired.checks.is_empty());
}

/// Tests the options of a service with three reals of weight 2.
#[rstest]
#[case::usual("", "", "initial up", &[])]
#[case::alpha("alpha", "", "", &[])]
#[case::alpha_off("alpha", "alpha off", "initial up", &[])]
#[case::inhibited("inhibit_on_failure", "", "initial up, on down keep", &[])]
#[case::inhibited_reals("", "inhibit_on_failure", "initial up, on down keep", &[])]
#[case::quorum_alone("quorum 4\nhysteresis 1", "", "initial up", &["quorum 4: without a sorry_server", "hysteresis 1: without"])]
#[case::sorry("sorry_server 10.0.0.9 80\nsorry_server_inhibit", "", "initial up", &[])]
#[case::quorum("sorry_server 10.0.0.9 80\nquorum 4", "", "initial up, min healthy 2", &["quorum 4: it becomes min-healthy = \"2\""])]
#[case::hysteresis("sorry_server 10.0.0.9 80\nquorum 4\nhysteresis 2", "", "initial up, min healthy 1, hysteresis 2", &["quorum 4: it becomes", "hysteresis 2: it becomes"])]
#[case::too_much("sorry_server 10.0.0.9 80\nquorum 99", "", "initial up, min healthy 3", &["quorum 99: it becomes min-healthy = \"3\""])]
fn a_policy(#[case] server: &str, #[case] real: &str, #[case] expected: &str, #[case] lines: &[&str]) {
    let real = format!("weight 2\n{real}\n{TCP}");
    let imported = served("10.1.0.1 80", &format!("protocol TCP\n{server}"), &reals(&[real.as_str(); 3]));
    let described = imported.desired.services.values().next().unwrap().describe();
    let words = ["initial", "on down", "min healthy", "hysteresis"];
    let found: Vec<&str> =
        described.split(", ").filter(|word| words.iter().any(|one| word.starts_with(one))).collect();
    assert_eq!(found.join(", "), expected, "{described}");
    let left = left(&imported);
    assert_eq!(left.len(), lines.len(), "{left:#?}");
    assert!(left.iter().zip(lines).all(|(line, expected)| line.starts_with(expected)), "{left:#?}");
}

#[test]
fn what_only_some_reals_have_is_listed() {
    let imported =
        served("10.1.0.1 80", "protocol TCP", &reals(&[TCP, &format!("alpha\ninhibit_on_failure\n{TCP}")]));
    let service = imported.desired.services.values().next().unwrap();
    assert_eq!((service.health.initial.as_str(), service.health.on_down.as_str()), ("up", "auto"));
    let left = left(&imported);
    assert_eq!(left.len(), 2, "{left:#?}");
    assert!(
        left[0].starts_with("alpha: `initial`") && left[1].starts_with("inhibit_on_failure: `on-down`"),
        "{left:#?}"
    );
}

#[test]
fn a_sorry_server_is_a_backup_without_checks() {
    let imported = served(
        "10.1.0.1 80",
        "protocol TCP\nlb_kind DR\nsorry_server 10.0.0.9 80\nsorry_server_lvs_method NAT",
        &reals(&[TCP]),
    );
    assert_eq!(used(&imported), (vec!["tcp"], vec![None, Some(vec![])]));
    let sorry = imported.desired.services.values().next().unwrap().reals.values().last().unwrap();
    assert_eq!((sorry.backup, sorry.weight, sorry.forward.as_str()), (true, 1, "nat"));
    assert_eq!((left(&imported), imported.checked), (vec![], 1));
    for (line, why) in [
        ("sorry_server x 80", "sorry_server x 80: x 80 is no address"),
        ("sorry_server_inhibit\nsorry_server 10.0.0.9 80", "sorry_server_inhibit: keepalived ignores it"),
        ("sorry_server 10.0.0.2 80", "sorry_server 10.0.0.2 80: the server has a real with this address"),
        ("sorry_server 2001:db8::9 80", "sorry_server 2001:db8::9 80: only a tunnel"),
    ] {
        let imported = served("10.1.0.1 80", line, &reals(&[TCP]));
        assert!(left(&imported).iter().any(|left| left.starts_with(why)), "{line}: {:#?}", left(&imported));
    }
}

#[test]
fn a_server_without_checkers_has_the_defaults() {
    let imported = with("delay_loop 6\nalpha\nquorum 1", "");
    let service = imported.desired.services.values().next().unwrap();
    assert_eq!(service.health, lb_model::health::HealthPolicy::default());
    assert_eq!((imported.checked, imported.unchecked), (0, 0));
}

#[test]
fn a_real_that_is_lost_is_lost_with_its_checkers() {
    let imported = with("", "lthreshold 9\nTCP_CHECK {\nconnect_port 81\n}");
    assert_eq!(left(&imported).len(), 4, "{:#?}", left(&imported));
    assert!(
        imported.desired.checks.is_empty()
            && left(&imported).iter().all(|line| line.contains("above its uthreshold"))
    );
}

#[test]
fn the_fifo_of_changes_has_a_remedy() {
    let imported = of("global_defs {\nlvs_notify_fifo /run/fifo\n}\n");
    let summary = crate::import::summary(&imported);
    assert!(
        summary[0].contains("lvs_notify_fifo /run/fifo: the director") && summary[0].contains("xvs events"),
        "{summary:?}"
    );
}

/// Lines of which a real is made up.
const LINES: &[&str] = &[
    "weight 3",
    "TCP_CHECK {\n}",
    "TCP_CHECK {\nconnect_port 81\nconnect_timeout 2\n}",
    "TCP_CHECK {\nconnect_ip 10.1.0.1\nfwmark 3\n}",
    "HTTP_GET {\nvirtualhost www.example.org\nurl {\npath /\n}\nurl {\npath \"/a\\\"b\"\nstatus_code 200 301-302\n}\n}",
    "SSL_GET {\nretry 2\nurl {\npath /none\nregex \"a\\\\\\\\b'c\\\\d{2}\"\n}\n}",
    "SMTP_CHECK {\nhost {\nconnect_port 25\n}\n}",
    "DNS_CHECK {\ntype MX\nname example.org\n}",
    "MISC_CHECK {\nmisc_path \"/bin/sh -c 'exit \\\\$1' \\\\\\\\ ä\"\nuser nobody\nmisc_dynamic\n}",
    "UDP_CHECK {\npayload 00ff0d0a5c22\nrequire_reply 0dxx\n}",
    "PING_CHECK {\ndelay_loop 0.3\n}",
    "alpha",
    "inhibit_on_failure",
    "delay_before_retry 2.5",
];

proptest! {
    /// Each config is read back (by [`served`]), and each checker of each real is in use or listed.
    #[test]
    fn what_is_imported_is_read_back(
        first in prop::collection::vec(prop::sample::select(LINES), 0..5),
        second in prop::collection::vec(prop::sample::select(LINES), 0..5),
        protocol in prop::sample::select(vec!["TCP", "UDP", "SCTP"]),
        sorry in any::<bool>(),
    ) {
        let sorry = if sorry { "sorry_server 10.0.0.9 80\nquorum 2" } else { "" };
        let lines = reals(&[&first.join("\n"), &second.join("\n")]);
        let imported = served("10.1.0.1 80", &format!("protocol {protocol}\n{sorry}"), &lines);
        let (all, of_reals) = used(&imported);
        let named = all.len() + of_reals.iter().flatten().flatten().count();
        prop_assert_eq!(named > 0, imported.checked > 0);
        let lost = imported.left.iter().any(|left| left.text.ends_with("_CHECK") || left.text.ends_with("_GET"));
        prop_assert_eq!(lost, imported.unchecked > 0, "{:#?}", left(&imported));
    }
}
