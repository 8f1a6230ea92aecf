// SPDX-License-Identifier: MIT OR Apache-2.0
//! A FIFO that gets a line for each change of a real or a service, in the format of keepalived's `lvs_notify_fifo`.
#![forbid(unsafe_code)]

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    net::SocketAddr,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::PathBuf,
    time::{Duration, Instant},
};

use nix::{fcntl::OFlag, sys::stat::Mode, unistd::mkfifo};

use crate::daemon::health::EventKind;
use lb_control::pool;
use lb_model::{ServiceId, health::Health};

/// Least time between two lines of the log about lost lines.
const COMPLAIN: Duration = Duration::from_secs(10);

/// The FIFO. It is opened for reading too, so that lines wait for a reader that comes later.
pub(super) struct Fifo {
    path: PathBuf,
    open: Option<File>,
    /// Lines that were dropped since the log was last told.
    lost: u64,
    /// Time when the log was last told.
    complained: Option<Instant>,
}

impl Fifo {
    /// Opens a FIFO, and makes it if there is none. The log has a failure; the next line tries again.
    pub(super) fn new(path: PathBuf) -> Self {
        let mut fifo = Self { path, open: None, lost: 0, complained: None };
        if let Err(error) = fifo.reopen() {
            fifo.complain(&error);
        }
        fifo
    }

    /// Writes a line, or drops it if the FIFO is full. Never waits.
    pub(super) fn write(&mut self, line: &str) {
        if let Err(error) = self.try_write(line) {
            self.lost += 1;
            self.complain(&error);
        }
    }

    fn try_write(&mut self, line: &str) -> io::Result<()> {
        if !self.is_current() {
            self.reopen()?;
        }
        let Some(open) = &mut self.open else { return Ok(()) };
        // A line is shorter than PIPE_BUF, so that it is written as a whole or not at all.
        open.write(line.as_bytes()).map(drop)
    }

