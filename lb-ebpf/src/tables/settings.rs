// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Options known at load time.

use aya_ebpf::Global;
use lb_common::{
    schema::{Mode, Settings},
    wire::Be16,
};

/// Options known at load time. Frozen before the verifier runs.
#[unsafe(no_mangle)]
pub(super) static SETTINGS: Global<Settings> = Global::new(Settings::DEFAULT);

/// One of the options of this load: only its words are read.
macro_rules! setting {
    ($($field:ident).+) => {{
        let settings = (&raw const SETTINGS).cast::<Settings>();
        // SAFETY: `Global` is transparent, and nobody writes it.
        unsafe { (&raw const (*settings).$($field).+).read_volatile() }
    }};
}

/// The port of generic UDP encapsulation that the decapsulator listens on.
#[inline(always)]
pub fn gue_port() -> Be16 {
    Be16::new(setting!(gue_port) as u16)
}

/// Whether steps are traced and maps are written.
#[inline(always)]
pub(super) fn mode() -> Mode {
    setting!(mode)
}
