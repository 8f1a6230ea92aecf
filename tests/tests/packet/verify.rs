// SPDX-License-Identifier: MIT OR Apache-2.0
//! Each program stays within its budget of verified instructions, and within the stack that older kernels allow.

use std::fs;

use lb_tests::{artifacts, stack, verify};

#[test]
fn every_program_is_within_its_budget() {
    for program in verify::programs().expect("the programs load") {
        assert!(!program.is_over_budget(), "{program}");
    }
}

#[test]
fn every_program_fits_the_stack_of_older_kernels() {
    for object in [artifacts::programs(), artifacts::tracing()] {
        let chains =
            stack::chains(&fs::read(object).expect("the programs are built")).expect("they can be read");
        assert!(chains.len() > 10, "{chains:?}");
        let deepest = chains.iter().map(stack::Chain::bytes).max().expect("there are programs");
        // `director` needs nearly all: if it needs much less, a call was not understood.
        assert!(deepest > 400, "{chains:?}");
        for chain in chains {
            assert!(chain.bytes() <= stack::LIMIT, "{} bytes: {chain:?}", chain.bytes());
        }
    }
}
