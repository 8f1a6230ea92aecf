// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xvs host agent`: the only command that a bare real server needs.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddrV4, TcpListener},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use lb_tests::lab::{API, Lab, Process, RIPS, Real, VIP, VIP6, eventually, rip6};
use lb_userspace::api::{
    proof::{self, Nonce},
    token::Token,
};

/// Maximum time between `xvs real add` and the first answer, as the issue and the docs promise.
pub const PROMISE: Duration = Duration::from_secs(2);

pub const SERVICE: SocketAddrV4 = SocketAddrV4::new(VIP, 80);

/// A lab with a daemon, an agent and nginx, and no further set-up.
pub struct Scene {
    _nginx: Process,
    pub agent: Process,
    pub daemon: Process,
    pub lab: Lab,
}

pub fn scene() -> Scene {
    let lab = Lab::new();
    let daemon = lab.director.start_daemon_for_agents();
    let agent = lab.reals[0].start_agent(&lab.director.token());
    let nginx = lab.reals[0].start_nginx(&[80]);
    eventually("the agent is there", || says(&agent, "answers"));
    Scene { _nginx: nginx, agent, daemon, lab }
}

pub fn says(agent: &Process, text: &str) -> Result<(), String> {
    let log = agent.log();
    if log.contains(text) { Ok(()) } else { Err(log) }
}

/// Returns the settings that `setup` may change.
fn state(real: &Real) -> String {
    let sysctls = ["arp_ignore", "arp_announce", "rp_filter"]
        .map(|name| ["all", "lo", "eth0"].map(|device| format!("net.ipv4.conf.{device}.{name}")).join(" "));
    let lines = [format!("sysctl {}", sysctls.join(" ")), "ip -br address".into(), "ip -o link".into()];
    lines.map(|line| real.sh(&line).succeeds().stdout).join("\n")
}

/// Runs `line`, and returns the time until `look` succeeded.
fn after(lab: &Lab, line: &str, look: impl FnMut() -> Result<(), String>) -> Duration {
    let start = Instant::now();
    lab.director.xvs(line).succeeds();
    eventually(line, look);
    let took = start.elapsed();
    eprintln!("{line}: {} ms", took.as_millis());
    assert!(took < PROMISE, "{line}: {took:?}");
    took
}

fn answers(lab: &Lab) -> Result<(), String> {
    let curl = lab.client.sh(&format!("curl --silent --fail --max-time 0.3 http://{SERVICE}/"));
    if curl.is_success() { Ok(()) } else { Err(curl.to_string()) }
}

fn is_as(real: &Real, before: &str) -> Result<(), String> {
    let now = state(real);
    if now == before { Ok(()) } else { Err(format!("{now}\n--- before\n{before}")) }
}

#[test]
fn a_bare_real_is_in_service_within_two_seconds_and_out_again() {
    let Scene { lab, agent, .. } = &scene();
    let real = &lab.reals[0];
    let before = state(real);
    lab.director.xvs(&format!("service add tcp {SERVICE}")).succeeds();
    let add = format!("real add tcp {SERVICE} {}:80 --forward", RIPS[0]);

    for method in ["dr", "tun"] {
        after(lab, &format!("{add} {method}"), || answers(lab));
        real.xvs_host(&format!("check --vip {VIP} --forward {method} --interface eth0")).succeeds();
        after(lab, &format!("real remove tcp {SERVICE} {}:80", RIPS[0]), || is_as(real, &before));
    }

    // The method changes: the agent adds and removes the decapsulation.
    after(lab, &format!("{add} dr"), || answers(lab));
    let dr = state(real);
    after(lab, &format!("real edit tcp {SERVICE} {}:80 --forward tun", RIPS[0]), || {
        let check = real.xvs_host(&format!("check --vip {VIP} --forward tun --interface eth0"));
        if check.is_success() { answers(lab) } else { Err(check.to_string()) }
    });
    after(lab, &format!("real edit tcp {SERVICE} {}:80 --forward dr", RIPS[0]), || is_as(real, &dr));
    after(lab, &format!("service remove tcp {SERVICE}"), || is_as(real, &before));
    for line in ["set   net.ipv4.conf.all.arp_ignore: 1", "set   VIP 192.0.2.100: added to lo", "back  "] {
        says(agent, line).unwrap_or_else(|log| panic!("no {line:?} in\n{log}"));
    }
    // Logged before the first service, and never again.
    says(agent, &format!("no service has {}", RIPS[0])).expect("it was idle");
    assert_eq!(agent.log().matches("yet; waiting").count(), 1, "{}", agent.log());
}

