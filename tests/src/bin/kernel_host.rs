// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xvs host setup --forward tun` where the kernel has devices that unwrap: each version of IP within each.
//!
//! Run by `cargo xtask test-vm` inside a virtual machine, since it needs a kernel with ipip, ip6tnl and sit.
#![expect(clippy::print_stdout, reason = "it is here to show something")]

use std::{
    fmt::Write as _,
    fs,
    io::{BufRead as _, BufReader},
    net::{IpAddr, Ipv6Addr, SocketAddr, TcpStream},
    process::{ExitCode, Stdio},
    time::Duration,
};

use lb_tests::lab::{Client, Lab, RIPS, Real, Server, VIP, VIP6, rip6};

/// Cases: whether the inner packet and the outer header are IPv6, a description, and the device that must
/// decapsulate the packet.
const CASES: [(bool, bool, &str, &str); 4] = [
    (false, false, "IPv4 within IPv4", "the ipip device xvs-ipip"),
    (false, true, "IPv4 within IPv6", "the ip6tnl device xvs-ip6tnl"),
    (true, false, "IPv6 within IPv4", "the sit device xvs-sit"),
    (true, true, "IPv6 within IPv6", "the ip6tnl device xvs-ip6tnl"),
];

const PORT: u16 = 9000;

fn main() -> ExitCode {
    let lab = Lab::new();
    let [real, ..] = &lab.reals;
    let any = Ipv6Addr::UNSPECIFIED;
    let _servers: Vec<Server> =
        (0..4).map(|n| Server::greeter(real, SocketAddr::new(any.into(), PORT + n))).collect();
    let _daemon = lab.director.start_daemon();
    let mut file = String::new();
    for (port, (inner, outer, ..)) in (PORT..).zip(CASES) {
        let (service, rip) = (SocketAddr::new(vip(inner), port), SocketAddr::new(rip(outer), port));
        let _ = writeln!(file, "[[service]]\nprotocol = \"tcp\"\naddress = \"{service}\"");
        let _ = writeln!(file, "[[service.real]]\naddress = \"{rip}\"\nforward = \"tun\"");
    }
    let config = lab.director.path("services.toml");
    fs::write(&config, file).expect("the lab's folder is writable");
    lab.director.xvs(&format!("apply {}", config.display())).succeeds();
    lab.director.wait_for_next_hops();

    // The strict filter, as many distributions have it, is to be no hindrance.
    real.sysctl("ipv4/conf/all/rp_filter", "1");
    let before = everything(real);
    for (port, (inner, outer, name, device)) in (PORT..).zip(CASES) {
        let options = format!("--vip {} --forward tun --rip {}", vip(inner), rip(outer));
        case(&lab.client, real, &options, (name, device), SocketAddr::new(vip(inner), port));
        real.host_restore().succeeds();
        assert_eq!(everything(real), before, "{name}: restore");
        println!("{name:<18} unwrapped by {device}; after restore all is as before");
    }
    both_at_once(real, &before);
    killed(real, &before);
    ExitCode::SUCCESS
}

/// Checks one case: set up twice, and answered; also the findings of `check`, and those with the interface
/// down.
fn case(client: &Client, real: &Real, options: &str, (name, device): (&str, &str), service: SocketAddr) {
    assert!(greeting(client, service).is_err(), "{name}: nothing unwraps, and yet there is an answer");
    let planned = real.xvs_host(&format!("setup {options} --dry-run")).succeeds();
    planned.says(&format!("would decapsulation: make {device} ({name})"));
    let setup = real.xvs_host(&format!("setup {options}")).succeeds();
    setup
        .says(&format!("set   decapsulation: by {device} ({name})"))
        .says(&format!("MTU in the tunnel ({name})"));
    let again = real.xvs_host(&format!("setup {options}")).succeeds();
    assert!(again.stdout.lines().all(|line| line.starts_with("ok ")), "{name}: {again}");
    let check = real.xvs_host(&format!("check {options}")).succeeds();
    let check = check.says(&format!("ok    decapsulation: {device} ({name})"));
    if service.is_ipv4() {
        check.says("rp_filter: 2").says("address of xvs-");
    }
    let answer = greeting(client, service);
    assert_eq!(answer.as_deref(), Ok(real.name()), "{name}");
    // Only the device is set down, which `check` reports.
    let own = device.rsplit(' ').next().unwrap_or_default();
    real.ip(&format!("link set {own} down"));
    real.xvs_host(&format!("check {options}")).fails(1).says(&format!("nothing for {name}"));
    real.xvs_host(&format!("setup {options}")).succeeds();
    assert_eq!(greeting(client, service).as_deref(), Ok(real.name()), "{name}: set up again");
}

