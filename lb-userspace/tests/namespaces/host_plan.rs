// SPDX-License-Identifier: MIT OR Apache-2.0
//! Dry runs of `xvs host`: the real run changes exactly what the dry run printed, and the printed commands do
//! the same.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
};

use lb_userspace::host::encapsulation::Support;
use rstest::rstest;
use serde_json::Value;

use crate::{host::Lab, lab::Netns};

/// The state of a host by subject, named as `restore` names it.
type Snapshot = BTreeMap<String, String>;

/// A line of the output in JSON.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Line {
    item: String,
    outcome: String,
    detail: String,
    command: Option<String>,
}

impl Lab {
    /// Returns the subjects that steps may change, and others.
    fn snapshot(&self, etc: &Path) -> Snapshot {
        let mut all = Snapshot::new();
        let sysctls = ["ipv4", "ipv6"].map(|version| self.sysctls(version));
        all.extend(sysctls.into_iter().flatten());
        for line in self.real.ip("-oneline address show").lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            all.insert(format!("{} on {}", words[3], words[1]), words[4..].join(" "));
        }
        for line in self.real.ip("-oneline link show").lines() {
            all.insert(line.split(": ").nth(1).unwrap().to_owned(), line.to_owned());
        }
        if let Some(interface) = self.attached() {
            all.insert(format!("XDP decapsulator on {interface}"), "attached".to_owned());
        }
        all.extend(files(etc));
        all
    }

    fn sysctls(&self, version: &str) -> Snapshot {
        let root = format!("/proc/sys/net/{version}/conf");
        self.real.run(|| {
            let mut all = Snapshot::new();
            for interface in fs::read_dir(&root).unwrap() {
                let interface = interface.unwrap();
                for setting in fs::read_dir(interface.path()).unwrap() {
                    let setting = setting.unwrap();
                    let [interface, name] =
                        [interface.file_name(), setting.file_name()].map(|name| name.into_string().unwrap());
                    let value = fs::read_to_string(setting.path()).unwrap_or_default();
                    all.insert(format!("net.{version}.conf.{interface}.{name}"), value.trim().to_owned());
                }
            }
            all
        })
    }

    #[track_caller]
    fn lines(&self, arguments: &str) -> Vec<Line> {
        let (output, result) = self.run(arguments, true);
        result.unwrap_or_else(|failure| panic!("xvs host {arguments}: {failure}\n{output}"));
        let list: Vec<Value> = serde_json::from_str(&output).unwrap();
        let text = |value: &Value| value.as_str().map(str::to_owned);
        list.iter()
            .map(|line| Line {
                item: text(&line["item"]).unwrap(),
                outcome: text(&line["outcome"]).unwrap(),
                detail: text(&line["detail"]).unwrap(),
                command: text(&line["command"]),
            })
            .collect()
    }

    /// Runs a command line of a dry run.
    #[track_caller]
    fn sh(&self, line: &str) {
        let output = self.real.run(|| Command::new("sh").args(["-ec", line]).output().unwrap());
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Checks that `arguments` do what their dry run says: the same lines, and only the changes of the steps.
    /// Returns the steps.
    #[track_caller]
    fn does_what_the_dry_run_prints(&self, arguments: &str, etc: &Path) -> Vec<Line> {
        let (before, remembered) = (self.snapshot(etc), fs::read(self.state()).ok());
        let printed = self.lines(&format!("{arguments} --dry-run"));
        assert_eq!(self.snapshot(etc), before, "{arguments}: a dry run changes nothing");
        assert_eq!(fs::read(self.state()).ok(), remembered);

        let done = self.lines(arguments);
        let after = self.snapshot(etc);
        let items = |lines: &[Line]| lines.iter().map(|line| line.item.clone()).collect::<Vec<_>>();
        assert_eq!(items(&printed), items(&done), "{arguments}");
        let steps: Vec<Line> = printed.iter().filter(|line| line.outcome == "planned").cloned().collect();
        for (printed, done) in printed.iter().zip(&done) {
            match (printed.outcome.as_str(), done.outcome.as_str()) {
                // "already" and "restored": it was undone from outside before.
                ("planned", "changed" | "restored") | ("already", "restored") => {}
                _ => assert_eq!(printed, done, "{arguments}"),
            }
        }
        let names = before.keys().chain(after.keys());
        let changed: BTreeSet<&str> =
            names.filter(|&name| before.get(name) != after.get(name)).map(String::as_str).collect();
        let subjects: Vec<String> = steps.iter().map(subject).collect();
        assert_eq!(changed, subjects.iter().map(String::as_str).collect(), "{arguments}\n{printed:#?}");
        for line in steps.iter().filter(|line| line.item.starts_with("net.ipv4.conf.")) {
            let [now, then] = [&before, &after].map(|all| all.get(&line.item).cloned().unwrap());
            let words = [format!("set to {then} (now {now})"), format!("set back to {then}")];
            assert!(words.contains(&line.detail), "{line:?}: from {now} to {then}");
        }
        steps
    }
}

