// SPDX-License-Identifier: MIT OR Apache-2.0
//! Packet tests: the real programs, one frame at a time, by `BPF_PROG_TEST_RUN`.
//!
//! - [`frame`]: what a frame says, written out by etherparse
//! - [`header`]: its IP header, of either version
//! - [`version`]: every test in either version of IP
//! - [`net`]: who lives where, and what a method makes of a client's frame
//! - [`pool`]: the services that a test sets up
//! - [`plane`]: the data plane, loaded but not attached
//! - [`beside`]: further copies of the programs over its maps, and what the maps hold
//! - [`device`]: other devices than loopback
//! - [`got`]: what became of a frame, and claims about it
//! - [`judge`]: a frame taken apart, its checksums judged, by etherparse
//!
//! Sent and expected frames are built from headers, never from what the programs share with userspace, so
//! that checksums are made and judged by code that is not ours.
#![expect(clippy::missing_panics_doc, reason = "whatever goes wrong here is to fail the test")]
#![expect(
    clippy::must_use_candidate,
    clippy::return_self_not_must_use,
    reason = "frames are made to be changed, and claims for what they do"
)]

pub mod beside;
pub mod device;
pub mod frame;
pub mod got;
pub mod header;
pub mod judge;
pub mod net;
pub mod plane;
pub mod pool;
pub mod version;

pub use frame::{Frame, error, icmp, ping, raw, tcp, tunnel, udp};
pub use got::{Action, Got};
pub use net::{CLIENT, DIP, DIP_END, PORT, ROUTER, RealServer, SERVICE, VIP, client_receives, one_port};
pub use plane::TestPlane;
pub use pool::{Pool, sctp_service, tcp_service, udp_service};
