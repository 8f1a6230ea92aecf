// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command line of IPVS: the commands of scripts, and the output that they read.

use std::{fs, os::unix::fs::symlink, path::PathBuf};

use lb_tests::{
    artifacts,
    lab::{Director, Outcome, Stage},
};

/// Exit codes of ipvsadm.
const NOT_UNDERSTOOD: i32 = 2;
const REFUSED_BY_THE_KERNEL: i32 = 255;
const NOTHING_TO_LIST: i32 = 1;

const RULES: &str = "\
-A -t 192.0.2.100:80 -s wlc
-a -t 192.0.2.100:80 -r 10.0.0.11:80 -g -w 1
-a -t 192.0.2.100:80 -r 10.0.0.12:80 -i -w 3 --tun-type ipip
-a -t 192.0.2.100:80 -r 10.0.0.13:8080 -m -w 0 -x 100 -y 50
-A -u 192.0.2.100:53 -s rr -o
-a -u 192.0.2.100:53 -r 10.0.0.11:53 -g -w 1
-A -f 7 -s sh -p 360 -M 255.255.255.0 -b sh-port
-a -f 7 -r 10.0.0.11:0 -g -w 1
";

const LIST: &str = "\
IP Virtual Server version 1.2.1 (size=1048576)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn
TCP  192.0.2.100:80 wlc
  -> 10.0.0.11:80                 Route   1      0          0        \u{20}
  -> 10.0.0.12:80                 Tunnel  3      0          0        \u{20}
  -> 10.0.0.13:8080               Masq    0      0          0        \u{20}
UDP  192.0.2.100:53 rr ops
  -> 10.0.0.11:53                 Route   1      0          0        \u{20}
FWM  7 sh (sh-port) persistent 360 mask 255.255.255.0
  -> 10.0.0.11:0                  Route   1      0          0        \u{20}
";

/// Runs a shell line in which `ipvsadm`, `ipvsadm-save` and `ipvsadm-restore` are links to xvs.
#[track_caller]
fn sh(director: &Director, line: &str) -> Outcome {
    let bin = links(director);
    let line =
        format!("PATH={}:$PATH; export XVS_SOCKET={}; {line}", bin.display(), director.socket().display());
    director.exec(["sh", "-c", &line])
}

fn links(director: &Director) -> PathBuf {
    let bin = director.path("bin");
    if !bin.exists() {
        fs::create_dir(&bin).expect("the lab's folder is writable");
        for name in ["ipvsadm", "ipvsadm-save", "ipvsadm-restore"] {
            symlink(artifacts::xvs(), bin.join(name)).expect("nothing is there yet");
        }
    }
    bin
}

#[test]
fn rules_of_ipvs_are_taken_listed_saved_and_restored() {
    let stage = Stage::new();
    let director = &stage.lab.director;
    for rule in RULES.lines() {
        let rule = director.xvs(&format!("ipvsadm {rule}")).succeeds();
        assert_eq!(rule.stdout, "", "ipvsadm is silent when it has done what it was asked");
    }
    let list = director.xvs("ipvsadm -L -n").succeeds().stdout;
    assert_eq!(list.trim_end(), LIST.trim_end());
    assert_eq!(director.xvs("ipvsadm -S -n").succeeds().stdout, RULES.trim_end());

    let saved = director.path("saved");
    sh(director, &format!("ipvsadm-save -n > {}", saved.display())).succeeds();
    assert_eq!(fs::read_to_string(&saved).unwrap(), RULES);
    director.xvs("group add 7 tcp 192.0.2.100:443").succeeds();
    director.xvs("ipvsadm -C").succeeds();
    assert_eq!(director.xvs("ipvsadm -S").succeeds().stdout, "");
    // As marks persist when the table of IPVS is cleared.
    director.xvs("group list").succeeds().says("tcp 192.0.2.100:443");
    sh(director, &format!("ipvsadm -R < {}", saved.display())).succeeds();
    assert_eq!(sh(director, "ipvsadm -Ln").succeeds().stdout, list);

    // The restored rules replace all others in one step; reals in both stay untouched.
    director.xvs("ipvsadm -D -u 192.0.2.100:53").succeeds();
    director.xvs("ipvsadm -A -t 192.0.2.100:81").succeeds();
    sh(director, &format!("ipvsadm-restore < {}", saved.display())).succeeds();
    assert_eq!(sh(director, "ipvsadm-save -n").succeeds().stdout, RULES.trim_end());
}

#[test]
fn an_edit_says_everything_anew() {
    let stage = Stage::new();
    let director = &stage.lab.director;
    for line in [
        "-A -t 192.0.2.100:80 -s mh -b mh-port -p 60",
        "-a -t 192.0.2.100:80 -r 10.0.0.11 -m -w 5 -x 9",
        "-E -t 192.0.2.100:80 -s rr",
        "-e -t 192.0.2.100:80 -r 10.0.0.11",
    ] {
        director.xvs(&format!("ipvsadm {line}")).succeeds();
    }
    let rules = "-A -t 192.0.2.100:80 -s rr\n-a -t 192.0.2.100:80 -r 10.0.0.11:80 -g -w 1";
    assert_eq!(director.xvs("ipvsadm -Sn").succeeds().stdout, rules);
    director.xvs("ipvsadm -d -t 192.0.2.100:80 -r 10.0.0.11").succeeds();
    director.xvs("ipvsadm -D -t 192.0.2.100:80").succeeds();
    assert_eq!(director.xvs("ipvsadm -S").succeeds().stdout, "");
}

