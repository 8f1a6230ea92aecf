// SPDX-License-Identifier: MIT OR Apache-2.0
//! The loaded programs do the same as the model with any packet: the differential test, with packets that the
//! fuzzer chooses. It needs root.
#![no_main]

use std::{cell::RefCell, thread_local};

use lb_tests::differential::fuzz::Fuzzer;
use libfuzzer_sys::fuzz_target;

thread_local! {
    static FUZZER: RefCell<Fuzzer> = RefCell::new(Fuzzer::new());
}

fuzz_target!(|bytes: &[u8]| {
    FUZZER.with_borrow_mut(|fuzzer| fuzzer.run(bytes));
});
