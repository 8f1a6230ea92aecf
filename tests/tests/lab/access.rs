// SPDX-License-Identifier: MIT OR Apache-2.0
//! The listener for people and programs: tokens, roles, names of the host, and the audit.

use std::{fs, os::unix::fs::PermissionsExt as _};

use lb_tests::lab::{Director, HTTP, Stage, VIP, eventually};

const WRITE: &str = "0123456789abcdef-write";
const READ: &str = "0123456789abcdef-read";

/// Returns the options of a daemon with both tokens.
fn options(director: &Director) -> String {
    let file = director.path("tokens");
    fs::write(&file, format!("alice write {WRITE}\ngraphs read {READ}\n")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
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
