// SPDX-License-Identifier: MIT OR Apache-2.0
//! Each type of health check with real servers: the result of a failure, and clients that avoid the real.

use std::{
    fs,
    net::{TcpListener, UdpSocket},
    os::unix::fs::PermissionsExt as _,
    process::{self, Command},
};

use lb_tests::lab::{Host, Lab, Method, Process, Real, Server, VIP, eventually};

use crate::health_pool::{DR, FNAT6, Pool, ready, ways};

/// Timing of checks that answer at once.
const TIMING: &str = "--interval 200ms --timeout 150ms --fall 2 --rise 1";
/// Timing of checks with programs or cryptography, on a machine that is busy.
const SLOW_TIMING: &str = "--interval 500ms --timeout 400ms --fall 2 --rise 1";

/// Makes certificates in the lab's folder: a CA, and a good, an expired, a misnamed, and a foreign one.
#[track_caller]
fn make_certificates(host: &Host) {
    let script = r#"
        cd "$1"
        key="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
        for ca in ca foreign-ca; do
            openssl req -x509 $key -keyout $ca.key -out $ca.pem -days 2 -subj "/CN=Lab $ca"
        done
        make() {
            openssl req $key -keyout $1.key -out $1.csr -subj /CN=$2
            echo subjectAltName=DNS:$2 > $1.extension
            openssl x509 -req -in $1.csr -CA $4.pem -CAkey $4.key -CAcreateserial -days $3 \
                -extfile $1.extension -out $1.pem
        }
        make good www.example.org 2 ca
        make expired www.example.org -1 ca
        make misnamed other.example.org 2 ca
        make foreign www.example.org 2 foreign-ca
    "#;
    let folder = host.folder().display().to_string();
    host.exec(["sh", "-ec", script, "sh", &folder]).succeeds();
}

