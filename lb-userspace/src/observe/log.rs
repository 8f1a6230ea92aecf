// SPDX-License-Identifier: MIT OR Apache-2.0
//! The log. A separate thread writes lines to stderr: a reader that is stuck or gone, or a full disk, loses
//! lines, which are counted, and never delays a request.

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

/// Maximum size of the lines that wait for a slow reader, in bytes.
const WAITING: usize = 1 << 20;
/// Maximum time for which the end of the process waits for pending lines.
const LAST_LINES: Duration = Duration::from_millis(300);
/// Modules of xvs, by their `tracing` targets.
const OWN: [&str; 12] = [
    "lb_userspace",
    "lb_model",
    "lb_schedule",
    "lb_netlink",
    "lb_dataplane",
    "lb_control",
    "lb_explain",
    "lb_health",
    "lb_doctor",
    "dataplane",
    "audit",
    "xvs",
];

/// Number of lines lost since the process started.
static LOST: AtomicU64 = AtomicU64::new(0);

/// Returns the number of log lines lost since the process started.
#[must_use]
pub fn lost() -> u64 {
    LOST.load(Ordering::Relaxed)
}

/// Level and format of the log.
#[derive(Clone, Copy, Debug)]
pub struct Logging {
    /// Level of the modules of xvs, unless `XVS_LOG` sets another.
    pub level: LevelFilter,
    /// The process keeps running, so lines must not delay it. Other commands write their lines directly.
    pub runs_on: bool,
    /// Each line has the time.
    pub time: bool,
}

/// A guard that writes the last lines when it is dropped.
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
/// If `XVS_LOG` is invalid, which is then ignored.
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
    // Only tests start a second log in one process.
    drop(tracing_subscriber::registry().with(layer.with_filter(targets)).try_init());
    if logging.runs_on {
        std::panic::set_hook(Box::new(|info| tracing::error!("internal error: {info}")));
    }
    (LogGuard(queue), understood)
}

/// Returns targets with the modules of xvs at `level`, and all others at warnings.
fn own_at(level: LevelFilter) -> Targets {
    Targets::new().with_default(LevelFilter::WARN).with_targets(OWN.map(|module| (module, level)))
}

/// Parses `XVS_LOG`: a level for the modules of xvs, or a list such as `lb_userspace=debug,aya_obj=info`.
fn targets(text: &str) -> Result<Targets, String> {
    if let Ok(level) = LevelFilter::from_str(text.trim()) {
        return Ok(own_at(level));
    }
    Targets::from_str(text).map_err(|error| {
        format!(
            "XVS_LOG={text} is invalid: {error}; write a level such as debug, or \
             lb_userspace=debug,aya_obj=info"
        )
    })
}

/// A writer that never waits for its reader. Each call of `write` must pass a whole line.
pub struct Detached(Queue);

impl Detached {
    /// Creates a writer whose thread writes to `to`.
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

/// Creates a writer for each line.
struct Log(Option<Queue>);

impl<'a> MakeWriter<'a> for Log {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(self.0.as_ref())
    }
}

/// Writer of one line, which never fails.
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

/// Lines that wait for a slow reader.
#[derive(Clone)]
struct Queue(Arc<(Mutex<Waiting>, Condvar)>);

#[derive(Default)]
struct Waiting {
    lines: std::collections::VecDeque<Vec<u8>>,
    bytes: usize,
    /// A line is being written at present.
    writing: bool,
}

impl Queue {
    /// Creates a queue, and a thread that writes its lines to `to`.
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

    /// Waits until all lines are written, but at most for `most`.
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

    /// A reader that accepts a line only on request.
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
        let mut line = [b'x'; 1024];
        line[1023] = b'\n';
        for _ in 0..4 * WAITING / line.len() {
            queue.push(&line);
        }
        assert!(began.elapsed() < Duration::from_secs(1));
        let full = lost() - before;
        assert!((3000..3100).contains(&full), "{full} of 4096 lines were lost");
        // The reader continues: the waiting lines arrive, and the number of lost ones.
        for _ in 0..1100 {
            go_on.send(()).unwrap();
        }
        queue.drain(Duration::from_secs(5));
        let text = String::from_utf8(seen.lock().unwrap().clone()).unwrap();
        // The thread may report before and after the waiting lines, if it starts late.
        let reported = |line: &str| line.strip_suffix(" log lines were lost")?.parse::<u64>().ok();
        let reported: u64 = text.lines().filter_map(reported).sum();
        assert_eq!(reported, full);
        drop(go_on);
        queue.push(&line);
        // Surplus requests still accept lines, so later lines fail sooner or later.
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
