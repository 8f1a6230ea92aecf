// SPDX-License-Identifier: MIT OR Apache-2.0
//! The director in the lab, and what a user would pick instead, in one run: packets, connections and bytes.
//!
//! All hosts of the lab share the CPUs of this machine: figures are to be compared with each other, and with
//! nothing else.

use std::{fmt::Write as _, fs, net::SocketAddrV4, path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

use super::{cables, live::Live, stats::Spread};
use crate::lab::{Lab, Method, Process, RIPS, VIP, eventually};

/// The balancer under test.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Balancer {
    /// No balancer: frames end in XDP at the director, and connections go to a real.
    NoBalancer,
    /// xvs, by a method.
    Xvs(By),
    /// nftables, by a map of hashes to reals.
    Nftables,
    /// IPVS, by a method, where the kernel has it.
    Ipvs(By),
    /// `HAProxy`, TCP only.
    Haproxy,
}

/// The forwarding method.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the methods' names")]
pub enum By {
    Dr,
    Tun,
    Nat,
}

impl By {
    const ALL: [Self; 3] = [Self::Dr, Self::Tun, Self::Nat];

    const fn method(self) -> Method {
        match self {
            Self::Dr => Method::Dr,
            Self::Tun => Method::Tun,
            Self::Nat => Method::Nat,
        }
    }
}

impl Balancer {
    fn name(self) -> String {
        match self {
            Self::NoBalancer => "no balancer".to_owned(),
            Self::Xvs(by) => format!("xvs {}", by.method().as_str()),
            Self::Nftables => "nftables DNAT".to_owned(),
            Self::Ipvs(by) => format!("IPVS {}", by.method().as_str()),
            Self::Haproxy => "HAProxy".to_owned(),
        }
    }

    /// Returns the port of the service.
    const fn port(self) -> u16 {
        match self {
            Self::Xvs(by) | Self::Ipvs(by) => match by {
                By::Dr => 8001,
                By::Tun => 8002,
                By::Nat => 8003,
            },
            Self::NoBalancer | Self::Nftables | Self::Haproxy => 8003,
        }
    }
}

/// The results of a balancer.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Achieved {
    /// Name of the balancer.
    pub name: String,
    /// Nanoseconds of a CPU for a frame of 64 bytes, from the client to the real's interface.
    pub small: Option<Spread>,
    /// Nanoseconds of a CPU for a frame of 1,414 bytes, from the client to the real's interface.
    pub large: Option<Spread>,
    /// The least share of frames that arrived in a round.
    pub arrived: Option<f64>,
    /// Connections with one request each, in a second.
    pub connections: Option<f64>,
    /// Median time of an answer, in milliseconds.
    pub p50: Option<f64>,
    /// 99 of 100 do.
    pub p99: Option<f64>,
}

const SMALL: usize = 64;
const LARGE: usize = 1414;
const ROUNDS: usize = 5;

/// The amount of work for each balancer.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Frames in each round.
    pub frames: u32,
    /// The CPU that sends them.
    pub cpu: usize,
    /// Seconds of connections.
    pub seconds: u32,
}

/// Measures every balancer that is installed.
pub fn measure(object: &Path, effort: Effort) -> Result<Vec<Achieved>> {
    let has_ipvs = Path::new("/proc/net/ip_vs").exists();
    let mut balancers = vec![Balancer::NoBalancer];
    balancers.extend(By::ALL.map(Balancer::Xvs));
    balancers.push(Balancer::Nftables);
    if has_ipvs {
        balancers.extend(By::ALL.map(Balancer::Ipvs));
    } else {
        eprintln!(
            "this kernel has no IPVS: `cargo xtask bench --vm 6.12 --end-to-end` measures it in a virtual \
             machine"
        );
    }
    if Command::new("haproxy").arg("-v").output().is_ok() {
        balancers.push(Balancer::Haproxy);
    }
    balancers.into_iter().map(|balancer| one(balancer, object, effort)).collect()
}

