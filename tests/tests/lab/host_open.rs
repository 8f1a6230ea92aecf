// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xvs host open`: its rules come first, once, whatever else is done to the firewall.

use std::fs;

use lb_tests::lab::{Host, Lab, VIP, VIP6};

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

    // Another service's rules above are no hindrance; somebody else's are.
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

    // Restore finds them also where the file that remembered them is lost, and the service was opened again.
    fs::remove_file(real.path("host.json")).expect("it remembers rules");
    open(&web);
    real.host_restore().succeeds();
    real.sh("iptables-legacy -D INPUT -p tcp --dport 80 -j DROP").succeeds();
    let left = rules(real);
    assert!(!left.contains("xvs"), "{left}");
    assert_eq!(left.replace("\t\ttcp dport 80 drop\n", ""), before);
    // Of the other version: what has no rule of its own gets none.
    open(&format!("[{VIP6}]:80")).does_not_say("iptables-legacy");
}
