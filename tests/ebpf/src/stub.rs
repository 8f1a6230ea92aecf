// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! A program that passes every frame: the lab attaches it to the peers of the director's veth devices.
//!
//! A veth device in native mode loses every frame sent by `XDP_TX` or `XDP_REDIRECT` unless its peer runs a program
//! too.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

mod object;

use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};

/// Passes every frame to the kernel.
#[xdp]
fn stub(_: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

/// Does nothing: on the host, clippy only checks this crate.
#[cfg(not(target_arch = "bpf"))]
fn main() {}
