// SPDX-License-Identifier: MIT OR Apache-2.0
//! Measures the benefit of replies that bypass the director: downloads with nat, tun and dr over 1 to 20
//! reals, where the link of the director has twice the capacity of the link of a real. The results are in
//! docs/experiments/replies-bypass.md.
#![expect(clippy::print_stdout, reason = "the table is what it prints")]

use std::{
    env, fs,
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use lb_tests::{
    lab::{Lab, Method, Options, Real},
    plot::{Axes, Line, svg},
};

const REALS: [usize; 7] = [1, 2, 4, 8, 12, 16, 20];
/// Rates in Mbit/s.
const DIRECTOR: u32 = 20;
const REAL: u32 = 10;
/// Downloads at a time, for each real.
const DOWNLOADS: usize = 2;
const SECONDS: u32 = 5;
/// More than a download gets in that time.
const MEGABYTES: usize = 32;

fn main() -> Result<()> {
    let plot: PathBuf = env::args_os().nth(1).context("usage: replies_bypass PLOT.svg")?.into();
    let most = REALS[REALS.len() - 1];
    let lab = Lab::with(Options { more_reals: u8::try_from(most)? - 3, ..Options::default() });
    let reals: Vec<&Real> = lab.reals.iter().chain(&lab.more_reals).collect();
    let _nginx: Vec<_> = reals
        .iter()
        .map(|real| {
            real.set_up(Method::Tun);
            real.start_nginx(&Method::real_ports())
        })
        .collect();
    lab.big_file("big", MEGABYTES);
    let _daemon = lab.director.start_daemon();
    // Frames that XDP sends pass no queue of the director: the limit is at the switch, on the port to the director.
    // With nat, replies pass there once, before they leave again in the other direction.
    limit(&lab, None, "director", DIRECTOR);
    for real in &reals {
        limit(&lab, Some(real), "eth0", REAL);
    }

    eprintln!(
        "director's link {DIRECTOR} Mbit/s, each real's {REAL} Mbit/s, {DOWNLOADS} downloads for each real, \
         {SECONDS} s"
    );
    println!("| reals | nat, Mbit/s | tun | dr | tun / nat | dr / nat |\n|---|---|---|---|---|---|");
    let mut lines = [("nat", "#c0392b"), ("tun", "#2471a3"), ("dr", "#1e8449")].map(|(name, colour)| Line {
        name: name.to_owned(),
        colour,
        points: Vec::new(),
    });
    for count in REALS {
        let mut rates = Vec::new();
        for (method, line) in [Method::Nat, Method::Tun, Method::Dr].into_iter().zip(&mut lines) {
            let rate = throughput(&lab, &reals[..count], method)?;
            line.points.push((f64::from(u32::try_from(count)?), rate));
            rates.push(rate);
        }
        let [nat, tun, dr] = rates[..] else { unreachable!("three methods") };
        println!("| {count} | {nat:.1} | {tun:.1} | {dr:.1} | {:.1} | {:.1} |", tun / nat, dr / nat);
    }
    let axes = Axes {
        title: "Downloads through one director: replies of tun and dr bypass it",
        x: &format!("reals ({REAL} Mbit/s each; the director's link {DIRECTOR} Mbit/s)"),
        y: "Mbit/s at the client",
        x_marks: &REALS.map(|count| f64::from(u32::try_from(count).unwrap_or(u32::MAX))),
        y_marks: &[0.0, 50.0, 100.0, 150.0, 200.0],
    };
    if let Some(folder) = plot.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(&plot, svg(&axes, &lines)).with_context(|| plot.display().to_string())?;
    eprintln!("plotted in {}", plot.display());
    Ok(())
}

/// Limits the rate of an interface of a real, or of the switch.
fn limit(lab: &Lab, real: Option<&Real>, device: &str, rate: u32) {
    let host = real.map_or(&lab.switch, |real| real);
    let line = format!("tc qdisc replace dev {device} root tbf rate {rate}mbit burst 16kb latency 200ms");
    host.sh(&line).succeeds();
}

/// Measures the throughput of a client with these reals and this method, in Mbit/s.
fn throughput(lab: &Lab, reals: &[&Real], method: Method) -> Result<f64> {
    let service = method.service();
    lab.director.xvs(&format!("service add tcp {service} --scheduler rr")).succeeds();
    for real in reals {
        lab.director.add_real("tcp", method.port(), real.rip, method.real_port(), method, 1);
    }
    let mut downloads = Vec::new();
    for _ in 0..reals.len() * DOWNLOADS {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--output", "/dev/null", "--write-out", "%{size_download}"])
            .args(["--max-time", &SECONDS.to_string(), &format!("http://{service}/files/big")])
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        downloads.push(lab.client.run(|| curl.spawn()).context("curl")?);
    }
    let mut bytes = 0_u32;
    for download in downloads {
        let output = download.wait_with_output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        // 28: it was not through when its time was over, which is how each of them is to end.
        ensure!(
            output.status.code() == Some(28),
            "a download by {} ended early: {}",
            method.as_str(),
            output.status
        );
        bytes += text.trim().parse::<u32>().with_context(|| format!("curl said {text:?}"))?;
    }
    lab.director.xvs(&format!("service remove tcp {service}")).succeeds();
    Ok(f64::from(bytes) * 8.0 / 1e6 / f64::from(SECONDS))
}
