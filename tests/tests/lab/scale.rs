// SPDX-License-Identifier: MIT OR Apache-2.0
//! Thousands of reals: changes go to the journal of the state, and survive a kill.

use std::{fmt::Write as _, fs};

use lb_tests::lab::{Director, Lab, RIPS, VIP};

const SERVICES: usize = 4;
const REALS: usize = 600;

/// Returns a config of services with enough reals for a journal.
fn config() -> String {
    let mut text = String::new();
    for service in 0..SERVICES {
        let _infallible =
            writeln!(text, "[[service]]\nprotocol = \"tcp\"\naddress = \"{VIP}:{}\"", 1000 + service);
        for real in 0..REALS {
            let (rip, port) = (RIPS[real % RIPS.len()], 2000 + real / RIPS.len() + service * 1000);
            let _infallible =
                writeln!(text, "[[service.real]]\naddress = \"{rip}:{port}\"\nforward = \"nat\"");
        }
    }
    text
}

/// Returns the number of journals beside the state file.
fn journals(director: &Director) -> usize {
    let folder = director.state();
    let files = fs::read_dir(folder.parent().expect("a file has a folder")).expect("it is there");
    let names = files.filter_map(|file| file.ok()?.file_name().into_string().ok());
    names.filter(|name| name.contains(".journal-")).count()
}

#[test]
fn changes_of_many_reals_survive_a_kill() {
    let lab = Lab::new();
    let director = &lab.director;
    let all = director.path("all.toml");
    fs::write(&all, config()).unwrap();
    let mut daemon = director.start_daemon();
    director.xvs(&format!("apply {}", all.display())).succeeds();
    let file = fs::read(director.state()).unwrap();
    let edit = |real: usize, weight: u32| {
        let (rip, port) = (RIPS[real % RIPS.len()], 2000 + real / RIPS.len());
        let line = format!("real edit tcp {VIP}:1000 {rip}:{port} --weight {weight}");
        director.xvs(&line).succeeds().says(&format!("weight {weight} (was 1)"));
    };
    for real in 0..5 {
        edit(real * 100, 7);
    }
    // A change of the set of reals, and one that is refused.
    director.xvs(&format!("real remove tcp {VIP}:1001 {}:3000", RIPS[0])).succeeds();
    director.xvs(&format!("real add tcp {VIP}:1000 {}:2000 --forward dr", RIPS[0])).fails(2);
    assert_eq!(fs::read(director.state()).unwrap(), file, "the file itself stays");
    assert_eq!(journals(director), 1);
    let services = director.xvs("export").succeeds().stdout;
    assert_eq!(services.matches("weight = 7").count(), 5, "{services}");

    daemon.kill();
    daemon = director.start_daemon();
    assert_eq!(director.xvs("export").succeeds().stdout, services);
    // Weights in the maps are those of the journal: the plan of the same config has nothing to do.
    let same = director.path("same.toml");
    fs::write(&same, &services).unwrap();
    director.xvs(&format!("plan {}", same.display())).succeeds().says("nothing to change");

    // A torn last line was never answered.
    edit(7, 9);
    daemon.kill();
    let folder = director.state().parent().unwrap().to_owned();
    let mut newest: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .filter_map(|file| Some(file.ok()?.path()))
        .filter(|path| path.to_string_lossy().contains(".journal-"))
        .filter(|path| path.metadata().is_ok_and(|data| data.len() > 0))
        .collect();
    newest.sort();
    let journal = newest.pop().expect("the edit is in a journal");
    let length = journal.metadata().unwrap().len();
    fs::OpenOptions::new().write(true).open(&journal).unwrap().set_len(length - 3).unwrap();
    daemon = director.start_daemon();
    assert_eq!(director.xvs("export").succeeds().stdout, services);

    daemon.stop();
    assert_eq!(journals(director), 0, "a stopped daemon leaves one file");
    let _daemon = director.start_daemon();
    assert_eq!(director.xvs("export").succeeds().stdout, services);
}
