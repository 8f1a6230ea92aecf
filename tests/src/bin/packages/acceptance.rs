// SPDX-License-Identifier: MIT OR Apache-2.0
//! What an operator gets from the package: a balanced service in four commands, rates and states in `xvs top` and on
//! the page, and an alert when a real is switched off.

use std::{
    fmt::Display,
    net::Ipv4Addr,
    thread,
    time::{Duration, Instant},
};

use lb_tests::lab::{Browser, HTTP, Lab, METRICS, Machine, Prometheus, RIPS, VIP, eventually};
use serde_json::{Value, json};

use crate::{property, requests};

/// Number of commands from nothing to a balanced service.
const COMMANDS: usize = 4;
/// Longest time until a real that is switched off is shown as such, by the intervals of the health checks that are the
/// default.
const SHOWN: Duration = Duration::from_secs(10);
/// Longest time until the alert fires: the minute that its rule waits, and some scrapes.
const FIRES: Duration = Duration::from_secs(90);

/// Installs the package and balances a service.
pub fn first_service(lab: &Lab, machine: &Machine<'_>) {
    let reals: Vec<String> = RIPS.iter().map(|rip| format!("--real {rip}")).collect();
    let add = format!("xvs service add tcp {VIP}:80 --check web {}", reals.join(" "));
    let commands: [&str; COMMANDS] = [
        "apt-get install --yes --no-install-recommends /root/old.deb",
        "systemctl enable --now xvs",
        "xvs check add web http",
        &add,
    ];
    for command in commands {
        machine.sh(command).succeeds();
        if command == commands[0] {
            nothing_runs(machine);
        }
    }
    // A real gets connections once its check has passed.
    for rip in RIPS {
        is_in_top(machine, rip, &["up"]);
    }
    requests(lab);
    eventually("systemd shows the state", || match property(machine, "xvs", "StatusText") {
        status if status.contains("1 service, 3 reals on eth0") => Ok(()),
        status => Err(status),
    });
    machine.sh("stat -c %U:%G:%a /run/xvs/xvs.sock").succeeds().says("root:xvs:660");
    machine.sh("xvs doctor").says("nothing");
}

/// Checks that a package that was just installed has started nothing.
fn nothing_runs(machine: &Machine<'_>) {
    for unit in ["xvs", "xvs-agent"] {
        assert_eq!(property(machine, unit, "ActiveState"), "inactive", "{unit}");
        assert_eq!(property(machine, unit, "UnitFileState"), "disabled", "{unit}");
    }
    machine.sh("getent group xvs").succeeds();
    machine.sh("xvs --version").succeeds();
    machine.sh("xvs plan --offline /etc/xvs/xvs.toml").succeeds();
    // An agent without a token is skipped, which is no failure.
    machine.sh("systemctl start xvs-agent").succeeds();
    assert_eq!(property(machine, "xvs-agent", "ActiveState"), "inactive");
}

/// Switches a real off, and waits for the alert in Prometheus, with the package's own rules. Prints the times.
pub fn dead_real(lab: &Lab, machine: &Machine<'_>) {
    machine
        .sh(&format!(
            "sed -i 's/^#metrics = .*/metrics = \"{METRICS}\"\\nhttp = \"{HTTP}\"/' /etc/xvs/xvs.toml \
             && xvs config check /etc/xvs/xvs.toml && systemctl restart xvs"
        ))
        .succeeds();
    // dpkg compresses long documents.
    let rules = machine.sh("zcat -f /usr/share/doc/xvs/examples/prometheus/xvs.rules.yml*").succeeds().stdout;
    let prometheus = Prometheus::start_with_rules(&lab.director, &rules);
    let browser = Browser::start(&lab.director);
    browser.look(1440, 900, "light");
    browser.open(&format!("http://{HTTP}/"));
    for rip in RIPS {
        browser.until(&format!("{} === 'up'", state_on_page(rip)));
    }
    requests(lab);
    let [.., dead] = RIPS;
    let firing = format!("ALERTS{{alertname=\"XvsRealDown\",alertstate=\"firing\",real=\"{dead}:80\"}}");
    assert_eq!(prometheus.query(&firing), json!([]));

    lab.switch.ip("link set real3 down");
    let off = Instant::now();
    within(off, SHOWN, "the page shows the dead real", || {
        let word = browser.run(&format!("return {};", state_on_page(dead)));
        if is_dead(word.as_str().unwrap_or_default()) { Ok(()) } else { Err(word.to_string()) }
    });
    is_in_top(machine, dead, &DEAD);
    assert!(off.elapsed() < SHOWN, "xvs top shows the dead real {:.1?} after the page", off.elapsed());
    // New connections have another real.
    requests(lab);
    within(off, FIRES, "the alert fires", || match prometheus.query(&firing) {
        Value::Array(alerts) if alerts.len() == 1 => Ok(()),
        other => Err(other.to_string()),
    });
    lab.switch.ip("link set real3 up");
    browser.until(&format!("{} === 'up'", state_on_page(dead)));
    requests(lab);
}

/// Words for a real that cannot serve.
const DEAD: [&str; 2] = ["down", "no answer"];

fn is_dead(word: &str) -> bool {
    DEAD.contains(&word)
}

/// Waits until `xvs top --once` shows the real with one of these words.
fn is_in_top(machine: &Machine<'_>, rip: Ipv4Addr, words: &[&str]) {
    eventually("xvs top --once shows the real", || {
        let top = machine.sh(&format!("xvs top --once --filter {rip}:")).succeeds().stdout;
        let row = top.lines().find(|line| line.contains(&format!("{rip}:")));
        let is_there = row.is_some_and(|row| words.iter().any(|word| row.contains(word)));
        if is_there { Ok(()) } else { Err(top) }
    });
}

/// Returns an expression: the state of the real, as the page shows it.
fn state_on_page(rip: Ipv4Addr) -> String {
    format!(
        "[...document.querySelectorAll('tr.real')].find((row) => row.querySelector('.c-name').textContent\
         .startsWith('{rip}:'))?.querySelector('.state .word').textContent"
    )
}

/// Waits until `look` succeeds, at most that long since `began`, and prints the time.
fn within<E: Display>(began: Instant, most: Duration, what: &str, look: impl Fn() -> Result<(), E>) {
    while let Err(state) = look() {
        assert!(began.elapsed() < most, "{what}: not within {most:?}; last: {state}");
        thread::sleep(Duration::from_millis(100));
    }
    println!("         {what} after {:.1} s", began.elapsed().as_secs_f64());
}