    /// Returns whether the path still means the open FIFO: a reader may have made another one.
    fn is_current(&self) -> bool {
        let Some(open) = &self.open else { return false };
        let (Ok(now), Ok(held)) = (fs::metadata(&self.path), open.metadata()) else { return false };
        (now.dev(), now.ino()) == (held.dev(), held.ino())
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.open = None;
        match mkfifo(&self.path, Mode::S_IRUSR | Mode::S_IWUSR) {
            Ok(()) | Err(nix::errno::Errno::EEXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let open = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(OFlag::O_NONBLOCK.bits())
            .open(&self.path)?;
        if !open.metadata()?.file_type().is_fifo() {
            return Err(io::Error::other("it is no FIFO"));
        }
        self.open = Some(open);
        Ok(())
    }

    /// Logs a failure, at most every ten seconds.
    fn complain(&mut self, error: &io::Error) {
        if self.complained.is_some_and(|last| last.elapsed() < COMPLAIN) {
            return;
        }
        let path = self.path.display();
        let why = match error.kind() {
            io::ErrorKind::WouldBlock => "it is full, because nothing reads it".to_owned(),
            _ => error.to_string(),
        };
        tracing::warn!("notify-fifo: {path}: {why}; {} lines were dropped", self.lost);
        (self.lost, self.complained) = (0, Some(Instant::now()));
    }
}

/// Returns the line about an event; `None` if keepalived has none.
pub(super) fn line(kind: &EventKind) -> Option<String> {
    let normal = pool::Mode::Normal.as_str();
    match kind {
        EventKind::Health { service, real, to, .. } => {
            let state = match to {
                Health::Up => "UP",
                Health::Down => "DOWN",
                Health::Unknown => return None,
            };
            let (protocol, port) = match service.endpoint() {
                Some(endpoint) => (endpoint.protocol.to_string(), endpoint.address.port()),
                None => ("none".to_owned(), 0),
            };
            let port = if real.port() == 0 { port } else { real.port() };
            let real = triple(SocketAddr::new(real.ip(), port), &protocol);
            Some(format!("RS {real} {} {state}\n", name(service)))
        }
        EventKind::Pool { service, from, to, .. } => match (from == normal, to == normal) {
            (true, false) => Some(format!("VS {} DOWN\n", name(service))),
            (false, true) => Some(format!("VS {} UP\n", name(service))),
            _ => None,
        },
        EventKind::Frozen { .. } | EventKind::Thawed => None,
    }
}

/// Returns the name of a service: that of an endpoint, or the mark.
fn name(service: &ServiceId) -> String {
    match service {
        ServiceId::Endpoint(endpoint) => triple(endpoint.address, &endpoint.protocol.to_string()),
        ServiceId::Group { group, .. } => format!("FWM {group}"),
    }
}

fn triple(address: SocketAddr, protocol: &str) -> String {
    format!("[{}]:{protocol}:{}", address.ip(), address.port())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use lb_model::Protocol;

    use super::*;

    fn health(service: ServiceId, real: &str, to: Health) -> Option<String> {
        let real = real.parse().unwrap();
        line(&EventKind::Health { service, real, from: Health::Unknown, to, check: None, last: None })
    }

    #[test]
    fn lines_are_those_of_keepalived() {
        let web = ServiceId::new(Protocol::Tcp, "192.0.2.1:80".parse().unwrap());
        let dns = ServiceId::new(Protocol::Udp, "[2001:db8::1]:53".parse().unwrap());
        let line_of = |service, real, to| health(service, real, to).unwrap();
        assert_eq!(
            line_of(web, "10.0.0.1:8080", Health::Up),
            "RS [10.0.0.1]:tcp:8080 [192.0.2.1]:tcp:80 UP\n"
        );
        assert_eq!(
            line_of(web, "10.0.0.1:0", Health::Down),
            "RS [10.0.0.1]:tcp:80 [192.0.2.1]:tcp:80 DOWN\n"
        );
        assert_eq!(line_of(dns, "[fd00::1]:53", Health::Up), "RS [fd00::1]:udp:53 [2001:db8::1]:udp:53 UP\n");
        assert_eq!(
            line_of(ServiceId::group(7), "10.0.0.1:80", Health::Up),
            "RS [10.0.0.1]:none:80 FWM 7 UP\n"
        );
        assert_eq!(health(web, "10.0.0.1:80", Health::Unknown), None);
        let pool = |from: &str, to: &str| {
            let (from, to) = (from.to_owned(), to.to_owned());
            line(&EventKind::Pool { service: web, from, to, healthy: 0, able: 2 })
        };
        assert_eq!(pool("normal", "all-down").as_deref(), Some("VS [192.0.2.1]:tcp:80 DOWN\n"));
        assert_eq!(pool("backup", "normal").as_deref(), Some("VS [192.0.2.1]:tcp:80 UP\n"));
        assert_eq!(pool("with-backup", "backup"), None);
        assert_eq!(line(&EventKind::Thawed), None);
    }

    #[test]
    fn lines_wait_for_a_reader_and_a_full_fifo_drops_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify.fifo");
        let mut fifo = Fifo::new(path.clone());
        let line = format!("{}\n", "x".repeat(99));
        let mut written = 0;
        while fifo.lost == 0 && written < 100_000 {
            // Complaints begin with the second loss.
            fifo.complained = Some(Instant::now());
            fifo.write(&line);
            written += 1;
        }
        assert_eq!(fifo.lost, 1);
        let mut reader = fs::File::open(&path).unwrap();
        let mut text = vec![0; 100 * (written - 1)];
        reader.read_exact(&mut text).unwrap();
        assert!(text.chunks(100).all(|one| one == line.as_bytes()));
        fifo.write("again\n");
        let mut text = [0; 6];
        reader.read_exact(&mut text).unwrap();
        assert_eq!(&text, b"again\n");
    }

    #[test]
    fn another_fifo_in_its_place_is_opened() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify.fifo");
        let mut fifo = Fifo::new(path.clone());
        fs::remove_file(&path).unwrap();
        fifo.write("one\n");
        let mut reader = fs::File::open(&path).unwrap();
        let mut text = [0; 4];
        reader.read_exact(&mut text).unwrap();
        assert_eq!(&text, b"one\n");
    }

    #[test]
    fn a_file_that_is_no_fifo_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify.fifo");
        fs::write(&path, "mine").unwrap();
        let mut fifo = Fifo::new(path.clone());
        fifo.write("one\n");
        assert!(fifo.open.is_none());
        assert_eq!(fs::read_to_string(path).unwrap(), "mine");
    }
}
