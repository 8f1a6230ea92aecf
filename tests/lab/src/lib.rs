// SPDX-License-Identifier: MIT OR Apache-2.0
//! A network of namespaces with a director in its middle, built and torn down by code.
//!
//! One arm, the default: all hosts are on one switch. Replies of `dr` and `tun` reals bypass the
//! director; those of `nat` reals pass it.
//!
//! ```text
//!  client                  director                      real1      real2      real3
//!  192.0.2.10              192.0.2.1  10.0.0.1           10.0.0.11  10.0.0.12  10.0.0.13
//!  │ eth0                  │ eth0                        │ eth0     │ eth0     │ eth0
//! ─┴───────────────────────┴─────────── switch ──────────┴──────────┴──────────┴─
//!      (client)               (director)                   (real1)    (real2)    (real3)
//! ```
//!
//! Two arms: the director stands between two switches, and frames that it forwards change the
//! interface.
//!
//! ```text
//!  client            director                        real1      real2      real3
//!  192.0.2.10        192.0.2.1       10.0.0.1        10.0.0.11  10.0.0.12  10.0.0.13
//!  │ eth0            │ eth0              │ eth1      │ eth0     │ eth0     │ eth0
//! ─┴──── front ──────┴─                 ─┴──────── back ────────┴──────────┴─
//! ```
//!
//! A real routes what it sends from a VIP straight onto the link, and everything else to the
//! director: so one real can serve `dr`, `tun` and `nat` at the same time.
//!
//! The switch ports carry an XDP program that passes everything, since a veth device loses what its
//! peer sends by `XDP_TX` or a redirect otherwise. Namespaces are named by process id and a counter,
//! so labs run side by side with the same addresses inside. What a killed run left behind is deleted
//! by the next one.
#![expect(clippy::missing_panics_doc, reason = "whatever goes wrong in the lab is to fail the test")]
#![expect(
    clippy::must_use_candidate,
    clippy::return_self_not_must_use,
    reason = "commands and claims are made for what they do; what ends when dropped says so itself"
)]

pub mod artifacts;
mod browser;
pub mod capture;
mod client;
mod crossing;
mod director;
mod folder;
mod host;
mod http;
pub mod icmp;
mod machine;
mod moving;
mod netns;
mod outcome;
mod printed;
mod process;
mod prometheus;
mod real;
mod servers;
mod stage;
mod stub;
mod topology;
mod wait;
mod way;

use std::net::{Ipv4Addr, Ipv6Addr};

pub use browser::Browser;
pub use client::{Client, Spread};
pub use crossing::{Count, Crossing};
pub use director::{API, Counters, Director, HTTP, METRICS, RealStats, ReasonStats, ServiceStats, Stats};
pub use host::Host;
pub use machine::Machine;
pub use moving::{DIP2, DIRECTOR2, Open};
pub use netns::Netns;
pub use outcome::Outcome;
pub use process::Process;
pub use prometheus::Prometheus;
pub use real::Real;
pub use servers::{Server, sctp_connect};
pub use stage::{Method, Stage};
pub use stub::attach as attach_stub;
pub use topology::{Layout, Options};
pub use wait::eventually;
pub use way::Way;

use folder::Folder;

/// The client's address.
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
/// The director's address among the clients.
pub const DIRECTOR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The director's address among the reals (the DIP).
pub const DIP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// The address of the services.
pub const VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 100);
/// The addresses of the reals.
pub const RIPS: [Ipv4Addr; 3] =
    [Ipv4Addr::new(10, 0, 0, 11), Ipv4Addr::new(10, 0, 0, 12), Ipv4Addr::new(10, 0, 0, 13)];

/// The client's IPv6 address.
pub const CLIENT6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10);
/// The director's IPv6 address among the clients.
pub const DIRECTOR6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
/// The director's IPv6 address among the reals.
pub const DIP6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
/// The IPv6 address of the services.
pub const VIP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x100);

/// Returns the IPv6 address of the real at `rip`.
pub const fn rip6(rip: Ipv4Addr) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, rip.octets()[3] as u16)
}

/// The whole network. Dropping it deletes everything that it made.
#[must_use]
pub struct Lab {
    /// The client, which sends requests.
    pub client: Client,
    /// The director, which runs xvs.
    pub director: Director,
    /// The second director, see [`Options::second_director`].
    pub second: Option<Director>,
    /// The reals, which answer requests.
    pub reals: [Real; 3],
    /// More reals, as many as [`Options::more_reals`].
    pub more_reals: Vec<Real>,
    /// The switch, which counts the packets between the hosts.
    pub switch: Host,
    folder: Folder,
}

impl Lab {
    /// Builds a lab with one arm and without offloads.
    pub fn new() -> Self {
        Self::with(Options::default())
    }

    /// Builds a lab with two arms and without offloads.
    pub fn two_arm() -> Self {
        Self::with(Options { layout: Layout::TwoArm, ..Options::default() })
    }

    /// Creates a file of `megabytes` random bytes that every nginx of the lab serves as `/files/NAME`.
    pub fn big_file(&self, name: &str, megabytes: usize) -> std::path::PathBuf {
        let path = self.folder.files().join(name);
        let line = format!("dd if=/dev/urandom of={} bs=1M count={megabytes} status=none", path.display());
        self.client.sh(&line).succeeds();
        path
    }

    /// Returns the traffic over the switch since the lab was built.
    pub fn crossing(&self) -> Crossing {
        Crossing::read(&self.switch)
    }

    /// Has a port that a test added to the switch take what its peer sends by `XDP_TX`, as the others do. A
    /// port with GRO alone takes it too, but is not woken for it (`veth_xdp_flush`): each packet waits for
    /// the next that comes by another way.
    pub fn stub(&self, port: &str) {
        stub::attach(&self.switch, [port], &self.folder.bpffs());
    }

    /// Leaves the lab as it is when the program ends. Returns how to enter and how to delete it.
    pub fn keep(self) -> String {
        let text = self.folder.keep();
        // Namespaces, processes and pins outlive this process; only `Drop` would end them.
        std::mem::forget(self);
        text
    }
}

impl Default for Lab {
    fn default() -> Self {
        Self::new()
    }
}
