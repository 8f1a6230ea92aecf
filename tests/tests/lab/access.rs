// SPDX-License-Identifier: MIT OR Apache-2.0
//! The listener for people and programs: tokens, roles, names of the host, and the audit.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    os::unix::fs::PermissionsExt as _,
    time::Duration,
};

use lb_tests::{
    artifacts,
    lab::{API, Director, HTTP, METRICS, Stage, VIP, eventually},
};

const WRITE: &str = "0123456789abcdef-write";
const READ: &str = "0123456789abcdef-read";

/// Returns the options of a daemon with both tokens.
fn options(director: &Director) -> String {
    let file = director.path("tokens");
    fs::write(&file, format!("alice write {WRITE}\ngraphs read {READ}\n")).expect("our own folder");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("our own file");
    format!("--http {HTTP} --tokens {}", file.display())
}

/// Returns the status and the body of a request.
fn ask(director: &Director, token: &str, words: &str) -> (u16, String) {
    let mut all =
        ["curl", "--silent", "--max-time", "20", "--write-out", "\n%{http_code}"].map(str::to_owned).to_vec();
    if !token.is_empty() {
        all.extend(["--header".to_owned(), format!("Authorization: Bearer {token}")]);
    }
    all.extend(words.split_whitespace().map(str::to_owned));
    let outcome = director.exec(all).succeeds();
    let (body, code) = outcome.stdout.rsplit_once('\n').unwrap_or(("", &outcome.stdout));
    (code.parse().unwrap_or_else(|_| panic!("{outcome}")), body.to_owned())
}

#[test]
fn changes_need_a_token_of_the_role_write_and_are_audited() {
    let mut stage = Stage::new();
    stage.daemon.stop();
    let options = options(&stage.lab.director);
    stage.daemon = stage.lab.director.start_daemon_with(&options);
    let (director, daemon) = (&stage.lab.director, &stage.daemon);
    let says = |text: &str| {
        eventually("the daemon says so", || {
            let log = daemon.log();
            if log.contains(text) { Ok(()) } else { Err(format!("no {text:?} in\n{log}")) }
        });
    };

    let change = format!(
        r#"{{"change":"add-service","service":{{"protocol":"tcp","address":"{VIP}:80"}},"options":{{}}}}"#
    );
    let post = format!("--data {change} http://{HTTP}/v1/changes");
    assert_eq!(ask(director, "", &post).0, 401);
    assert_eq!(ask(director, READ, &post).0, 403);
    assert_eq!(ask(director, "0123456789abcdef-other", &post).0, 401);
    assert_eq!(director.stats().services.len(), 0);
    let (status, body) = ask(director, WRITE, &post);
    assert_eq!(status, 200, "{body}");
    assert_eq!(director.stats().services.len(), 1);
    says("audit: alice (token) from 127.0.0.1:");
    says(&format!("POST /v1/changes: added service tcp {VIP}:80"));
    director.xvs(&format!("service remove tcp {VIP}:80")).succeeds();
    says("audit: root (uid 0, pid ");
    says(&format!("POST /v1/changes: removed service tcp {VIP}:80"));

    // Reading needs no token, the metrics are there, and another name of the host is refused.
    assert_eq!(ask(director, "", &format!("http://{HTTP}/v1/status")).0, 200);
    assert!(ask(director, "", &format!("http://{HTTP}/metrics")).1.contains("xvs_build_info"));
    assert_eq!(ask(director, "", &format!("http://{HTTP}/v1/config")).0, 401);
    assert_eq!(ask(director, READ, &format!("http://{HTTP}/v1/config")).0, 200);
    assert_eq!(ask(director, "", &format!("--header Host:evil.example http://{HTTP}/v1/status")).0, 421);
    let head = director.sh(&format!("curl --silent --head http://{HTTP}/v1/status")).succeeds();
    head.says("default-src 'none'").says("nosniff").says("no-store");

    // SIGHUP reads the tokens again.
    let file = director.path("tokens");
    fs::write(&file, format!("alice read {WRITE}\n")).unwrap();
    director.sh(&format!("kill -HUP {}", daemon.id())).succeeds();
    says("SIGHUP: 1 token read");
    assert_eq!(ask(director, WRITE, &post).0, 403);
    assert_eq!(ask(director, READ, &format!("http://{HTTP}/v1/config")).0, 401);
}

/// Returns the status of a request over a new connection.
fn status(director: &Director, address: &str, method: &str, path: &str, token: &str) -> u16 {
    let authorization =
        if token.is_empty() { String::new() } else { format!("Authorization: Bearer {token}\r\n") };
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\n{authorization}Content-Length: 0\r\nConnection: close\r\n\r\n"
    );
    let answer = director.run(|| {
        let mut stream = TcpStream::connect(address).expect("the listener is there");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("it is not zero");
        stream.write_all(request.as_bytes()).expect("the listener reads");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("the listener answers");
        String::from_utf8_lossy(&answer).into_owned()
    });
    let code = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
    code.unwrap_or_else(|| panic!("{method} {path}: {answer:?}"))
}

