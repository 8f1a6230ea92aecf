// SPDX-License-Identifier: MIT OR Apache-2.0
//! No connection is reset while interfaces are attached again, when the daemon is killed during a change, or
//! when its files are lost or cannot be written.

use std::{
    fs,
    io::{BufRead as _, BufReader, ErrorKind, Write as _},
    net::{Ipv4Addr, SocketAddrV4, TcpStream},
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use aya::maps::{Array, MapData};
use lb_common::schema::Real;
use lb_tests::artifacts::is_full;
use lb_tests::lab::{Client, Director, Method, RIPS, Server, Stage, VIP, eventually};

const PORT: u16 = 7100;
const SERVICE: SocketAddrV4 = SocketAddrV4::new(VIP, PORT);

/// A stage whose reals run greeters for every method.
fn greeting_stage() -> (Stage, Vec<Server>) {
    let stage = Stage::new();
    let everywhere = |port| (Ipv4Addr::UNSPECIFIED, port);
    let greeters = stage.lab.reals.iter().flat_map(|real| {
        let ports = Method::real_ports().into_iter().chain([PORT]);
        ports.map(|port| Server::greeter(real, everywhere(port))).collect::<Vec<_>>()
    });
    let greeters = greeters.collect();
    (stage, greeters)
}

/// Connections that must stay open.
struct Connections(Vec<(TcpStream, BufReader<TcpStream>)>);

impl Connections {
    /// Opens three to each service, and reads the greeting.
    #[track_caller]
    fn open(stage: &Stage, services: &[SocketAddrV4]) -> Self {
        let streams = services.iter().flat_map(|service| [service; 3]).map(|service| {
            let stream = stage.lab.client.connect(*service).expect("the service answers");
            let mut reader = BufReader::new(stream.try_clone().expect("a handle of ours"));
            let mut greeting = String::new();
            assert_ne!(reader.read_line(&mut greeting).expect("it is open"), 0);
            (stream, reader)
        });
        Self(streams.collect())
    }

    /// Checks that each still echoes.
    #[track_caller]
    fn echo(&mut self, words: &str) {
        let line = format!("{words}\n");
        for (stream, _) in &mut self.0 {
            stream.write_all(line.as_bytes()).unwrap_or_else(|error| panic!("{words}: {error}"));
        }
        for (_, reader) in &mut self.0 {
            let mut answer = String::new();
            reader.read_line(&mut answer).unwrap_or_else(|error| panic!("{words}: {error}"));
            assert_eq!(answer, line, "{words}: the connection is closed");
        }
    }
}

fn guarded(director: &Director) -> u64 {
    director.stats().reason("guarded")
}

#[test]
fn attaching_resets_no_connection() {
    let (stage, _greeters) = greeting_stage();
    stage.serve_all_methods("tcp", "wrr");
    let director = &stage.lab.director;
    let mut connections = Connections::open(&stage, &Method::ALL.map(Method::service));

    // In the same mode, no packet is lost.
    for _ in 0..3 {
        director.xvs("attach eth0 --xdp-mode native").succeeds().says("native");
        connections.echo("native again");
    }
    assert_eq!(guarded(director), 0);
    for mode in ["generic", "native", "generic", "auto"] {
        // Segments that arrive while no program is attached.
        let mut busy = connections.0[0].0.try_clone().expect("a handle of ours");
        let talker = thread::spawn(move || {
            for _ in 0..40 {
                busy.write_all(b"x").expect("it is open");
                thread::sleep(Duration::from_millis(5));
            }
            busy.write_all(b"\n").expect("it is open");
        });
        director.xvs(&format!("attach eth0 --xdp-mode {mode}")).succeeds();
        talker.join().expect("no segment was answered with a reset");
        let mut echoed = String::new();
        connections.0[0].1.read_line(&mut echoed).expect("it is open");
        connections.echo(mode);
    }
    director.xvs("status").succeeds().says("native");
}

#[test]
fn a_guard_stands_where_no_program_is() {
    let (mut stage, _greeters) = greeting_stage();
    stage.serve_all_methods("tcp", "wrr");
    let mut connections = Connections::open(&stage, &Method::ALL.map(Method::service));
    stage.daemon.kill();
    let director = &stage.lab.director;
    // As after a detach by another program, while the VIP stays.
    fs::remove_file(fs::read_dir(director.bpffs().join("links")).unwrap().next().unwrap().unwrap().path())
        .unwrap();
    eventually("the program is off", || {
        let shown = director.sh("ip link show eth0").succeeds().stdout;
        if shown.contains("xdp") { Err(shown) } else { Ok(()) }
    });
    for (stream, _) in &mut connections.0 {
        stream.write_all(b"is anybody there?\n").expect("it is open");
    }
    thread::sleep(Duration::from_millis(300));
    for (stream, _) in &connections.0 {
        assert!(stream.take_error().unwrap().is_none(), "it was reset");
    }
    // The director's own services continue meanwhile.
    director.sh("ping -c 1 -W 2 192.0.2.10").succeeds();

    stage.daemon = stage.lab.director.start_daemon();

    for (_, reader) in &mut connections.0 {
        let mut line = String::new();
        reader.read_line(&mut line).expect("the client sent it again");
        assert_eq!(line, "is anybody there?\n");
    }
    assert!(guarded(&stage.lab.director) > 0);
}

#[test]
fn what_is_left_to_the_stack_passes_the_guard() {
    let (stage, _greeters) = greeting_stage();
    let director = &stage.lab.director;
    let _own = Server::greeter(director, (Ipv4Addr::UNSPECIFIED, PORT));
    director.xvs(&format!("service add tcp {SERVICE} --scheduler rr")).succeeds();
    director.xvs(&format!("real add tcp {SERVICE} {VIP} --forward local")).succeeds();
    stage.lab.client.spread(SERVICE, 50).is_complete(50);
    // The guard belongs to the new maps, too.
    director.xvs("resize --max-flows 2000000").succeeds();
    thread::sleep(Duration::from_millis(400));
    stage.lab.client.spread(SERVICE, 50).is_complete(50);
    assert_eq!(guarded(director), 0);
}

/// Opens connections one after the other, for 4 ms each, until `end`. Returns how many were reset.
fn knock(client: &Client, service: SocketAddrV4, end: &AtomicBool) -> usize {
    client.run(|| {
        let mut refused = 0;
        while !end.load(Ordering::Relaxed) {
            let result = TcpStream::connect_timeout(&service.into(), Duration::from_millis(4));
            refused += usize::from(result.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused));
        }
        refused
    })
}