/// Writes the configuration of a web server with TLS.
fn configure_tls(real: &Real, certificate: &str) -> std::path::PathBuf {
    let (folder, config) = (real.folder().display(), real.path("tls.conf"));
    let own = real.path("tls").display().to_string();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .flat_map(|kind| [kind.to_string(), format!("_temp_path {own}-{kind}; ")])
        .collect();
    let listen: String = Method::real_ports()
        .into_iter()
        .flat_map(|port| [format!("listen {port} ssl;"), format!("listen [::]:{port} ssl;")])
        .collect();
    let text = format!(
        "daemon off; user root; worker_processes 1; error_log stderr; pid {own}-pid; events {{ }}
         http {{
             access_log off; default_type text/plain; {temporary}
             server {{
                 {listen}
                 ssl_certificate {folder}/{certificate}.pem; ssl_certificate_key {folder}/{certificate}.key;
                 location = / {{ return 200 \"{}\\n\"; }}
             }}
         }}",
        real.name()
    );
    fs::write(&config, text).expect("the lab's folder is writable");
    config
}

#[test]
fn https_finds_certificates_that_clients_refuse() {
    let lab = Lab::new();
    let _daemon = ready(&lab);
    make_certificates(&lab.client);
    let servers = lab.reals.each_ref().map(|real| {
        let config = configure_tls(real, "good");
        real.start("nginx-tls", Command::new("nginx").arg("-c").arg(&config))
    });
    let ca = lab.client.folder().join("ca.pem");
    let line = format!("check add web https --host www.example.org --ca-file {} {SLOW_TIMING}", ca.display());
    lab.director.xvs(&line).succeeds();
    let pools: Vec<Pool> = ways(&[DR, FNAT6]).into_iter().map(|way| Pool::new(&lab, "tcp", way)).collect();
    for pool in &pools {
        pool.use_check("web");
        pool.is_up();
        let spread = pool.requests("https");
        assert!(spread.contains(&"real1".to_owned()), "{spread:?}");
    }
    for (certificate, text) in [
        ("expired", "the certificate has expired"),
        ("misnamed", "the certificate is for other.example.org, not for www.example.org"),
        ("foreign", "the certificate is not of a trusted CA"),
    ] {
        configure_tls(&lab.reals[0], certificate);
        lab.reals[0].exec(["kill", "-HUP", &servers[0].id().to_string()]).succeeds();
        for pool in &pools {
            pool.fails("L6RSP", text);
            let spread = pool.requests("https");
            assert!(!spread.contains(&"real1".to_owned()), "{spread:?}");
        }
    }
    lab.director.xvs("real list").succeeds().says("L6RSP").says("not of a trusted CA");
    lab.director.xvs("check edit web --certificate none").succeeds();
    for pool in &pools {
        pool.is_up();
    }
    lab.director.xvs("check edit web --certificate verify").succeeds();
    for pool in &pools {
        pool.fails("L6RSP", "not of a trusted CA");
    }
    configure_tls(&lab.reals[0], "good");
    lab.reals[0].exec(["kill", "-HUP", &servers[0].id().to_string()]).succeeds();
    for pool in &pools {
        pool.is_up();
    }
}

/// Starts a DNS server that knows what its file of hosts holds.
fn start_dns(real: &Real, port: u16) -> Process {
    let mut command = Command::new("dnsmasq");
    command.args(["--keep-in-foreground", "--conf-file=/dev/null", "--user=root", "--group=root"]);
    command.args(["--pid-file=", "--no-resolv", "--no-hosts", "--local=/example.org/", "--log-facility=-"]);
    command.arg(format!("--port={port}")).arg(format!("--addn-hosts={}", real.path("hosts").display()));
    real.start("dnsmasq", &mut command)
}

/// Writes what the DNS server knows: its own address, and more.
fn write_hosts(real: &Real, more: &str) {
    let text = format!("{} me.example.org\n{more}\n", real.rip);
    fs::write(real.path("hosts"), text).expect("the lab's folder is writable");
}

#[test]
fn dns_finds_a_server_that_ends_and_a_name_that_is_lost() {
    /// The query for the address of me.example.org.
    const WHO: &[u8] = b"\x12\x34\x01\x00\x00\x01\0\0\0\0\0\0\x02me\x07example\x03org\0\0\x01\0\x01";
    const WWW: &str = "203.0.113.7 www.example.org";
    let lab = Lab::new();
    let _daemon = ready(&lab);
    lab.director.xvs(&format!("check add names dns --name www.example.org {TIMING}")).succeeds();
    for way in ways(&[DR, FNAT6]) {
        lab.reals.iter().for_each(|real| write_hosts(real, WWW));
        let mut servers = lab.reals.each_ref().map(|real| start_dns(real, way.method.real_port()));
        let pool = Pool::new(&lab, "udp", way);
        pool.use_check("names");
        pool.is_up();
        // The answer ends with the address.
        let first = |answers: &[Vec<u8>]| answers.iter().any(|answer| answer.ends_with(&[10, 0, 0, 11]));
        assert!(first(&pool.answers(WHO)), "the first real serves");
        let learn = |servers: &[Process; 3], more: &str| {
            write_hosts(&lab.reals[0], more);
            lab.reals[0].exec(["kill", "-HUP", &servers[0].id().to_string()]).succeeds();
        };
        learn(&servers, "");
        pool.fails("L7STS", "NXDOMAIN");
        assert!(!first(&pool.answers(WHO)), "clients avoid it");
        // The name exists and has no address of this version.
        learn(&servers, "2001:db8::7 www.example.org");
        pool.fails("L7RSP", "no A record");
        learn(&servers, WWW);
        pool.is_up();
        servers[0].stop();
        // The real's kernel sends one ICMP error a second to the director; other probes get no answer.
        pool.fails("L4", "");
        assert!(!first(&pool.answers(WHO)), "clients avoid it");
        servers[0] = start_dns(&lab.reals[0], way.method.real_port());
        pool.is_up();
        for server in &mut servers {
            assert_eq!(server.stop(), Some(0));
        }
    }
}

#[test]
fn udp_expects_an_answer_or_at_least_no_error() {
    let lab = Lab::new();
    let _daemon = ready(&lab);
    let add = |line: &str| lab.director.xvs(&format!("check add {line} {TIMING}")).succeeds();
    add("echo udp --send hello\\n --expect ^real[123].hello");
    add("open udp --send hello");
    for way in [DR, FNAT6] {
        let pool = Pool::new(&lab, "udp", way);
        let serve = |real: usize| Server::udp_echo(&lab.reals[real], pool.listens(real));
        let [first, _second, _third] = [0, 1, 2].map(serve);
        pool.use_check("echo");
        pool.is_up();
        let is_first = |answers: &[Vec<u8>]| answers.iter().any(|answer| answer.starts_with(b"real1"));
        assert!(is_first(&pool.answers(b"x")), "the first real serves");
        drop(first);
        pool.fails("L4CON", "");
        assert!(!is_first(&pool.answers(b"x")), "clients avoid it");
        // A socket that takes datagrams and answers none.
        let mute = lab.reals[0].run(|| UdpSocket::bind(pool.listens(0))).expect("the port is free");
        pool.fails("L4TOUT", "no answer");
        pool.use_check("open");
        pool.is_up();
        drop(mute);
        pool.fails("L4CON", "");
        assert!(!is_first(&pool.answers(b"x")), "clients avoid it");
    }
}

#[test]
fn tcp_sends_and_expects() {
    let lab = Lab::new();
    let _daemon = ready(&lab);
    lab.director
        .xvs(&format!("check add echo tcp --send PING\\r\\n --expect real[123]\\nPING\\r\\n {TIMING}"))
        .succeeds();
    for way in [DR, FNAT6] {
        let pool = Pool::new(&lab, "tcp", way);
        let serve = |real: usize| Server::greeter(&lab.reals[real], pool.listens(real));
        let [first, _second, _third] = [0, 1, 2].map(serve);
        pool.use_check("echo");
        pool.is_up();
        let line = format!(
            "for i in $(seq 20); do timeout 2 bash -c 'read name < /dev/tcp/{}/{}; echo $name'; done",
            way.vip(),
            way.service().port()
        );
        let spread = || lab.client.exec(["sh", "-ec", &line]).succeeds();
        spread().says("real1");
        drop(first);
        pool.fails("L4CON", "");
        spread().says("real2").does_not_say("real1");
        // The kernel accepts connections, and no program answers.
        let hung = lab.reals[0].run(|| TcpListener::bind(pool.listens(0))).expect("the port is free");
        pool.fails("L7TOUT", "connected, but no answer");
        drop(hung);
        // A web server is not what the check expects.
        let nginx = lab.reals[0].start_nginx(&[way.method.real_port()]);
        pool.fails("L7RSP", "the answer does not match");
        spread().says("real2").does_not_say("real1");
        drop(nginx);
        let _first = serve(0);
        pool.is_up();
    }
}

#[test]
fn ping_by_path_asks_the_vip_and_direct_asks_the_real() {
    let lab = Lab::new();
    let _daemon = ready(&lab);
    let _nginx = lab.reals.each_ref().map(|real| real.start_nginx(&Method::real_ports()));
    let add = |line: &str| lab.director.xvs(&format!("check add {line} {TIMING}")).succeeds();
    add("far ping");
    add("near ping --via direct");
    let real = &lab.reals[0];
    for way in [DR, FNAT6] {
        let pool = Pool::new(&lab, "tcp", way);
        for check in ["far", "near"] {
            pool.use_check(check);
            pool.is_up();
            real.sh("nft add table inet lab; add chain inet lab in { type filter hook input priority 0; }; \
                     add rule inet lab in icmp type echo-request drop; \
                     add rule inet lab in icmpv6 type echo-request drop")
                .succeeds();
            pool.fails("L4TOUT", "no answer");
            let spread = pool.requests("http");
            assert!(!spread.contains(&"real1".to_owned()), "{spread:?}");
            real.sh("nft delete table inet lab").succeeds();
            pool.is_up();
        }
    }
    // A real that lacks the VIP answers the direct check alone.
    let pool = Pool::of(&lab, "tcp", DR);
    let device = real.sh(&format!("ip -oneline address show to {VIP}")).succeeds();
    let device = device.stdout.split_whitespace().nth(1).expect("the device of the VIP").to_owned();
    real.ip(&format!("address delete {VIP}/32 dev {device}"));
    pool.use_check("far");
    pool.fails("L4TOUT", "");
    pool.use_check("near");
    pool.is_up();
}

#[test]
fn a_command_runs_as_an_unprivileged_user_and_is_killed_with_all_that_it_started() {
    let lab = Lab::new();
    let _daemon = ready(&lab);
    let _nginx = lab.reals.each_ref().map(|real| real.start_nginx(&[DR.method.real_port()]));
    let (script, mode) = (lab.director.path("script"), lab.director.path("mode"));
    let set = |text: &str| fs::write(&mode, format!("{text}\n")).expect("the lab's folder is writable");
    // A number that no other process sleeps for.
    let sleep = format!("sleep 300.{}", process::id());
    let text = format!(
        "#!/bin/sh\n\
         mode=good; [ $XVS_REAL != {} ] || read mode < {}\n\
         case $mode in\n\
         bad) echo out of order; exit 1;;\n\
         half) exit 52;;\n\
         slow) {sleep} & {sleep};;\n\
         esac\n\
         echo $(id -un) $(id -Gn) $XVS_VIP:$XVS_PORT $HOME\n",
        lab.reals[0].rip,
        mode.display()
    );
    set("good");
    fs::write(&script, text).expect("the lab's folder is writable");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("our own file");
    lab.director
        .xvs(&format!("check add script exec --dynamic-weight {SLOW_TIMING} -- {}", script.display()))
        .succeeds();
    let pool = Pool::new(&lab, "tcp", DR);
    for real in DR.reals() {
        lab.director.xvs(&format!("real edit tcp {} {real} --weight 100", DR.service())).succeeds();
    }
    pool.use_check("script");
    for real in pool.is_up() {
        assert_eq!(real["last_result"]["code"], "PROCOK", "{real:#}");
        let text = real["last_result"]["text"].as_str().expect("a text");
        assert_eq!(text, format!("nobody nogroup {}", DR.service()));
    }

    set("bad");
    pool.fails("PROCERR", "exit code 1: out of order");
    let spread = pool.requests("http");
    assert!(!spread.contains(&"real1".to_owned()), "{spread:?}");
    set("half");
    eventually("the weight is half", || {
        let reals = pool.is_up();
        let weights = reals.iter().map(|real| real["effective_weight"].as_u64()).collect::<Vec<_>>();
        if weights == [Some(50), Some(100), Some(100)] { Ok(()) } else { Err(format!("{weights:?}")) }
    });

    set("slow");
    let sleepers = || lab.director.exec(["pgrep", "--full", &format!("^{sleep}")]);
    eventually("it sleeps", || {
        let found = sleepers();
        if found.stdout.lines().count() >= 2 { Ok(()) } else { Err(found.to_string()) }
    });
    pool.fails("PROCTOUT", "killed after 400ms");
    let spread = pool.requests("http");
    assert!(!spread.contains(&"real1".to_owned()), "{spread:?}");
    set("good");
    pool.is_up();
    let left = sleepers();
    assert_eq!(left.stdout, "", "{left}");
}
