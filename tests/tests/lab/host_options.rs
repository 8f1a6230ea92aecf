// SPDX-License-Identifier: MIT OR Apache-2.0
//! Options of `xvs host`: levels of the ARP settings, `--dry-run`, `--persist`.

use std::{fs, path::Path};

use lb_tests::lab::{Lab, Real, VIP};

pub const OTHER: &str = "192.0.2.101";
pub const V6: &str = "2001:db8::100";

#[test]
fn only_levels_that_the_kernel_knows_are_taken() {
    let lab = Lab::new();
    let [real, ..] = &lab.reals;
    let before = state(real);
    for level in
        ["--arp-ignore 4", "--arp-ignore 9", "--arp-ignore=-1", "--arp-announce 3", "--arp-announce x"]
    {
        real.xvs_host(&format!("setup --vip {VIP} --interface eth0 {level}"))
            .fails(2)
            .says("the kernel knows the levels");
    }
    assert_eq!(state(real), before);
}

#[test]
fn what_no_host_can_have_is_no_vip() {
    let lab = Lab::new();
    let [real, ..] = &lab.reals;
    let before = state(real);
    for vip in ["10.0.0.0", "10.0.0.255", "0.1.2.3", "255.255.255.255", "::ffff:192.0.2.1"] {
        for run in ["", " --dry-run"] {
            let line = format!("setup --vip {OTHER} --vip {vip} --interface eth0{run}");
            real.xvs_host(&line).fails(2).says(&format!("{vip} cannot be a VIP"));
        }
    }
    assert_eq!(state(real), before);
}

#[test]
fn chosen_levels_are_set_and_check_says_what_they_mean() {
    for (ignore, announce, wrong, says) in [
        (
            0,
            0,
            2,
            ["answered, as for any address of this host (arp_ignore=0", "in the VIP's name (arp_announce=0"],
        ),
        (1, 1, 0, ["not answered: it is not on the interface", "no subnet there has the VIP"]),
        (2, 2, 0, ["not answered: it is not on the interface", "such as 10.0.0.11 (arp_announce=2"]),
        (3, 2, 0, ["not answered: its scope is host", "in the name of an address of the interface"]),
        (
            8,
            2,
            0,
            ["the director needs a static neighbour entry", "in the name of an address of the interface"],
        ),
    ] {
        let lab = Lab::new();
        let [real, ..] = &lab.reals;
        real.sysctl("ipv4/conf/lo/arp_ignore", "8");
        let before = state(real);
        let target = format!("--vip {VIP} --interface eth0 --arp-ignore {ignore} --arp-announce {announce}");
        let printed = real.xvs_host(&format!("setup {target} --dry-run")).succeeds();
        assert_eq!(printed.stdout.matches("WRONG").count(), wrong, "{printed}");
        assert_eq!(state(real), before);
        let setup = real.xvs_host(&format!("setup {target}")).succeeds();
        assert_eq!(setup.stdout.matches("WRONG").count(), wrong, "{setup}");
        for interface in ["all", "lo", "eth0"] {
            let shown =
                |name| real.sh(&format!("sysctl -n net.ipv4.conf.{interface}.{name}")).succeeds().stdout;
            assert_eq!(
                [shown("arp_ignore"), shown("arp_announce")],
                [ignore.to_string(), announce.to_string()]
            );
        }
        let check = real.xvs_host(&format!("check {target}"));
        let check = if wrong == 0 { check.succeeds() } else { check.fails(1) };
        says.into_iter().fold(check, |check, text| check.says(text));
        real.host_restore().succeeds();
        assert_eq!(state(real), before);
    }
}

#[test]
fn a_dry_run_says_what_would_be_done_and_does_none_of_it() {
    let lab = Lab::new();
    let [real, ..] = &lab.reals;
    let target = format!("--vip {VIP} --vip {V6} --interface eth0");
    let (etc, before) = (real.path("etc"), state(real));
    let persist = format!("--persist --etc {}", etc.display());

    let said = real.xvs_host(&format!("setup {target} {persist} --dry-run")).succeeds();
    let said = said
        .says("would net.ipv4.conf.all.arp_ignore: set to 1 (now 0)")
        .says(&format!("would VIP {V6}: add to lo"));
    let said = said.says("      sysctl -w net.ipv4.conf.all.arp_ignore=1\n").says("xvs-host.service: write");
    said.says(&format!("      ip address add {V6}/128 dev lo nodad\n")).does_not_say("\nset ");
    real.xvs_host(&format!("setup --vip {VIP} --interface eth0 --forward tun --dry-run"))
        .succeeds()
        .says("would decapsulation: attach the XDP program to eth0");
    assert_eq!(state(real), before);
    assert!(!real.path("host.json").exists() && !etc.exists());

    real.xvs_host(&format!("setup {target} {persist}")).succeeds();
    let (set_up, remembered) = (state(real), fs::read(real.path("host.json")).unwrap());
    real.xvs_host(&format!("setup {target} --dry-run")).succeeds().does_not_say("would");
    let said = real.xvs_host("restore --dry-run").succeeds();
    said.says("would net.ipv4.conf.all.arp_ignore: set back to 0")
        .says(&format!("would {V6}/128 on lo: remove"));
    let said = real.xvs_host(&format!("restore --vip {V6} --dry-run")).succeeds();
    said.says(&format!("would {V6}/128 on lo: remove")).does_not_say("arp_ignore");
    assert_eq!((state(real), fs::read(real.path("host.json")).unwrap()), (set_up, remembered));
    real.host_restore().succeeds();
    assert_eq!(state(real), before);
}

