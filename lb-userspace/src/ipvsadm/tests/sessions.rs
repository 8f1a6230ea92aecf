// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sequences of command lines.

use super::{
    memory::Memory,
    recorded::{Answer, run},
};
use crate::{api::types::Change, daemon};
use lb_control::options::{RealOptions, ServiceOptions};
use lb_model::{Desired, RealAddress, ServiceId};

async fn command(memory: &Memory, line: &str) -> Answer {
    let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    run(memory, &words, "").await
}

/// Runs commands that must succeed without output.
async fn after(lines: &[&str]) -> Memory {
    let memory = Memory::new(Desired::default());
    for line in lines {
        let answer = command(&memory, line).await;
        assert_eq!((answer.exit, answer.stderr.as_str()), (0, ""), "{line}");
    }
    memory
}

/// Tests rules that ipvsadm accepts, and that xvs refuses or the kernel would have refused.
#[rstest::rstest]
#[case::persistence_engine("-A -u 10.0.0.9:5060 -s rr --pe sip", 2)]
#[case::remote_checksum("-a -t 10.0.0.1:80 -r 10.0.0.9 -i --tun-type gue --tun-port 6080 --tun-remcsum", 2)]
#[case::netmask("-A -t 10.0.0.9:80 -p 60 -M 255.0.255.0", 2)]
#[case::scheduler("-A -t 10.0.0.9:80 -s best", 255)]
#[case::thresholds("-a -t 10.0.0.1:80 -r 10.0.0.9 -g -x 1 -y 2", 255)]
#[case::address("-A -t 224.0.0.1:80 -s rr", 255)]
#[case::twice("-A -t 10.0.0.1:80 -s rr", 255)]
#[case::synchronization("--start-daemon master", 255)]
#[tokio::test]
async fn a_rule_that_is_refused_does_not_void_the_others(#[case] rule: &str, #[case] code: u8) {
    let memory = after(&["-A -t 10.0.0.8:80 -s rr"]).await;
    let rules = format!(
        "-C\n-A -t 10.0.0.1:80 -s rr\n{rule}\n-a -t 10.0.0.1:80 -r 10.0.0.2:80 -g -w 1\n-A -t 10.0.0.2:80 -s rr\n"
    );
    let answer = run(&memory, &["-R".to_owned()], &rules).await;
    assert_eq!(
        memory.saved(),
        "-A -t 10.0.0.1:80 -s rr\n-a -t 10.0.0.1:80 -r 10.0.0.2:80 -g -w 1\n-A -t 10.0.0.2:80 -s rr\n"
    );
    assert_eq!(answer.exit, code, "{}", answer.stderr);
    assert!(answer.stderr.contains(&format!("hint: line 3: {rule}")), "{}", answer.stderr);
}

#[tokio::test]
async fn a_line_that_cannot_be_understood_voids_all() {
    let memory = after(&["-A -t 10.0.0.8:80 -s rr"]).await;
    for (line, code) in [("-A -t nonsense", 2), ("garbage", 255), ("-A -t 10.0.0.1:80 --colour", 255)] {
        let answer = run(&memory, &["-R".to_owned()], &format!("-C\n{line}\n-A -t 10.0.0.1:80\n")).await;
        assert_eq!(answer.exit, code, "{line}");
        assert!(answer.stderr.ends_with(&format!("hint: line 2: {line}; nothing was changed\n")), "{line}");
        assert_eq!(memory.saved(), "-A -t 10.0.0.8:80 -s rr\n", "{line}");
    }
}

#[tokio::test]
async fn a_time_that_is_too_long_is_cut_and_named() {
    let memory = after(&[]).await;
    let answer = run(&memory, &["-R".to_owned()], "-A -t 10.0.0.1:80 -s rr -p 2678400\n").await;
    assert_eq!((answer.exit, memory.saved().as_str()), (0, "-A -t 10.0.0.1:80 -s rr -p 2073600\n"));
    assert!(answer.stderr.contains("24 days") && answer.stderr.contains("line 1"), "{}", answer.stderr);
}

#[tokio::test]
async fn a_mark_has_a_service_of_each_version() {
    let lines = [
        "-A -f 3 -s rr",
        "-A -f 3 -6 -s wrr -p 60 -M 64",
        "-a -f 3 -r 10.0.0.2 -g",
        "-a -f 3 -6 -r 2001:db8::2 -m -w 4",
        "-A -f 4 -6 -s sh",
    ];
    let memory = after(&lines).await;
    let saved = "-A -f 3 -s rr\n-a -f 3 -r 10.0.0.2:0 -g -w 1\n-A -f 3 -6 -s wrr -p 60 -M 64\n\
                 -a -f 3 -6 -r [2001:db8::2]:0 -m -w 4\n-A -f 4 -6 -s sh\n";
    assert_eq!(memory.saved(), saved);
    let other = Memory::new(Desired::default());
    assert_eq!(run(&other, &["-R".to_owned()], saved).await.exit, 0);
    assert_eq!(other.saved(), saved);
    let listed = command(&memory, "-Ln").await.stdout;
    assert!(listed.contains("\nFWM  3 IPv6 wrr persistent 60 mask 64\n  -> [2001:db8::2]:0 "), "{listed}");
    assert_eq!(command(&memory, "-A -f 4 -6").await.stderr, "Service already exists\n");
    assert_eq!(command(&memory, "-D -f 4").await.stderr, "No such service\n");
    assert_eq!(command(&memory, "-D -f 3 -6").await.exit, 0);
    assert_eq!(memory.saved(), "-A -f 3 -s rr\n-a -f 3 -r 10.0.0.2:0 -g -w 1\n-A -f 4 -6 -s sh\n");
}

