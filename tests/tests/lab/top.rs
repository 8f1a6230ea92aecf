// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xvs top` in a real terminal, and lists that are shown again and again.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    num::NonZero,
    os::fd::OwnedFd,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use lb_tests::lab::{Director, Lab, Method, Stage, eventually};
use nix::{
    pty::{OpenptyResult, Winsize, openpty},
    sys::{
        signal::{Signal, kill},
        termios::{LocalFlags, tcgetattr},
    },
    unistd::Pid,
};
use serde_json::Value;

const ROWS: u16 = 24;
const COLUMNS: u16 = 80;

/// Returns a size of the terminal as its emulator wants it.
fn size_of(number: u16) -> NonZero<u16> {
    NonZero::new(number).expect("a terminal has a size")
}

/// A program in a terminal.
struct Terminal {
    child: Child,
    /// End of the terminal at which the operator is.
    keyboard: File,
    /// End of the program.
    inside: OwnedFd,
    screen: Arc<Mutex<vt100::Parser>>,
    written: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Terminal {
    /// Starts `xvs` with these words in a terminal.
    fn start(director: &Director, line: &str) -> Self {
        let size = Winsize { ws_row: ROWS, ws_col: COLUMNS, ws_xpixel: 0, ws_ypixel: 0 };
        let OpenptyResult { master, slave } = openpty(&size, None).expect("the system has terminals");
        let copy = || Stdio::from(slave.try_clone().expect("a file handle more"));
        let words = director.xvs_words(line);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).env("TERM", "xterm-256color").env_remove("NO_COLOR");
        command.stdin(copy()).stdout(copy()).stderr(copy());
        let child = director.run(|| command.spawn()).expect("xvs can be started");
        let screen = Arc::new(Mutex::new(vt100::Parser::new(size_of(ROWS), size_of(COLUMNS), 0)));
        let written = Arc::new(Mutex::new(Vec::new()));
        let mut output = File::from(master.try_clone().expect("a file handle more"));
        let (of_screen, of_written) = (Arc::clone(&screen), Arc::clone(&written));
        let reader = thread::spawn(move || {
            let mut bytes = [0; 4096];
            // An error means that the program's end is closed.
            while let Ok(length @ 1..) = output.read(&mut bytes) {
                of_screen.lock().expect("no panic").process(&bytes[..length]);
                of_written.lock().expect("no panic").extend(&bytes[..length]);
            }
        });
        Self { child, keyboard: master.into(), inside: slave, screen, written, reader: Some(reader) }
    }

    /// Returns all that the program has written, after its end. The terminal cannot be used afterwards.
    fn written(&mut self) -> String {
        // The reader ends when both ends of the program are closed, and has read everything then.
        self.close();
        let written = self.written.lock().expect("no panic");
        String::from_utf8_lossy(&written).into_owned()
    }

    /// Closes the program's end, and waits for the reader.
    fn close(&mut self) {
        let null = File::open("/dev/null").expect("every system has it");
        self.inside = null.into();
        if let Some(reader) = self.reader.take() {
            drop(reader.join());
        }
    }

    fn text(&self) -> String {
        self.screen.lock().expect("no panic").screen().contents()
    }

    fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).expect("the terminal takes keys");
    }

    fn shows(&self, text: &str) {
        eventually(text, || if self.text().contains(text) { Ok(()) } else { Err(self.text()) });
    }

    /// Returns whether the terminal echoes what is typed, as it does for a shell.
    fn echoes(&self) -> bool {
        tcgetattr(&self.inside).expect("it is a terminal").local_flags.contains(LocalFlags::ECHO)
    }

    fn ends(&mut self) -> Option<i32> {
        eventually("top ends", || match self.child.try_wait() {
            Ok(Some(status)) => Ok(status.code()),
            other => Err(format!("{other:?}\n{}", self.text())),
        })
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
        self.close();
    }
}

/// Sends requests until told to end.
fn traffic(lab: &Lab) -> (Arc<AtomicBool>, JoinHandle<()>) {
    let ends = Arc::new(AtomicBool::new(false));
    let must_end = Arc::clone(&ends);
    let server = Method::Nat.service();
    let task = lab.client.ns().spawn(move || {
        while !must_end.load(Ordering::Relaxed) {
            let stream = std::net::TcpStream::connect(server).expect("the service answers");
            let mut answer = String::new();
            let request = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
            (&stream).write_all(request.as_bytes()).and_then(|()| (&stream).read_to_string(&mut answer)).ok();
            thread::sleep(Duration::from_millis(10));
        }
    });
    (ends, task)
}

/// Returns the number in a column of the row that contains a text.
fn number(screen: &str, row: &str, column: &str) -> Option<f64> {
    let head = screen.lines().find(|line| line.contains(column))?;
    let line = screen.lines().find(|line| line.contains(row) && !line.contains("services"))?;
    let end = head.find(column)? + column.len();
    // Symbols of states have several bytes, and stand for one column each.
    let cell: String = line.chars().take(end).collect();
    cell.rsplit(' ').next()?.parse().ok()
}