#[test]
fn timeouts_are_set_and_shown() {
    let stage = Stage::new();
    let director = &stage.lab.director;
    director.xvs("ipvsadm --set 600 60 30").succeeds();
    director.xvs("ipvsadm -L --timeout").succeeds().says("Timeout (tcp tcpfin udp): 600 60 30");
    director.xvs("timeouts --udp 20s").succeeds();
    director.xvs("ipvsadm --set 0 50 0").succeeds();
    director.xvs("ipvsadm -l --timeout").succeeds().says(": 600 50 20");
}

#[test]
fn what_goes_wrong_is_said_as_scripts_expect() {
    let stage = Stage::new();
    let director = &stage.lab.director;
    director.xvs("ipvsadm -A -t 192.0.2.100:80").succeeds();
    director.xvs("ipvsadm -a -t 192.0.2.100:80 -r 10.0.0.11").succeeds();
    let before = director.xvs("export").succeeds().stdout;
    for (line, code, message) in [
        ("-A -t 192.0.2.100:80", REFUSED_BY_THE_KERNEL, "Service already exists"),
        ("-D -t 192.0.2.100:81", REFUSED_BY_THE_KERNEL, "No such service"),
        ("-E -t 192.0.2.100:81", REFUSED_BY_THE_KERNEL, "No such service"),
        ("-Z -t 192.0.2.100:81", REFUSED_BY_THE_KERNEL, "No such service"),
        ("-L -t 192.0.2.100:81", NOTHING_TO_LIST, "No such service"),
        ("-a -t 192.0.2.100:81 -r 10.0.0.11", REFUSED_BY_THE_KERNEL, "Service not defined"),
        ("-a -t 192.0.2.100:80 -r 10.0.0.11", REFUSED_BY_THE_KERNEL, "Destination already exists"),
        ("-d -t 192.0.2.100:80 -r 10.0.0.12", REFUSED_BY_THE_KERNEL, "No such destination"),
        ("-a -t 192.0.2.100:80 -r 224.0.0.1", REFUSED_BY_THE_KERNEL, "Invalid operation."),
        ("-A -t 192.0.2.100:82 -s best", REFUSED_BY_THE_KERNEL, "Scheduler or persistence engine not found"),
        ("-A -t 192.0.2.100", NOT_UNDERSTOOD, "Zero port specified for non-persistent service"),
        ("-D --sctp-service 192.0.2.100:80", REFUSED_BY_THE_KERNEL, "No such service"),
        ("-L --colour", REFUSED_BY_THE_KERNEL, "--colour: unknown option"),
    ] {
        let outcome = sh(director, &format!("ipvsadm {line}; echo ended with $?")).succeeds();
        outcome.says(message).says(&format!("ended with {code}"));
        assert_eq!(director.xvs("export").succeeds().stdout, before, "after {line}");
    }
    // A wrong line anywhere changes nothing.
    let rules = "ipvsadm -D -t 192.0.2.100:80\\n-A -t nowhere";
    sh(director, &format!("printf '{rules}' | ipvsadm -R; echo ended with $?"))
        .succeeds()
        .says("line 2")
        .says("ended with 2");
    assert_eq!(director.xvs("export").succeeds().stdout, before);
}

#[test]
fn counters_begin_anew_for_ipvsadm_and_for_nobody_else() {
    let stage = Stage::new();
    let director = &stage.lab.director;
    let _servers = stage.start_web_servers();
    director.xvs("ipvsadm -A -t 192.0.2.100:8001 -s rr").succeeds();
    director.xvs("ipvsadm -a -t 192.0.2.100:8001 -r 10.0.0.11").succeeds();
    director.wait_for_next_hops();
    let get = "curl --silent --output /dev/null http://192.0.2.100:8001/";
    stage.lab.client.sh(get).succeeds();

    let conns = || -> u64 {
        let page = director.xvs("ipvsadm -Ln --stats").succeeds().stdout;
        let line = page.lines().find(|line| line.starts_with("TCP")).unwrap();
        line.split_whitespace().nth(2).unwrap().parse().unwrap()
    };
    assert_eq!(conns(), 1);
    let connections = director.xvs("ipvsadm -L -n -c").succeeds();
    let connections = connections.says("IPVS connection entries\npro expire state       source             virtual            destination\nTCP ");
    connections.says(" 192.0.2.100:8001   10.0.0.11:8001");
    director.xvs("ipvsadm -Z").succeeds();
    assert_eq!(conns(), 0);
    let counted = director.stats().service("tcp", 8001).count;
    assert_eq!(counted.new_flows, 1, "xvs goes on counting");
    stage.lab.client.sh(get).succeeds();
    assert_eq!(conns(), 1);
    assert_eq!(director.stats().service("tcp", 8001).count.new_flows, 2);

    // The packets of the last seconds give a rate.
    let rate = director.xvs("ipvsadm -Ln --rate --exact").succeeds();
    rate.says("Prot LocalAddress:Port                 CPS    InPPS   OutPPS    InBPS   OutBPS");
}
