// SPDX-License-Identifier: MIT OR Apache-2.0
//! Engine and probers of health checks.
//!
//! The [`engine`] decides when to probe which real and what follows from results; it does no I/O. The [`Runner`]
//! drives it, and the probes, on threads of its own. Probes by path get their sockets from
//! [`path::PathSockets`], which the data plane implements; direct ones use the director's own routes.
//!
//! ```
//! use lb_health::engine::{Engine, Now};
//! use lb_health::{Target, TargetKey};
//! use lb_model::{Endpoint, Forward, Protocol, RealKey, ServiceId, Tunnel};
//! use lb_model::check::{Check, CheckType, Period};
//! use lb_model::health::{Health, LastResult, ResultCode};
//!
//! let check = Check::new(CheckType::Http);
//! let vip = "192.0.2.1:80".parse().unwrap();
//! let service = Endpoint { protocol: Protocol::Tcp, address: vip };
//! let real = RealKey { address: "10.0.0.1:80".parse().unwrap(), forward: Forward::Dr, tunnel: Tunnel::Ipip };
//! let key = TargetKey::new("web".parse().unwrap(), &check, service, real);
//! let target = Target {
//!     key: key.clone(),
//!     check: check.into(),
//!     vip,
//!     services: [ServiceId::new(Protocol::Tcp, vip)].into(),
//!     hold_down: Period::from_millis(10_000),
//!     real_id: 1,
//!     forward: Forward::Dr,
//! };
//!
//! let at = |mono_ms| Now { mono_ms, wall_ms: 1_800_000_000_000 + mono_ms };
//! let mut engine = Engine::new(4096, 0);
//! engine.plan(vec![target], at(0));
//! let probes = engine.next(at(1000)).start;
//! let result = LastResult { code: ResultCode::L7Ok, text: "HTTP 200".into(), duration_us: 900, at_ms: 0 };
//! engine.ended(probes[0].id, result, None, at(1001));
//! assert_eq!(engine.state(&key, at(1001)).unwrap().health, Health::Up);
//! ```
#![forbid(unsafe_code)]
// The print macros panic if stdout or stderr is closed.
#![deny(clippy::print_stderr, clippy::print_stdout)]

pub mod command; // processes of unprivileged users
pub mod engine; // when to probe, and what follows from results
pub mod path; //   sockets by the forwarding path
mod probe; //      the probes, one file for each type
mod runner; //     threads
mod target; //     targets and their states
mod totals; //     counts for metrics

pub use runner::{Handle, Runner, Snapshot};
pub use target::{Saved, Suspect, Target, TargetKey, TargetState};
pub use totals::{BUCKETS, CheckTotals, Totals};
