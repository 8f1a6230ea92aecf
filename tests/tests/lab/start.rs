// SPDX-License-Identifier: MIT OR Apache-2.0
//! Faults that keep a daemon from starting. It then leaves nothing behind.

use std::{fs, path::Path};

use aya::maps::{Array, HashMap, Map, MapData};
use lb_tests::lab::{Director, Lab, Stage, VIP, eventually};

/// Exit code of a correct command that failed.
const FAILED: i32 = 1;

/// Starts a daemon that cannot work, with its own socket, state and metrics.
fn run(director: &Director, options: &str) -> lb_tests::lab::Outcome {
    let folder = director.folder().display();
    let xvs = lb_tests::artifacts::xvs();
    director.sh(&format!(
        "timeout 20 {} --socket {folder}/other.sock run --state {folder}/other.state {options}",
        xvs.display()
    ))
}

fn opened<T: TryFrom<Map, Error: std::fmt::Debug>>(pin: &Path) -> T {
    let data = MapData::from_pin(pin).expect("the daemon pinned it");
    Map::from_map_data(data).expect("aya knows its type").try_into().expect("it is of the test's type")
}

fn files(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("the folder is there").flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn pins_of_another_schema_are_refused_and_left_alone() {
    let mut stage = Stage::new();
    stage.daemon.kill();
    let director = &stage.lab.director;
    let maps = director.bpffs().join("maps");
    let mut schema: Array<MapData, u32> = opened(&maps.join("SCHEMA"));
    let ours = schema.get(&0, 0).unwrap();
    schema.set(0, ours + 1, 0).unwrap();

    let refused = run(director, &format!("-i eth0 --bpffs {}", director.bpffs().display()));

    refused.fails(FAILED).says(&format!("schema {}", ours + 1)).says("xvs detach");
    assert_eq!(schema.get(&0, 0).unwrap(), ours + 1);
    assert_eq!(files(&director.bpffs().join("links")).len(), 1, "the attachment goes on");
    assert!(!director.folder().join("other.sock").exists());

    // With the right schema again, the next daemon takes over.
    schema.set(0, ours, 0).unwrap();
    stage.daemon = director.start_daemon();
}

#[test]
fn a_pinned_map_of_another_shape_is_refused() {
    let mut stage = Stage::new();
    stage.daemon.kill();
    let director = &stage.lab.director;
    let pin = director.bpffs().join("maps/SERVICES");
    fs::remove_file(&pin).unwrap();
    // A map with the right name and type, but values of another size: aya alone would accept the map.
    let strange = HashMap::<MapData, [u8; 8], [u8; 4]>::create(512, 0).unwrap();
    strange.pin(&pin).unwrap();

    let refused = run(director, &format!("-i eth0 --bpffs {}", director.bpffs().display()));

    refused.fails(FAILED).says("SERVICES").says("value size 4").says("xvs detach");
}

#[test]
fn an_interface_that_cannot_do_it_is_named_and_nothing_is_left() {
    let lab = Lab::new();
    let director = &lab.director;
    let bpffs = director.folder().join("bpf/other");

    // The loopback device has no native mode.
    run(director, &format!("-i lo --xdp-mode native --bpffs {}", bpffs.display()))
        .fails(FAILED)
        .says("lo accepts no XDP program in native mode")
        .says("--xdp-mode generic");

    assert_eq!(files(&bpffs), ["guard", "links", "maps"]);
    for folder in ["guard", "links", "maps"] {
        assert!(files(&bpffs.join(folder)).is_empty(), "{folder}");
    }
    assert!(!director.folder().join("other.sock").exists());
}

#[test]
fn another_xdp_program_on_the_interface_is_not_pushed_off() {
    let stage = Stage::new();
    let director = &stage.lab.director;

    run(director, &format!("-i eth0 --bpffs {}/bpf/other", director.folder().display()))
        .fails(FAILED)
        .says("another XDP program is attached to eth0");

    director.xvs("status").succeeds().says("eth0 (native)");
}

#[test]
fn a_second_daemon_on_the_same_pins_is_refused() {
    let stage = Stage::new();
    let director = &stage.lab.director;
    let pid = stage.daemon.id();

    run(director, &format!("-i eth0 --bpffs {}", director.bpffs().display()))
        .fails(FAILED)
        .says(&format!("another xvs daemon (pid {pid}) uses the pins"));
    let bpffs = director.bpffs();
    director
        .xvs(&format!("detach --bpffs {}", bpffs.display()))
        .fails(FAILED)
        .says(&format!("the daemon (pid {pid}) that uses the pins under {} still runs", bpffs.display()));
    // Other pins, but the same state.
    let socket = director.folder().join("other.sock");
    let (elsewhere, kept, xvs) =
        (director.folder().join("bpf/other"), director.state(), lb_tests::artifacts::xvs());
    director
        .sh(&format!(
            "timeout 20 {} --socket {} run -i eth0 --bpffs {} --state {}",
            xvs.display(),
            socket.display(),
            elsewhere.display(),
            kept.display()
        ))
        .fails(FAILED)
        .says(&format!("another xvs daemon (pid {pid}) uses the state file {}", kept.display()));

    director.xvs("status").succeeds();
}

#[test]
fn a_start_that_fails_changes_neither_services_nor_state() {
    let mut stage = Stage::new();
    let director = &stage.lab.director;
    director.xvs(&format!("service add tcp {VIP}:80")).succeeds();
    let before = director.xvs("export").succeeds().stdout;
    stage.daemon.kill();
    let config = director.path("bad.toml");
    let text = format!(
        "[director]\nxdp-mode = \"native\"\n[[service]]\nprotocol = \"udp\"\naddress = \"{VIP}:53\"\n"
    );
    fs::write(&config, text).unwrap();

    let xvs = lb_tests::artifacts::xvs();
    let (socket, bpffs, kept) = (director.socket(), director.bpffs(), director.state());
    director
        .sh(&format!(
            "timeout 20 {} --socket {} run -i eth0 -i lo --config {} --bpffs {} --state {}",
            xvs.display(),
            socket.display(),
            config.display(),
            bpffs.display(),
            kept.display()
        ))
        .fails(FAILED)
        .says("lo accepts no XDP program");

    stage.daemon = stage.lab.director.start_daemon();
    assert_eq!(stage.lab.director.xvs("export").succeeds().stdout, before);
}

#[test]
fn a_vip_that_somebody_takes_off_comes_back_and_one_that_is_not_ours_stays() {
    let stage = Stage::new();
    let director = &stage.lab.director;
    let has = |vip: &str| director.sh("ip -brief address show dev eth0").succeeds().stdout.contains(vip);
    director.sh("ip address add 192.0.2.101/32 dev eth0").succeeds();
    for vip in ["192.0.2.100", "192.0.2.101"] {
        director.xvs(&format!("service add tcp {vip}:80")).succeeds();
    }

    director.sh("ip address del 192.0.2.100/32 dev eth0").succeeds();

    eventually("the VIP is back", || if has("192.0.2.100/32") { Ok(()) } else { Err("gone".to_owned()) });
    for vip in ["192.0.2.100", "192.0.2.101"] {
        director.xvs(&format!("service remove tcp {vip}:80")).succeeds();
    }
    assert!(!has("192.0.2.100/32") && has("192.0.2.101/32"));
}
