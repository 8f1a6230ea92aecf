// SPDX-License-Identifier: MIT OR Apache-2.0
//! The control plane of xvs: the library behind the `xvs` binary.
//!
//! The daemon (`xvs run`) compiles the operator's services into map contents and keeps them up to date with
//! routes, neighbours and VIPs. The programs in these maps (`lb-ebpf`) forward packets without it. All other
//! commands are clients of the daemon's API, or work on a real server (`xvs host`).
//!
//! # Where to begin
//!
//! - [`run::run`] is the start of the daemon, in numbered phases.
//! - [`daemon::Director`] carries out a change of the operator, in one order.
//! - [`control::config::parse`] reads a config file, [`control::image::Image::compile`] computes the contents
//!   of the maps, and [`control::plan::plan`] the steps to get there. All three are pure.
//! - [`cli::Cli`] is the command line.
//!
//! # Modules
//!
//! Imports point down: a module uses only modules below it. `cargo xtask cycles` checks this.
//!
//! | modules | content |
//! |---|---|
//! | [`cli`] | one file per noun; doc comments are the help |
//! | [`import`] | conversion of rules of ipvsadm and files of keepalived |
//! | [`run`], [`ipvsadm`] | the life of the daemon; the command line of ipvsadm |
//! | [`server`] | the API, the API for agents, the metrics |
//! | [`daemon`] | the director: services, maps, neighbours and VIPs in step |
//! | [`doctor`] | one check per file; changes nothing |
//! | [`host`], [`observe`] | set-up of real servers and the agent; log and rates |
//! | [`api`] | requests and answers, client, limits, proofs |
//! | [`control`] | config, state, validation, image, plan, apply, next hops, VIPs |
//! | [`dataplane`], [`explain`] | loading, pinning and typed map access; decoding of traced steps |
//! | [`schedule`], [`netlink`] | tables of the schedulers; links, addresses, routes, neighbours |
//! | [`model`] | services and reals as the operator configured them |
//! | [`failure`], [`text`], [`descriptors`], [`privileges`] | messages with hints; limits of the process |
//!
//! # Example
//!
//! A config file becomes the steps that fill empty maps. No kernel is involved:
//!
//! ```
//! use std::{collections::BTreeMap, path::Path};
//!
//! use lb_common::ids::RealId;
//! use lb_control::{
//!     config,
//!     ids::Ids,
//!     image::Image,
//!     plan::{Step, plan},
//!     pool::HealthTable,
//! };
//!
//! let text = r#"
//! [[service]]
//! protocol = "tcp"
//! address = "192.0.2.100:80"
//!   [[service.real]]
//!   address = "10.0.0.11"
//!   [[service.real]]
//!   address = "10.0.0.12:8080"
//!   forward = "nat"
//! "#;
//! let desired = config::parse(text, Path::new("xvs.toml"))?.desired;
//!
//! // 512 blocks of 4,096 slots are free. No next hop is known yet.
//! let ids = Ids::default().allocate(&desired, 512).expect("one service needs one block");
//! let image = Image::compile(&desired, &ids, &BTreeMap::new(), &HealthTable::default());
//! let steps = plan(&Image::default(), &image);
//!
//! // Reals come first, and the service last, so that no packet finds a service without reals.
//! assert!(matches!(steps[..2], [Step::PutReal { id: RealId(1), .. }, Step::PutReal { id: RealId(2), .. }]));
//! assert!(matches!(steps.last(), Some(Step::PutService { .. })));
//! assert!(plan(&image, &image).is_empty());
//!
//! // A mistake is refused with its line.
//! let failure = config::parse(&text.replace("nat", "dr"), Path::new("xvs.toml")).unwrap_err();
//! assert!(failure.message.contains("line 8") && failure.message.contains("dr cannot change the port"));
//! # Ok::<(), lb_model::failure::Failure>(())
//! ```

// The print macros panic if stdout or stderr is closed: use `cli::say` and `observe::log`.
#![deny(clippy::print_stderr, clippy::print_stdout)]
#![cfg_attr(not(test), warn(unused_crate_dependencies))]

use aya as _; // main.rs embeds the programs with it

pub mod api;
pub mod cli;
pub mod daemon;
pub mod host;
pub mod import;
pub mod ipvsadm;
pub mod observe;
pub mod privileges;
pub mod run;
pub mod server;