#[test]
fn vips_of_ipv6_and_several_at_once_follow_too() {
    let Scene { lab, .. } = &scene();
    let real = &lab.reals[0];
    let before = state(real);
    for (service, rip) in
        [(format!("[{VIP6}]:80"), rip6(RIPS[0]).to_string()), (SERVICE.to_string(), RIPS[0].to_string())]
    {
        lab.director.xvs(&format!("service add tcp {service}")).succeeds();
        after(lab, &format!("real add tcp {service} {rip} --forward dr"), || {
            let curl =
                lab.client.sh(&format!("curl --silent --globoff --fail --max-time 0.3 http://{service}/"));
            if curl.is_success() { Ok(()) } else { Err(curl.to_string()) }
        });
    }
    // One VIP is removed, the other stays.
    after(lab, &format!("service remove tcp {SERVICE}"), || {
        let shown = real.sh("ip -br address show dev lo").succeeds().stdout;
        let (four, six) = (shown.contains(&VIP.to_string()), shown.contains(&VIP6.to_string()));
        if (four, six) == (false, true) { Ok(()) } else { Err(shown) }
    });
    after(lab, &format!("service remove tcp [{VIP6}]:80"), || is_as(real, &before));
}

#[test]
fn without_its_director_a_real_keeps_what_it_has_and_looks_after_it() {
    let Scene { lab, agent, mut daemon, _nginx } = scene();
    let real = &lab.reals[0];
    let before = state(real);
    lab.director.xvs(&format!("service add tcp {SERVICE}")).succeeds();
    after(&lab, &format!("real add tcp {SERVICE} {} --forward dr", RIPS[0]), || answers(&lab));

    daemon.kill();
    eventually("the agent misses its director", || says(&agent, "the set-up stays"));
    answers(&lab).expect("pinned programs and a VIP that stays");
    real.ip(&format!("address delete {VIP}/32 dev lo"));
    eventually("the agent mends what somebody broke", || answers(&lab));

    // The next daemon continues: the state file has the service.
    let _daemon = lab.director.start_daemon_for_agents();
    eventually("the agent is back", || {
        let times = agent.log().matches(" answers").count();
        if times == 2 { Ok(()) } else { Err(agent.log()) }
    });
    after(&lab, &format!("real remove tcp {SERVICE} {}", RIPS[0]), || is_as(real, &before));

    // An agent that ends leaves its changes in place, and the next one knows them from the state file.
    after(&lab, &format!("real add tcp {SERVICE} {} --forward dr", RIPS[0]), || answers(&lab));
    drop(agent);
    answers(&lab).expect("nothing was put back");
    lab.director.xvs(&format!("real remove tcp {SERVICE} {}", RIPS[0])).succeeds();
    let _agent = real.start_agent(&lab.director.token());
    eventually("the next agent puts back what is over", || is_as(real, &before));
}

#[test]
fn an_agent_has_no_rights_but_those_it_needs() {
    let Scene { agent, .. } = &scene();
    let status = fs::read_to_string(format!("/proc/{}/status", agent.id())).expect("it runs");
    // CAP_NET_ADMIN, CAP_PERFMON, CAP_BPF: include/uapi/linux/capability.h
    let kept = (1_u64 << 12) | (1 << 38) | (1 << 39);
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        let line = format!("{set}:\t{kept:016x}");
        assert!(status.contains(&line), "no {line:?} in\n{status}");
    }
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");
}

