// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Bounds-checked access to the packet.

use aya_ebpf::{helpers::bpf_xdp_adjust_head, programs::XdpContext};
use lb_common::{packet::Packet, reason::Reason};

/// The frame that the program was called for.
pub struct Frame<'a> {
    ctx: &'a XdpContext,
}

impl<'a> Frame<'a> {
    /// Creates the frame of a context.
    #[inline(always)]
    pub fn new(ctx: &'a XdpContext) -> Self {
        Self { ctx }
    }

    /// Cuts `bytes` bytes off the beginning of the frame; a negative number, converted to `usize`, grows it.
    #[inline(always)]
    #[expect(clippy::cast_possible_wrap, reason = "no frame is that long")]
    pub fn shrink(&self, bytes: usize) -> Result<(), Reason> {
        // SAFETY: the context is the one that the kernel gave; the helper checks that an Ethernet header is left.
        if unsafe { bpf_xdp_adjust_head(self.ctx.ctx, bytes as i32) } == 0 {
            Ok(())
        } else {
            Err(Reason::Truncated)
        }
    }
}

impl Packet for Frame<'_> {
    #[inline(always)]
    fn at<const N: usize>(&self, offset: usize) -> Result<*mut [u8; N], Reason> {
        let start = self.ctx.data() + offset;
        if start + N > self.ctx.data_end() {
            return Err(Reason::Truncated);
        }
        Ok(start as *mut [u8; N])
    }

    #[inline(always)]
    fn len(&self) -> usize {
        self.ctx.data_end() - self.ctx.data()
    }
}
