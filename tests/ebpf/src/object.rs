// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Parts that every object needs: a licence, and a panic handler.

/// The licence of the object. The kernel permits its helpers only to programs with a GPL-compatible licence.
#[cfg(target_arch = "bpf")]
#[expect(unsafe_code, reason = "the kernel finds the licence by its section")]
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// Handles panics, none of which is reachable: a reachable endless loop would not pass the verifier.
#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}
