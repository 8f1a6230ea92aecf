// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whatever comes to a director, the loaded programs do what the model does: the differential test, where the fuzzer chooses
//! the packets. It needs root.
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
