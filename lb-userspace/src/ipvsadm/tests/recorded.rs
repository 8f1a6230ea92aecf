// SPDX-License-Identifier: MIT OR Apache-2.0
//! Command lines that Debian's ipvsadm 1.31 ran on IPVS, executed on a table in memory.

use std::net::{IpAddr, Ipv4Addr};

use serde::Deserialize;

use super::{memory::Memory, table::listed};
use crate::ipvsadm::{Name, Names, run::Session};
use lb_model::{Desired, Protocol};

const CASES: &str = include_str!("../../../tests/data/ipvsadm.json");
/// Name by which the recorded ipvsadm was called.
const PROGRAM: &str = "/usr/sbin/ipvsadm";

#[derive(Deserialize)]
struct Case {
    setup: Vec<String>,
    arguments: Vec<String>,
    stdin: Option<String>,
    exit: u8,
    stdout: String,
    stderr: String,
    saved_after: String,
}

/// Resolves the names that the recording machine resolved.
#[derive(Clone, Copy)]
struct Debian;

const SERVICES: &[(&str, u16)] =
    &[("tcpmux", 1), ("domain", 53), ("http", 80), ("https", 443), ("mdns", 5353), ("http-alt", 8080)];

impl Names for Debian {
    fn address(&self, host: &str) -> Option<Ipv4Addr> {
        (host == "localhost").then_some(Ipv4Addr::LOCALHOST)
    }

    fn port(&self, service: &str, _: Protocol) -> Option<u16> {
        let service = if service == "www" { "http" } else { service };
        SERVICES.iter().find(|(name, _)| *name == service).map(|(_, port)| *port)
    }

    fn host(&self, _: IpAddr) -> Option<String> {
        None
    }

    fn service(&self, port: u16, protocol: Protocol) -> Option<String> {
        let named = SERVICES.iter().find(|(_, number)| *number == port)?.0;
        // mDNS is registered for UDP only, HTTP for TCP.
        let right = match named {
            "mdns" => protocol == Protocol::Udp,
            "domain" => protocol != Protocol::Sctp,
            _ => protocol == Protocol::Tcp,
        };
        right.then(|| named.to_owned())
    }
}

/// Result of a command line.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Answer {
    pub(super) exit: u8,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

/// Runs a command line on a table.
pub(super) async fn run(memory: &Memory, words: &[String], stdin: &str) -> Answer {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut session = Session {
        program: PROGRAM,
        kernel: memory,
        names: Debian,
        stdin: stdin.as_bytes(),
        out: &mut out,
        err: &mut err,
        warnings: false,
    };
    let exit = session.run(Name::Ipvsadm, words).await;
    Answer { exit, stdout: String::from_utf8(out).unwrap(), stderr: String::from_utf8(err).unwrap() }
}

/// Removes hints, which are separate lines that ipvsadm lacks.
fn without_hints(stderr: &str) -> String {
    stderr.split_inclusive('\n').filter(|line| !line.starts_with("hint: ")).collect()
}

/// Removes thresholds, which ipvsadm does not save.
fn without_thresholds(saved: &str) -> String {
    let line = |line: &str| {
        let cut = line.find(" -x ").or_else(|| line.find(" -y ")).unwrap_or(line.len());
        [line[..cut].to_owned(), "\n".to_owned()]
    };
    saved.lines().flat_map(line).collect()
}

#[tokio::test]
async fn command_lines_do_what_they_did_in_ipvsadm_but_for_the_differences_that_are_listed() {
    let cases: Vec<Case> = serde_json::from_str(CASES).unwrap();
    let mut listed = listed("ipvsadm");
    let mut wrong = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        let memory = Memory::new(Desired::default());
        for line in &case.setup {
            let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            run(&memory, &words, "").await;
        }
        let mut answer = run(&memory, &case.arguments, case.stdin.as_deref().unwrap_or_default()).await;
        answer.stderr = without_hints(&answer.stderr);
        if case.arguments == ["-S"] {
            answer.stdout = without_thresholds(&answer.stdout);
        }
        let expected = Answer { exit: case.exit, stdout: case.stdout.clone(), stderr: case.stderr.clone() };
        let saved = without_thresholds(&memory.saved());
        let agrees = (&answer, saved.trim_end()) == (&expected, case.saved_after.trim_end());
        let is_listed = listed.remove(&number.to_string());
        if agrees == is_listed {
            let arguments = case.arguments.join(" ");
            wrong.push(format!(
                "{number}: {arguments}: agrees: {agrees}, listed: {is_listed}\n{answer:#?}\nnot\n{expected:#?}\nsaved\n{saved}\nnot\n{}",
                case.saved_after
            ));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n\n"));
    assert_eq!(cases.len(), 289);
    assert!(listed.is_empty(), "no case has these numbers: {listed:?}");
}
