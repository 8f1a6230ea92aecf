// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Steps of the last packet, for `xvs explain`.

use super::{sample::sample_step, settings::mode};
use lb_common::schema::{Event, Mode, Step, Trace};

/// Steps of the last packet, if steps are traced. A global variable is a map without lookups, which would need stack.
#[unsafe(no_mangle)]
pub(super) static mut TRACE: Trace = Trace::EMPTY;

/// Clears the trace at the start of a packet.
#[inline(always)]
pub fn begin_trace() {
    if mode() != Mode::FORWARD {
        // SAFETY: a copy of the programs that traces runs one packet at a time. The writes are volatile, as below,
        // because no code here reads them.
        unsafe {
            (&raw mut TRACE.count).write_volatile(0);
            (&raw mut TRACE.turns).write_volatile(0);
            (&raw mut TRACE.tries).write_volatile(0);
        }
    }
}

/// Traces a step, if the mode asks for it. Returns whether maps may be written, which is false in a dry run.
///
/// The verifier knows the mode, and removes the code that the mode rules out.
#[inline(always)]
pub fn note(step: Step, a: u32, b: u32) -> bool {
    sample_step(step, a, b);
    trace(step, a, b)
}

/// Records a step for `xvs explain` alone, and returns whether the step may have an effect.
#[inline(always)]
pub(super) fn trace(step: Step, a: u32, b: u32) -> bool {
    let mode = mode();
    if mode == Mode::FORWARD {
        return true;
    }
    // SAFETY: as in `begin_trace`; the mask keeps the index within the array, for the verifier too.
    unsafe {
        let count = (&raw const TRACE.count).read_volatile();
        (&raw mut TRACE.count).write_volatile(count.wrapping_add(1));
        let index = count as usize & (Trace::LENGTH - 1);
        let event = (&raw mut TRACE.events).cast::<Event>().add(index);
        (&raw mut (*event).step).write_volatile(step as u32);
        (&raw mut (*event).a).write_volatile(a);
        (&raw mut (*event).b).write_volatile(b);
    }
    !mode.is_dry()
}
