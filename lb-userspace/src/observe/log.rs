// SPDX-License-Identifier: MIT OR Apache-2.0
//! The log. Lines go to stderr by a thread of their own: a reader that is stuck, gone or out of space costs lines, which are
//! counted, and never a request.

use std::{
    io::{self, IsTerminal as _, Write},
    str::FromStr as _,
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::{
    Layer as _, filter::Targets, fmt::MakeWriter, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

/// Bytes that may wait for a slow reader.
const WAITING: usize = 1 << 20;
/// How long the end of the process waits for lines that are on their way.
const LAST_LINES: Duration = Duration::from_millis(300);
/// The modules of xvs, as `tracing` names them.
const OWN: [&str; 3] = ["lb_userspace", "dataplane", "xvs"];

/// Lines that reached no reader since the process started.
static LOST: AtomicU64 = AtomicU64::new(0);

/// How many lines of the log were lost since the process started.
#[must_use]
pub fn lost() -> u64 {
    LOST.load(Ordering::Relaxed)
}

/// How much is logged, and how.
#[derive(Clone, Copy, Debug)]
pub struct Logging {
    /// The level of the modules of xvs where `XVS_LOG` does not set another.
    pub level: LevelFilter,
    /// Whether the process runs on: its lines never hold it up. Other commands write theirs themselves.
    pub runs_on: bool,
    /// Whether each line has the time.
    pub time: bool,
}

/// Writes the last lines when it is dropped.
#[must_use]
pub struct LogGuard(Option<Queue>);

impl Drop for LogGuard {
    fn drop(&mut self) {
        if let Some(queue) = &self.0 {
            queue.drain(LAST_LINES);
        }
    }
}

/// Starts the log of this process.
///
/// # Errors
/// What is wrong with `XVS_LOG`, which then counts for nothing.
pub fn start(logging: Logging) -> (LogGuard, Result<(), String>) {
    let (targets, understood) = match std::env::var("XVS_LOG").ok().map(|text| targets(&text)) {
        None => (own_at(logging.level), Ok(())),
        Some(Ok(targets)) => (targets, Ok(())),
        Some(Err(why)) => (own_at(logging.level), Err(why)),
    };
    let queue = logging.runs_on.then(|| Queue::start(io::stderr()));
    let writer = Log(queue.clone());
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(writer)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        .log_internal_errors(false);
    let layer = if logging.time { layer.boxed() } else { layer.without_time().boxed() };
    // A second log in one process is a test's.
    drop(tracing_subscriber::registry().with(layer.with_filter(targets)).try_init());
    if logging.runs_on {
        std::panic::set_hook(Box::new(|info| tracing::error!("internal error: {info}")));
    }
    (LogGuard(queue), understood)
}

/// The modules of xvs at `level`, all others when they warn.
fn own_at(level: LevelFilter) -> Targets {
    Targets::new().with_default(LevelFilter::WARN).with_targets(OWN.map(|module| (module, level)))
}

/// Reads `XVS_LOG`: a level for the modules of xvs, or a list such as `lb_userspace=debug,aya_obj=info`.
fn targets(text: &str) -> Result<Targets, String> {
    if let Ok(level) = LevelFilter::from_str(text.trim()) {
        return Ok(own_at(level));
    }
    Targets::from_str(text).map_err(|error| {
        format!("XVS_LOG={text} is invalid: {error}; write a level such as debug, or lb_userspace=debug,aya_obj=info")
    })
}

/// A writer that never waits for the reader of what it writes: each call of `write` has a whole line.
pub struct Detached(Queue);

impl Detached {
    /// Writes to `to` by a thread of its own.
    pub fn new(to: impl Write + Send + 'static) -> Self {
        Self(Queue::start(to))
    }
}

impl Write for Detached {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Detached {
    fn drop(&mut self) {
        self.0.drain(LAST_LINES);
    }
}

/// Makes a writer for each line.
struct Log(Option<Queue>);

impl<'a> MakeWriter<'a> for Log {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(self.0.as_ref())
    }
}

/// Takes one line; it never fails.
struct Line<'a>(Option<&'a Queue>);

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match self.0 {
            Some(queue) => queue.push(line),
            None => count(&io::stderr().write_all(line)),
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn count(written: &io::Result<()>) {
    if written.is_err() {
        LOST.fetch_add(1, Ordering::Relaxed);
    }
}

/// Lines on their way to a slow reader.
#[derive(Clone)]
struct Queue(Arc<(Mutex<Waiting>, Condvar)>);

#[derive(Default)]
struct Waiting {
    lines: std::collections::VecDeque<Vec<u8>>,
    bytes: usize,
    /// Whether a line is being written just now.
    writing: bool,
}

impl Queue {
    /// A queue whose lines a thread writes to `to`.
    fn start(to: impl Write + Send + 'static) -> Self {
        let queue = Self(Arc::default());
        let thread = thread::Builder::new().name("log".to_owned()).stack_size(256 << 10);
        let writes = queue.clone();
        // Without the thread every line is lost, and counted.
        drop(thread.spawn(move || writes.write_to(to)));
        queue
    }

    fn push(&self, line: &[u8]) {
        let (waiting, arrived) = &*self.0;
        let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.bytes + line.len() > WAITING {
            drop(waiting);
            LOST.fetch_add(1, Ordering::Relaxed);
            return;
        }
        waiting.bytes += line.len();
        waiting.lines.push_back(line.to_vec());
        drop(waiting);
        arrived.notify_all();
    }

    fn write_to(&self, mut to: impl Write) {
        let (waiting, arrived) = &*self.0;
        let mut told = 0;
        loop {
            let mut guard = waiting.lock().unwrap_or_else(PoisonError::into_inner);
            guard.writing = false;
            arrived.notify_all();
            let mut guard = arrived
                .wait_while(guard, |waiting| waiting.lines.is_empty())
                .unwrap_or_else(PoisonError::into_inner);
            let Some(line) = guard.lines.pop_front() else { continue };
            guard.bytes -= line.len();
            guard.writing = true;
            drop(guard);
            let lost = lost();
            if lost > told
                && to.write_all(format!("{} log lines were lost\n", lost - told).as_bytes()).is_ok()
            {
                told = lost;
            }
            count(&to.write_all(&line).and_then(|()| to.flush()));
        }
    }

    /// Waits until all lines are written, but no longer than `most`.
    fn drain(&self, most: Duration) {
        let (waiting, arrived) = &*self.0;
        let end = Instant::now() + most;
        let mut guard = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        while guard.writing || !guard.lines.is_empty() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                LOST.fetch_add(guard.lines.len() as u64, Ordering::Relaxed);
                return;
            }
            guard = arrived.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// A reader that takes a line only when it is told to.
    struct Stuck(mpsc::Receiver<()>, Arc<Mutex<Vec<u8>>>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.recv().map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
            self.1.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_stuck_reader_costs_lines_and_no_time_and_one_that_is_gone_is_counted() {
        let (go_on, wait) = mpsc::channel();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let queue = Queue::start(Stuck(wait, Arc::clone(&seen)));
        let before = lost();
        let began = Instant::now();
        let line = [b'x'; 1024];
        for _ in 0..4 * WAITING / line.len() {
            queue.push(&line);
        }
        assert!(began.elapsed() < Duration::from_secs(1));
        let full = lost() - before;
        assert!((3000..3100).contains(&full), "{full} of 4096 lines were lost");
        // It reads again: the lines that waited come, and how many did not.
        for _ in 0..1100 {
            go_on.send(()).unwrap();
        }
        queue.drain(Duration::from_secs(5));
        let text = String::from_utf8(seen.lock().unwrap().clone()).unwrap();
        assert!(text.contains(&format!("{full} log lines were lost\n")), "{text}");
        drop(go_on);
        queue.push(&line);
        // What was sent too often is still taken, so that the next lines fail sooner or later.
        let deadline = Instant::now() + Duration::from_secs(5);
        while lost() - before == full && Instant::now() < deadline {
            queue.push(&line);
            thread::yield_now();
        }
        assert!(lost() - before > full);
    }

    #[test]
    fn a_level_alone_is_for_xvs_alone() {
        let debug = targets("debug").unwrap();
        assert!(debug.would_enable("lb_userspace::daemon::run", &tracing::Level::DEBUG));
        assert!(!debug.would_enable("aya_obj::relocation", &tracing::Level::INFO));
        let list = targets("lb_userspace=error,aya_obj=trace").unwrap();
        assert!(list.would_enable("aya_obj::relocation", &tracing::Level::TRACE));
        assert!(!list.would_enable("lb_userspace::daemon", &tracing::Level::WARN));
        assert!(targets("lb_userspace=loud").unwrap_err().contains("XVS_LOG=lb_userspace=loud"));
    }
}