fn one(balancer: Balancer, object: &Path, effort: Effort) -> Result<Achieved> {
    let mut lab = Lab::new();
    cables::plug_in(&lab);
    lab.director.attach_to(cables::INTERFACES);
    for real in &lab.reals {
        real.set_up(Method::Tun);
    }
    let _nginx = lab.reals.each_ref().map(|real| real.start_nginx(&Method::real_ports()));
    let _process = start(&lab, balancer)?;
    let mut achieved = Achieved { name: balancer.name(), ..Achieved::default() };
    requests(&lab, balancer, effort.seconds, &mut achieved)?;
    if balancer != Balancer::Haproxy {
        datagrams(&lab, balancer, object, effort, &mut achieved)?;
    }
    eprintln!("{achieved:?}");
    Ok(achieved)
}

/// Sets the balancer up: for TCP with the reals behind the switch, for UDP with those behind a cable.
fn start(lab: &Lab, balancer: Balancer) -> Result<Option<Process>> {
    let director = &lab.director;
    let service = SocketAddrV4::new(VIP, balancer.port());
    let own_the_vip =
        || director.ip(&format!("address add {VIP}/32 dev eth0\naddress add {}/32 dev front", cables::VIP));
    Ok(match balancer {
        Balancer::NoBalancer => None,
        Balancer::Xvs(by) => {
            let daemon = director.start_daemon();
            let method = by.method();
            director.serve("tcp", service.port(), "mh", method, method.real_port());
            let udp = SocketAddrV4::new(cables::VIP, service.port());
            director.xvs(&format!("service add udp {udp} --scheduler mh")).succeeds();
            for rip in cables::RIPS {
                let real = SocketAddrV4::new(rip, method.real_port());
                director.xvs(&format!("real add udp {udp} {real} --forward {}", method.as_str())).succeeds();
            }
            director.wait_for_next_hops();
            Some(daemon)
        }
        Balancer::Nftables => {
            own_the_vip();
            let mut rules =
                "table ip lb {\nchain pre {\ntype nat hook prerouting priority -100;\n".to_owned();
            for (protocol, vip, rips) in [("tcp", VIP, RIPS), ("udp", cables::VIP, cables::RIPS)] {
                let reals: Vec<String> =
                    rips.iter().enumerate().map(|(n, rip)| format!("{n} : {rip}")).collect();
                let _infallible = writeln!(
                    rules,
                    "ip daddr {vip} {protocol} dport {} dnat to jhash ip saddr . {protocol} sport mod 3 map \
                     {{ {} }}:{}",
                    service.port(),
                    reals.join(", "),
                    Method::Nat.real_port()
                );
            }
            director.feed(&["nft", "-f", "-"], &(rules + "}\n}\n"));
            None
        }
        Balancer::Ipvs(by) => {
            own_the_vip();
            let method = by.method();
            let flag = match by {
                By::Dr => "-g",
                By::Tun => "-i",
                By::Nat => "-m",
            };
            let udp = SocketAddrV4::new(cables::VIP, service.port());
            for (kind, service, rips) in [("-t", service, RIPS), ("-u", udp, cables::RIPS)] {
                director.sh(&format!("ipvsadm -A {kind} {service} -s mh -b mh-port")).succeeds();
                for rip in rips {
                    let real = SocketAddrV4::new(rip, method.real_port());
                    director.sh(&format!("ipvsadm -a {kind} {service} -r {real} {flag}")).succeeds();
                }
            }
            None
        }
        Balancer::Haproxy => {
            own_the_vip();
            let reals =
                RIPS.map(|rip| format!("  server {rip} {rip}:{}\n", Method::Nat.real_port())).concat();
            let config = director.path("haproxy.cfg");
            let text = format!(
                "global\n  maxconn 4000\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n\
                 listen web\n  bind {service}\n  balance roundrobin\n{reals}"
            );
            fs::write(&config, text)?;
            let mut process =
                director.start("haproxy", Command::new("haproxy").arg("-db").arg("-f").arg(&config));
            process.is_ready_when(|| lab.client.get(service, "/"));
            Some(process)
        }
    })
}

