// SPDX-License-Identifier: MIT OR Apache-2.0
//! Health probes on the forwarding path: each goes to the real that the prober chose, by each method, and
//! fails where clients' packets would.

use std::{
    collections::BTreeSet,
    io::{self, ErrorKind, Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpStream, UdpSocket},
    os::fd::{AsRawFd as _, OwnedFd},
    thread,
    time::{Duration, Instant},
};

use lb_common::{ids::RealId, schema};
use lb_dataplane::{
    Options, PinDir,
    probe_path::{
        DEFAULT_PORTS, PathOptions, Place, ProbePath, ProbeProgram, ProbeProtocol, SnatSource, Target,
    },
};
use lb_tests::{
    lab::{DIP, DIP6, Lab, Method, Process, RIPS, VIP, VIP6, Way, eventually, rip6},
    object,
};
use nix::{
    errno::Errno,
    sys::socket::{SockaddrStorage, connect},
};

/// Longest wait for a step of a probe. A lost packet of TCP is sent again after a second.
const PATIENCE: Duration = Duration::from_millis(1500);

/// Reals that are ready for every method and version, the daemon, and a service for each way.
pub fn scene(protocol: &str, options: &str) -> (Lab, Process) {
    scene_in(Lab::new(), protocol, options)
}

fn scene_in(lab: Lab, protocol: &str, options: &str) -> (Lab, Process) {
    for real in &lab.reals {
        real.xvs_host(&format!("setup --vip {VIP} --vip {VIP6} --forward tun --interface eth0")).succeeds();
    }
    let daemon = lab.director.start_daemon_with(options);
    for way in Way::all() {
        way.serve(&lab.director, protocol, "mh");
    }
    lab.director.wait_for_next_hops();
    (lab, daemon)
}

/// Runs `task` with a path of probes, on a thread of its own.
pub fn with_path<T: Send>(lab: &Lab, task: impl FnOnce(&mut ProbePath) -> T + Send) -> T {
    object::provide();
    lab.director.run(|| {
        let options = Options { pins: Some(PinDir::at(&lab.director.bpffs())), ..Options::default() };
        let program = ProbeProgram::load(&options).expect("the kernel takes the program");
        let sources = BTreeSet::from([DIP.into(), DIP6.into()]);
        let mut path = ProbePath::create(program, PathOptions { ports: DEFAULT_PORTS, mtu: 1500, sources })
            .expect("the namespace can be made");
        task(&mut path)
    })
}

/// Returns the targets of a way, one for each real.
fn targets(lab: &Lab, way: Way, protocol: ProbeProtocol) -> [Target; 3] {
    let source: IpAddr = if way.six { DIP6.into() } else { DIP.into() };
    let method = match way.method {
        Method::Dr => schema::Method::Dr,
        Method::Tun => schema::Method::Tun,
        Method::Nat => schema::Method::Nat,
        Method::Fnat => schema::Method::Fnat,
    };
    let tables = PinDir::at(&lab.director.bpffs()).tables().expect("the daemon has pinned them");
    let reals = tables.reals().expect("the table can be read");
    way.reals().map(|real| {
        let is_it = |entry: &schema::Real| {
            entry.exists()
                && entry.address == real.ip().into()
                && entry.port.get() == real.port()
                && entry.method == method as u16
        };
        let (id, entry) = reals.iter().find(|(_, entry)| is_it(entry)).expect("the real is in the table");
        let towards_real = SnatSource { index: 0, address: entry.source.into() };
        let snat = (way.method == Method::Fnat).then_some(towards_real);
        Target { place: Place { protocol, vip: way.service(), real, method, source, snat }, id: *id }
    })
}

/// Connects a socket of the path to the VIP; waits at most [`PATIENCE`].
fn connected(path: &mut ProbePath, target: &Target) -> io::Result<TcpStream> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let stream = TcpStream::from(path.socket(target)?);
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        match connect(stream.as_raw_fd(), &SockaddrStorage::from(target.place.vip)) {
            // A process that another test starts has a copy of the last socket until it executes its program.
            Err(Errno::EADDRNOTAVAIL) if Instant::now() < deadline => thread::sleep(Duration::from_millis(2)),
            result => return Ok(result.map(|()| stream)?),
        }
    }
}

/// Requests a page on the path, and returns its body.
fn page(path: &mut ProbePath, target: &Target, name: &str) -> io::Result<Vec<u8>> {
    const END: &[u8] = b"\r\n\r\n";
    let mut stream = connected(path, target)?;
    stream.write_all(format!("GET {name} HTTP/1.0\r\n\r\n").as_bytes())?;
    let mut page = Vec::new();
    stream.read_to_end(&mut page)?;
    let end = page.windows(END.len()).position(|part| part == END).ok_or(ErrorKind::InvalidData)?;
    Ok(page.split_off(end + END.len()))
}