#[test]
fn a_detach_before_an_upgrade_resets_no_connection() {
    let (mut stage, _greeters) = greeting_stage();
    stage.serve_all_methods("tcp", "mh");
    let mut connections = Connections::open(&stage, &[Method::Dr.service(), Method::Tun.service()]);
    // The director sends packets on that are not its own, as a router does.
    stage.lab.director.sysctl("ipv4/ip_forward", "1");
    assert_eq!(stage.daemon.stop(), Some(0));
    let director = &stage.lab.director;
    let (bpffs, file) = (director.bpffs(), director.state());
    let detach = format!("detach --bpffs {} --state {}", bpffs.display(), file.display());
    director.xvs(&format!("{detach} --keep-guard")).succeeds().says("are dropped");
    director.sh("ip address show eth0").succeeds().does_not_say(&VIP.to_string());
    // Another program, such as keepalived, may have added the VIP.
    director.ip(&format!("address add {VIP}/32 dev eth0"));
    for (stream, _) in &mut connections.0 {
        stream.write_all(b"meanwhile\n").expect("it is open");
    }
    // A SYN every millisecond or so: the stack must get none, because it would reset it.
    let started = AtomicBool::new(false);
    let (daemon, refused) = thread::scope(|scope| {
        let knocking =
            [(); 4].map(|()| scope.spawn(|| knock(&stage.lab.client, Method::Dr.service(), &started)));
        thread::sleep(Duration::from_millis(300));
        let daemon = stage.lab.director.start_daemon();
        started.store(true, Ordering::Relaxed);
        (daemon, knocking.map(|knocking| knocking.join().expect("it ends")))
    });
    stage.daemon = daemon;
    assert_eq!(refused, [0; 4], "connections were reset");

    for (_, reader) in &mut connections.0 {
        let mut line = String::new();
        reader.read_line(&mut line).expect("the client sent it again");
        assert_eq!(line, "meanwhile\n");
    }
    // xvs did not add this VIP and does not remove it, so the guard stays.
    assert_eq!(stage.daemon.stop(), Some(0));
    let director = &stage.lab.director;
    director.xvs(&detach).succeeds().says(&format!("still has {VIP}")).says("--remove-guard");
    director.xvs(&format!("detach --remove-guard --bpffs {}", bpffs.display())).succeeds();
    assert_eq!(fs::read_dir(bpffs.join("guard")).unwrap().count(), 0);
}

