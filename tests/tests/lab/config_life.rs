// SPDX-License-Identifier: MIT OR Apache-2.0
//! The life of a config: plan, apply with a confirmation, history, rollback, edit.

use std::{fs, os::unix::fs::PermissionsExt as _};

use lb_tests::lab::{Director, Method, RIPS, Stage, VIP, eventually};

fn file(director: &Director, name: &str, ports: &[u16]) -> String {
    let path = director.path(name);
    let service = |port: &u16| {
        format!("[[service]]\nprotocol = \"tcp\"\naddress = \"{VIP}:{port}\"\nscheduler = \"rr\"\n")
    };
    fs::write(&path, ports.iter().map(service).collect::<String>()).expect("our own folder");
    path.display().to_string()
}

fn services(director: &Director) -> usize {
    director.stats().services.len()
}

#[test]
fn a_config_that_is_not_confirmed_reverts_even_after_a_restart() {
    let mut stage = Stage::new();
    let director = &stage.lab.director;
    let (one, three) = (file(director, "one", &[80]), file(director, "three", &[80, 81, 82]));
    director.xvs(&format!("apply {one}")).succeeds();

    // Confirmed: it stays.
    director.xvs(&format!("apply {three} --confirm 30s")).succeeds().says("reverts in 30 s");
    director.xvs("status").succeeds().says("the config of root reverts in");
    director.xvs(&format!("apply {one}")).fails(2).says("xvs confirm");
    director.xvs("confirm").succeeds().says("stays");
    director.xvs("confirm").fails(2).says("no config waits");
    director.xvs("status").succeeds().does_not_say("reverts");
    assert_eq!(services(director), 3);

    // Not confirmed, and the daemon is killed in between: it reverts.
    director.xvs(&format!("apply {one} --confirm 4s")).succeeds();
    assert_eq!(services(director), 1);
    stage.daemon.kill();
    stage.daemon = stage.lab.director.start_daemon();
    let director = &stage.lab.director;
    eventually("the config before is in force", || match services(director) {
        3 => Ok(()),
        other => Err(format!("{other} services")),
    });
    eventually("the log says so", || {
        let log = stage.daemon.log();
        if log.contains("was not confirmed in time: reverted") { Ok(()) } else { Err(log) }
    });
    director.xvs("confirm").fails(2);
    director.xvs("config history").succeeds().says("revert of an unconfirmed config").says("in force");
    let left = format!("{}.unconfirmed", director.state().display());
    assert!(!std::path::Path::new(&left).exists());
}

#[test]
fn revisions_are_listed_and_returned_to_and_a_plan_counts_connections() {
    let stage = Stage::new();
    let director = &stage.lab.director;
    let servers = stage.start_web_servers();
    director.serve("tcp", Method::Nat.port(), "rr", Method::Nat, Method::Nat.real_port());
    director.xvs("config history").succeeds().says("start of the daemon").says("root");

    // An open connection on each real.
    let target = Method::Nat.service();
    let open: Vec<_> =
        (0..3).map(|_| stage.lab.client.connect(target).expect("the service answers")).collect();
    let exported = director.xvs("export").succeeds().stdout;
    let gone = RIPS[2].to_string();
    let (head, _) = exported.rsplit_once("[[service.real]]").expect("three reals");
    let less = director.path("less");
    fs::write(&less, head).unwrap();
    let plan = director.xvs(&format!("plan {}", less.display())).succeeds();
    plan.says("- will remove real").says("(breaks 1 connection)").says(
        "0 to add, 0 to change, 1 to remove; open connections: 1 will break, 0 will move; nothing was changed",
    );
    drop(open);
    director.xvs(&format!("config check {}", less.display())).succeeds().says("is valid: 1 service, 2 reals");

    director.xvs(&format!("apply {}", less.display())).succeeds();
    assert_eq!(director.stats().services[0].reals.len(), 2);
    let history = director.xvs("--output json config history").succeeds().json();
    let last = history.as_array().and_then(|all| all.last()).expect("a revision").clone();
    assert_eq!((&last["who"], &last["removed"]), (&"root".into(), &1.into()), "{last}");
    director.xvs("config rollback --plan").succeeds().says("+ will add real");
    director.xvs("config rollback").succeeds().says("added real");
    assert_eq!(director.xvs("export").succeeds().stdout, exported, "{gone} is back");
    director.xvs("config rollback 999").fails(2).says("no revision 999");

    // Editors that are programs: one changes nothing, one a comment, and one the scheduler.
    let edit = |name: &str, expression: &str| {
        let editor = director.path(name);
        fs::write(&editor, format!("#!/bin/sh\nsed -i '{expression}' \"$1\"\n")).unwrap();
        fs::set_permissions(&editor, fs::Permissions::from_mode(0o755)).unwrap();
        let words = director.xvs_words("config edit --yes");
        let variable = ["env".to_owned(), format!("EDITOR={}", editor.display())];
        director.exec(variable.into_iter().chain(words.iter().map(|word| word.display().to_string())))
    };
    let revisions = || director.xvs("config history").succeeds().stdout.lines().count();
    let before = revisions();
    for (name, expression) in [("same", ""), ("comment", "1i # reviewed")] {
        edit(name, expression).succeeds().says("nothing to change");
        assert_eq!(revisions(), before, "{name}");
    }
    edit("editor", "s/scheduler = \"rr\"/scheduler = \"wrr\"/")
        .succeeds()
        .says("~ will change service")
        .says("scheduler wrr (was rr)");
    assert!(director.xvs("export").succeeds().stdout.contains("wrr"));
    director.xvs(&format!("apply {} --confirm 100ms", less.display())).fails(2).says("between 1s and 1day");
    drop(servers);
}
