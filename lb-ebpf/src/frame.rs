// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Bounds-checked access to the packet. Only this module makes pointers into the packet.
#![expect(unsafe_code, reason = "pointers into the packet")]

use aya_ebpf::{
    helpers::{bpf_csum_diff, bpf_xdp_adjust_head, bpf_xdp_adjust_tail},
    programs::XdpContext,
};
use lb_common::{
    checksum::Sum,
    ids::IfIndex,
    packet::{Chain, MOST_EXTENSIONS, Packet, Walk, load},
    reason::Reason,
};

/// The frame that the program was called for. Each access derives its pointer again, so that no pointer outlives a
/// change of the frame's bounds.
pub struct Frame<'a> {
    ctx: &'a XdpContext,
}

impl<'a> Frame<'a> {
    #[inline(always)]
    pub fn new(ctx: &'a XdpContext) -> Self {
        Self { ctx }
    }

    /// Returns the context without the knowledge of LLVM about the frame. LLVM would otherwise remove bounds checks
    /// that follow from other checks in a way that the verifier cannot see, and would move loads of the bounds out of
    /// loops, where the verifier loses track of them as pointers.
    #[inline(always)]
    pub fn afresh(&self) -> XdpContext {
        XdpContext::new(core::hint::black_box(self.ctx.ctx))
    }

    /// Returns the context, for log messages.
    #[inline(always)]
    pub fn ctx(&self) -> &XdpContext {
        self.ctx
    }

    /// Returns the ifindex of the interface that the frame came in by.
    #[inline(always)]
    pub fn ifindex(&self) -> IfIndex {
        IfIndex(self.ctx.ingress_ifindex() as u32)
    }

    /// Adds room for `bytes` bytes before the frame.
    #[inline(always)]
    pub fn grow(&self, bytes: usize) -> Result<(), Reason> {
        // SAFETY: the context is the one that the kernel gave; the helper checks the room.
        if unsafe { bpf_xdp_adjust_head(self.ctx.ctx, -signed(bytes)) } == 0 {
            Ok(())
        } else {
            Err(Reason::NoHeadroom)
        }
    }

    /// Cuts `bytes` bytes off the beginning of the frame.
    #[inline(always)]
    pub fn shrink(&self, bytes: usize) -> Result<(), Reason> {
        // SAFETY: as in `grow`; the helper checks that an Ethernet header is left.
        if unsafe { bpf_xdp_adjust_head(self.ctx.ctx, signed(bytes)) } == 0 {
            Ok(())
        } else {
            Err(Reason::Truncated)
        }
    }

    /// Returns the sum of `length` bytes from `offset` on.
    #[inline(always)]
    pub fn sum(&self, offset: usize, length: u32) -> Result<Sum, Reason> {
        if length > 0xfff {
            return Err(Reason::Truncated);
        }
        let sum = sum(self, offset as u64, length);
        if sum == BEYOND { Err(Reason::Truncated) } else { Ok(Sum::from_words(sum as u32)) }
    }

    /// Cuts the end of the frame so that `length` bytes remain.
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
        extensions(self, first.into(), offset as u64)
    }
}

out_of_line! {
    /// Runs [`Chain::walk`] in a global function: the verifier checks the walk once.
    fn extensions [extensions](frame;; first: u64, offset: u64) -> Chain {
        // The mask tells the verifier that the offset is within a frame.
        let mut walk = Walk::new(first as u8, (offset & 0xfff) as usize);
        let mut looked_at = 0;
        while looked_at < MOST_EXTENSIONS {
            if let Some(chain) = walk.step(&Frame::new(&frame.afresh())) {
                return chain;
            }
            looked_at += 1;
        }
        walk.end()
    }
}

/// Result of [`sum`] if the frame ends too early.
const BEYOND: u64 = 1 << 32;

out_of_line! {
    /// Runs [`Frame::sum`] in a global function, which the verifier checks once. A frame without fragments fits into a
    /// page, so the function sums up all of it, in pieces whose lengths the verifier knows.
    fn sum [sum](frame;; offset: u64, length: u32) -> u64 {
        const PIECE: u32 = 512;
        // The masks tell the verifier that the pieces are within a frame. The offset of a piece depends on the length
        // alone, not on the number of earlier pieces, so that paths which meet again have the same state for the verifier.
        let (start, length) = ((offset & 0xfff) as usize, length & 0xfff);
        let mut words = 0;
        let mut piece = 0;
        while piece < 4096 / PIECE && piece < length / PIECE {
            let Ok(more) = frame.add::<512>(start + (piece * PIECE) as usize, words) else { return BEYOND };
            (words, piece) = (more, piece + 1);
        }
        let at = |bytes: u32| start + core::hint::black_box(length & !(2 * bytes - 1)) as usize;
        macro_rules! piece {
            ($($bytes:literal)*) => {$(
                if length & $bytes != 0 {
                    let Ok(more) = frame.add::<$bytes>(at($bytes), words) else { return BEYOND };
                    words = more;
                }
            )*};
        }
        piece!(256 128 64 32 16 8 4);
        let mut rest = 0;
        if length & 2 != 0 {
            let Ok(word) = load::<u16>(&Frame::new(&frame.afresh()), at(2)) else { return BEYOND };
            rest = u64::from(word);
        }
        if length & 1 != 0 {
            let Ok(byte) = load::<u8>(&Frame::new(&frame.afresh()), at(1)) else { return BEYOND };
            rest += u64::from(u16::from_ne_bytes([byte, 0]));
        }
        // Carries wrap around, as in a one's complement sum.
        let sum = u64::from(words) + rest;
        (sum & 0xffff_ffff) + (sum >> 32)
    }
}

impl Frame<'_> {
    /// Adds `N` bytes at `offset` to a sum.
    #[inline(always)]
    fn add<const N: usize>(&self, offset: usize, sum: u32) -> Result<u32, Reason> {
        let piece = Frame::new(&self.afresh()).at::<N>(offset)?;
        // SAFETY: the bounds of the bytes were checked; the buffer to compare with is empty.
        let sum = unsafe { bpf_csum_diff(core::ptr::null_mut(), 0, piece.cast(), N as u32, sum) };
        Ok(sum.cast_unsigned() as u32)
    }
}

/// Converts a length of a frame, which is far below the limits of the type.
#[inline(always)]
#[expect(clippy::cast_possible_wrap, reason = "no frame is that long")]
const fn signed(length: usize) -> i32 {
    length as i32
}

/// Hides the origin of a number from LLVM, at the cost of a register move.
#[inline(always)]
pub fn opaque(number: &mut usize) {
    #[cfg(target_arch = "bpf")]
    // SAFETY: the instruction has no effect.
    unsafe {
        core::arch::asm!("{0} = {0}", inout(reg) * number, options(pure, nomem, nostack));
    }
    #[cfg(not(target_arch = "bpf"))]
    core::hint::black_box(number);
}
