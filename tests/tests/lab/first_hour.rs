// SPDX-License-Identifier: MIT OR Apache-2.0
//! First steps of a new user: plain veth devices, a second director, an interface that disappears, a file
//! without services.

use std::fs;

use lb_tests::lab::{Lab, RIPS, VIP, eventually};

use crate::doctor::{diagnose, finds, is_healthy, mends};

/// A veth of the director whose other end, in the client's namespace, has no XDP program.
fn plain_veth(lab: &Lab) {
    let other = lab.client.ns().name();
    lab.director.ip(&format!("link add plain0 type veth peer name plain1 netns {other}"));
    lab.director.ip("link set plain0 up");
    lab.client.ip("link set plain1 up");
}

#[test]
fn a_veth_without_a_program_at_its_other_end_is_run_in_generic_mode() {
    let mut lab = Lab::new();
    plain_veth(&lab);
    lab.director.attach_to(&["eth0", "plain0"]);
    let mut daemon = lab.director.start_daemon();
    let log = daemon.log();
    assert!(log.contains("plain0 is a veth whose other end has no XDP program: generic mode"), "{log}");
    assert!(!log.contains("eth0 is a veth"), "{log}");
    lab.director.xvs("status").succeeds().says("eth0 (native), plain0 (generic)");
    is_healthy(&lab);
    // The operator can choose native mode; the doctor then reports it.
    lab.director.xvs("attach plain0 --xdp-mode native").succeeds();
    let found = finds(&lab, &["xdp-tx-lost"]);
    lab.director.xvs("doctor").fails(1).says("plain0 is a veth").says("xvs attach plain0 --xdp-mode generic");
    mends(&lab, &found[0]);
    is_healthy(&lab);
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn an_interface_that_is_gone_is_named_and_no_weight_is_to_be_changed_for_it() {
    let mut lab = Lab::new();
    plain_veth(&lab);
    lab.director.ip("address add 198.51.100.1/24 dev plain0");
    lab.director.attach_to(&["eth0", "plain0"]);
    let _daemon = lab.director.start_daemon();
    lab.director.xvs(&format!("service add tcp {VIP}:80")).succeeds();
    lab.director.xvs(&format!("real add tcp {VIP}:80 198.51.100.9 --forward tun")).succeeds();
    lab.director.ip("link delete plain0");
    let found = eventually("the doctor sees it", || {
        let (names, found) = diagnose(&lab);
        let is_there = names.iter().any(|name| name == "interface-gone");
        if is_there { Ok(found) } else { Err(format!("{found:#}")) }
    });
    let text = format!("{found:#}");
    assert!(text.contains("the interface plain0 of the director is gone"), "{text}");
    assert!(!text.contains("--weight 0") && !text.contains("vip-missing"), "{text}");
    for finding in found.as_array().expect("a list") {
        mends(&lab, finding);
    }
}

#[test]
fn a_standby_director_is_healthy_while_another_one_has_the_vip() {
    let lab = Lab::new();
    let _daemon = lab.director.start_daemon_with("--no-manage-vips");
    let _nginx = lab.reals.each_ref().map(|real| {
        real.xvs_host(&format!("setup --vip {VIP} --forward dr --interface eth0")).succeeds();
        real.start_nginx(&[80, 8003])
    });
    lab.director.xvs(&format!("service add tcp {VIP}:80")).succeeds();
    lab.director.xvs(&format!("service add tcp {VIP}:81")).succeeds();
    for rip in RIPS {
        lab.director.xvs(&format!("real add tcp {VIP}:80 {rip}")).succeeds();
        lab.director.xvs(&format!("real add tcp {VIP}:81 {rip}:8003 --forward nat")).succeeds();
    }
    lab.director.wait_for_next_hops();
    // No director has the VIP: clients get no answer.
    finds(&lab, &["vip-missing"]);
    // Another director has the VIP, and forwards.
    lab.client.ip(&format!("address add {VIP}/32 dev eth0"));
    lab.client.sysctl("ipv4/ip_forward", "1");
    is_healthy(&lab);
}

#[test]
fn a_file_without_services_and_a_service_without_reals_are_told() {
    let lab = Lab::new();
    let director = &lab.director;
    let _daemon = director.start_daemon();
    director.xvs(&format!("service add tcp {VIP}:80")).succeeds();
    director.xvs("status").succeeds().says(&format!("tcp {VIP}:80 has no real that takes connections"));
    finds(&lab, &["no-real"]);
    director.xvs(&format!("real add tcp {VIP}:80 {} --weight 0 --forward nat", RIPS[0])).succeeds();
    let found = finds(&lab, &["no-real"]);
    assert_eq!(found[0]["fix"], format!("xvs real edit tcp {VIP}:80 {} --weight 1", RIPS[0]));

    let file = director.path("empty.toml");
    for (text, option) in [("", ""), ("", "--remove-all"), ("service = []\n", "")] {
        fs::write(&file, text).unwrap();
        director.xvs(&format!("apply {} {option}", file.display())).fails(2).says("would remove 1 service");
    }
    let export = director.xvs("export").succeeds().stdout;
    assert!(export.contains(&VIP.to_string()), "{export}");
    // `export` prints only values that differ from the defaults, except with `--all`.
    director.xvs("export").succeeds().does_not_say("upper").does_not_say("scheduler").does_not_say("group");
    director.xvs("export --all").succeeds().says("upper = 0").says("scheduler = \"mh\"").says("group = []");
    // The command reads a pipe once.
    let xvs =
        director.xvs_words("").iter().map(|word| word.display().to_string()).collect::<Vec<_>>().join(" ");
    director
        .exec(["sh", "-c", &format!("{xvs} export | {xvs} plan /dev/stdin")])
        .succeeds()
        .says("nothing to change");
    director
        .exec(["sh", "-c", &format!("{xvs} export | sed s/weight.*/weight=3/ | {xvs} plan -")])
        .succeeds()
        .says("~ will change real")
        .says("0 to add, 1 to change, 0 to remove; nothing was changed");
    director.xvs(&format!("apply {} --remove-all", file.display())).succeeds().says("removed service");
    assert_eq!(director.stats().services.len(), 0);
}

#[test]
fn a_file_is_checked_without_a_daemon_and_keys_that_need_a_restart_are_named() {
    let lab = Lab::new();
    let file = lab.director.path("new.toml");
    let (rip, shown) = (RIPS[0], file.display());
    let service = format!(
        "[[service]]\nprotocol = \"tcp\"\naddress = \"{VIP}:80\"\n[[service.real]]\naddress = \"{rip}\"\n"
    );
    fs::write(&file, format!("[director]\nmax-flows = 5000\n{service}")).unwrap();
    lab.director
        .xvs(&format!("plan --offline {shown}"))
        .succeeds()
        .says(&format!("{shown} is valid: 1 service, 1 real"));
    lab.director.xvs(&format!("plan {shown}")).fails(3);

    let _daemon = lab.director.start_daemon();
    let restart = "[director] is read when the daemon starts: restart it with this file as --config to \
                   change max-flows";
    lab.director.xvs(&format!("plan {shown}")).succeeds().says(" to add").says(restart);
    lab.director.xvs(&format!("apply {shown}")).succeeds().says("added real").says(restart);
    fs::write(&file, service).unwrap();
    lab.director
        .xvs(&format!("apply {shown}"))
        .succeeds()
        .says("nothing to change")
        .does_not_say("restart it");

    fs::write(&file, "[director]\nmax-flow = 5000\n").unwrap();
    lab.director
        .xvs(&format!("plan --offline {shown}"))
        .fails(2)
        .says("line 2")
        .says("did you mean max-flows?");
}

#[test]
fn a_service_comes_with_its_reals_or_not_at_all() {
    let lab = Lab::new();
    let director = &lab.director;
    let _daemon = director.start_daemon();
    let [one, two, three] = RIPS;
    let reals = |line: &str| director.xvs(line).succeeds().stdout.lines().count();

    // The second real is refused: dr changes no port.
    let line = format!("service add tcp {VIP}:80 --real {one} --real {two}:81 --forward");
    director.xvs(&format!("{line} dr")).fails(2).says(&format!("real {two}:81 of tcp {VIP}:80"));
    assert_eq!(director.stats().services.len(), 0);
    assert_eq!(reals(&format!("{line} nat")), 3);
    director.xvs(&format!("real list TCP {VIP}:80")).succeeds().says(&format!("{two}:81")).says("nat");

    // One of the reals exists already.
    let line = format!("real add tcp {VIP}:80 {three} {one} --forward nat");
    director.xvs(&line).fails(2).says(&format!("has real {one}:80 already")).says("nothing was changed");
    assert_eq!(director.stats().services[0].reals.len(), 2);
    director.xvs(&format!("{line} --if-missing")).succeeds().says("nothing to change").says("added real");
    assert_eq!(director.stats().services[0].reals.len(), 3);

    let export = director.xvs("export").succeeds().stdout;
    for line in [line, format!("service add TCP {VIP}:80 --scheduler rr --real {one}")] {
        director.xvs(&format!("{line} --if-missing")).succeeds().does_not_say("added");
    }
    assert_eq!(director.xvs("export").succeeds().stdout, export);
    director.xvs(&format!("service add 80/tcp {VIP}")).fails(2).says("write them apart: tcp VIP:80");
}

#[test]
fn a_nat_real_in_the_network_of_the_vip_is_told() {
    let lab = Lab::new();
    let director = &lab.director;
    let _daemon = director.start_daemon();
    // A network with both clients and reals.
    let (rip, note) = ("192.0.2.11", "its replies to clients there bypass the director");
    director.xvs(&format!("service add tcp {VIP}:80 --real {rip} --forward fnat")).succeeds();
    let told = director.xvs(&format!("real edit tcp {VIP}:80 {rip} --forward nat")).succeeds();
    assert!(told.stderr.contains(note) && told.stderr.contains("in 192.0.2.0/24"), "{told}");
    let told = director.xvs(&format!("real edit tcp {VIP}:80 {rip} --weight 2")).succeeds();
    assert!(!told.stderr.contains(note), "{told}");
    let told = director.xvs(&format!("real add tcp {VIP}:80 {} --forward nat", RIPS[0])).succeeds();
    assert!(!told.stderr.contains(note), "{told}");
}