/// Returns the name of the real that answers on the path.
fn answer(path: &mut ProbePath, target: &Target) -> io::Result<String> {
    let body = page(path, target, "/")?;
    Ok(String::from_utf8(body).map_err(io::Error::other)?.trim().to_owned())
}

fn each_real_answers(lab: Lab, options: &str) {
    let (lab, _daemon) = scene_in(lab, "tcp", options);
    // What the host does with packets does not matter.
    for (name, value) in
        [("ipv4/conf/all/rp_filter", "1"), ("ipv4/ip_forward", "0"), ("ipv6/conf/all/forwarding", "0")]
    {
        lab.director.sysctl(name, value);
    }
    let _nginx = lab.reals.each_ref().map(|real| real.start_nginx(&Method::real_ports()));
    lab.big_file("big", 1);
    with_path(&lab, |path| {
        for way in Way::all() {
            let [target, ..] = targets(&lab, way, ProbeProtocol::Tcp);
            let file = page(path, &target, "/files/big").expect("a large answer arrives");
            assert_eq!(file.len(), 1 << 20, "{}", way.name());
            for (real, target) in lab.reals.iter().zip(targets(&lab, way, ProbeProtocol::Tcp)) {
                // More than twice: the ports are used again.
                for turn in 0..5 {
                    let answer = answer(path, &target);
                    assert_eq!(
                        answer.as_deref().ok(),
                        Some(real.name()),
                        "{}, {turn}: {answer:?}",
                        way.name()
                    );
                }
            }
        }
    });
    for service in &lab.director.stats().services {
        let count = service.count;
        let counted = [count.packets_in, count.packets_out, count.new_flows, count.active_flows];
        assert_eq!(counted, [0; 4], "no service counts probes: {}", service.address);
    }
    let connections = lab.director.xvs("--output json connections").succeeds();
    assert!(!connections.stdout.contains(&DIP.to_string()), "{connections}");
}

#[test]
fn each_real_answers_its_probes_with_native_xdp() {
    each_real_answers(Lab::new(), "--xdp-mode native");
}

#[test]
fn each_real_answers_its_probes_with_generic_xdp() {
    each_real_answers(Lab::new(), "--xdp-mode generic");
}

#[test]
fn each_real_on_another_network_than_the_clients_answers_its_probes() {
    each_real_answers(Lab::two_arm(), "");
}

/// A real without the VIP, or without a decapsulator, fails although its address answers; the others serve.
/// The path shows the real as the table has it: by its id.
#[test]
fn a_real_fails_whose_clients_would_fail() {
    let (lab, _daemon) = scene("tcp", "");
    let _nginx = lab.reals.each_ref().map(|real| real.start_nginx(&Method::real_ports()));
    let [without_vip, without_decap, _] = &lab.reals;
    without_vip.sh(&format!("ip address del {VIP}/32 dev lo")).succeeds();
    without_vip.sh(&format!("ip -6 address del {VIP6}/128 dev lo")).succeeds();
    // A real that forwards must not pass for healthy by another one.
    without_vip.sysctl("ipv4/ip_forward", "1");
    without_vip.sysctl("ipv6/conf/all/forwarding", "1");
    without_decap.xvs_host("restore").succeeds();
    without_decap.ip(&format!("address add {VIP}/32 dev lo\naddress add {VIP6}/128 dev lo nodad"));
    with_path(&lab, |path| {
        for way in Way::all() {
            let targets = targets(&lab, way, ProbeProtocol::Tcp);
            let answers = targets.each_ref().map(|target| answer(path, target));
            let expected = match way.method {
                Method::Dr => [false, true, true],
                Method::Tun => [false, false, true],
                Method::Nat | Method::Fnat => [true; 3],
            };
            assert_eq!(answers.each_ref().map(Result::is_ok), expected, "{}: {answers:?}", way.name());
        }
        let mut other = targets(&lab, Way { method: Method::Dr, six: false }, ProbeProtocol::Tcp);
        other[1].id = other[2].id;
        let answer = answer(path, &other[1]).expect("the third real answers");
        assert_eq!(answer, "real3", "the id chooses the real");
        path.forget(&other[1].place);
        assert!(connected(path, &other[0]).is_err());
    });
}

