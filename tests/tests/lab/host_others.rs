// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xvs host` beside another set-up of the same host, at the same time or before, and after itself with other
//! options.

use std::{collections::BTreeSet, fs, os::unix::fs::symlink, thread};

use lb_tests::{
    artifacts,
    lab::{Lab, Outcome, Real, VIP},
};

use crate::host_options::{OTHER, V6, state};

/// Runs `xvs host` with a state file of its own, as an agent or an operator has it.
fn xvs_host(real: &Real, file: &str, line: &str) -> Outcome {
    real.sh(&format!("{} host {line} --state {}", artifacts::xvs().display(), real.path(file).display()))
}

fn setup(vip: &str) -> String {
    format!("setup --vip {vip} --interface eth0")
}

#[test]
fn what_another_set_up_needs_stays_until_that_is_restored() {
    let lab = Lab::new();
    let [real, neighbour, ..] = &lab.reals;
    let before = state(real);
    // A state file in the same folder that belongs to another host is ignored.
    xvs_host(neighbour, "a.json", &setup(OTHER)).succeeds();

    for (first, second) in [("a.json", "b.json"), ("b.json", "a.json")] {
        xvs_host(real, "a.json", &setup(&VIP.to_string())).succeeds();
        let found = xvs_host(real, "b.json", &setup(OTHER)).succeeds();
        found.says("ok    net.ipv4.conf.all.arp_ignore: 1");
        // Both state files belong to this host.
        let both = xvs_host(real, "b.json", &setup(&VIP.to_string())).succeeds();
        both.says(&format!("ok    VIP {VIP}: on lo"));

        let (gone, left) = if first == "a.json" { (None, OTHER) } else { (Some(OTHER), V6) };
        xvs_host(real, first, "restore --dry-run").succeeds();
        let said = xvs_host(real, first, "restore").succeeds();
        if first == "a.json" {
            said.says("ok    net.ipv4.conf.all.arp_ignore: stays: it is needed")
                .says(&format!("ok    {VIP}/32 on lo: stays"));
            xvs_host(real, second, &format!("restore --vip {VIP}")).succeeds();
        }
        let addresses = real.sh("ip -oneline address show dev lo").succeeds().stdout;
        assert!(gone.is_none_or(|gone| !addresses.contains(gone)), "{addresses}");
        if left == OTHER {
            assert!(addresses.contains(left) && !addresses.contains(&format!("{VIP}/")), "{addresses}");
            real.xvs_host(&format!("check --vip {OTHER} --interface eth0")).succeeds();
        } else {
            real.xvs_host(&format!("check --vip {VIP} --interface eth0")).succeeds();
        }
        xvs_host(real, second, "restore").succeeds();
        assert_eq!(state(real), before);
        assert!(!real.path("a.json").exists() && !real.path("b.json").exists());
    }
    neighbour.xvs_host(&format!("check --vip {OTHER} --interface eth0")).succeeds();
}

#[test]
fn what_unwraps_stays_while_another_vip_comes_in_a_tunnel() {
    let lab = Lab::new();
    let [real, ..] = &lab.reals;
    let bpffs = real.path("bpf");
    let tun = |vip: &str| format!("{} --forward tun --bpffs {}", setup(vip), bpffs.display());
    let attached = || real.sh("ip link show dev eth0").succeeds().stdout.contains("prog/xdp");
    xvs_host(real, "a.json", &tun(&VIP.to_string())).succeeds();
    xvs_host(real, "b.json", &setup(V6)).succeeds();
    xvs_host(real, "c.json", &tun(OTHER)).succeeds();
    xvs_host(real, "a.json", "restore").succeeds().says("XDP decapsulator on eth0: stays");
    assert!(attached());
    // With dr alone, nothing needs decapsulation.
    xvs_host(real, "c.json", "restore").succeeds().says("back  XDP decapsulator on eth0: detached");
    xvs_host(real, "b.json", "restore").succeeds();
    real.sh(&format!("umount {}", bpffs.display())).succeeds();
}