#[test]
fn a_removed_pin_is_made_again_and_a_detached_program_attached_again() {
    let (stage, _greeters) = greeting_stage();
    stage.serve_all_methods("tcp", "wrr");
    let director = &stage.lab.director;
    let mut connections = Connections::open(&stage, &[Method::Dr.service()]);
    let pin = fs::read_dir(director.bpffs().join("links")).unwrap().next().unwrap().unwrap().path();
    fs::remove_file(&pin).unwrap();
    connections.echo("without a pin");
    eventually("the link is pinned again", || if pin.exists() { Ok(()) } else { Err("no".to_owned()) });

    let shown = director.sh("ip -details -json link show eth0").succeeds().json();
    let id = shown[0]["xdp"]["prog"]["id"].as_u64().expect("the program has a number");
    let link = lb_dataplane::links::of(
        u32::try_from(id).unwrap(),
        shown[0]["ifindex"].as_u64().unwrap().try_into().unwrap(),
    );
    director.xvs(&format!("detach --link {}", link.expect("it is attached by a link"))).succeeds();
    eventually("the program is attached again", || {
        let status = director.xvs("status").succeeds();
        if status.stdout.contains("native") { Ok(()) } else { Err(status.stdout) }
    });
    connections.echo("attached again");
}

/// Each change of a neighbour is in the maps within 100 ms, also while the daemon is busy.
#[test]
fn neighbours_that_change_are_noticed_at_once() {
    let (stage, _greeters) = greeting_stage();
    stage.serve_all_methods("tcp", "mh");
    let director = &stage.lab.director;
    let reals: Array<MapData, Real> =
        aya::maps::Map::from_map_data(MapData::from_pin(director.bpffs().join("maps/REALS")).unwrap())
            .unwrap()
            .try_into()
            .unwrap();
    let mut worst = Duration::ZERO;
    for number in 0..if is_full() { 100u8 } else { 40 } {
        // At any moment between two ticks of the daemon.
        thread::sleep(Duration::from_millis(u64::from(number) * 7 % 130));
        let mac = [2, 0, 0x0a, 1, number, 0x0b];
        let text = mac.map(|byte| format!("{byte:02x}")).join(":");
        director.ip(&format!("neighbour replace {} dev eth0 lladdr {text} nud reachable", RIPS[0]));
        let changed = Instant::now();
        let is_there = || {
            reals.iter().flatten().any(|real| {
                real.address == std::net::IpAddr::from(RIPS[0]).into() && real.macs.destination() == mac
            })
        };
        while !is_there() {
            assert!(changed.elapsed() < Duration::from_secs(2), "{text} is not in the maps");
            thread::sleep(Duration::from_millis(1));
        }
        worst = worst.max(changed.elapsed());
    }
    assert!(worst < Duration::from_millis(100), "the slowest change took {worst:?}");
}

#[test]
fn a_real_that_does_not_answer_gets_no_new_connections() {
    let (stage, _greeters) = greeting_stage();
    let director = &stage.lab.director;
    director.serve("tcp", PORT, "rr", Method::Dr, PORT);
    let dead = &stage.lab.reals[0];
    dead.ip("link set eth0 down");
    director.ip("neighbour flush dev eth0");
    let unreachable = format!("{} does not answer", dead.rip);
    eventually("the daemon knows that it is gone", || {
        let status = director.xvs("status").succeeds().stdout;
        if status.contains(&unreachable) { Ok(()) } else { Err(status) }
    });
    director.xvs("status").succeeds().says("it gets no new connections until then");
    let spread = stage.lab.client.spread(SERVICE, 30);
    assert_eq!(spread.is_complete(30).by("real1"), 0);
    // The real has the weight that the operator set.
    director.xvs("export").succeeds().does_not_say("weight = 0");

    dead.ip("link set eth0 up");
    // The kernel forgets the routes of a link that is down.
    dead.ip("route replace default via 10.0.0.1\nroute replace 192.0.2.0/24 dev eth0 table 100");
    eventually("it gets connections again", || {
        let spread = stage.lab.client.spread(SERVICE, 6);
        if spread.by("real1") == 2 { Ok(()) } else { Err(format!("{spread:?}")) }
    });
}