/// Returns the name of a step's subject in a snapshot.
fn subject(line: &Line) -> String {
    match line.item.strip_prefix("VIP ") {
        Some(vip) if vip.contains(':') => format!("{vip}/128 on lo"),
        Some(vip) => format!("{vip}/32 on lo"),
        None if line.item == "decapsulation" => "XDP decapsulator on eth0".to_owned(),
        None => line.item.clone(),
    }
}

fn files(path: &Path) -> Vec<(String, String)> {
    let own = |text: String| (path.display().to_string(), text);
    if path.is_symlink() {
        return vec![own(fs::read_link(path).unwrap().display().to_string())];
    }
    if !path.is_dir() {
        return fs::read_to_string(path).ok().map(own).into_iter().collect();
    }
    let inside = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    inside.flat_map(|path| files(&path)).chain([own("directory".to_owned())]).collect()
}

/// Sets ARP levels and filters that are not those of setup. Returns the host behind a second interface, if that is added.
fn foreign(lab: &Lab, settings: i32) -> Option<Netns> {
    let values = match settings {
        0 => return None,
        1 => [("all", "arp_ignore", 3), ("lo", "arp_ignore", 8), ("eth0", "arp_announce", 1)],
        2 => [("all", "arp_announce", 2), ("eth0", "arp_ignore", 2), ("all", "rp_filter", 1)],
        _ => [("eth0", "arp_ignore", 1), ("lo", "arp_announce", 1), ("eth0", "rp_filter", 1)],
    };
    for (interface, name, value) in values {
        lab.set(interface, name, value);
    }
    if settings < 3 {
        return None;
    }
    // Replies leave by another interface, which has no IPv4 address.
    let router = Netns::new();
    lab.real.cable("eth1", &router, "eth0");
    lab.real.ip("route replace default dev eth1");
    Some(router)
}

#[rstest]
#[case::ipv4("--vip 10.0.0.100", &[])]
#[case::ipv6("--vip 2001:db8::100", &[])]
#[case::both("--vip 10.0.0.100 --vip 10.0.0.101 --vip 2001:db8::100", &[])]
#[case::tunnel("--vip 10.0.0.100 --forward tun", &[])]
#[case::tunnel_ipv6("--vip 2001:db8::100 --forward tun --decap xdp", &[])]
#[case::bad_levels(
    "--vip 10.0.0.100 --arp-ignore 0 --arp-announce 0",
    &["ARP requests for 10.0.0.100", "own ARP requests, sending from 10.0.0.100"]
)]
#[case::same_subnet(
    "--vip 10.0.0.100 --arp-ignore 3 --arp-announce 1",
    &["own ARP requests, sending from 10.0.0.100"]
)]
fn a_real_run_changes_what_the_dry_run_printed(
    #[case] target: &str,
    #[case] warnings: &[&str],
    #[values(0, 1, 2, 3)] settings: i32,
) {
    let mut lab = Lab::new();
    lab.support = |_| Support::Absent;
    let router = foreign(&lab, settings);
    let etc = lab.etc();
    let before = lab.snapshot(&etc);
    let setup = format!("setup {target} --interface eth0");
    let persist = format!("{setup} --persist --etc {}", etc.display());

    let (output, _) = lab.run(&format!("{persist} --dry-run"), true);
    let steps = lab.does_what_the_dry_run_prints(&persist, &etc);
    assert!(steps.len() > 5, "{steps:?}");
    let list: Vec<Value> = serde_json::from_str(&output).unwrap();
    let warned = list.iter().filter(|line| line["outcome"] == "warning").map(|line| line["item"].as_str());
    let by_the_other =
        (router.is_some() && target.contains("10.0.0.100")).then_some("own ARP requests by eth1");
    let expected: Vec<&str> = warnings.iter().copied().chain(by_the_other).collect();
    assert_eq!(warned.flatten().collect::<Vec<_>>(), expected);

    // Once more there is nothing to do, with the same warnings.
    assert!(lab.does_what_the_dry_run_prints(&persist, &etc).is_empty());
    // A restore has no step for a change that an operator has undone by hand.
    let vip = target.split(' ').nth(1).unwrap();
    let length = if vip.contains(':') { 128 } else { 32 };
    lab.real.ip(&format!("address delete {vip}/{length} dev lo"));
    fs::remove_file(etc.join("sysctl.d/60-xvs-host.conf")).unwrap();
    fs::write(etc.join("sysctl.d/other.conf"), "").unwrap();
    let undone = lab.does_what_the_dry_run_prints("restore", &etc);
    assert!(
        undone.iter().all(|line| !line.item.contains(vip) && !line.item.ends_with("sysctl.d")),
        "{undone:?}"
    );
    fs::remove_dir_all(&etc).unwrap();
    fs::create_dir(&etc).unwrap();
    assert_eq!(lab.snapshot(&etc), before);
}

