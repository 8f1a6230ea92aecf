// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xvs host open`: its rules are first, and present once, after other changes of the firewall too.

use std::fs;

use lb_tests::lab::{Host, Lab, Real, VIP, VIP6};

const NFT: &str = "table inet wall {
    chain input { type filter hook input priority 0; policy drop; tcp dport 22 accept; }
    chain early { type filter hook prerouting priority -300; ip saddr 10.9.0.0/16 drop; }
}\n";

/// All rules of both firewalls, without handles.
fn rules(host: &Host) -> String {
    let legacy = host.sh("iptables-legacy-save -t filter").succeeds().stdout;
    let legacy = legacy.lines().filter(|line| !line.starts_with(['#', ':'])).collect::<Vec<_>>().join("\n");
    host.sh("nft list ruleset").succeeds().stdout + &legacy
}

#[test]
fn rules_are_made_once_and_move_to_the_top() {
    let lab = Lab::new();
    let real = &lab.reals[0];
    real.feed(&["nft", "-f", "-"], NFT);
    real.sh("iptables-legacy -A INPUT -p tcp --dport 8000:8010 -j DROP").succeeds();
    let before = rules(real);
    let open = |service: &str| real.xvs_host(&format!("open tcp {service}")).succeeds();

    let (web, tls) = (format!("{VIP}:80"), format!("{VIP}:443 --tunnel ipip"));
    open(&web).says("iptables-legacy filter INPUT").says("inet wall input").says("inet wall early");
    let once = rules(real);
    assert_ne!(once, before);
    let again = open(&web);
    assert!(again.stdout.lines().all(|line| line.starts_with("ok ")), "{again}");
    assert_eq!(rules(real), once);

    // Rules of another service may precede them; rules of another program may not.
    open(&tls);
    let both = rules(real);
    open(&web);
    assert_eq!(rules(real), both);
    real.sh("nft insert rule inet wall input tcp dport 80 drop").succeeds();
    real.sh("iptables-legacy -I INPUT -p tcp --dport 80 -j DROP").succeeds();
    open(&web);
    let moved = rules(real);
    assert_eq!(moved.matches("xvs host open").count(), both.matches("xvs host open").count(), "{moved}");
    let (ours, drop) = (moved.find("tcp dport 80 accept"), moved.find("tcp dport 80 drop"));
    assert!(ours.is_some() && ours < drop, "{moved}");
    let (ours, drop) = (moved.find("--dport 80 -m comment"), moved.find("--dport 80 -j DROP"));
    assert!(ours.is_some() && ours < drop, "{moved}");

    // Restore finds the rules even if the state file was lost and the service was opened again.
    fs::remove_file(real.path("host.json")).expect("it remembers rules");
    open(&web);
    real.host_restore().succeeds();
    real.sh("iptables-legacy -D INPUT -p tcp --dport 80 -j DROP").succeeds();
    let left = rules(real);
    assert!(!left.contains("xvs"), "{left}");
    assert_eq!(left.replace("\t\ttcp dport 80 drop\n", ""), before);
    // Tables of the other IP version that have no rules get none.
    open(&format!("[{VIP6}]:80")).does_not_say("iptables-legacy");
}

/// The lines of `xvs host` in JSON: outcome, subject and command.
fn lines(real: &Real, line: &str) -> Vec<(String, String, Option<String>)> {
    let list = real.xvs_host(&format!("{line} --output json")).succeeds().json();
    let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
    let lines = list.as_array().expect("a list").iter();
    let line = |line: &serde_json::Value| {
        (
            text(&line["outcome"]).expect("every line has an outcome"),
            text(&line["item"]).expect("every line has an item"),
            text(&line["command"]),
        )
    };
    lines.map(line).collect()
}

#[test]
fn a_dry_run_prints_the_rules_and_its_commands_make_the_same() {
    let lab = Lab::new();
    let real = &lab.reals[0];
    real.feed(&["nft", "-f", "-"], NFT);
    // By its policy and by a rule: still one chain.
    real.sh("iptables-legacy -A INPUT -p tcp --dport 8000:8010 -j DROP").succeeds();
    real.sh("iptables-legacy -A OUTPUT -p tcp --dport 25 -j DROP").succeeds();
    real.sh("iptables-legacy -P INPUT DROP").succeeds();
    real.sh("iptables-legacy -P OUTPUT DROP").succeeds();
    let before = rules(real);
    let open = format!("open tcp {VIP}:80 --tunnel ipip");
    let run = |line: &str| real.exec(["sh", "-ec", line]).succeeds();

    let by_hand = |line: &str| -> Vec<(String, String)> {
        let printed = lines(real, &format!("{line} --dry-run")).into_iter();
        let steps = printed.filter(|(outcome, ..)| outcome == "planned");
        steps.map(|(_, item, command)| (item, command.expect("a command"))).collect()
    };
    let steps = by_hand(&open);
    assert_eq!(rules(real), before);
    assert!(!real.path("host.json").exists());
    let done = lines(real, &open).into_iter();
    let done: Vec<String> =
        done.filter(|(outcome, ..)| outcome == "changed").map(|(_, item, _)| item).collect();
    assert_eq!(steps.iter().map(|(item, _)| item.clone()).collect::<Vec<_>>(), done);
    let opened = rules(real);
    assert_eq!(opened.matches("xvs host open").count(), steps.len(), "each step is a rule:\n{opened}");
    assert!(by_hand(&open).is_empty(), "once is enough");

    // By hand, in the order of the dry run; first back.
    for (_, command) in by_hand("restore") {
        run(&command);
    }
    assert_eq!(rules(real), before);
    assert!(by_hand("restore").is_empty(), "no rule of xvs is left");
    for (_, command) in &steps {
        run(command);
    }
    assert_eq!(rules(real), opened);

    // Rules of somebody else are above: the old ones move.
    run("nft insert rule inet wall input tcp dport 80 drop");
    run("iptables-legacy -I INPUT -p tcp --dport 80 -j DROP");
    let (lowered, steps) = (rules(real), by_hand(&open));
    lines(real, &open);
    let moved = rules(real);
    assert_ne!(moved, lowered);
    assert_eq!(moved.matches("xvs host open").count(), opened.matches("xvs host open").count());
    let items = steps.iter().filter(|(_, command)| command.contains("delete") || command.contains("-D"));
    assert_eq!(items.count(), steps.len() / 2, "as many go as come: {steps:?}");
    real.host_restore().succeeds();
    assert!(!rules(real).contains("xvs"));
}
