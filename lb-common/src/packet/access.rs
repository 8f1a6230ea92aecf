// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Access to a frame: all reads and writes go through this module.
#![expect(unsafe_code, reason = "reads and writes words of the packet")]

use super::Chain;
use crate::reason::Reason;

/// An object with a frame in it: an `XdpContext` in the kernel, bytes in tests.
#[expect(clippy::len_without_is_empty, reason = "a frame is never empty")]
pub trait Packet {
    /// Returns a pointer to `N` bytes at `offset`, all of them within the frame. The pointer has no
    /// alignment.
    ///
    /// # Errors
    /// [`Reason::Truncated`] if the frame ends before.
    fn at<const N: usize>(&self, offset: usize) -> Result<*mut [u8; N], Reason>;

    /// Returns the length of the frame in bytes.
    fn len(&self) -> usize;

    /// Walks over IPv6 extension headers (see [`Chain::walk`]), which few packets have.
    fn extensions(&self, first: u8, offset: usize) -> Chain
    where
        Self: Sized,
    {
        Chain::walk(self, first, offset)
    }
}

/// An integer that is read and written in memory order.
///
/// Packet data is not aligned. LLVM would read an unaligned word byte by byte on the BPF machine, although
/// the machine reads it at once on every architecture that xvs supports. Hence the explicit instructions.
pub trait Word: Copy + Default {
    /// Reads the word `AT` bytes behind a pointer; the offset is part of the instruction.
    ///
    /// # Safety
    /// As many bytes as the word has must be readable there.
    unsafe fn read<const AT: usize>(pointer: *const u8) -> Self;

    /// Writes the word `AT` bytes behind a pointer.
    ///
    /// # Safety
    /// As many bytes as the word has must be writable there.
    unsafe fn write<const AT: usize>(self, pointer: *mut u8);
}

macro_rules! word {
    ($type:ty) => {
        impl Word for $type {
            #[cfg(target_arch = "bpf")]
            #[inline(always)]
            unsafe fn read<const AT: usize>(pointer: *const u8) -> Self {
                let value: u64;
                // SAFETY: the caller ensures it; the instruction has no other effect.
                unsafe {
                    core::arch::asm!(
                        concat!("{value} = *(", stringify!($type), " *)({pointer} + {at})"),
                        at = const AT,
                        pointer = in(reg) pointer,
                        value = lateout(reg) value,
                        options(pure, readonly, nostack),
                    );
                }
                value as Self
            }

            #[cfg(target_arch = "bpf")]
            #[inline(always)]
            unsafe fn write<const AT: usize>(self, pointer: *mut u8) {
                // SAFETY: the caller ensures it; the instruction has no other effect.
                unsafe {
                    core::arch::asm!(
                        concat!("*(", stringify!($type), " *)({pointer} + {at}) = {value}"),
                        at = const AT,
                        pointer = in(reg) pointer,
                        value = in(reg) u64::from(self),
                        options(nostack),
                    );
                }
            }

            #[cfg(not(target_arch = "bpf"))]
            unsafe fn read<const AT: usize>(pointer: *const u8) -> Self {
                // SAFETY: the caller ensures it.
                unsafe { pointer.add(AT).cast::<Self>().read_unaligned() }
            }

            #[cfg(not(target_arch = "bpf"))]
            unsafe fn write<const AT: usize>(self, pointer: *mut u8) {
                // SAFETY: the caller ensures it.
                unsafe { pointer.add(AT).cast::<Self>().write_unaligned(self) }
            }
        }
    };
}
word!(u8);
word!(u16);
word!(u32);
word!(u64);

/// Reads the word `at` bytes behind a pointer. The compiler must know `at`.
///
/// # Safety
/// As many bytes as the word has must be readable there.
#[inline(always)]
pub(super) unsafe fn read_at<T: Word>(pointer: *const u8, at: usize) -> T {
    // SAFETY: the caller ensures it.
    unsafe {
        match at {
            0 => T::read::<0>(pointer),
            4 => T::read::<4>(pointer),
            8 => T::read::<8>(pointer),
            12 => T::read::<12>(pointer),
            16 => T::read::<16>(pointer),
            24 => T::read::<24>(pointer),
            32 => T::read::<32>(pointer),
            _ => T::read::<0>(pointer.add(at)),
        }
    }
}

/// Writes a word `at` bytes behind a pointer. The compiler must know `at`.
///
/// # Safety
/// As many bytes as the word has must be writable there.
#[inline(always)]
pub(super) unsafe fn write_at<T: Word>(pointer: *mut u8, at: usize, word: T) {
    // SAFETY: the caller ensures it.
    unsafe {
        match at {
            0 => word.write::<0>(pointer),
            4 => word.write::<4>(pointer),
            8 => word.write::<8>(pointer),
            12 => word.write::<12>(pointer),
            16 => word.write::<16>(pointer),
            _ => word.write::<0>(pointer.add(at)),
        }
    }
}

/// Reads a word.
///
/// # Errors
/// [`Reason::Truncated`] if the frame ends before.
#[inline(always)]
pub fn load<T: Word>(packet: &impl Packet, offset: usize) -> Result<T, Reason> {
    let pointer = at::<T>(packet, offset)?;
    // SAFETY: `at` checked the bounds.
    Ok(unsafe { T::read::<0>(pointer) })
}

/// Writes a word.
///
/// # Errors
/// [`Reason::Truncated`] if the frame ends before; then nothing is written.
#[inline(always)]
pub fn store<T: Word>(packet: &impl Packet, offset: usize, value: T) -> Result<(), Reason> {
    let pointer = at::<T>(packet, offset)?;
    // SAFETY: `at` checked the bounds.
    unsafe { value.write::<0>(pointer) };
    Ok(())
}

/// Returns a pointer to `BYTES` consecutive bytes, with one check of the bounds.
#[inline(always)]
pub(super) fn pointer_to_words<const BYTES: usize>(
    packet: &impl Packet,
    offset: usize,
) -> Result<*mut u8, Reason> {
    Ok(packet.at::<BYTES>(offset)?.cast())
}

/// Returns a pointer to the bytes of a word.
#[inline(always)]
fn at<T>(packet: &impl Packet, offset: usize) -> Result<*mut u8, Reason> {
    Ok(match size_of::<T>() {
        1 => packet.at::<1>(offset)?.cast(),
        2 => packet.at::<2>(offset)?.cast(),
        4 => packet.at::<4>(offset)?.cast(),
        _ => packet.at::<8>(offset)?.cast(),
    })
}

/// A frame in memory, for tests.
#[cfg(test)]
impl Packet for core::cell::RefCell<Vec<u8>> {
    fn at<const N: usize>(&self, offset: usize) -> Result<*mut [u8; N], Reason> {
        let mut bytes = self.borrow_mut();
        let end = offset.checked_add(N).ok_or(Reason::Truncated)?;
        if end > bytes.len() {
            return Err(Reason::Truncated);
        }
        Ok(bytes[offset..end].as_mut_ptr().cast())
    }

    fn len(&self) -> usize {
        self.borrow().len()
    }
}