#[test]
fn set_ups_at_the_same_time_wait_for_each_other() {
    let lab = Lab::new();
    let [real, ..] = &lab.reals;
    let before = state(real);
    let vips: Vec<String> = (1..=8).map(|n| format!("192.0.2.20{n}")).collect();
    thread::scope(|scope| {
        for vip in &vips {
            scope.spawn(|| xvs_host(real, "a.json", &setup(vip)).succeeds());
        }
    });
    let all: Vec<String> = vips.iter().map(|vip| format!("--vip {vip}")).collect();
    real.xvs_host(&format!("check --interface eth0 {}", all.join(" "))).succeeds();
    xvs_host(real, "a.json", "restore").succeeds();
    assert_eq!(state(real), before);
}

#[test]
fn a_set_up_that_fails_leaves_an_earlier_one_as_it_was() {
    let lab = Lab::new();
    let [real, ..] = &lab.reals;
    let before = state(real);
    xvs_host(real, "a.json", &setup(&VIP.to_string())).succeeds();
    let (first, remembered) = (state(real), fs::read(real.path("a.json")).unwrap());

    real.sysctl("ipv6/conf/lo/disable_ipv6", "1");
    let line = format!("{} --vip {V6} --arp-ignore 8 --arp-announce 1", setup(OTHER));
    xvs_host(real, "a.json", &line).fails(1).says("IPv6 is off").says("net.ipv4.conf.all.arp_ignore: 1");
    real.sysctl("ipv6/conf/lo/disable_ipv6", "0");
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
    // The kernel adds ::1 to lo again.
    assert_eq!(lines(&first).difference(&lines(&state(real))).next(), None);
    assert_eq!(fs::read(real.path("a.json")).unwrap(), remembered);
    xvs_host(real, "a.json", "restore").succeeds();
    assert_eq!(lines(&before).difference(&lines(&state(real))).next(), None);
}

#[test]
fn a_dry_run_knows_what_is_persisted() {
    let lab = Lab::new();
    let [real, ..] = &lab.reals;
    let persist = |vip: &str| format!("{} --persist --etc {}", setup(vip), real.path("etc").display());
    let (unit, link) = ("system/xvs-host.service: ", "wants/xvs-host.service: ");
    let first = real.xvs_host(&format!("{} --dry-run", persist(&VIP.to_string()))).succeeds();
    first.says(&format!("{unit}write")).says(&format!("{link}enable"));
    for vip in [VIP.to_string(), OTHER.to_owned()] {
        real.xvs_host(&persist(&vip)).succeeds();
    }
    real.xvs_host(&format!("{} --dry-run", persist(OTHER))).succeeds().does_not_say("would");
    real.xvs_host(&format!("restore --vip {OTHER} --dry-run")).succeeds().says(&format!("{unit}write"));
    real.host_restore().succeeds();

    fs::write(real.path("host.json"), "{}").unwrap();
    real.xvs_host(&format!("{} --dry-run", setup(OTHER))).fails(1).says("cannot parse the state file");
}

#[test]
fn a_unit_that_is_masked_stays_so() {
    let lab = Lab::new();
    let [real, ..] = &lab.reals;
    let before = state(real);
    let etc = real.path("etc");
    let unit = etc.join("systemd/system/xvs-host.service");
    let persist = format!("{} --persist --etc {}", setup(&VIP.to_string()), etc.display());
    fs::create_dir_all(unit.parent().unwrap()).unwrap();
    symlink("/dev/null", &unit).unwrap();
    for line in [persist.clone(), format!("{persist} --dry-run")] {
        real.xvs_host(&line).fails(1).says("xvs-host.service: it is a link, such as `systemctl mask` makes");
        assert_eq!((state(real), fs::read_link(&unit).unwrap()), (before.clone(), "/dev/null".into()));
        assert!(!etc.join("sysctl.d").exists() && !real.path("host.json").exists());
    }
    fs::remove_file(&unit).unwrap();
    let wanted = etc.join("systemd/system/multi-user.target.wants");
    fs::create_dir(&wanted).unwrap();
    symlink("/dev/null", wanted.join("xvs-host.service")).unwrap();
    real.xvs_host(&persist).fails(1).says("it leads elsewhere already");
    assert!(!unit.exists() && state(real) == before);
}
