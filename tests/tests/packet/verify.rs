// SPDX-License-Identifier: MIT OR Apache-2.0
//! Each program stays within its budget of verified instructions.

use lb_tests::verify;

#[test]
fn every_program_is_within_its_budget() {
    for program in verify::programs().expect("the programs load") {
        assert!(!program.is_over_budget(), "{program}");
    }
}