/// "Port unreachable" reaches the prober, and ends the probe at once.
#[test]
fn errors_about_probes_reach_the_prober() {
    let (lab, _daemon) = scene("udp", "");
    with_path(&lab, |path| {
        for way in Way::all() {
            for target in targets(&lab, way, ProbeProtocol::Udp) {
                let socket = UdpSocket::from(path.socket(&target).expect("a socket"));
                socket.set_nonblocking(false).expect("an open socket");
                socket.set_read_timeout(Some(PATIENCE)).expect("an open socket");
                socket.connect(target.place.vip).expect("there is a route");
                socket.send(b"probe").expect("the first packet has no error yet");
                let start = Instant::now();
                let refused = socket.recv(&mut [0; 16]).expect_err("no server listens");
                assert_eq!(refused.kind(), ErrorKind::ConnectionRefused, "{}: {refused}", way.name());
                assert!(start.elapsed() < PATIENCE);
            }
        }
    });
}

/// An echo request reaches the real, which answers it.
#[test]
fn each_real_answers_echo_requests() {
    let (lab, _daemon) = scene("tcp", "");
    with_path(&lab, |path| {
        for way in Way::all() {
            for target in targets(&lab, way, ProbeProtocol::Echo) {
                let answer = echo(path, &target);
                let is_right = answer.as_ref().is_ok_and(|data| data == b"probe");
                assert!(is_right, "{} {}: {answer:?}", way.name(), target.place.real);
            }
        }
        let [target, ..] = targets(&lab, Way { method: Method::Dr, six: false }, ProbeProtocol::Echo);
        lab.reals[0].sh(&format!("ip address del {VIP}/32 dev lo")).succeeds();
        assert!(echo(path, &target).is_err());
    });
}

/// Sends an echo request, and returns the data of the reply.
fn echo(path: &mut ProbePath, target: &Target) -> io::Result<Vec<u8>> {
    // The methods of a datagram socket serve an echo socket too.
    let socket = UdpSocket::from(path.socket(target)?);
    socket.set_nonblocking(false)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect(SocketAddr::new(target.place.vip.ip(), 0))?;
    let kind = if target.place.vip.is_ipv4() { 8 } else { 128 };
    let mut request = vec![kind, 0, 0, 0, 0, 0, 0, 1];
    request.extend(b"probe");
    socket.send(&request)?;
    let mut reply = [0; 64];
    let length = socket.recv(&mut reply)?;
    Ok(reply[8.min(length)..length].to_vec())
}

/// Nothing but probes leaves the namespace, and nothing of it stays behind.
#[test]
fn the_path_carries_nothing_but_probes_and_ends_with_its_thread() {
    let (lab, _daemon) = scene("tcp", "");
    let _nginx = lab.reals.each_ref().map(|real| real.start_nginx(&Method::real_ports()));
    let name = with_path(&lab, |path| {
        let [target, ..] = targets(&lab, Way { method: Method::Dr, six: false }, ProbeProtocol::Tcp);
        assert!(answer(path, &target).is_ok());
        let stranger = TcpStream::connect_timeout(&target.place.vip, PATIENCE);
        assert!(stranger.is_err(), "a connection from a port of no probe");
        let other = SocketAddr::new(RIPS[0].into(), target.place.real.port());
        assert!(TcpStream::connect_timeout(&other, PATIENCE).is_err(), "a connection past the service");
        let name = path.outer().name.clone();
        let other = with_path(&lab, |path| path.outer().name.clone());
        assert_ne!(name, other, "another daemon has a path of its own");
        name
    });
    let gone = lab.director.sh(&format!("ip link show {name}"));
    if gone.is_success() {
        // The kernel deletes namespaces in the background.
        eventually("the veth pair is gone", || {
            let shown = lab.director.sh(&format!("ip link show {name}"));
            if shown.is_success() { Err(shown.to_string()) } else { Ok(()) }
        });
    }
}

/// Packets that are too big for the path to the real are answered, so that the prober sends smaller ones.
#[test]
fn a_prober_learns_the_mtu_of_the_path() {
    let (lab, _daemon) = scene("tcp", "");
    let _nginx = lab.reals.each_ref().map(|real| real.start_nginx(&Method::real_ports()));
    for rip in RIPS {
        for to in [format!("{rip}/32"), format!("{}/128", rip6(rip))] {
            lab.director.sh(&format!("ip route add {to} dev eth0 mtu 1350")).succeeds();
        }
    }
    with_path(&lab, |path| {
        for way in Way::all() {
            let [before, ..] = targets(&lab, way, ProbeProtocol::Tcp);
            wait_for_mtu(&lab, before.id, 1350);
            // The new routes may also have another source address.
            let [target, ..] = targets(&lab, way, ProbeProtocol::Tcp);
            let mut stream =
                connected(path, &target).unwrap_or_else(|error| panic!("{}: {error}", way.name()));
            let request = format!("GET /?{} HTTP/1.0\r\n\r\n", "x".repeat(4000));
            stream.write_all(request.as_bytes()).expect("an open socket");
            let mut page = String::new();
            stream.read_to_string(&mut page).expect("the request arrives");
            assert!(page.starts_with("HTTP/1.1 200"), "{}: {page}", way.name());
        }
    });
}

