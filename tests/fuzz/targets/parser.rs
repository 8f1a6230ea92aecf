// SPDX-License-Identifier: MIT OR Apache-2.0
//! The programs' parser and the model's find the same in a frame of any bytes, and neither panics.
#![no_main]

use lb_tests::differential::parser;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|frame: &[u8]| {
    parser::agree(frame).unwrap_or_else(|difference| panic!("{difference}"));
});
