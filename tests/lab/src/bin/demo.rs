// SPDX-License-Identifier: MIT OR Apache-2.0
//! The demo: 300 HTTP requests by each forwarding method, through a real kernel's XDP hook.
//!
//! `cargo xtask demo` builds what this needs and runs it as root.
#![expect(clippy::print_stdout, reason = "it is here to show something")]

use std::{env, net::SocketAddrV4, panic, process::ExitCode};

use comfy_table::{Cell, CellAlignment, Table, presets};
use lb_lab::{Count, Crossing, Lab, Method, Outcome, RIPS, Spread, VIP};

const REQUESTS: usize = 300;
const PORT: u16 = 80;

/// A method, a scheduler to show with it, and the weights of the three reals.
const ACTS: [(Method, &str, [u32; 3]); 3] = [
    (Method::Dr, "mh", [100, 100, 100]),
    (Method::Tun, "rr", [100, 100, 100]),
    (Method::Nat, "wrr", [300, 200, 100]),
];

fn main() -> ExitCode {
    // The lab panics with what went wrong; where in the demo's code does not help who watches it.
    panic::set_hook(Box::new(|panicked| {
        eprintln!("error: {}", panicked.payload_as_str().unwrap_or("the demo panicked"));
    }));
    let keep = match env::args().skip(1).collect::<Vec<_>>().as_slice() {
        [] => false,
        [flag] if flag == "--keep" => true,
        other => {
            eprintln!("error: unknown arguments {other:?}\nhint: the only option is --keep");
            return ExitCode::from(2);
        }
    };
    if run(keep) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Plays all acts; whether every request was answered.
fn run(keep: bool) -> bool {
    let lab = Lab::new();
    println!(
        "A client, a director and three reals, each in a network namespace of its own, on one switch.\n"
    );
    for real in &lab.reals {
        show(real.host_setup(Method::Tun));
    }
    let nginx: Vec<_> = lab.reals.iter().map(|real| real.start_nginx(&[PORT])).collect();
    let daemon = lab.director.start_daemon();
    show(lab.director.xvs("status"));

    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_header(HEADER);
    let mut answered = 0;
    for (index, (method, scheduler, weights)) in ACTS.into_iter().enumerate() {
        if index > 0 {
            show(lab.director.xvs(&format!("service remove tcp {VIP}:{PORT}")));
        }
        show(lab.director.xvs(&format!("service add tcp {VIP}:{PORT} --scheduler {scheduler}")));
        for (rip, weight) in RIPS.into_iter().zip(weights) {
            let forward = format!("--forward {} --weight {weight}", method.as_str());
            show(lab.director.xvs(&format!("real add tcp {VIP}:{PORT} {rip}:{PORT} {forward}")));
        }
        lab.director.wait_for_next_hops();
        let before = lab.crossing();
        let spread = lab.client.requests(SocketAddrV4::new(VIP, PORT), REQUESTS);
        table.add_row(row(method, scheduler, &spread, lab.crossing() - before));
        spread.failures.iter().take(3).for_each(|failure| eprintln!("not answered: {failure}"));
        answered += spread.answered();
    }

    println!("{table}");
    println!(
        "The last two columns are counted by the switch (nftables): IPv4 packets and bytes, Ethernet headers\n\
         not included. Replies of dr and tun reals go straight to the client.\n"
    );
    show(lab.director.xvs("stats"));
    if keep {
        // A drop would end processes that must continue.
        std::mem::forget((daemon, nginx));
        let socket = lab.director.socket();
        println!("{}\n  inside it: export XVS_SOCKET={}", lab.keep(), socket.display());
    }
    answered == REQUESTS * ACTS.len()
}

const HEADER: [&str; 9] = [
    "method",
    "scheduler",
    "requests",
    "answered",
    "real1",
    "real2",
    "real3",
    "client to director",
    "director to client",
];

fn row(method: Method, scheduler: &str, spread: &Spread, seen: Crossing) -> Vec<Cell> {
    let tenths = |real| 1000 * spread.by(real) / REQUESTS;
    let share = |real| format!("{}.{} %", tenths(real) / 10, tenths(real) % 10);
    let crossed = |count: Count| format!("{} packets, {} bytes", count.packets, count.bytes);
    let numbers = [
        REQUESTS.to_string(),
        spread.answered().to_string(),
        share("real1"),
        share("real2"),
        share("real3"),
        crossed(seen.client_to_director),
        crossed(seen.director_to_client),
    ];
    let numbers = numbers.into_iter().map(|text| Cell::new(text).set_alignment(CellAlignment::Right));
    [method.as_str(), scheduler].into_iter().map(Cell::new).chain(numbers).collect()
}

/// Shows a command and what it printed.
#[track_caller]
fn show(outcome: Outcome) {
    let outcome = outcome.succeeds();
    println!("$ {}\n{}\n", outcome.command(), outcome.stdout);
}
