// SPDX-License-Identifier: MIT OR Apache-2.0
//! The client: real TCP connections of the kernel's.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader},
    net::{SocketAddrV4, TcpStream},
    ops::Deref,
    os::fd::AsRawFd as _,
    thread,
    time::Duration,
};

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, setsockopt, socket, sockopt::ReuseAddr,
};

use super::{CLIENT, Host, http};

/// Number of connections that [`Client::spread`] has open at a time.
const WORKERS: u16 = 4;

/// Maximum duration of a single answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// The first source port of [`Client::spread`], below those that the kernel picks.
const FIRST_PORT: u16 = 10_000;

/// Lets the kernel choose.
const ANY_PORT: u16 = 0;

/// The client, which sends requests.
pub struct Client {
    host: Host,
}

/// Number of connections by the real that answered.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Spread {
    /// Answers by the name of the real that gave them.
    pub answers: BTreeMap<String, usize>,
    /// The connections that were not answered, and why.
    pub failures: Vec<String>,
}

impl Client {
    pub(super) fn new(host: Host) -> Self {
        Self { host }
    }

    /// Fetches a path over a new connection, and returns the body.
    pub fn get(&self, server: SocketAddrV4, path: &str) -> Result<String, String> {
        self.host.run(|| http::get(server, path, PATIENCE))
    }

    /// Sends requests for `/`, one after another.
    pub fn requests(&self, server: SocketAddrV4, count: usize) -> Spread {
        self.host.run(|| (0..count).map(|_| http::get(server, "/", PATIENCE)).collect())
    }

    /// Makes a short connection to a [`super::Server::greeter`], and returns who answered.
    pub fn greeting(&self, server: SocketAddrV4) -> Result<String, String> {
        self.host.run(|| greeting(ANY_PORT, server))
    }

    /// Returns the greeting over a connection from this port of the client.
    pub fn greeting_from(&self, port: u16, server: SocketAddrV4) -> Result<String, String> {
        self.host.run(|| greeting(port, server))
    }

    /// Connects to a server.
    pub fn connect(&self, server: SocketAddrV4) -> Result<TcpStream, String> {
        let stream = self.host.run(|| TcpStream::connect_timeout(&server.into(), PATIENCE));
        let stream = stream.map_err(|error| error.to_string())?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(|error| error.to_string())?;
        Ok(stream)
    }

    /// Makes short connections to a [`super::Server::greeter`], each from a port that was not used before,
    /// the same ones every time: a scheduler that hashes will choose the same.
    pub fn spread(&self, server: SocketAddrV4, connections: u16) -> Spread {
        let ports = FIRST_PORT..FIRST_PORT + connections;
        let part = |worker| {
            let ports = ports.clone().skip(usize::from(worker)).step_by(usize::from(WORKERS));
            move || ports.map(|port| greeting(port, server)).collect::<Spread>()
        };
        self.host.run(|| {
            thread::scope(|scope| {
                let workers: Vec<_> = (0..WORKERS).map(|worker| scope.spawn(part(worker))).collect();
                workers.into_iter().map(|worker| worker.join().expect("it returns its failures")).sum()
            })
        })
    }
}

/// Connects from `port` and reads the name of who answers.
fn greeting(port: u16, server: SocketAddrV4) -> Result<String, String> {
    let stream = connect_from(port, server).map_err(|error| format!("from port {port}: {error}"))?;
    let mut name = String::new();
    let read =
        stream.set_read_timeout(Some(PATIENCE)).and_then(|()| BufReader::new(stream).read_line(&mut name));
    match read {
        Ok(0) => Err(format!("from port {port}: closed without an answer")),
        Ok(_) => Ok(name.trim().to_owned()),
        Err(error) => Err(format!("from port {port}: {error}")),
    }
}

fn connect_from(port: u16, server: SocketAddrV4) -> nix::Result<TcpStream> {
    let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&fd, ReuseAddr, &true)?;
    bind(fd.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(CLIENT, port)))?;
    connect(fd.as_raw_fd(), &SockaddrIn::from(server))?;
    Ok(fd.into())
}

impl Deref for Client {
    type Target = Host;

    fn deref(&self) -> &Host {
        &self.host
    }
}

impl Spread {
    /// Returns the number of answered connections.
    pub fn answered(&self) -> usize {
        self.answers.values().sum()
    }

    /// Returns the number of connections that one real answered.
    pub fn by(&self, real: &str) -> usize {
        self.answers.get(real).copied().unwrap_or(0)
    }

    /// Asserts that every connection was answered.
    #[track_caller]
    pub fn is_complete(&self, connections: usize) -> &Self {
        assert!(self.failures.is_empty(), "{} failed, first: {}", self.failures.len(), self.failures[0]);
        assert_eq!(self.answered(), connections);
        self
    }
}

impl FromIterator<Result<String, String>> for Spread {
    fn from_iter<I: IntoIterator<Item = Result<String, String>>>(outcomes: I) -> Self {
        let mut spread = Self::default();
        for outcome in outcomes {
            match outcome {
                Ok(name) => *spread.answers.entry(name.trim().to_owned()).or_default() += 1,
                Err(error) => spread.failures.push(error),
            }
        }
        spread
    }
}

impl std::iter::Sum for Spread {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::default(), |mut all, part| {
            for (name, count) in part.answers {
                *all.answers.entry(name).or_default() += count;
            }
            all.failures.extend(part.failures);
            all
        })
    }
}
