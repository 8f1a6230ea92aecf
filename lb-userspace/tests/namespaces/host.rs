// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xvs host` on a real server in a namespace, by its command line.

use std::{
    collections::BTreeSet,
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use clap::Parser;
use lb_dataplane::decap::DecapError;
use lb_model::failure::{Failure, FailureKind};
use lb_netlink::Netlink;
use lb_userspace::{
    cli::host::{HostArgs, run_on},
    host::{
        Host,
        decap::XdpDecap,
        encapsulation::{Kind, Support},
    },
};

use crate::lab::{Netns, eventually};

/// A real server, a client on the same link, and a folder for the state file.
pub struct Lab {
    pub real: Netns,
    pub client: Netns,
    /// Stands in for the kernel's answer about its tunnel devices.
    pub support: fn(Kind) -> Support,
    dir: tempfile::TempDir,
    xdp: FakeXdp,
}

impl Lab {
    pub fn new() -> Self {
        let (real, client) = (Netns::new(), Netns::new());
        real.cable("eth0", &client, "eth0");
        real.ip("address add 10.0.0.2/24 dev eth0");
        client.ip("address add 10.0.0.50/24 dev eth0");
        real.ip("route add default via 10.0.0.50");
        let dir = tempfile::tempdir().unwrap();
        Self { real, client, support: Kind::support, dir, xdp: FakeXdp::default() }
    }

    /// Runs `xvs host` with `arguments` on the real server. Returns its output and exit code.
    pub fn xvs_host(&self, arguments: &str) -> (String, Result<(), Failure>) {
        self.run(arguments, false)
    }

    pub fn run(&self, arguments: &str, json: bool) -> (String, Result<(), Failure>) {
        #[derive(Parser)]
        struct Cli {
            #[command(flatten)]
            host: HostArgs,
        }
        let mut all: Vec<_> = ["host"].into_iter().chain(arguments.split_whitespace()).collect();
        let state = self.state();
        if !arguments.starts_with("check") {
            all.extend(["--state", &state]);
        }
        let args = Cli::try_parse_from(all).unwrap().host;
        self.real.block_on(|| async {
            let (netlink, xdp) = (Netlink::open().unwrap(), Box::new(self.xdp.clone()));
            let host = Host { netlink, xdp, support: self.support };
            let mut out = Vec::new();
            let result = run_on(&host, &args, json, &mut out).await;
            (String::from_utf8(out).unwrap(), result)
        })
    }

    #[track_caller]
    pub fn succeeds(&self, arguments: &str) -> String {
        let (output, result) = self.xvs_host(arguments);
        result.unwrap_or_else(|failure| panic!("xvs host {arguments}: {failure}\n{output}"));
        output
    }

    #[track_caller]
    pub fn fails(&self, arguments: &str) -> Failure {
        let (output, result) = self.xvs_host(arguments);
        result.err().unwrap_or_else(|| panic!("xvs host {arguments} succeeded:\n{output}"))
    }

    pub fn state(&self) -> String {
        self.dir.path().join("host.json").to_str().unwrap().to_owned()
    }

    /// An empty directory in the place of `/etc`.
    pub fn etc(&self) -> PathBuf {
        let etc = self.dir.path().join("etc");
        fs::create_dir(&etc).unwrap();
        etc
    }

    /// The interface with the XDP decapsulator.
    pub fn attached(&self) -> Option<String> {
        self.xdp.attached.lock().unwrap().clone()
    }

    /// Writes a setting below `/proc/sys/net` when the XDP decapsulator is attached next.
    pub fn meanwhile(&self, setting: &str, value: &str) {
        let setting = (format!("/proc/sys/net/{setting}"), value.to_owned());
        *self.xdp.meanwhile.lock().unwrap() = Some(setting);
    }

    pub fn set(&self, interface: &str, name: &str, value: i32) {
        let path = format!("/proc/sys/net/ipv4/conf/{interface}/{name}");
        self.real.run(|| fs::write(path, value.to_string()).unwrap());
    }

    pub fn get(&self, interface: &str, name: &str) -> i32 {
        let path = format!("/proc/sys/net/ipv4/conf/{interface}/{name}");
        self.real.run(|| fs::read_to_string(path).unwrap().trim().parse().unwrap())
    }

    /// Returns everything that set-up could change, and more: every IPv4 setting, every link and address, the
    /// XDP programs.
    pub fn everything(&self) -> String {
        let mut settings = self.real.run(|| {
            let mut settings = Vec::new();
            for interface in fs::read_dir("/proc/sys/net/ipv4/conf").unwrap() {
                for setting in fs::read_dir(interface.unwrap().path()).unwrap() {
                    let path = setting.unwrap().path();
                    let value = fs::read_to_string(&path).unwrap_or_default();
                    settings.push(format!("{} = {}", path.display(), value.trim()));
                }
            }
            settings
        });
        settings.sort();
        let addresses = self.real.ip("-brief address show");
        let links = self.real.ip("-brief link show");
        format!("{}\n{addresses}\n{links}\n{:?}", settings.join("\n"), self.xdp.attached.lock().unwrap())
    }

    /// Returns whether the real server answers the client's ARP requests for `ip`.
    fn answers_arp_for(&self, ip: &str) -> bool {
        self.client.ip("neighbour flush all");
        // Any packet will do: it needs the neighbour's address first.
        self.client.run(|| {
            let socket = std::net::UdpSocket::bind("10.0.0.50:0").unwrap();
            socket.send_to(b"who has it?", (ip, 9)).unwrap();
        });
        eventually(|| {
            let entry = self.client.ip(&format!("neighbour show {ip}"));
            match entry.split_whitespace().last() {
                Some("REACHABLE") => Ok(true),
                Some("FAILED") => Ok(false),
                _ => Err(entry),
            }
        })
    }
}

/// Stands in for the data plane: attached to one interface, or to none.
#[derive(Clone, Default)]
struct FakeXdp {
    attached: Arc<Mutex<Option<String>>>,
    /// A file that another process writes during the run, and its content.
    meanwhile: Arc<Mutex<Option<(String, String)>>>,
    broken: bool,
}

impl XdpDecap for FakeXdp {
    fn attach(&self, interface: &str, _: &Path, _: &BTreeSet<IpAddr>) -> Result<bool, DecapError> {
        if self.broken {
            let reason = "another program is attached".to_owned();
            return Err(DecapError { interface: interface.to_owned(), reason, hint: None });
        }
        if let Some((path, value)) = self.meanwhile.lock().unwrap().take() {
            fs::write(path, value).unwrap();
        }
        Ok(self.attached.lock().unwrap().replace(interface.to_owned()).is_none())
    }

    fn detach(&self, _: &str, _: &Path) -> Result<bool, DecapError> {
        Ok(self.attached.lock().unwrap().take().is_some())
    }

    fn is_attached(&self, interface: &str, _: &Path, _: &BTreeSet<IpAddr>) -> Result<bool, DecapError> {
        Ok(self.is_pinned(interface, Path::new("")))
    }

    fn is_pinned(&self, interface: &str, _: &Path) -> bool {
        self.attached.lock().unwrap().as_deref() == Some(interface)
    }
}

#[test]
fn restore_leaves_everything_as_it_was() {
    let lab = Lab::new();
    for (interface, name, value) in [
        ("all", "arp_ignore", 3),
        ("eth0", "arp_announce", 1),
        ("lo", "arp_ignore", 8),
        ("all", "rp_filter", 1),
    ] {
        lab.set(interface, name, value);
    }
    let before = lab.everything();

    for options in ["--forward dr", "--forward tun --decap xdp"] {
        let target = format!("--vip 10.0.0.100 --vip 10.0.0.101 {options}");
        assert_eq!(lab.fails(&format!("check {target}")).exit_code(), 1);
        lab.succeeds(&format!("setup {target}"));
        lab.succeeds(&format!("check {target}"));
        assert_ne!(lab.everything(), before);

        lab.succeeds("restore");
        assert_eq!(lab.everything(), before);
        assert!(!Path::new(&lab.state()).exists());
        assert!(lab.succeeds("restore").contains("nothing is remembered"));
    }
}

#[test]
fn setup_sets_all_lo_and_the_interface_and_keeps_stricter_values() {
    let lab = Lab::new();
    lab.set("eth0", "arp_ignore", 2);
    lab.succeeds("setup --vip 10.0.0.100 --interface eth0");
    for interface in ["all", "lo", "eth0"] {
        assert_eq!(lab.get(interface, "arp_announce"), 2, "{interface}");
    }
    assert_eq!(["all", "lo", "eth0"].map(|interface| lab.get(interface, "arp_ignore")), [1, 1, 2]);
    assert!(lab.real.ip("address show dev lo").contains("10.0.0.100/32"));
}

#[test]
fn a_real_server_that_is_set_up_does_not_answer_arp_for_the_vip() {
    let lab = Lab::new();
    lab.real.ip("address add 10.0.0.100/32 dev lo");
    assert!(lab.answers_arp_for("10.0.0.100"), "the trap that setup is for");
    lab.succeeds("setup --vip 10.0.0.100");
    assert!(!lab.answers_arp_for("10.0.0.100"));
    assert!(lab.answers_arp_for("10.0.0.2"), "its own address is still answered for");
}

#[test]
fn setup_twice_is_setup_once() {
    let lab = Lab::new();
    let before = lab.everything();
    let setup = "setup --vip 10.0.0.100 --forward tun --decap xdp";
    lab.succeeds(setup);
    let (remembered, after) = (fs::read(lab.state()).unwrap(), lab.everything());

    let second = lab.succeeds(setup);
    assert!(second.lines().all(|line| line.starts_with("ok ")), "{second}");
    assert_eq!((fs::read(lab.state()).unwrap(), lab.everything()), (remembered, after));

    lab.succeeds("restore");
    assert_eq!(lab.everything(), before);
}

#[test]
fn what_was_there_before_stays() {
    let lab = Lab::new();
    lab.real.ip("address add 10.0.0.100/32 dev lo");
    lab.set("all", "arp_ignore", 1);
    let before = lab.everything();
    lab.succeeds("setup --vip 10.0.0.100 --vip 10.0.0.101");
    lab.succeeds("restore");
    assert_eq!(lab.everything(), before);
}

#[test]
fn vips_can_go_one_by_one_and_the_last_takes_the_rest_along() {
    let lab = Lab::new();
    let before = lab.everything();
    lab.succeeds("setup --vip 10.0.0.100");
    lab.succeeds("setup --vip 10.0.0.101");

    let unknown = lab.fails("restore --vip 10.0.0.102");
    assert_eq!(unknown.kind, FailureKind::WrongInput);
    lab.succeeds("restore --vip 10.0.0.100");
    assert!(!lab.real.ip("address show dev lo").contains("10.0.0.100"));
    lab.succeeds("check --vip 10.0.0.101");

    lab.succeeds("restore --vip 10.0.0.101");
    assert_eq!(lab.everything(), before);
}

#[test]
fn a_crash_between_remembering_and_changing_loses_nothing() {
    let lab = Lab::new();
    let before = lab.everything();
    lab.succeeds("setup --vip 10.0.0.100 --forward tun --decap xdp");
    let remembered = fs::read(lab.state()).unwrap();
    lab.succeeds("restore");

    // As after a kill between the record and the changes.
    fs::write(lab.state(), &remembered).unwrap();
    lab.succeeds("restore");
    assert_eq!(lab.everything(), before);

    // Then setup runs again.
    fs::write(lab.state(), &remembered).unwrap();
    lab.succeeds("setup --vip 10.0.0.100 --forward tun --decap xdp");
    lab.succeeds("restore");
    assert_eq!(lab.everything(), before);
}

#[test]
fn a_setup_that_fails_half_way_is_taken_back() {
    let mut lab = Lab::new();
    lab.real.run(|| fs::write("/proc/sys/net/ipv6/conf/lo/disable_ipv6", "1").unwrap());
    let before = lab.everything();
    let (output, result) = lab.xvs_host("setup --vip 10.0.0.100 --vip 2001:db8::100");
    let failure = result.unwrap_err();
    assert!(failure.message.contains("IPv6 is off"), "{failure}");
    assert!(output.contains("back  10.0.0.100/32 on lo: removed"), "{output}");
    assert_eq!(lab.everything(), before);
    assert!(!Path::new(&lab.state()).exists());

    lab.xdp.broken = true;
    let failure = lab.fails("setup --vip 10.0.0.100 --forward tun --decap xdp");
    assert!(failure.message.contains("another program is attached"), "{failure}");
    assert_eq!(lab.everything(), before);
    assert!(!Path::new(&lab.state()).exists());
}

#[test]
fn an_interface_that_is_gone_does_not_keep_the_rest_from_being_restored() {
    let lab = Lab::new();
    lab.succeeds("setup --vip 10.0.0.100");
    lab.real.ip("link delete eth0");
    let output = lab.succeeds("restore");
    assert!(output.contains("net.ipv4.conf.eth0.arp_ignore: is gone"), "{output}");
    assert_eq!(lab.get("all", "arp_ignore"), 0);
}

#[test]
fn what_is_in_the_way_or_makes_no_sense_is_refused_before_anything_is_changed() {
    let lab = Lab::new();
    lab.real.ip("address add 10.0.0.110/24 dev eth0");
    lab.real.ip("address add 10.9.0.110/24 dev lo");
    let before = lab.everything();
    for (arguments, kind, says) in [
        ("setup --vip 10.0.0.110", FailureKind::Failed, "10.0.0.110/24 on eth0, which answers ARP"),
        ("setup --vip 10.9.0.110", FailureKind::Failed, "makes all of 10.9.0.0/24 local"),
        ("setup --vip 10.0.0.100 --vip 10.0.0.100", FailureKind::WrongInput, "twice"),
        ("setup --vip 10.0.0.100 --interface eth7", FailureKind::WrongInput, "no interface eth7"),
        ("setup --vip 10.0.0.100 --interface lo", FailureKind::WrongInput, "not an Ethernet interface"),
        ("check --vip 10.0.0.100 --interface much-too-long-a-name", FailureKind::WrongInput, "no interface"),
    ] {
        let failure = lab.fails(arguments);
        assert!(failure.kind == kind && failure.message.contains(says), "{arguments}: {failure}");
        assert!(failure.hint.is_some() || says == "twice", "{arguments}: {failure}");
        assert_eq!(lab.everything(), before, "{arguments}");
        assert!(!Path::new(&lab.state()).exists(), "{arguments}");
    }
    lab.real.ip("route delete default");
    assert!(lab.fails("setup --vip 10.0.0.100").hint.unwrap().contains("--interface"));
}

#[test]
fn check_names_what_is_wrong_and_json_lists_it() {
    let lab = Lab::new();
    lab.succeeds("setup --vip 10.0.0.100");
    lab.set("eth0", "arp_ignore", 3);

    let (output, result) = lab.xvs_host("check --vip 10.0.0.100");
    assert_eq!(result.unwrap_err().message, "2 of 9 things are wrong");
    let wrong: Vec<_> = output.lines().filter(|line| line.starts_with("WRONG")).collect();
    assert!(
        matches!(wrong[..], [setting, meaning]
            if setting.contains("net.ipv4.conf.eth0.arp_ignore is 3, should be 1")
            && meaning.contains("ARP requests for 10.0.0.100 is answered: its scope is not host")),
        "{output}"
    );

    let (output, _) = lab.run("check --vip 10.0.0.100", true);
    let list: Vec<serde_json::Value> = serde_json::from_str(&output).unwrap();
    assert_eq!(list.iter().filter(|item| item["ok"] == false).count(), 2);
    for key in ["item", "expected", "found", "why"] {
        assert!(list.iter().all(|item| item[key].is_string()), "{key}: {output}");
    }
}

#[test]
fn ipv6_needs_the_vip_only() {
    let lab = Lab::new();
    let before = lab.everything();
    lab.succeeds("setup --vip 2001:db8::100 --interface eth0");
    let shown = lab.real.ip("address show dev lo");
    assert!(shown.contains("2001:db8::100/128") && !shown.contains("tentative"), "{shown}");
    assert_eq!(lab.get("all", "arp_ignore"), 0);
    lab.succeeds("restore");
    assert_eq!(lab.everything(), before);
}

#[test]
fn the_strict_reverse_path_filter_is_loosened_only_where_replies_leave_elsewhere() {
    let lab = Lab::new();
    let setup = "setup --vip 10.0.0.100 --forward tun --decap xdp --interface eth0";
    lab.set("all", "rp_filter", 1);
    lab.succeeds(setup);
    assert_eq!(lab.get("eth0", "rp_filter"), 0, "the way back is eth0: the strict filter of `all` will do");
    lab.succeeds("restore");

    let router = Netns::new();
    lab.real.cable("eth1", &router, "eth0");
    lab.real.ip("address add 10.1.0.2/24 dev eth1");
    lab.real.ip("route replace default via 10.1.0.1");
    lab.succeeds(setup);
    assert_eq!((lab.get("eth0", "rp_filter"), lab.get("all", "rp_filter")), (2, 1));
}
