// SPDX-License-Identifier: MIT OR Apache-2.0
//! Connections that stay open while they move from one director to another.

use std::{
    io::{self, BufRead as _, BufReader, Write as _},
    net::{Ipv4Addr, SocketAddrV4, TcpStream},
    time::Duration,
};

use super::{Director, Lab, VIP};

/// MAC address of the second director.
const SECOND_MAC: &str = "02:00:c0:00:02:02";
/// Address of the second director among the clients.
pub const DIRECTOR2: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
/// Address of the second director among the reals.
pub const DIP2: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

/// A connection to a greeter that stays open.
pub struct Open {
    stream: BufReader<TcpStream>,
}

impl Open {
    /// Opens a connection to the VIP, and sends `lines` lines over it.
    #[track_caller]
    pub fn new(lab: &Lab, port: u16, lines: usize) -> Self {
        let stream = lab.client.connect(SocketAddrV4::new(VIP, port)).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a socket");
        let mut open = Self { stream: BufReader::new(stream) };
        let mut greeting = String::new();
        open.stream.read_line(&mut greeting).expect("a greeting");
        assert!(greeting.starts_with("real"), "{greeting}");
        for _ in 0..lines {
            open.lives().expect("an answer");
        }
        open
    }

    /// Sends a line, and succeeds if it comes back.
    pub fn lives(&mut self) -> io::Result<()> {
        self.stream.get_mut().write_all(b"still there\n")?;
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        if line == "still there\n" { Ok(()) } else { Err(io::Error::other(format!("read '{line}'"))) }
    }

    /// Returns the number of connections that are broken.
    pub fn broken(open: &mut [Self]) -> usize {
        open.iter_mut().map(Self::lives).filter(Result::is_err).count()
    }
}

impl Lab {
    /// Returns the second director.
    #[track_caller]
    pub fn second(&self) -> &Director {
        self.second.as_ref().expect("a lab with a second director")
    }

    /// Moves all packets of the client and of the reals from the first director to the second one.
    #[track_caller]
    pub fn move_to_second(&self) {
        let client = &self.client;
        client.sh(&format!("ip neigh replace {VIP} lladdr {SECOND_MAC} dev eth0 nud permanent")).succeeds();
        for real in &self.reals {
            real.sh(&format!("ip route replace default via {DIP2}")).succeeds();
        }
    }
}