#[test]
fn no_door_takes_a_change_without_a_token() {
    let mut stage = Stage::new();
    stage.daemon.stop();
    let director = &stage.lab.director;
    let agents = format!("--api {API} --api-token-file {}", director.token().display());
    stage.daemon = director.start_daemon_with(&format!("{} {agents}", options(director)));
    director.xvs(&format!("service add tcp {VIP}:80 --real 10.0.0.11")).succeeds();
    let before = director.xvs("export").succeeds().stdout;

    let document = director.xvs("api-doc").succeeds().json();
    let (mut writes, mut reads) = (0, 0);
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            let method = method.to_uppercase();
            let at = |address: &str, token: &str| status(director, address, &method, path, token);
            match operation["x-xvs-role"].as_str().expect("a role") {
                "write" => {
                    writes += 1;
                    assert_eq!((at(HTTP, ""), at(HTTP, READ)), (401, 403), "{method} {path}");
                }
                "agent" => assert_eq!((at(HTTP, ""), at(HTTP, READ)), (401, 403), "{method} {path}"),
                "read" => {
                    reads += 1;
                    assert_eq!(at(HTTP, ""), 401, "{method} {path}");
                }
                _ => continue,
            }
            for (door, address) in [("agents", API), ("metrics", METRICS)] {
                for token in ["", READ, WRITE] {
                    let status = at(address, token);
                    assert!([401, 404, 405].contains(&status), "{door}: {method} {path} is {status}");
                }
            }
        }
    }
    assert!(writes >= 10 && reads >= 5, "{writes} and {reads} operations");
    assert_eq!(director.xvs("export").succeeds().stdout, before);
}

#[test]
fn tls_protects_the_listener_and_a_command_on_another_machine_uses_it() {
    let mut stage = Stage::new();
    stage.daemon.stop();
    let director = &stage.lab.director;
    let path = |name: &str| director.path(name).display().to_string();
    let (cert, key, client) = (path("cert.pem"), path("key.pem"), path("client.pem"));
    let make = |cert: &str, key: &str, name: &str| {
        let names = "-addext subjectAltName=IP:10.0.0.1 -addext basicConstraints=critical,CA:FALSE";
        let line =
            format!("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 {names}");
        director.sh(&format!("{line} -subj /CN={name} -keyout {key} -out {cert}")).succeeds();
        director.sh(&format!("chmod 600 {key}")).succeeds();
    };
    make(&cert, &key, "one");
    let tls = |director: &Director| {
        let options = options(director).replace(HTTP, "10.0.0.1:9472");
        format!("{options} --http-cert {cert} --http-key {key}")
    };
    stage.daemon = director.start_daemon_with(&tls(director));
    let curl = |more: &str| {
        director
            .sh(&format!("curl --silent --show-error --cacert {cert} {more} https://10.0.0.1:9472/v1/status"))
    };
    curl("").succeeds().says("\"version\"");
    assert!(!director.sh("curl --silent http://10.0.0.1:9472/v1/status").is_success());

    // From another machine.
    let real = &stage.lab.reals[0];
    let token = path("alice");
    fs::write(&token, format!("{WRITE}\n")).unwrap();
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    let xvs = director.xvs_words("")[0].display().to_string();
    let remote =
        |line: &str| real.sh(&format!("{xvs} --server https://10.0.0.1:9472 --server-ca {cert} {line}"));
    remote(&format!("service add tcp {VIP}:80")).fails(1).says("needs a token with the role write");
    remote(&format!("--server-token-file {token} service add tcp {VIP}:80")).succeeds();
    remote("service list").succeeds().says(&format!("{VIP}:80"));
    real.sh(&format!("{xvs} --server https://10.0.0.1:9472 status")).fails(3).says("certificate");

    // SIGHUP reads the certificate again.
    make(&cert, &key, "two");
    director.sh(&format!("kill -HUP {}", stage.daemon.id())).succeeds();
    eventually("the new certificate is shown", || {
        let shown = curl("--verbose");
        if shown.stderr.contains("CN=two") { Ok(()) } else { Err(shown.to_string()) }
    });

    // With a CA of clients, nobody without a certificate gets in.
    stage.daemon.stop();
    make(&client, &client.replace("client", "client-key"), "client");
    let with_ca = format!("{} --http-client-ca {client}", tls(director));
    stage.daemon = director.start_daemon_with(&with_ca);
    assert!(!curl("").is_success());
    curl(&format!("--cert {client} --key {}", client.replace("client", "client-key"))).succeeds();
}

#[test]
fn schemathesis_finds_no_fault_in_the_api() {
    let mut stage = Stage::new();
    stage.daemon.stop();
    let director = &stage.lab.director;
    stage.daemon = director.start_daemon_with(&options(director));
    let document = director.path("openapi.json");
    fs::write(&document, director.xvs("api-doc").succeeds().stdout).unwrap();
    let seconds = if artifacts::is_full() { "90" } else { "20" };
    // It keeps its findings in the present folder.
    let mut words = ["env", "-C"].map(str::to_owned).to_vec();
    words.extend([director.folder().display().to_string(), artifacts::schemathesis().display().to_string()]);
    words.push("run".to_owned());
    words.push(document.display().to_string());
    words.extend(["--url".to_owned(), format!("http://{HTTP}")]);
    words.extend(["--header".to_owned(), format!("Authorization: Bearer {WRITE}")]);
    words.extend(["--max-time", seconds, "--seed", "7", "--checks", "all"].map(str::to_owned));
    // A valid name of a service that does not exist is wrong input, which no schema can say.
    words.extend(["--exclude-checks", "positive_data_acceptance"].map(str::to_owned));
    // A stream never ends; larger tables take the memory of the machine; a director that is not ready answers 503.
    for path in ["/v1/events", "/v1/live", "/v1/ready", "/v1/resize", "/v1/trace"] {
        words.extend(["--exclude-path".to_owned(), path.to_owned()]);
    }
    director.exec(words).succeeds();
    director.xvs("status").succeeds();
    assert!(!stage.daemon.log().contains("internal error"), "{}", stage.daemon.log());
}