/// Checks VIPs of both versions within outer headers of both versions.
fn both_at_once(real: &Real, before: &str) {
    let options = format!("--vip {VIP} --vip {VIP6} --forward tun --interface eth0");
    let setup = real.xvs_host(&format!("setup {options}")).succeeds();
    setup.says("the ipip device xvs-ipip").says("the ip6tnl device xvs-ip6tnl").does_not_say("XDP");
    real.xvs_host(&format!("check {options}")).succeeds();
    // One VIP is removed: the device of the other one stays.
    real.xvs_host(&format!("restore --vip {VIP6}")).succeeds();
    real.xvs_host(&format!("check --vip {VIP} --forward tun --interface eth0")).succeeds();
    real.host_restore().succeeds();
    assert_eq!(everything(real), before, "both at once: restore");
    println!("VIPs of both versions: ipip and ip6tnl");
}

/// Checks that a set-up killed at any moment leaves nothing behind after `restore`.
fn killed(real: &Real, before: &str) {
    let line = format!("setup --vip {VIP} --vip {VIP6} --forward tun --interface eth0");
    let started = std::time::Instant::now();
    real.xvs_host(&line).succeeds();
    let whole = started.elapsed();
    real.host_restore().succeeds();
    let mut unfinished = 0;
    for part in 1..=8 {
        let mut setup = real.xvs_host_command(&line);
        setup.stdout(Stdio::null());
        let mut child = real.run(|| setup.spawn()).expect("xvs is built");
        // Not a wait for something: the moment itself is what varies.
        std::thread::sleep(whole * part / 10);
        child.kill().expect("a child of ours");
        unfinished += u32::from(child.wait().expect("a child of ours").code().is_none());
        real.host_restore().succeeds();
        assert_eq!(everything(real), before, "killed after {part} tenths");
    }
    println!("killed {unfinished} times of 8 in its middle: restore leaves all as before");
}

fn vip(six: bool) -> IpAddr {
    if six { VIP6.into() } else { VIP.into() }
}

fn rip(six: bool) -> IpAddr {
    if six { rip6(RIPS[0]).into() } else { RIPS[0].into() }
}

/// Returns every interface, address and route, and the settings that `setup` may change.
fn everything(real: &Real) -> String {
    let listed =
        ["ip -oneline link", "ip -brief address", "ip route show table all", "ip -6 route show table all"]
            .map(|line| real.sh(line).succeeds().stdout);
    let settings = real.run(|| {
        ["all", "default", "lo", "eth0"].map(|device| {
            ["arp_ignore", "arp_announce", "rp_filter"].map(|name| {
                fs::read_to_string(format!("/proc/sys/net/ipv4/conf/{device}/{name}")).unwrap_or_default()
            })
        })
    });
    format!("{}\n{settings:?}", listed.join("\n"))
}

fn greeting(client: &Client, service: SocketAddr) -> Result<String, String> {
    let stream = client.run(|| TcpStream::connect_timeout(&service, Duration::from_secs(2)));
    let stream = stream.map_err(|error| error.to_string())?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).map_err(|error| error.to_string())?;
    let mut name = String::new();
    BufReader::new(stream).read_line(&mut name).map_err(|error| error.to_string())?;
    Ok(name.trim().to_owned())
}
