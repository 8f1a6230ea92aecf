// SPDX-License-Identifier: MIT OR Apache-2.0
//! The director behind network cards that are none of veth's: as qemu emulates them, driven by Linux's own
//! drivers. Two take the programs, one leaves them to the stack; all but one take VLAN tags off frames, and
//! one merges packets.
//!
//! Run by `cargo xtask test-vm` inside a virtual machine, which has the cards on one wire. Words choose among
//! them: `kernel_cards vmxnet3`.
#![expect(clippy::print_stdout, reason = "it is here to show something")]

use std::{
    fs,
    process::{Command, ExitCode},
};

use lb_tests::{
    every_way::{files, requests, stage, tag_all},
    lab::{Lab, eventually},
};
use serde_json::Value;

/// The driver of the card at the other end of the wire, at the switch.
const SWITCH: &str = "e1000";

/// A card, by its driver.
struct Card {
    driver: &'static str,
    /// True if the driver supports native XDP.
    native: bool,
    /// True if the card removes VLAN tags from frames, and this can be switched off.
    strips: bool,
    /// True if the card merges packets.
    merges: bool,
}

const CARDS: [Card; 3] = [
    Card { driver: "virtio_net", native: true, strips: false, merges: false },
    Card { driver: "vmxnet3", native: true, strips: true, merges: true },
    Card { driver: "e1000e", native: false, strips: true, merges: false },
];

// What doctor prints.
const REATTACH: &str = "xvs attach eth0 --xdp-mode native || xvs attach eth0 --xdp-mode generic";
const NO_GRO: &str = "ethtool -K eth0 gro off";
const NO_LRO: &str = "ethtool -K eth0 lro off";
const NO_STRIPPING: &str = "ethtool -K eth0 rxvlan off";

impl Card {
    /// Returns the doctor's fixes for the interface with the kernel's defaults.
    const fn fixes(&self) -> &'static [&'static str] {
        if self.native { &[] } else { &[REATTACH, NO_GRO] }
    }
}

fn main() -> ExitCode {
    let mut failed = false;
    let words: Vec<_> = std::env::args().skip(1).collect();
    for card in CARDS.iter().filter(|card| words.is_empty() || words.iter().any(|word| word == card.driver)) {
        for wrong in plain(card).into_iter().chain(with_vlans(card)) {
            failed = true;
            eprintln!("error: {}: {wrong}", card.driver);
        }
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Applies the doctor's fixes, then tests every method.
fn plain(card: &Card) -> Vec<String> {
    let lab = Lab::new();
    plug(&lab, card.driver);
    let processes = stage(&lab, "eth0");
    let link = lab.director.sh("ip -d link show eth0").succeeds().stdout;
    let native = link.contains("prog/xdp") && !link.contains("xdpgeneric");
    println!("{}: XDP in the driver: {native}", card.driver);
    let mut wrong = Vec::new();
    if native != card.native {
        wrong.push(format!("in the driver: {native}\n{link}"));
    }
    wrong.extend(mended(&lab, card.fixes()));
    wrong.extend(requests(&lab, card.driver));
    wrong.extend(files(&lab, card.driver));
    if card.merges {
        wrong.extend(merging(&lab, card.driver));
    }
    drop(processes);
    wrong
}

/// Tests generic mode with merging by the card switched on. A card with XDP in its driver does not merge
/// packets.
fn merging(lab: &Lab, driver: &str) -> Vec<String> {
    lab.director.xvs("attach eth0 --xdp-mode generic").succeeds();
    lab.director.sh("ethtool -K eth0 lro on").succeeds();
    let mut wrong = mended(lab, &[NO_LRO, NO_GRO]);
    wrong.extend(requests(lab, &format!("{driver}, in generic mode")));
    wrong
}

/// Runs the test in a lab in which every packet moves to another VLAN.
fn with_vlans(card: &Card) -> Vec<String> {
    let lab = Lab::new();
    plug(&lab, card.driver);
    tag_all(&lab);
    let processes = stage(&lab, "eth0.20");
    let stripping: &[_] = if card.strips { &[NO_STRIPPING] } else { &[] };
    let mut wrong = mended(&lab, &[card.fixes(), stripping].concat());
    wrong.extend(requests(&lab, &format!("{}, from VLAN 10 to VLAN 20", card.driver)));
    drop(processes);
    wrong
}

/// Puts the card in the place of the director's interface, and the other end of the wire into the switch.
fn plug(lab: &Lab, driver: &str) {
    lab.switch.ip("link delete director");
    for (driver, host, name) in [(SWITCH, &lab.switch, "director"), (driver, &*lab.director, "eth0")] {
        let card = eventually(&format!("the card of {driver} is there"), || card(driver));
        let done = Command::new("ip")
            .args(["link", "set", "dev", &card, "netns", host.ns().name(), "name", name])
            .status();
        assert!(done.is_ok_and(|status| status.success()), "{card} goes to {}", host.name());
    }
    lab.switch.ip("link set director master lan up");
    lab.director.ip("link set eth0 up");
    // A card keeps its settings from the previous lab.
    lab.director.sh("ethtool -K eth0 gro on").succeeds();
    lab.address_director("eth0");
}

/// Returns the name of the interface with this driver. A lab that ends returns its cards a moment later.
fn card(driver: &str) -> Result<String, String> {
    let devices = fs::read_dir("/sys/class/net").map_err(|error| error.to_string())?;
    devices
        .filter_map(|device| Some(device.ok()?.path()))
        .find(|path| {
            fs::read_link(path.join("device/driver"))
                .is_ok_and(|at| at.file_name().is_some_and(|is| is == driver))
        })
        .and_then(|path| Some(path.file_name()?.to_str()?.to_owned()))
        .ok_or_else(|| "no device has that driver".to_owned())
}

/// Has doctor look, compares its fixes with the expected ones, and runs them: then all is well.
fn mended(lab: &Lab, expected: &[&str]) -> Vec<String> {
    let look = || lab.director.xvs("--output json doctor").json().as_array().cloned().unwrap_or_default();
    let text = |finding: &Value, name: &str| finding[name].as_str().unwrap_or_default().to_owned();
    let found = look();
    let fixes: Vec<String> = found.iter().map(|finding| text(finding, "fix")).collect();
    let mut wrong = Vec::new();
    for finding in &found {
        println!("doctor: {}: {}", text(finding, "check"), text(finding, "cause"));
        println!("  fix: {}", text(finding, "fix"));
    }
    if fixes != expected {
        wrong.push(format!("doctor prints {fixes:?}, not {expected:?}"));
    }
    for finding in &found {
        let outcome = lab.run_as_printed(&text(finding, "place"), &text(finding, "fix"));
        if !outcome.is_success() {
            wrong.push(outcome.to_string());
        }
    }
    // Some drivers restart the link when an offload is turned off.
    eventually("doctor finds nothing after its fixes", || {
        let left = lab.director.xvs("doctor");
        if left.is_success() { Ok(()) } else { Err(left.to_string()) }
    });
    wrong
}
