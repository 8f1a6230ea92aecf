// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Options known at load time.

use aya_ebpf::Global;
use lb_common::{
    schema::{Mode, Settings},
    wire::Be16,
};

/// Options known at load time. The daemon freezes them before the verifier runs.
#[unsafe(no_mangle)]
pub(super) static SETTINGS: Global<Settings> = Global::new(Settings::DEFAULT);

/// Reads one option. The macro reads only the words of that option.
macro_rules! setting {
    ($($field:ident).+) => {{
        let settings = (&raw const SETTINGS).cast::<Settings>();
        // SAFETY: `Global` is transparent, and no code writes it.
        unsafe { (&raw const (*settings).$($field).+).read_volatile() }
    }};
}

/// Returns the UDP port of generic UDP encapsulation on which the decapsulator listens.
#[inline(always)]
pub fn gue_port() -> Be16 {
    Be16::new(setting!(gue_port) as u16)
}

/// Returns whether the packets of unknown connections go to the director's stack with every scheduler.
#[inline(always)]
pub fn is_beside_ipvs() -> bool {
    setting!(beside_ipvs) != 0
}

/// Returns the mode: whether steps are traced and maps are written.
#[inline(always)]
pub(super) fn mode() -> Mode {
    setting!(mode)
}
