// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xvs host agent` when its surroundings change: the host's addresses, the director, a second agent.

use std::{fs, net::Ipv4Addr, process::Command, time::Instant};

use lb_tests::{
    artifacts,
    lab::{API, RIPS, Real, VIP, eventually},
};

use crate::agent::{self, PROMISE, SERVICE, Scene, says};

const BY_HAND: &str = "192.0.2.101";
/// A second address of the first real.
const SECOND: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 111);

/// Returns the scene of the agent's own tests, with a service.
fn scene() -> Scene {
    let scene = agent::scene();
    scene.lab.director.xvs(&format!("service add tcp {SERVICE}")).succeeds();
    scene
}

/// Checks whether the real has an address on `lo`.
fn has(real: &Real, vip: &str, want: bool) -> Result<(), String> {
    let shown = real.sh("ip -oneline address show dev lo").succeeds().stdout;
    if shown.contains(&format!(" {vip}/")) == want { Ok(()) } else { Err(shown) }
}

/// Asserts that `look` succeeds in time.
fn soon(what: &str, look: impl FnMut() -> Result<(), String>) {
    let start = Instant::now();
    eventually(what, look);
    let took = start.elapsed();
    eprintln!("{what}: {} ms", took.as_millis());
    assert!(took < PROMISE, "{what}: {took:?}");
}

#[test]
fn an_address_that_comes_later_is_served_at_once_and_one_that_goes_no_longer() {
    let Scene { lab, agent, daemon: _daemon, .. } = &scene();
    let real = &lab.reals[0];
    let vip = VIP.to_string();
    lab.director.xvs(&format!("real add tcp {SERVICE} {SECOND} --forward dr")).succeeds();
    has(real, &vip, false).expect("the real has no such address");

    real.ip(&format!("address add {SECOND}/24 dev eth0"));
    soon("the address is there", || has(real, &vip, true));
    real.ip(&format!("address delete {SECOND}/24 dev eth0"));
    soon("the address is gone", || has(real, &vip, false));
    assert!(!agent.log().contains("WRONG"), "{}", agent.log());
}

#[test]
fn a_director_that_falls_silent_is_missed_and_found_again() {
    let Scene { lab, agent, mut daemon, .. } = scene();
    let (real, director) = (&lab.reals[0], &lab.director);
    // As after a loss of power: the agent's connection gets no answer, not even a reset.
    let rules = "table inet lost {
        chain in { type filter hook input priority 0; tcp dport 9470 drop; }
        chain out { type filter hook output priority 0; tcp sport 9470 drop; }
    }\n";
    director.feed(&["nft", "-f", "-"], rules);
    daemon.kill();
    eventually("the agent misses its director", || says(&agent, "the set-up stays"));

    let _daemon = director.start_daemon_for_agents();
    director.sh("nft delete table inet lost").succeeds();
    director.xvs(&format!("real add tcp {SERVICE} {} --forward dr", RIPS[0])).succeeds();
    soon("it is back", || has(real, &VIP.to_string(), true));
}

#[test]
fn a_set_up_by_hand_outlives_a_role_and_a_role_outlives_it() {
    let Scene { lab, daemon: _daemon, agent: _agent, .. } = &scene();
    let real = &lab.reals[0];
    let by_hand = |line: &str| {
        let state = real.path("by-hand.json");
        real.sh(&format!("{} host {line} --state {}", artifacts::xvs().display(), state.display()))
    };
    let check = |vip: &str| real.xvs_host(&format!("check --vip {vip} --interface eth0"));
    let arp = || real.sh("sysctl -n net.ipv4.conf.all.arp_ignore").succeeds().stdout;
    let (setup, vip) = (format!("setup --vip {BY_HAND} --interface eth0"), VIP.to_string());
    let role = |verb: &str| lab.director.xvs(&format!("real {verb} tcp {SERVICE} {}", RIPS[0])).succeeds();

    role("add");
    soon("the role is there", || has(real, &vip, true));
    by_hand(&setup).succeeds();
    role("remove");
    soon("the role is gone", || has(real, &vip, false));
    check(BY_HAND).succeeds();
    by_hand("restore").succeeds();
    assert_eq!(arp(), "0");

    by_hand(&setup).succeeds();
    role("add");
    soon("the role is there again", || has(real, &vip, true));
    by_hand("restore").succeeds();
    check(&vip).succeeds();
    role("remove");
    soon("the role is gone again", || has(real, &vip, false));
    eventually("all is as it was", || if arp() == "0" { Ok(()) } else { Err(arp()) });
}

#[test]
fn a_second_agent_has_a_file_of_its_own_or_none() {
    let Scene { lab, daemon: _daemon, mut agent, .. } = scene();
    let real = &lab.reals[0];
    let token = lab.director.token();
    let line = format!("agent --director http://{API} --token-file {}", token.display());
    real.xvs_host(&line).fails(1).says("another agent uses").says("--state");

    let second = |name: &str| {
        let words = [format!("host {line} --state {}", real.path(name).display())];
        let mut command = Command::new(artifacts::xvs());
        real.start("second", command.args(words[0].split(' ')))
    };
    let other = second("second.json");
    eventually("the second is there", || says(&other, "answers"));
    lab.director.xvs(&format!("real add tcp {SERVICE} {} --forward dr", RIPS[0])).succeeds();
    soon("in service", || has(real, &VIP.to_string(), true));
    lab.director.xvs(&format!("real remove tcp {SERVICE} {}", RIPS[0])).succeeds();
    soon("out of service", || has(real, &VIP.to_string(), false));
    assert!(!(agent.log() + &other.log()).contains("WRONG"), "{}{}", agent.log(), other.log());

    // The state file of a killed agent can be used.
    agent.kill();
    let next = real.start_agent(&token);
    eventually("the next is there", || says(&next, "answers"));
}

#[test]
fn each_reason_for_not_being_answered_is_said() {
    let Scene { lab, agent, daemon: _daemon, .. } = &scene();
    let (token, vip) = (lab.director.token(), VIP.to_string());
    lab.director.xvs(&format!("real add tcp {SERVICE} {} --forward dr", RIPS[0])).succeeds();
    soon("in service", || has(&lab.reals[0], &vip, true));
    fs::write(&token, "not-the-one-of-the-director").expect("the lab's folder is writable");
    // The agent's question is answered; the next one shows the new token.
    lab.director.xvs(&format!("service add tcp {BY_HAND}:80")).succeeds();
    lab.director.xvs(&format!("real add tcp {BY_HAND}:80 {} --forward nat", RIPS[0])).succeeds();
    eventually("wrong", || says(agent, "the token is not the director's"));
    fs::remove_file(&token).expect("it is there");
    eventually("missing", || says(agent, "No such file"));
    has(&lab.reals[0], &vip, true).expect("what was set up stays");
    lab.director.token();
    eventually("right again", || {
        if agent.log().matches(" answers").count() == 2 { Ok(()) } else { Err(agent.log()) }
    });
}