#[test]
fn an_edited_method_leaves_open_connections_alone() {
    let (stage, _greeters) = greeting_stage();
    let director = &stage.lab.director;
    director.serve("tcp", PORT, "wrr", Method::Dr, PORT);
    let mut connections = Connections::open(&stage, &[SERVICE]);
    for method in ["tun", "nat", "fnat", "dr"] {
        for rip in RIPS {
            director.xvs(&format!("real edit tcp {SERVICE} {rip} --forward {method}")).succeeds();
        }
        connections.echo(method);
        stage.lab.client.spread(SERVICE, 6).is_complete(6);
        let more = Connections::open(&stage, &[SERVICE]);
        connections.0.extend(more.0);
    }
    connections.echo("all of them");
    director.xvs(&format!("service show tcp {SERVICE}")).succeeds().says("connections by nat");
}

#[test]
fn a_real_at_an_own_address_is_local() {
    let (stage, _greeters) = greeting_stage();
    let director = &stage.lab.director;
    let _own = Server::greeter(director, (Ipv4Addr::UNSPECIFIED, PORT));
    director.xvs(&format!("service add tcp {SERVICE} --scheduler rr")).succeeds();
    let dip = lb_tests::lab::DIP;
    director.xvs(&format!("real add tcp {SERVICE} {dip} --forward dr")).succeeds().does_not_say("warning");
    director.xvs(&format!("real add tcp {SERVICE} {} --forward dr", RIPS[1])).succeeds();
    eventually("the other real has a next hop", || {
        let listed = director.xvs("real list --wide").succeeds().stdout;
        if listed.contains("02:00:0a:00:00:0c") && listed.contains("this host") {
            Ok(())
        } else {
            Err(listed)
        }
    });
    let spread = stage.lab.client.spread(SERVICE, 20);
    spread.is_complete(20);
    assert_eq!((spread.by("director"), spread.by("real2")), (10, 10), "{spread:?}");
    director.xvs("ipvsadm -L -n").succeeds().says("10.0.0.1:7100                Local");
    // The file has the operator's settings: another host may have the same one.
    director.xvs("export --all").succeeds().says("forward = \"dr\"").does_not_say("local");
}

mod files {
    use super::*;

    /// A stage whose director keeps its state on a separate file system of this size in bytes.
    fn on_a_small_disk(stage: &Stage, bytes: usize) -> std::path::PathBuf {
        let folder = stage.lab.director.path("disk");
        fs::create_dir(&folder).expect("the lab's folder is writable");
        let size = format!("size={bytes}");
        nix::mount::mount(Some("tmpfs"), &folder, Some("tmpfs"), nix::mount::MsFlags::empty(), Some(&*size))
            .expect("the test runs as root");
        folder
    }

    struct Disk(std::path::PathBuf);

    impl Disk {
        fn fill(&self) {
            let block = vec![b'x'; 4096];
            let mut file = fs::File::create(self.0.join("ballast")).expect("the lab's folder is writable");
            while file.write_all(&block).is_ok() {}
        }

        fn make_room(&self) {
            fs::remove_file(self.0.join("ballast")).expect("the lab's folder is writable");
        }
    }

    impl Drop for Disk {
        fn drop(&mut self) {
            nix::mount::umount2(&self.0, nix::mount::MntFlags::MNT_DETACH).expect("it is mounted");
        }
    }