#[test]
fn top_draws_the_rates_of_real_traffic_and_leaves_the_terminal_as_it_was() {
    let stage = Stage::new();
    let _nginx = stage.start_web_servers();
    let (director, service) = (&stage.lab.director, Method::Nat.service());
    director.serve("tcp", Method::Nat.port(), "rr", Method::Nat, Method::Nat.real_port());
    let (ends, task) = traffic(&stage.lab);

    let mut terminal = Terminal::start(director, "top --exact");
    let name = format!("tcp {service}");
    terminal.shows(&name);
    terminal.shows("3/3");
    assert!(!terminal.echoes(), "top reads single keys");

    // The drawn rates, and the true one by the counters.
    let flows = || director.stats().service("tcp", Method::Nat.port()).count.new_flows;
    let (began, before) = (Instant::now(), flows());
    let mut drawn = Vec::new();
    while began.elapsed() < Duration::from_secs(5) {
        thread::sleep(Duration::from_millis(250));
        drawn.extend(number(&terminal.text(), &name, "NEW/S"));
    }
    let made = u32::try_from(flows() - before).expect("few");
    let rate = f64::from(made) / began.elapsed().as_secs_f64();
    let mean = drawn.iter().sum::<f64>() / drawn.iter().map(|_| 1.0).sum::<f64>();
    assert!(drawn.len() > 15 && rate > 5.0, "{rate} connections/s; drawn {drawn:?}\n{}", terminal.text());
    assert!((0.7..1.3).contains(&(mean / rate)), "{rate} connections/s; drawn {drawn:?}");

    // The reals of the service; one is disabled and changes its word.
    terminal.press("\r");
    terminal.shows("● up");
    let real = format!("10.0.0.12:{}", Method::Nat.real_port());
    director.xvs(&format!("real disable tcp {service} {real}")).succeeds();
    terminal.shows("○ disabled");
    terminal.press("/10.0.0.12\r");
    terminal.shows("1 of 3 reals");
    terminal.press("?");
    terminal.shows("packets by reason");
    terminal.press("?q");
    assert_eq!(terminal.ends(), Some(0));
    assert!(terminal.echoes(), "the terminal is as it was");

    // A signal restores it as well.
    let mut terminal = Terminal::start(director, "top");
    terminal.shows(&name);
    assert!(!terminal.echoes());
    kill(Pid::from_raw(terminal.child.id().cast_signed()), Signal::SIGTERM).expect("our own child");
    assert_eq!(terminal.ends(), Some(0));
    assert!(terminal.echoes(), "the terminal is as it was");
    let left = terminal.written().contains("\u{1b}[?1049l");
    assert!(left, "the shell's screen is back");

    // Without a terminal: text and JSON.
    let once = director.xvs("top --once --filter 10.0.0.12").succeeds().says(&name).says("disabled");
    once.does_not_say("10.0.0.11").does_not_say("\u{1b}");
    let live = director.xvs("top --once --json").succeeds().json();
    assert!(live["services"][0]["load"]["connections"].as_u64().is_some_and(|rate| rate > 0), "{live}");
    ends.store(true, Ordering::Relaxed);
    task.join().expect("no request fails");
}

#[test]
fn lists_are_filtered_repeated_and_short() {
    let stage = Stage::new();
    stage.serve_all_methods("tcp", "mh");
    let (director, service) = (&stage.lab.director, Method::Dr.service());
    let rows = |line: &str| director.xvs(line).succeeds().stdout.lines().count();
    assert_eq!(rows("service list"), 5);
    assert_eq!(rows("service list --filter :8001"), 2);
    assert_eq!(rows("real list --filter :8001"), 5);
    assert_eq!(rows("real list --filter nowhere"), 1);
    director.xvs(&format!("real disable tcp {service} 10.0.0.12")).succeeds();
    director.xvs("real list --filter disabled").succeeds().says("10.0.0.12").does_not_say("10.0.0.11");
    let stats = director.xvs("stats --json --filter 10.0.0.12").succeeds().json();
    assert_eq!(stats["services"][0]["reals"].as_array().map(Vec::len), Some(1), "{stats}");
    director.xvs("service list --json --output table").fails(2);
    director.xvs("service list --watch=1ms").fails(2);

    // Each list is one line of JSON; the command ends when its reader does, before the time-out.
    let socket = director.socket();
    let (xvs, socket) = (lb_tests::artifacts::xvs(), socket.display());
    let line =
        format!("timeout 60 {} --socket {socket} real list --json --watch=300ms | head -n 2", xvs.display());
    let lines = director.exec(["sh", "-c", &line]).succeeds().stdout;
    assert_eq!(lines.lines().count(), 2, "{lines}");
    for line in lines.lines() {
        let services: Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(services.as_array().map(Vec::len), Some(Method::ALL.len()));
    }

    // In a terminal of 80 columns, rows are cut to it, and states have colours.
    for list in ["service list", "real list", "connections", "stats", "group list", "check list"] {
        let mut terminal = Terminal::start(director, list);
        assert_eq!(terminal.ends(), Some(0));
        let text = terminal.written();
        let plain = terminal.text();
        // Sentences below a table may be longer.
        let mut rows = plain.lines().take_while(|line| !line.contains(": "));
        assert!(rows.all(|line| line.chars().count() <= usize::from(COLUMNS)), "{plain}");
        if list == "real list" {
            assert!(text.contains("\u{1b}[") && plain.contains("disabled"), "{text:?}");
        }
    }
}
