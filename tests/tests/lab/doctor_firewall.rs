// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xvs doctor`: rules of the director that match no packet because XDP forwards first, and firewalls of
//! reals, with nftables and iptables.

use lb_tests::lab::{DIP, Host, Lab, Method, RIPS, VIP, VIP6};

use crate::doctor::{finds_and_mends, healthy, is_healthy};

/// Returns a table of nftables with this content.
#[track_caller]
fn nft(host: &Host, inside: &str) {
    host.feed(&["nft", "-f", "-"], &format!("table inet wall {{\n{inside}\n}}"));
}

const INPUT: &str = "chain input {\n type filter hook input priority 0\n";

#[test]
fn rules_of_the_director_that_are_for_a_service_are_found_and_mended() {
    let lab = Lab::new();
    let director = &lab.director;
    let _daemon = director.start_daemon();
    director.xvs(&format!("service add tcp {VIP}:8001")).succeeds();
    director.xvs(&format!("service add udp [{VIP6}]:53")).succeeds();
    is_healthy(&lab);

    // The doctor ignores all other rules of a director.
    nft(
        director,
        &format!(
            "set admins {{\n type ipv4_addr\n elements = {{ 192.0.2.200, 10.0.0.7 }}\n }}\n\
             chain input {{\n type filter hook input priority 0; policy drop;\n iif lo accept\n ct state established,related accept\n \
             ct state invalid drop\n icmp type echo-request accept\n meta l4proto ipv6-icmp accept\n ip saddr @admins tcp dport 22 accept\n \
             ip daddr {DIP} tcp dport 8001 drop\n udp dport 8001 drop\n ip daddr != {VIP} tcp dport 8001 drop\n }}"
        ),
    );
    is_healthy(&lab);

    for inside in [
        format!("{INPUT} tcp dport {{ 22, 8001 }} drop\n }}"),
        format!("{INPUT} meta l4proto {{ tcp, udp }} th dport 53 reject\n }}"),
        format!("{INPUT} ip6 daddr {VIP6} drop\n }}"),
        format!(
            "set bad {{\n type ipv4_addr\n flags interval\n elements = {{ 10.9.0.0/16, 192.0.2.96/28 }}\n }}\n{INPUT} ip daddr @bad drop\n }}"
        ),
        format!(
            "map verdicts {{\n type ipv4_addr : verdict\n elements = {{ 10.9.0.1 : accept, {VIP} : drop }}\n }}\n{INPUT} ip daddr vmap @verdicts\n }}"
        ),
        format!(
            "set pairs {{\n type ipv4_addr . inet_service\n elements = {{ {VIP} . 8001, 10.9.0.1 . 22 }}\n }}\n{INPUT} ip daddr . tcp dport @pairs drop\n }}"
        ),
        format!("chain mine {{\n counter drop\n }}\n{INPUT} ip daddr {VIP} jump mine\n }}"),
        format!("{INPUT} tcp dport vmap {{ 22 : accept, 8001 : drop }}\n }}"),
        "chain early {\n type nat hook prerouting priority dstnat\n tcp dport 8001 redirect to :9001\n }"
            .to_owned(),
    ] {
        director.sh("nft flush ruleset").succeeds();
        nft(director, &inside);
        finds_and_mends(&lab, &["firewall"]);
    }
    director.sh("nft flush ruleset").succeeds();

    for line in [
        format!("iptables-legacy -A INPUT -d {VIP} -p tcp --dport 8001 -j DROP"),
        "iptables-legacy -t raw -A PREROUTING -p tcp -m multiport --dports 22,8000:8010 -j DROP".to_owned(),
        format!("ip6tables-legacy -A FORWARD -d {VIP6} -m comment --comment why -j REJECT"),
        format!("iptables -A INPUT -d {VIP} -j DROP"),
    ] {
        director.sh(&line).succeeds();
        finds_and_mends(&lab, &["firewall"]);
    }
    director.sh("iptables-legacy -P INPUT DROP").succeeds();
    is_healthy(&lab);
}

#[test]
fn iptables_of_a_real_is_found_and_mended_and_put_back() {
    let (stage, _nginx) = healthy();
    let lab = &stage.lab;
    let real = &lab.reals[1];
    let saved = || real.sh("iptables-legacy-save -t filter").succeeds().stdout;
    let rules = || -> Vec<String> {
        saved().lines().filter(|line| line.starts_with("-A")).map(str::to_owned).collect()
    };

    real.sh(&format!("iptables-legacy -A INPUT -d {VIP} -p tcp --dport 8001 -j DROP")).succeeds();
    let before = rules();
    finds_and_mends(lab, &[&format!("real-firewall {}:8001", RIPS[1])]);

    real.sh("iptables-legacy -P INPUT DROP").succeeds();
    // The rules for one service admit its packets, and pings of the VIP.
    let names = [("real-firewall", 8002), ("real-silent", 9003), ("real-silent", 9004)];
    let names = names.map(|(check, port)| format!("{check} {}:{port}", RIPS[1]));
    finds_and_mends(lab, &names.each_ref().map(String::as_str));
    lab.client.requests(Method::Tun.service(), 30).is_complete(30);

    real.host_restore().succeeds();
    assert_eq!(rules(), before);
}