/// Connections with one request each.
fn requests(lab: &Lab, balancer: Balancer, seconds: u32, achieved: &mut Achieved) -> Result<()> {
    let service = match balancer {
        // Through the director as a router.
        Balancer::NoBalancer => SocketAddrV4::new(RIPS[0], Method::Nat.real_port()),
        _ => SocketAddrV4::new(VIP, balancer.port()),
    };
    eventually("the service answers", || lab.client.get(service, "/"));
    let url = format!("http://{service}/");
    let duration = format!("-d{seconds}s");
    let words = ["wrk", "-t1", "-c32", &duration, "--latency", "-H", "Connection: close", &url];
    let said = lab.client.exec(words).succeeds().stdout;
    let of = |key: &str| said.lines().find_map(|line| line.trim().strip_prefix(key)).map(str::trim);
    achieved.connections = Some(of("Requests/sec:").context("wrk said nothing")?.parse()?);
    achieved.p50 = of("50%").and_then(milliseconds);
    achieved.p99 = of("99%").and_then(milliseconds);
    Ok(())
}

/// Parses a time in the format of wrk.
fn milliseconds(text: &str) -> Option<f64> {
    let units = [("us", 1e-3), ("ms", 1.0), ("s", 1e3)];
    units.iter().find_map(|(unit, factor)| Some(text.strip_suffix(unit)?.parse::<f64>().ok()? * factor))
}

fn datagrams(
    lab: &Lab,
    balancer: Balancer,
    object: &Path,
    effort: Effort,
    achieved: &mut Achieved,
) -> Result<()> {
    let mut live = Live::load(object)?;
    match balancer {
        Balancer::NoBalancer => live.sink_at(&lab.director, cables::FRONT)?,
        _ => live.sink_at(cables::back_end(lab), cables::BACK)?,
    }
    let mut least: f64 = 1.0;
    for (bytes, spread) in [(SMALL, &mut achieved.small), (LARGE, &mut achieved.large)] {
        let mut times = Vec::new();
        for round in 0..=ROUNDS {
            let travelled = live.send(&lab.client, balancer.port(), bytes, effort.frames, effort.cpu)?;
            if round > 0 {
                times.push(travelled.each);
                least = least.min(travelled.arrived);
            }
        }
        *spread = Some(Spread::of(&times));
    }
    ensure!(least > 0.5, "{}: only {least:.2} of all frames arrived", balancer.name());
    achieved.arrived = Some(least);
    Ok(())
}

/// Formats the results as a table. Packets for each second and gigabytes are above the cost of frames that
/// end at the director.
#[must_use]
pub fn markdown(all: &[Achieved]) -> String {
    let nobody = all.iter().find(|achieved| achieved.name == Balancer::NoBalancer.name());
    let mut page = "| | ns per frame of 64 bytes | ns above a drop at the director | million frames per second and CPU | CPU seconds per gigabyte, frames of 1,414 bytes | arrived | connections per second | p50, ms | p99, ms |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|\n".to_owned();
    for achieved in all {
        let Achieved { name, small, large, arrived, connections, p50, p99 } = achieved;
        let base =
            |of: fn(&Achieved) -> Option<Spread>| nobody.and_then(of).map_or(0.0, |spread| spread.median);
        let above = small.map(|spread| spread.median - base(|a| a.small));
        let gigabyte = large
            .map(|spread| (spread.median - base(|a| a.large)) / f64::from(u32::try_from(LARGE).unwrap_or(1)));
        let cell =
            |value: Option<f64>, digits: usize| value.map(|v| format!("{v:.digits$}")).unwrap_or_default();
        let _infallible = writeln!(
            page,
            "| {name} | {} | {} | {} | {} | {} | {} | {} | {} |",
            cell(small.map(|spread| spread.median), 0),
            cell(above, 0),
            cell(above.filter(|above| *above > 0.0).map(|above| 1e3 / above), 2),
            cell(gigabyte, 2),
            cell(arrived.map(|share| share * 100.0), 1) + if arrived.is_some() { " %" } else { "" },
            cell(*connections, 0),
            cell(*p50, 2),
            cell(*p99, 2),
        );
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_wrk_are_read() {
        assert_eq!(milliseconds("633.00us"), Some(0.633));
        assert_eq!(milliseconds("1.25ms"), Some(1.25));
        assert_eq!(milliseconds("2.00s"), Some(2000.0));
        assert_eq!(milliseconds("nothing"), None);
    }
}