/// Tests that `-f 9 -6` refers to the one service that `xvs service add group 9` makes for both versions, if
/// its clients have IPv6.
#[tokio::test]
async fn a_group_of_ipv6_is_shown_and_found_as_a_mark_of_ipv6() {
    let mut desired = Desired::default();
    let service = ServiceId::group(9);
    let options = ServiceOptions { persistent: Some(60), netmask: Some(64), ..ServiceOptions::default() };
    let real = |text: &str| RealAddress { ip: text.parse().unwrap(), port: None };
    for change in [
        Change::AddService { service, options, take_over: false },
        Change::AddReal { service, real: real("2001:db8::2"), options: RealOptions::default() },
    ] {
        daemon::apply(&mut desired, &change).unwrap();
    }
    let memory = Memory::new(desired);
    let saved = memory.saved();
    assert!(saved.starts_with("-A -f 9 -6 -s mh -p 60 -M 64"), "{saved}");
    assert_eq!(command(&memory, "-d -f 9 -6 -r 2001:db8::2").await.exit, 0);
    assert_eq!(command(&memory, "-D -f 9 -6").await.exit, 0);
    assert_eq!(memory.saved(), "");
}

#[rstest::rstest]
#[case::direct("-g")]
#[case::tunnel("-i")]
#[case::nat("-m")]
#[tokio::test]
async fn the_director_itself_can_be_a_real(#[case] method: &str) {
    let memory = after(&[
        "-A -t 10.0.0.1:80 -s rr",
        &format!("-a -t 10.0.0.1:80 -r 127.0.0.1:80 {method} -w 1"),
        &format!("-a -t 10.0.0.1:80 -r 10.0.0.1:80 {method} -w 1"),
        "-A -t [2001:db8::1]:80 -s rr",
        &format!("-a -t [2001:db8::1]:80 -r [::1]:80 {method} -w 1"),
        "-e -t 10.0.0.1:80 -r 127.0.0.1:80 -g -w 0",
    ])
    .await;
    let listed = command(&memory, "-Ln").await.stdout;
    let locals: Vec<&str> = listed.lines().filter(|line| line.contains(" Local ")).collect();
    assert_eq!(locals.len(), 3, "{listed}");
    assert!(memory.saved().contains("-a -t 10.0.0.1:80 -r 127.0.0.1:80 -g -w 0\n"), "{}", memory.saved());
    assert_eq!(command(&memory, "-d -t 10.0.0.1:80 -r 127.0.0.1:80").await.exit, 0);
}

#[tokio::test]
async fn names_are_saved_so_that_they_can_be_restored() {
    let lines = [
        "-A -t [2001:db8::1]:80 -s rr",
        "-a -t [2001:db8::1]:80 -r [2001:db8:1111:2222:3333:4444:5555:6666]:8080 -m",
        "-A -t 10.0.0.1:https -s rr",
    ];
    let memory = after(&lines).await;
    let saved = command(&memory, "-S").await.stdout;
    assert!(saved.contains("-A -t [2001:db8::1]:http -s rr\n"), "{saved}");
    let other = Memory::new(Desired::default());
    let answer = run(&other, &["-R".to_owned()], &saved).await;
    assert_eq!((answer.exit, other.saved()), (0, memory.saved()));
}

#[tokio::test]
async fn a_refused_rule_does_not_split_a_restore() {
    let memory = after(&["-A -t 10.0.0.1:80 -s rr", "-A -t 10.0.0.3:80 -s rr"]).await;
    let before = *memory.steps.lock().unwrap();
    let rules = "-C\n-A -t 10.0.0.1:80 -s rr\n-A -t 10.0.0.2:80 -s unknown\n-A -t 10.0.0.3:80 -s rr\n";
    let answer = run(&memory, &["-R".to_owned()], rules).await;
    assert_ne!(answer.exit, 0, "a rule was refused");
    // In two steps, the second service and its connections would end with the first step.
    assert_eq!(*memory.steps.lock().unwrap() - before, 1);
    assert_eq!(memory.saved(), "-A -t 10.0.0.1:80 -s rr\n-A -t 10.0.0.3:80 -s rr\n");
}

#[tokio::test]
async fn daemons_start_once_and_stop_once() {
    let memory = after(&["--start-daemon master --mcast-interface eth0 --syncid 7"]).await;
    let again = command(&memory, "--start-daemon master --mcast-interface eth0").await;
    assert_eq!((again.exit, again.stderr.as_str()), (255, "Daemon has already run\n"));
    let other = command(
        &memory,
        "--start-daemon backup --mcast-interface eth1 --mcast-group ff02::81 --mcast-port 9 --mcast-ttl 2 --sync-maxlen 1000",
    );
    assert_eq!(other.await.exit, 0);
    assert_eq!(
        command(&memory, "-L --daemon").await.stdout,
        "master sync daemon (mcast=eth0, syncid=7, maxlen=1472, group=224.0.0.81, port=8848, ttl=1)\n\
         backup sync daemon (mcast=eth1, syncid=0, maxlen=1000, group=ff02::81, port=9, ttl=2)\n"
    );
    assert_eq!(command(&memory, "--stop-daemon backup").await.exit, 0);
    let none = command(&memory, "--stop-daemon backup").await;
    assert_eq!((none.exit, none.stderr.as_str()), (255, "No daemon is running\n"));
}
