// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! What every object must have: a licence, and an end for panics.

/// The kernel lends its helpers to programs under a GPL-compatible licence.
#[cfg(target_arch = "bpf")]
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// No panic can be reached: a reachable endless loop would not pass the verifier.
#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}