    #[test]
    fn a_full_disk_costs_a_refused_change_and_nothing_else() {
        let (mut stage, _greeters) = greeting_stage();
        let disk = Disk(on_a_small_disk(&stage, 256 * 1024));
        stage.daemon.stop();
        stage.lab.director.detach();
        stage.lab.director.keep_state_in(disk.0.join("state.json"));
        stage.daemon = stage.lab.director.start_daemon();
        stage.lab.director.serve("tcp", PORT, "wrr", Method::Dr, PORT);
        let mut connections = Connections::open(&stage, &[SERVICE]);
        let before = stage.lab.director.xvs("export").succeeds().stdout;

        disk.fill();
        let director = &stage.lab.director;
        for line in [
            format!("service remove tcp {SERVICE}"),
            format!("real remove tcp {SERVICE} {}", RIPS[0]),
            format!("real edit tcp {SERVICE} {} --weight 7", RIPS[0]),
            "timeouts --tcp 30s".to_owned(),
            "resize --max-flows 2000000".to_owned(),
        ] {
            director.xvs(&line).fails(1).says("cannot write the state file");
        }
        connections.echo("full");
        assert_eq!(director.xvs("export").succeeds().stdout, before);
        director.xvs("timeouts").succeeds().does_not_say("30s");
        director.xvs("status").succeeds().says("of 1048576");

        // A start does not need the disk, and forwarding does not need the start.
        stage.daemon.kill();
        stage.daemon = stage.lab.director.start_daemon();
        connections.echo("started on a full disk");
        stage.daemon.stop();
        stage.daemon = stage.lab.director.start_daemon();
        let director = &stage.lab.director;
        assert_eq!(director.xvs("export").succeeds().stdout, before);
        director.xvs(&format!("real edit tcp {SERVICE} {} --weight 7", RIPS[0])).fails(1);

        disk.make_room();
        director.xvs(&format!("real edit tcp {SERVICE} {} --weight 7", RIPS[0])).succeeds();
        connections.echo("room again");
        drop(stage.daemon);
    }

    #[test]
    fn a_lost_or_damaged_state_file_costs_no_connection() {
        let (mut stage, _greeters) = greeting_stage();
        stage.serve_all_methods("tcp", "wrr");
        stage.lab.director.xvs(&format!("group add 7 tcp {VIP}:7200 tcp {VIP}:7201")).succeeds();
        stage.lab.director.xvs("service add group 7 --scheduler rr").succeeds();
        stage.lab.director.xvs("resize --max-flows 1500000").succeeds();
        let mut connections = Connections::open(&stage, &Method::ALL.map(Method::service));
        let before = stage.lab.director.xvs("export").succeeds().stdout;
        let file = stage.lab.director.state();
        let previous = file.with_file_name("state.prev");

        let damages: [&dyn Fn(); 4] = [
            &|| drop(fs::remove_file(&file)),
            &|| fs::write(&file, "").unwrap(),
            &|| {
                let mut bytes = fs::read(&file).unwrap();
                let at = bytes.len() / 2;
                bytes[at] ^= 1;
                fs::write(&file, bytes).unwrap();
            },
            &|| {
                drop(fs::remove_file(&file));
                drop(fs::remove_file(&previous));
            },
        ];
        for (number, damage) in damages.iter().enumerate() {
            stage.daemon.kill();
            damage();
            stage.daemon = stage.lab.director.start_daemon();
            connections.echo(&format!("damage {number}"));
            // Without any file, numbers of groups are not known.
            let told = stage.lab.director.xvs("export").succeeds().stdout;
            let told = if number == 3 {
                told.replace("id = 1\n", "id = 7\n").replace("group = 1\n", "group = 7\n")
            } else {
                told
            };
            assert_eq!(told, before, "damage {number}");
            stage.lab.director.xvs("status").succeeds().says("of 1500000");
        }
        // A removal now also removes the VIP, as usual.
        stage.lab.director.xvs("ipvsadm -C").succeeds();
        stage.lab.director.sh("ip address show eth0").succeeds().does_not_say(&VIP.to_string());
    }

    #[test]
    fn kills_in_the_middle_of_attach_and_resize_cost_no_connection() {
        let (mut stage, _greeters) = greeting_stage();
        stage.serve_all_methods("tcp", "wrr");
        let mut connections = Connections::open(&stage, &Method::ALL.map(Method::service));
        let mut flows = 1_100_000;
        for number in 0..if is_full() { 300u64 } else { 12 } {
            let director = &stage.lab.director;
            flows += 1000;
            let line = match number % 3 {
                0 => format!("resize --max-flows {flows}"),
                1 => "attach eth0 --xdp-mode generic".to_owned(),
                _ => "attach eth0 --xdp-mode native".to_owned(),
            };
            let line = format!("--socket {} {line}", director.socket().display());
            let mut change = Command::new(lb_tests::artifacts::xvs());
            let _change = director.start("change", change.args(line.split_whitespace()));
            thread::sleep(Duration::from_millis(number * 37 % 400));
            stage.daemon.kill();
            stage.daemon = stage.lab.director.start_daemon();
            connections.echo(&format!("{line}, kill {number}"));
            stage.lab.director.xvs("status").succeeds().does_not_say("detached");
        }
    }
}