/// Returns the status of the answer to `body` with this `Authorization`.
fn asked(lab: &Lab, path: &str, authorization: &str, body: &str) -> String {
    let header = format!("Authorization: {authorization}");
    let url = format!("http://{API}{path}");
    let words = ["curl", "--silent", "--write-out", "%{http_code}", "--data-binary", body, "--header"];
    lab.client.exec(words.into_iter().chain([header.as_str(), url.as_str()])).succeeds().stdout
}

fn question(addresses: &str) -> String {
    let nonce = String::from(Nonce::random().expect("the system has random numbers"));
    format!(r#"{{"time":{},"nonce":"{nonce}","addresses":{addresses}}}"#, proof::now())
}

#[test]
fn a_question_needs_a_proof_that_is_good_once() {
    let Scene { lab, .. } = &scene();
    let token = Token::read(&lab.director.token()).unwrap();
    let signed = |path: &str, body: &str| asked(lab, path, &token.sign_question(body.as_bytes()), body);
    let body = question(r#"["10.0.0.11"]"#);
    let first = signed("/v1/roles", &body);
    assert!(first.ends_with("200") && first.contains("\"roles\":[]"), "{first}");
    let again = signed("/v1/roles", &body);
    assert!(again.ends_with("401") && again.contains("is a repetition"), "{again}");
    let wrong = signed("/v1/roles", &question("\"ten\""));
    assert!(wrong.ends_with("400") && wrong.contains("addresses: "), "{wrong}");
    for path in ["/v1/status", "/v1/config", "/v1/changes"] {
        assert!(signed(path, &question("[]")).ends_with("404"), "{path}");
    }
    for path in ["/v1/roles", "/v1/status"] {
        let other = asked(lab, path, "XVS-HMAC-SHA256 00", &question("[]"));
        assert!(other.ends_with("401"), "{path}: {other}");
        for scheme in ["Bearer", "bearer"] {
            let old = asked(lab, path, &format!("{scheme} the-lab-has-no-secrets"), "");
            assert!(old.ends_with("401") && old.contains("upgrade xvs on the real server"), "{path}: {old}");
        }
    }
}

/// A program that answers in place of the director, and records the requests of agents.
fn false_director(lab: &Lab, answer: String) -> mpsc::Receiver<String> {
    let (hear, heard) = mpsc::channel();
    let listener = lab.director.run(|| TcpListener::bind(API).expect("no daemon runs"));
    thread::spawn(move || {
        for stream in listener.incoming().take(3) {
            let mut stream = stream.expect("an agent connects");
            let mut request = [0; 4096];
            let length = stream.read(&mut request).expect("it asks");
            hear.send(String::from_utf8_lossy(&request[..length]).into_owned()).expect("the test listens");
            let start = format!(
                "HTTP/1.1 200 OK\r\nETag: \"1\"\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                answer.len()
            );
            stream.write_all(format!("{start}{answer}").as_bytes()).expect("it reads");
        }
    });
    heard
}

#[test]
fn a_false_director_gets_no_token_and_is_not_believed() {
    let lab = Lab::new();
    let roles = r#"[{"vip":"10.0.0.254","rip":"10.0.0.11","forward":"dr","tunnel":"ipip"}]"#;
    let heard = false_director(&lab, format!(r#"{{"tag":"1","roles":{roles}}}"#));
    let real = &lab.reals[0];
    let before = state(real);
    let agent = real.start_agent(&lab.director.token());
    eventually("the agent does not believe it", || says(&agent, "does not prove that it has the token"));
    let question = heard.recv_timeout(PROMISE).unwrap();
    assert!(
        question.contains("XVS-HMAC-SHA256 ") && !question.contains("the-lab-has-no-secrets"),
        "{question}"
    );
    assert_eq!(state(real), before);
}

#[test]
fn what_keeps_an_agent_from_its_work_is_said() {
    let Scene { lab, .. } = &scene();
    let real = &lab.reals[1];
    let token = real.path("token");
    let write = |text: &str, mode: &str| {
        fs::write(&token, text).expect("the lab's folder is writable");
        real.sh(&format!("chmod {mode} {}", token.display())).succeeds();
    };
    let agent =
        |url: &str| real.xvs_host(&format!("agent --director {url} --token-file {}", token.display()));

    agent("http://10.0.0.1:9470")
        .fails(1)
        .says("No such file")
        .says("copy the file that the director's")
        .does_not_say("openssl");
    write("the-lab-has-no-secrets", "644");
    agent("http://10.0.0.1:9470").fails(1).says("others than its owner").says("chmod 600");
    agent("10.0.0.1").fails(2).says("http://HOST:PORT");
    agent("https://10.0.0.1:9470").fails(2).says("tunnel");

    write("not-the-one-of-the-director", "600");
    let wrong = real.start_agent(&token);
    eventually("the token is refused", || says(&wrong, "the token is not the director's"));
    // The agent uses a replaced token without a restart.
    write("the-lab-has-no-secrets", "600");
    eventually("the token is taken", || says(&wrong, "answers"));

    // The agent reports a VIP on a wrong interface, and leaves it there.
    lab.director.xvs(&format!("service add tcp {SERVICE}")).succeeds();
    real.ip(&format!("address add {VIP}/24 dev eth0"));
    lab.director.xvs(&format!("real add tcp {SERVICE} {} --forward dr", RIPS[1])).succeeds();
    eventually("what is in the way is named", || says(&wrong, "is in the wrong place"));
    real.ip(&format!("address delete {VIP}/24 dev eth0"));
    eventually("then it goes on", || says(&wrong, "added to lo"));

    lab.director.xvs("status").succeeds();
    let no_token = lab.director.sh(&format!(
        "{} --socket /nowhere run --interface eth0 --api {API}",
        lb_tests::artifacts::xvs().display()
    ));
    no_token.fails(2).says("--api-token-file");
}

#[test]
fn a_vip_that_would_cut_the_host_off_is_refused() {
    let lab = Lab::new();
    let (director, real) = (&lab.director, &lab.reals[0]);
    // The director must not add these VIPs, because other hosts have them.
    let options = format!("--no-manage-vips --api {API} --api-token-file {}", director.token().display());
    let _daemon = director.start_daemon_with(&options);
    real.ip(&format!("route add 203.0.113.0/24 via {}", RIPS[2]));
    real.sh(&format!("ping -c 1 -W 2 {}", RIPS[1])).succeeds();
    let before = state(real);
    let agent = real.start_agent(&director.token());
    eventually("the agent is there", || says(&agent, "answers"));
    for (vip, why) in [
        ("10.0.0.1".to_owned(), "the director's own address"),
        (RIPS[2].to_string(), "a gateway of this host"),
        (RIPS[1].to_string(), "knows a neighbour"),
    ] {
        director.xvs(&format!("service add tcp {vip}:8080")).succeeds();
        director.xvs(&format!("real add tcp {vip}:8080 {} --forward dr", RIPS[0])).succeeds();
        eventually("it is refused", || {
            says(&agent, &format!("VIP {vip}"))?;
            says(&agent, why)
        });
        assert_eq!(state(real), before, "{vip}");
    }
    // The agent accepts an ordinary VIP beside them.
    director.xvs(&format!("service add tcp {SERVICE}")).succeeds();
    director.xvs(&format!("real add tcp {SERVICE} {} --forward dr", RIPS[0])).succeeds();
    eventually("the other one is taken", || says(&agent, "VIP 192.0.2.100: added to lo"));
    drop(agent);
    // `--vips` decides about neighbours' addresses and about all others.
    let narrow = real.start_agent_with(&director.token(), "--vips 198.51.100.0/24 --vips 10.0.0.12");
    eventually("it is refused", || {
        says(&narrow, "VIP 192.0.2.100 is refused: it is in none of the networks")
    });
    eventually("it is taken", || says(&narrow, &format!("VIP {}: added to lo", RIPS[1])));
}