#[test]
fn what_is_persisted_sets_up_again_and_restore_removes_it() {
    let lab = Lab::new();
    let [real, ..] = &lab.reals;
    let (etc, before) = (real.path("etc"), state(real));
    let settings = etc.join("sysctl.d/60-xvs-host.conf");
    let unit = etc.join("systemd/system/xvs-host.service");
    fs::create_dir_all(etc.join("sysctl.d")).unwrap();
    fs::write(&settings, "# somebody else's\n").unwrap();
    let setup = |vip: &str| format!("setup --vip {vip} --interface eth0 --persist --etc {}", etc.display());

    for vip in [&VIP.to_string(), OTHER, V6] {
        real.xvs_host(&setup(vip)).succeeds();
    }
    let again = real.xvs_host(&setup(OTHER)).succeeds();
    assert!(again.stdout.lines().all(|line| line.starts_with("ok ")), "{again}");
    assert!(
        etc.join("systemd/system/multi-user.target.wants/xvs-host.service").canonicalize().unwrap() == unit
    );

    // One folder has the files for the boot.
    let (elsewhere, kept) = (real.path("elsewhere"), state(real));
    for run in ["", " --dry-run"] {
        let line =
            format!("setup --vip 192.0.2.103 --interface eth0 --persist --etc {}{run}", elsewhere.display());
        let refused = real.xvs_host(&line).fails(1);
        refused.says(&format!("an earlier setup wrote below {}", etc.display()));
    }
    assert!(state(real) == kept && !elsewhere.exists());

    // One VIP is removed: the next boot must not add it.
    real.xvs_host(&format!("restore --vip {OTHER}")).succeeds();
    assert_eq!(commands(&unit).len(), 2);

    // Simulates a boot: all settings have their defaults, sysctl.d is read, the unit runs.
    real.ip(&format!("address delete {VIP}/32 dev lo\naddress delete {V6}/128 dev lo"));
    for name in ["arp_ignore", "arp_announce"] {
        for interface in ["all", "lo", "eth0"] {
            real.sysctl(&format!("ipv4/conf/{interface}/{name}"), "0");
        }
    }
    assert_eq!(state(real), before);
    real.sh(&format!("sysctl -p {}", settings.display())).succeeds();
    for command in commands(&unit) {
        real.sh(&command).succeeds().does_not_say("set   net.ipv4");
    }
    real.xvs_host(&format!("check --vip {VIP} --vip {V6} --interface eth0")).succeeds();

    real.host_restore().succeeds();
    assert_eq!(state(real), before);
    assert_eq!(fs::read_to_string(&settings).unwrap(), "# somebody else's\n");
    assert!(!etc.join("systemd").exists() && !real.path("host.json").exists());
}

#[test]
fn a_filter_of_reverse_paths_is_persisted_if_setup_changed_it() {
    let lab = Lab::new();
    let [real, ..] = &lab.reals;
    let etc = real.path("etc");
    let settings = etc.join("sysctl.d/60-xvs-host.conf");
    let setup = format!("setup --vip {VIP} --interface eth0 --persist --etc {}", etc.display());
    // Replies leave by another interface: the filter matters.
    real.ip("route delete default");
    for (found, kept) in [("0", None), ("2", None), ("1", Some("net.ipv4.conf.eth0.rp_filter = 2"))] {
        real.sysctl("ipv4/conf/eth0/rp_filter", found);
        real.xvs_host(&setup).succeeds();
        let written = fs::read_to_string(&settings).unwrap();
        assert!(written.contains("net.ipv4.conf.eth0.arp_ignore = 1"), "{written}");
        assert_eq!(written.lines().find(|line| line.contains("rp_filter")), kept, "found {found}");
        real.xvs_host(&format!("{setup} --dry-run")).succeeds().does_not_say("would");
    }
    real.host_restore().succeeds();
    assert!(!settings.exists());
}

#[test]
fn tunnels_have_a_line_about_the_mtu() {
    let lab = Lab::new();
    let [real, ..] = &lab.reals;
    let target = format!("--vip {VIP} --interface eth0 --forward tun");
    for command in ["setup", "check"] {
        let said = real.xvs_host(&format!("{command} {target}")).succeeds();
        said.says("ok    MTU in the tunnel (IPv4 within IPv4): 1480 of 1500 remain").says("advmss 1440");
    }
}

/// Returns the commands that the unit runs.
fn commands(unit: &Path) -> Vec<String> {
    let text = fs::read_to_string(unit).expect("setup wrote it");
    text.lines().filter_map(|line| line.strip_prefix("ExecStart=")).map(str::to_owned).collect()
}

/// Returns ARP settings, devices and addresses.
pub fn state(real: &Real) -> String {
    let sysctls = ["arp_ignore", "arp_announce", "rp_filter"]
        .map(|name| ["all", "lo", "eth0"].map(|device| format!("net.ipv4.conf.{device}.{name}")).join(" "));
    let lines =
        [format!("sysctl {}", sysctls.join(" ")), "ip -brief address".into(), "ip -oneline address".into()];
    lines.map(|line| real.sh(&line).succeeds().stdout).join("\n")
}
