// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tunnels to reals whose kernel decapsulates: every kind and IP version of tunnel, for clients of both
//! versions.
//!
//! `cargo xtask test-vm` runs it inside a virtual machine, since it needs a kernel with ipip, ip6tnl, sit,
//! gre and fou.
#![expect(clippy::print_stdout, reason = "it is here to show something")]

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    io::{BufRead as _, BufReader},
    net::{IpAddr, Ipv6Addr, SocketAddr, TcpStream},
    process::ExitCode,
    time::Duration,
};

use lb_tests::lab::{Client, Lab, RIPS, Real, Server, VIP, VIP6, rip6};

/// Devices that decapsulate packets from any source. The IPv6 devices accept both versions, `sit0` accepts
/// IPv6 in IPv4; they also get the inner packets of GUE, after UDP and GUE are removed.
const DEVICES: &str = "link add k4 type ipip external\n\
     link add k6 type ip6tnl mode any external\n\
     link add g4 type gre external\n\
     link add g6 type ip6gre external\n\
     link set k4 up\nlink set k6 up\nlink set g4 up\nlink set g6 up\nlink set sit0 up";

/// Makes the GRE devices accept packets with a checksum, and no others.
fn take_gre_checksums(real: &Real) {
    real.ip(&format!(
        "link del g4\n\
         link del g6\n\
         link add g4 type gre local {} icsum\n\
         link add g6 type ip6gre local {} icsum\n\
         link set g4 up\n\
         link set g6 up",
        real.rip,
        rip6(real.rip)
    ));
    real.sysctl("ipv4/conf/g4/rp_filter", "0");
    real.sysctl("ipv4/conf/g6/rp_filter", "0");
}

/// Connections to each service.
const CONNECTIONS: usize = 6;

/// The tunnel that needs separate devices, last.
const CHECKED_GRE: &str = "gre:csum";

/// A service: its VIP, its reals' version, and how packets travel.
struct Case {
    name: String,
    service: SocketAddr,
    outer_six: bool,
    tunnel: &'static str,
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for tunnel in ["ipip", "gre", "gue:6080", "gue:6080:csum", CHECKED_GRE] {
        for (inner, vip) in [("IPv4", IpAddr::V4(VIP)), ("IPv6", IpAddr::V6(VIP6))] {
            for (outer, outer_six) in [("IPv4", false), ("IPv6", true)] {
                let port = 9000 + u16::try_from(cases.len()).unwrap_or(0);
                cases.push(Case {
                    name: format!("{tunnel}: {inner} within {outer}"),
                    service: SocketAddr::new(vip, port),
                    outer_six,
                    tunnel,
                });
            }
        }
    }
    cases
}

fn main() -> ExitCode {
    let cases = cases();
    let lab = Lab::new();
    let servers: Vec<Server> = lab.reals.iter().flat_map(|real| prepare(real, &cases)).collect();
    let _daemon = lab.director.start_daemon();
    let config = lab.director.path("services.toml");
    fs::write(&config, services(&cases)).expect("the lab's folder is writable");
    lab.director.xvs(&format!("apply {}", config.display())).succeeds();
    lab.director.wait_for_next_hops();

    let mut failed = false;
    let mut checked = false;
    for case in &cases {
        if case.tunnel == CHECKED_GRE && !std::mem::replace(&mut checked, true) {
            lab.reals.iter().for_each(take_gre_checksums);
        }
        let mut answered = BTreeSet::new();
        let mut wrong = Vec::new();
        for _ in 0..CONNECTIONS {
            match greeting(&lab.client, case.service) {
                Ok(name) => drop(answered.insert(name)),
                Err(error) => wrong.push(error),
            }
        }
        let verdict = if wrong.is_empty() { "unwrapped" } else { "LOST" };
        println!("{:<30} {verdict} by {}", case.name, Vec::from_iter(answered).join(" "));
        if !wrong.is_empty() {
            failed = true;
            eprintln!("error: {}: {wrong:?}", case.name);
        }
    }
    drop(servers);
    if failed {
        eprintln!("{:?}", lab.director.stats());
        for real in &lab.reals[..1] {
            eprintln!("{}{}", real.sh("ip -stats link").stdout, real.sh("nstat -a").stdout);
        }
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Prepares a real: its kernel decapsulates, and a server greets at the port of every service.
fn prepare(real: &Real, cases: &[Case]) -> Vec<Server> {
    real.xvs_host(&format!("setup --vip {VIP} --vip {VIP6} --forward dr --interface eth0")).succeeds();
    real.ip(DEVICES);
    for version in ["", "-6 "] {
        real.sh(&format!("ip {version}fou add port 6080 gue")).succeeds();
    }
    for device in ["k4", "k6", "g4", "g6", "sit0"] {
        real.sysctl(&format!("ipv4/conf/{device}/rp_filter"), "0");
    }
    cases
        .iter()
        .map(|case| Server::greeter(real, SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), case.service.port())))
        .collect()
}

/// Returns all services in one file, since each start of a program takes long in an emulated machine.
fn services(cases: &[Case]) -> String {
    let mut file = String::new();
    for Case { service, outer_six, tunnel, .. } in cases {
        let _ = writeln!(
            file,
            "[[service]]\nprotocol = \"tcp\"\naddress = \"{service}\"\nscheduler = \"rr\"\nflags = []"
        );
        for rip in RIPS {
            let rip = if *outer_six { IpAddr::V6(rip6(rip)) } else { IpAddr::V4(rip) };
            let real = SocketAddr::new(rip, service.port());
            let _ = writeln!(
                file,
                "[[service.real]]\naddress = \"{real}\"\nforward = \"tun\"\ntunnel = \"{tunnel}\""
            );
        }
    }
    file
}

fn greeting(client: &Client, service: SocketAddr) -> Result<String, String> {
    let stream = client.run(|| TcpStream::connect_timeout(&service, Duration::from_secs(5)));
    let stream = stream.map_err(|error| error.to_string())?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).map_err(|error| error.to_string())?;
    let mut name = String::new();
    BufReader::new(stream).read_line(&mut name).map_err(|error| error.to_string())?;
    Ok(name.trim().to_owned())
}