#[rstest]
fn the_commands_of_a_dry_run_do_the_same(
    #[values("--vip 10.0.0.100 --vip 2001:db8::100", "--vip 10.0.0.100 --arp-ignore 3")] target: &str,
    #[values(0, 1, 2)] settings: i32,
) {
    let lab = Lab::new();
    assert!(foreign(&lab, settings).is_none());
    let etc = lab.etc();
    let before = lab.snapshot(&etc);
    let setup = format!("setup {target} --persist --etc {}", etc.display());
    let commands = |arguments: &str| -> Vec<String> {
        let lines = lab.lines(&format!("{arguments} --dry-run")).into_iter();
        lines.filter(|line| line.outcome == "planned").map(|line| line.command.unwrap()).collect()
    };
    let by_hand = commands(&setup);
    lab.lines(&setup);
    let set_up = lab.snapshot(&etc);

    for command in commands("restore") {
        lab.sh(&command);
    }
    assert_eq!(lab.snapshot(&etc), before, "restored by hand");
    for command in by_hand {
        lab.sh(&command);
    }
    assert_eq!(lab.snapshot(&etc), set_up, "set up by hand");
}

#[test]
fn the_files_for_the_next_start_go_with_the_last_vip_in_them() {
    let lab = Lab::new();
    let etc = lab.etc();
    let before = lab.snapshot(&etc);
    let persist = format!("--persist --etc {}", etc.display());
    lab.succeeds(&format!("setup --vip 10.0.0.100 {persist}"));
    lab.succeeds(&format!("setup --vip 10.0.0.101 {persist}"));
    lab.succeeds("setup --vip 10.0.0.102");
    let unit = etc.join("systemd/system/xvs-host.service");
    lab.does_what_the_dry_run_prints("restore --vip 10.0.0.101", &etc);
    let text = fs::read_to_string(&unit).unwrap();
    assert!(text.contains("10.0.0.100") && !text.contains("10.0.0.101"), "{text}");
    // The next start must not add it again.
    lab.does_what_the_dry_run_prints("restore --vip 10.0.0.100", &etc);
    assert!(!unit.exists() && lab.real.ip("address show dev lo").contains("10.0.0.102"));
    lab.does_what_the_dry_run_prints("restore", &etc);
    assert_eq!(lab.snapshot(&etc), before);
}

#[test]
fn a_device_that_the_kernel_refuses_is_replaced_by_the_program() {
    let mut lab = Lab::new();
    let has_ipip = lab.kernel_has_ipip();
    let nowhere = Path::new("/nowhere");
    let before = lab.snapshot(nowhere);
    lab.support = |_| Support::Unknown;
    let setup = "setup --vip 10.0.0.100 --forward tun";
    let printed = lab.succeeds(&format!("{setup} --dry-run"));
    let alternative = "would decapsulation: make the ipip device xvs-ipip (IPv4 within IPv4); \
                       if the kernel has no such devices: attach the XDP program to eth0";
    assert!(printed.contains(alternative), "{printed}");
    let output = lab.succeeds(setup);
    if has_ipip {
        assert!(output.contains("set   decapsulation: by the ipip device xvs-ipip"), "{output}");
    } else {
        let skipped = "skip  devices of the kernel: this kernel cannot make the ipip device xvs-ipip";
        assert!(output.contains(skipped), "{output}");
        assert!(output.contains("set   decapsulation: by the XDP program on eth0"), "{output}");
        let refused = lab.fails(&format!("{setup} --vip 10.0.0.101 --decap device"));
        assert!(refused.message.contains("this kernel cannot make the ipip device"), "{refused}");
        assert!(!lab.real.ip("address show dev lo").contains("10.0.0.101"));
    }
    lab.succeeds(&setup.replace("setup", "check"));
    lab.succeeds("restore");
    assert_eq!(lab.snapshot(nowhere), before);
}

#[test]
fn what_another_process_sets_at_the_same_time_is_not_recorded_as_found_before() {
    let lab = Lab::new();
    let setup = "setup --vip 10.0.0.100 --forward tun --decap xdp";
    // While the program is attached, after the plan was made.
    lab.meanwhile("ipv4/conf/all/arp_ignore", "1");
    let output = lab.succeeds(setup);
    assert!(output.contains("ok    net.ipv4.conf.all.arp_ignore: 1"), "{output}");
    assert_eq!(output.matches("net.ipv4.conf.all.arp_ignore").count(), 1, "{output}");
    assert!(output.contains("set   VIP 10.0.0.100: added to lo"), "{output}");
    lab.succeeds("restore");
    assert_eq!(
        (lab.get("all", "arp_ignore"), lab.get("lo", "arp_ignore")),
        (1, 0),
        "another process has set it"
    );

    lab.set("all", "arp_ignore", 0);
    lab.meanwhile("ipv4/conf/all/arp_ignore", "3");
    let output = lab.succeeds(setup);
    assert!(output.contains("set   net.ipv4.conf.all.arp_ignore: 1 (was 3)"), "{output}");
    lab.succeeds("restore");
    assert_eq!(lab.get("all", "arp_ignore"), 3);
}
