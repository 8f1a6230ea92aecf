// SPDX-License-Identifier: MIT OR Apache-2.0
//! The lab with everything running: what most tests start from.

use std::net::SocketAddrV4;

use super::{Lab, Process, VIP};

/// A forwarding method of the lab.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Method {
    /// Direct routing.
    Dr,
    /// Tunnelling.
    Tun,
    /// Masquerading.
    Nat,
    /// Full NAT.
    Fnat,
}

/// A lab with the reals set up for every method and the daemon running.
///
/// The services are the test's: it adds them by the command line.
#[must_use]
pub struct Stage {
    /// The running daemon.
    pub daemon: Process,
    /// The lab.
    pub lab: Lab,
}

impl Method {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Dr, Self::Tun, Self::Nat, Self::Fnat];

    /// Returns the name on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dr => "dr",
            Self::Tun => "tun",
            Self::Nat => "nat",
            Self::Fnat => "fnat",
        }
    }

    /// Returns the port of this method's service, in tests with one service per method.
    pub fn port(self) -> u16 {
        match self {
            Self::Dr => 8001,
            Self::Tun => 8002,
            Self::Nat => 8003,
            Self::Fnat => 8004,
        }
    }

    /// Returns the port of the reals of that service: only `nat` and `fnat` can have another.
    pub fn real_port(self) -> u16 {
        match self {
            Self::Dr | Self::Tun => self.port(),
            Self::Nat => 9003,
            Self::Fnat => 9004,
        }
    }

    /// Returns the address of that service.
    pub fn service(self) -> SocketAddrV4 {
        SocketAddrV4::new(VIP, self.port())
    }

    /// Returns whether replies reach the client without the director.
    pub fn replies_directly(self) -> bool {
        match self {
            Self::Dr | Self::Tun => true,
            Self::Nat | Self::Fnat => false,
        }
    }

    /// Returns the ports on which the reals listen for the services of all methods.
    pub fn real_ports() -> [u16; 4] {
        Self::ALL.map(Self::real_port)
    }
}

impl Stage {
    /// Builds a stage with one arm and native XDP.
    #[track_caller]
    pub fn new() -> Self {
        Self::with_daemon_options("")
    }

    /// Builds the stage with further options for `xvs run`.
    #[track_caller]
    pub fn with_daemon_options(options: &str) -> Self {
        let lab = Lab::new();
        for real in &lab.reals {
            real.set_up(Method::Tun);
        }
        let daemon = lab.director.start_daemon_with(options);
        Self { daemon, lab }
    }

    /// Adds a service of each method, at [`Method::service`].
    #[track_caller]
    pub fn serve_all_methods(&self, protocol: &str, scheduler: &str) {
        for method in Method::ALL {
            self.lab.director.serve(protocol, method.port(), scheduler, method, method.real_port());
        }
    }

    /// Starts nginx on every real, on the ports of all methods.
    #[track_caller]
    pub fn start_web_servers(&self) -> Vec<Process> {
        self.lab.reals.iter().map(|real| real.start_nginx(&Method::real_ports())).collect()
    }
}

impl Default for Stage {
    fn default() -> Self {
        Self::new()
    }
}
