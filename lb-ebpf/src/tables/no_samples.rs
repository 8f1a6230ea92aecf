// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! The ordinary build takes no samples: nothing here is an instruction of its programs. See `sample.rs`.

use crate::frame::Frame;
use lb_common::{
    ids::RealId,
    packet::Ip,
    schema::{FlowKey, Step},
    wire::Be16,
};

#[inline(always)]
pub fn begin_sample(_: &Frame) {}

#[inline(always)]
pub fn sample_flow<A: Ip>(_: &FlowKey<A>) {}

#[inline(always)]
pub fn sample_client<A: Ip>(_: &A, _: Be16) {}

#[inline(always)]
pub fn sample_real(_: RealId) {}

#[inline(always)]
pub(super) fn sample_step(_: Step, _: u32, _: u32) {}

#[inline(always)]
pub fn end_sample(action: u32) -> u32 {
    action
}
