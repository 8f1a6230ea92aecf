// SPDX-License-Identifier: MIT OR Apache-2.0
//! Packet tests: the real programs, one frame at a time, by `BPF_PROG_TEST_RUN`.
//!
//! - [`frame`]: a frame, encoded by etherparse
//! - [`header`]: its IP header, of either version
//! - [`version`]: every test in either IP version
//! - [`net`]: the address plan, and the effect of each method on a client's frame
//! - [`pool`]: the services of a test
//! - [`plane`]: the data plane, loaded but not attached
//! - [`beside`]: further copies of the programs over its maps, and the contents of the maps
//! - [`samples`]: samples of the tracing build, compared with verdicts
//! - [`device`]: other interfaces than loopback
//! - [`got`]: the outcome of a frame, and assertions about it
//! - [`judge`]: decoding of a frame and verification of its checksums, by etherparse
//!
//! Sent and expected frames are built from headers, without code that the programs share with userspace, so
//! that independent code computes and verifies the checksums.
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
mod lent;
pub mod net;
pub mod plane;
pub mod pool;
pub mod samples;
pub mod version;

pub use beside::Pins;
pub use frame::{Frame, error, icmp, ping, raw, tcp, tunnel, udp};
pub use got::{Action, Got};
pub use net::{CLIENT, DIP, DIP_END, PORT, ROUTER, RealServer, SERVICE, VIP, client_receives, one_port};
pub use plane::TestPlane;
pub use pool::{Pool, sctp_service, tcp_service, udp_service};
