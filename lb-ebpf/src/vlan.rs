// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! VLAN tags: removed before all other steps, and added at the end. The other modules handle untagged frames only, and
//! untagged frames pay nothing.
//!
//! A frame that is passed gets its own tags again. A frame that is sent gets the tags of its next hop, or keeps its own
//! ([`lb_common::schema::Real::TAGGED`]).

use core::mem::offset_of;

use aya_ebpf::bindings::xdp_action;
use lb_common::{
    packet::{Ip as _, address_frame, frame_macs, load, store},
    reason::Reason,
    schema::Program,
    wire::{Be16, Be32, Be128, MacPair, Tags},
};
use network_types::eth::EthHdr;

use crate::{
    frame::Frame,
    tables::{self, VlanState},
};

/// Length of a tag, in bytes.
const LEN: usize = 4;
/// Offset of the first tag in a frame.
const FIRST: usize = offset_of!(EthHdr, ether_type);

/// Handles a frame with one or two tags around a packet.
#[inline(always)]
pub fn handle(frame: &Frame) -> u32 {
    let Ok(words) = pop_tags(frame) else { return xdp_action::XDP_PASS };
    let tags = Tags::of(words[0]).around(Tags::of(words[1]));
    tables::set_vlan_state(VlanState { tags, lacks_tags: 1 });
    let action = untagged(frame);
    let dressed = tables::vlan_state().lacks_tags == 0;
    tables::set_vlan_state(VlanState { tags: Tags::NONE, lacks_tags: 0 });
    let again = match action {
        xdp_action::XDP_PASS => true,
        // A frame that leaves by another interface has only the tags that it was given.
        xdp_action::XDP_TX => !dressed,
        _ => false,
    };
    if again && insert_tags(&Frame::new(&frame.afresh()), words).is_err() {
        return xdp_action::XDP_DROP;
    }
    action
}

/// Removes one or two tags, if they are followed by an IP packet. The second word is 0 if there is one tag.
#[inline(always)]
fn pop_tags(frame: &Frame) -> Result<[u32; 2], Reason> {
    let macs = frame_macs(frame)?;
    let outer: u32 = load(frame, FIRST)?;
    let inner: u32 = load(frame, FIRST + LEN)?;
    let is_packet = |ether_type: Be16| ether_type == Be32::ETHER_TYPE || ether_type == Be128::ETHER_TYPE;
    let words = if Tags::is_tag(Be16(inner as u16)) {
        if !is_packet(Be16(load(frame, FIRST + 2 * LEN)?)) {
            return Err(Reason::NotOurs);
        }
        frame.shrink(2 * LEN)?;
        [outer, inner]
    } else {
        if !is_packet(Be16(inner as u16)) {
            return Err(Reason::NotOurs);
        }
        frame.shrink(LEN)?;
        [outer, 0]
    };
    address_frame(&Frame::new(&frame.afresh()), macs)?;
    Ok(words)
}

/// Adds tags, given in the byte order of a frame; the second tag if it is not 0.
#[inline(always)]
fn insert_tags(frame: &Frame, words: [u32; 2]) -> Result<(), Reason> {
    if words[1] == 0 {
        frame.grow(LEN)?;
        move_macs::<LEN>(frame)?;
    } else {
        frame.grow(2 * LEN)?;
        move_macs::<{ 2 * LEN }>(frame)?;
        store(frame, FIRST + LEN, words[1])?;
    }
    store(frame, FIRST, words[0])
}

/// Moves the MAC addresses of a frame that has grown to its beginning.
#[inline(always)]
fn move_macs<const GROWTH: usize>(frame: &Frame) -> Result<(), Reason> {
    let macs = [load(frame, GROWTH)?, load(frame, GROWTH + 4)?, load(frame, GROWTH + 8)?];
    address_frame(frame, MacPair(macs))
}

/// Adds the tags that a frame must leave with, which may be none.
#[inline(always)]
pub fn push_tags(frame: &Frame, tags: Tags) -> Result<(), Reason> {
    if tags == Tags::NONE && tables::vlan_state().lacks_tags == 0 {
        return Ok(());
    }
    push_tags_with(frame, tags, 0)
}

/// Adds the tags that a frame must leave with, but keeps the priority that the frame arrived with.
#[inline(always)]
pub fn push_tags_for_vlan(frame: &Frame, tags: Tags) -> Result<(), Reason> {
    push_tags_with(frame, tags, Tags::PRIORITY)
}

/// Adds tags as [`dress`] does. The bits `kept` come from the tags that the frame arrived with.
#[inline(always)]
fn push_tags_with(frame: &Frame, tags: Tags, kept: u32) -> Result<(), Reason> {
    if add(frame, tags, kept) { Ok(()) } else { Err(Reason::NoHeadroom) }
}

out_of_line! {
    /// Returns whether there was room for the tags.
    fn add [push_tags](frame;; tags: Tags, kept: u32) -> bool {
        let came_with = tables::set_tags_final();
        if tags == Tags::NONE {
            return true;
        }
        let tags = Tags(tags.0 | came_with.0 & kept);
        let inner = if tags.count() > 1 { tags.word(true) } else { 0 };
        insert_tags(frame, [tags.word(false), inner]).is_ok()
    }
}

out_of_line! {
    /// Runs `director` on the untagged frame, and returns its action. A tail call in a function returns to the caller of
    /// the function.
    fn untagged [untagged](frame;;) -> u32 {
        tables::tail_call(frame.ctx(), Program::Director);
        // LLVM would otherwise assume that the function always returns this value.
        core::hint::black_box(xdp_action::XDP_PASS)
    }
}
