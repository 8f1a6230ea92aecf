// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tests of commands.
#![forbid(unsafe_code)]

use std::{fs, process, time::Duration};

use super::*;
use crate::runner::Runner;

/// Returns a check that runs a shell, as the user of the tests unless that is root.
fn shell(script: &str) -> Check {
    let command = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
    let own = nix::unistd::geteuid();
    let user = (!own.is_root()).then(|| own.to_string());
    Check { command, user, ..check(CheckType::Exec) }
}

fn address() -> SocketAddr {
    "192.0.2.9:80".parse().unwrap()
}

#[tokio::test]
async fn the_exit_code_decides_and_the_first_line_is_the_text() {
    for (script, code, text) in [
        ("echo; echo ready; echo more", ResultCode::ProcessOk, "ready"),
        ("true", ResultCode::ProcessOk, ""),
        ("echo broken >&2; exit 3", ResultCode::ProcessError, "exit code 3: broken"),
        ("kill -9 $$", ResultCode::ProcessError, "killed by signal 9"),
        ("yes | head -c 1000000; exit 1", ResultCode::ProcessError, "exit code 1: y"),
    ] {
        let mut check = shell(script);
        check.timing.timeout = Period::from_millis(2000);
        assert_eq!(probe_address(&check, address()).await, (code, text.to_owned()), "{script}");
    }
    let missing = Check { command: vec!["/nonexistent/check".into()], ..shell("") };
    let (code, text) = probe_address(&missing, address()).await;
    assert_eq!(code, ResultCode::SocketError);
    assert!(text.starts_with("cannot run /nonexistent/check as "), "{text}");
}

#[tokio::test]
async fn the_environment_has_the_target_and_nothing_else() {
    let script = "env | grep -v -e ^PWD= -e ^_= -e ^SHLVL= -e ^OLDPWD= | sort | tr '\\n' ' '";
    let (code, text) = probe_address(&shell(script), address()).await;
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let target = "XVS_CHECK=name XVS_PORT=8000 XVS_REAL=192.0.2.9 XVS_REAL_PORT=80 XVS_VIP=192.0.2.1";
    assert_eq!((code, text), (ResultCode::ProcessOk, format!("{path} {target}")));
}

#[tokio::test]
async fn the_user_has_no_privileges() {
    let (_, text) = probe_address(&shell("echo $(id -u) $(id -G)"), address()).await;
    let numbers: Vec<u32> = text.split(' ').map(|number| number.parse().unwrap()).collect();
    assert!(!numbers.contains(&0), "{text}");
    assert_eq!(numbers.len(), 2, "one group: {text}");
}

#[tokio::test]
async fn the_weight_is_the_exit_code_less_two() {
    let weight = async |script: &str| {
        let check = Check { dynamic_weight: true, ..shell(script) };
        let target = target(&check, address());
        let prepared = Prepared::new(&target.check).unwrap();
        let (result, weight) = run(&prepared, &target, &Way::Direct, None).await;
        (result.code, weight)
    };
    assert_eq!(weight("exit 0").await, (ResultCode::ProcessOk, None));
    assert_eq!(weight("exit 1").await, (ResultCode::ProcessError, None));
    assert_eq!(weight("exit 2").await, (ResultCode::ProcessOk, Some(0)));
    assert_eq!(weight("exit 52").await, (ResultCode::ProcessOk, Some(50)));
    assert_eq!(weight("exit 255").await, (ResultCode::ProcessOk, Some(253)));
}

/// Returns the number of processes that have this word in their command line.
fn processes(word: &str) -> usize {
    let is_one = |entry: &fs::DirEntry| {
        fs::read(entry.path().join("cmdline"))
            .is_ok_and(|line| line.split(|byte| *byte == 0).any(|one| one == word.as_bytes()))
    };
    fs::read_dir("/proc").unwrap().filter_map(Result::ok).filter(is_one).count()
}

/// Waits until that many processes have this word in their command line.
async fn wait_for(word: &str, number: usize) {
    for _ in 0..200 {
        if processes(word) == number {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{} processes, not {number}", processes(word));
}

#[tokio::test]
async fn a_timeout_kills_the_whole_group() {
    let seconds = format!("3600.{}1", process::id());
    let mut check = shell(&format!("(sleep {seconds} & sleep {seconds}) & sleep {seconds}"));
    check.timing.timeout = Period::from_millis(1500);
    let (found, ()) = tokio::join!(probe_address(&check, address()), wait_for(&seconds, 3));
    assert_eq!(found, (ResultCode::ProcessTimeout, "the command was killed after 1s 500ms".to_owned()));
    wait_for(&seconds, 0).await;
}

#[tokio::test]
async fn a_dropped_probe_kills_its_command() {
    let seconds = format!("3600.{}2", process::id());
    let mut check = shell(&format!("sleep {seconds} & sleep {seconds}"));
    check.timing.timeout = Period::from_millis(2000);
    tokio::select! {
        _ = probe_address(&check, address()) => panic!("the command does not end"),
        () = wait_for(&seconds, 2) => (),
    }
    wait_for(&seconds, 0).await;
}

#[tokio::test]
async fn the_end_of_the_runner_kills_commands() {
    let seconds = format!("3600.{}3", process::id());
    let mut check = shell(&format!("sleep {seconds} & sleep {seconds}"));
    check.timing.interval = Period::from_millis(60_000);
    check.timing.timeout = Period::from_millis(60_000);
    let no_path = || Err(std::io::ErrorKind::Unsupported.into());
    let handle = Runner::start(no_path, vec![]).unwrap();
    handle.plan(vec![target(&check, address())]);
    wait_for(&seconds, 2).await;
    drop(handle);
    wait_for(&seconds, 0).await;
}

#[test]
fn root_and_unknown_users_are_refused() {
    for (user, why) in [
        ("root", "unprivileged"),
        ("0", "unprivileged"),
        ("no-such-user", "there is no user no-such-user"),
        ("4294967294", "there is no user"),
    ] {
        let check = Check { user: Some(user.into()), ..shell("true") };
        let refused = Prepared::new(&Arc::new(check)).unwrap_err();
        assert!(refused.contains(why), "{refused}");
    }
}