/// Probes of `fnat` reals have a source of the pool, as clients' packets do.
#[test]
fn a_probe_of_fnat_has_a_source_of_the_pool() {
    let lab = Lab::new();
    let config = lab.director.path("xvs.toml");
    let pool = "[director]\nfnat-addresses = [\"10.0.0.201\", \"10.0.0.202\"]\n";
    std::fs::write(&config, pool).expect("the lab's folder is writable");
    let _daemon = lab.director.start_daemon_with(&format!("--config {}", config.display()));
    let way = Way { method: Method::Fnat, six: false };
    way.serve(&lab.director, "tcp", "rr");
    lab.director.wait_for_next_hops();
    let _nginx = lab.reals.each_ref().map(|real| real.start_nginx(&[Method::Fnat.real_port()]));
    // A filter that takes packets from one address of the pool alone.
    let filter = "nft add table ip lab; add chain ip lab in { type filter hook input priority 0; }";
    let rule =
        format!("add rule ip lab in tcp dport {} ip saddr != 10.0.0.202 drop", Method::Fnat.real_port());
    lab.reals[0].sh(&format!("{filter}; {rule}")).succeeds();
    with_path(&lab, |path| {
        let [mut target, ..] = targets(&lab, way, ProbeProtocol::Tcp);
        target.place.snat = Some(SnatSource { index: 2, address: "10.0.0.202".parse().expect("an address") });
        assert_eq!(answer(path, &target).expect("an answer"), "real1");
        target.place.snat = Some(SnatSource { index: 1, address: "10.0.0.201".parse().expect("an address") });
        assert!(answer(path, &target).is_err(), "the filter drops it");
    });
}

/// Waits until the table of reals has an MTU.
fn wait_for_mtu(lab: &Lab, id: RealId, mtu: u16) {
    eventually("the director knows the MTU", || {
        let tables = PinDir::at(&lab.director.bpffs()).tables().expect("the daemon has pinned them");
        let found = tables.real(id).map(|real| real.mtu);
        if found == Some(mtu) { Ok(()) } else { Err(format!("{found:?}")) }
    });
}

/// Once the path exists, probes need no more capabilities than the daemon keeps.
#[test]
fn probes_need_only_the_capabilities_of_the_daemon() {
    let (lab, _daemon) = scene("tcp", "");
    let _nginx = lab.reals.each_ref().map(|real| real.start_nginx(&Method::real_ports()));
    let way = Way { method: Method::Nat, six: true };
    let [first, second, _] = targets(&lab, way, ProbeProtocol::Tcp);
    with_path(&lab, |path| {
        lb_userspace::privileges::keep_only(lb_userspace::privileges::DAEMON, lb_userspace::privileges::NONE)
            .expect("the kernel permits it");
        assert_eq!(answer(path, &first).expect("an answer"), "real1");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime");
        runtime.block_on(path.set_sources(BTreeSet::from([DIP.into()]))).expect("the kernel permits it");
        let gone = answer(path, &second).expect_err("the source is gone");
        assert_eq!(gone.kind(), ErrorKind::AddrNotAvailable);
        runtime.block_on(path.set_sources(BTreeSet::from([DIP6.into()]))).expect("the kernel permits it");
        assert_eq!(answer(path, &second).expect("an answer"), "real2");
        path.retain(|_| false);
        assert_eq!(answer(path, &second).expect("an answer"), "real2");
    });
}

/// Opening a socket is cheap enough for ten thousand a second on a small part of a CPU.
#[test]
fn sockets_are_cheap() {
    let (lab, _daemon) = scene("tcp", "");
    with_path(&lab, |path| {
        let [target, ..] = targets(&lab, Way { method: Method::Fnat, six: true }, ProbeProtocol::Tcp);
        // The quickest of some rounds: the others were interrupted by other tests.
        let rounds = (0..10).map(|_| {
            let start = Instant::now();
            for _ in 0..200 {
                let _closed: OwnedFd = path.socket(&target).expect("a socket");
            }
            start.elapsed() / 200
        });
        let each = rounds.min().expect("there are rounds");
        assert!(each < Duration::from_micros(50), "{each:?} for a socket");
    });
}
