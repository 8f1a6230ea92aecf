// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Bounds-checked access to the packet: the only place that makes pointers into it.

use aya_ebpf::{
    bindings::xdp_md,
    helpers::{bpf_xdp_adjust_head, bpf_xdp_adjust_tail},
    programs::XdpContext,
};
use lb_common::{
    packet::{Chain, MOST_EXTENSIONS, Packet, Walk},
    reason::Reason,
};

/// The frame that the program was called for. Pointers are derived anew at each access, so that none
/// outlives a change of the frame's bounds.
pub struct Frame<'a> {
    ctx: &'a XdpContext,
}

impl<'a> Frame<'a> {
    #[inline(always)]
    pub fn new(ctx: &'a XdpContext) -> Self {
        Self { ctx }
    }

    /// Forgets what LLVM knows about the frame. It would leave out checks of its bounds that follow from others, from which
    /// the verifier does not see that they do; and it would take loads of the bounds out of loops, and with them what makes
    /// them pointers.
    #[inline(always)]
    pub fn afresh(&self) -> XdpContext {
        XdpContext::new(core::hint::black_box(self.ctx.ctx))
    }

    /// The context, for log messages.
    #[inline(always)]
    pub fn ctx(&self) -> &XdpContext {
        self.ctx
    }

    /// The device that the frame came in by.
    #[inline(always)]
    pub fn ifindex(&self) -> u32 {
        self.ctx.ingress_ifindex() as u32
    }

    /// Makes room for so many bytes before the frame.
    #[inline(always)]
    pub fn grow(&self, bytes: usize) -> Result<(), Reason> {
        // SAFETY: the context is the one that the kernel gave; the helper checks the room.
        if unsafe { bpf_xdp_adjust_head(self.ctx.ctx, -signed(bytes)) } == 0 {
            Ok(())
        } else {
            Err(Reason::NoHeadroom)
        }
    }

    /// Cuts so many bytes off the beginning of the frame.
    #[inline(always)]
    pub fn shrink(&self, bytes: usize) -> Result<(), Reason> {
        // SAFETY: as in `grow`; the helper checks that an Ethernet header is left.
        if unsafe { bpf_xdp_adjust_head(self.ctx.ctx, signed(bytes)) } == 0 {
            Ok(())
        } else {
            Err(Reason::Truncated)
        }
    }

    /// Cuts the frame's end so that `length` bytes are left.
    #[inline(always)]
    pub fn truncate(&self, length: usize) -> Result<(), Reason> {
        let cut = signed(length) - signed(self.len());
        // SAFETY: as in `grow`; the helper checks that an Ethernet header is left.
        if cut > 0 || unsafe { bpf_xdp_adjust_tail(self.ctx.ctx, cut) } != 0 {
            return Err(Reason::Truncated);
        }
        Ok(())
    }
}

impl Packet for Frame<'_> {
    #[inline(always)]
    fn at<const N: usize>(&self, offset: usize) -> Result<*mut [u8; N], Reason> {
        let start = self.ctx.data() + offset;
        let mut end = start + N;
        if N == 1 {
            // LLVM would turn `start + 1 > data_end` into `start >= data_end`, from which the verifier learns
            // nothing about a pointer with a variable offset.
            opaque(&mut end);
        }
        if end > self.ctx.data_end() {
            return Err(Reason::Truncated);
        }
        Ok(start as *mut [u8; N])
    }

    #[inline(always)]
    fn len(&self) -> usize {
        self.ctx.data_end() - self.ctx.data()
    }

    #[inline(always)]
    fn extensions(&self, first: u8, offset: usize) -> Chain {
        Chain(extensions(self.ctx.ctx, first.into(), offset as u64))
    }
}

/// [`Chain::walk`] in a function that the verifier knows by its type: it looks at the walk once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn extensions(ctx: *mut xdp_md, first: u64, offset: u64) -> u64 {
    let ctx = XdpContext::new(ctx);
    let frame = Frame::new(&ctx);
    // The mask tells the verifier that the offset is within a frame.
    let mut walk = Walk::new(first as u8, (offset & 0xfff) as usize);
    let mut looked_at = 0;
    while looked_at <= MOST_EXTENSIONS {
        if let Some(chain) = walk.step(&Frame::new(&frame.afresh())) {
            return chain.0;
        }
        looked_at += 1;
    }
    walk.end().0
}

/// A length of a frame, which is far below the limits of the type.
#[inline(always)]
#[expect(clippy::cast_possible_wrap, reason = "no frame is that long")]
const fn signed(length: usize) -> i32 {
    length as i32
}

/// Hides from LLVM where a number comes from, at the cost of a register move.
#[inline(always)]
fn opaque(number: &mut usize) {
    #[cfg(target_arch = "bpf")]
    // SAFETY: does nothing.
    unsafe {
        core::arch::asm!("{0} = {0}", inout(reg) * number, options(pure, nomem, nostack));
    }
    #[cfg(not(target_arch = "bpf"))]
    core::hint::black_box(number);
}
