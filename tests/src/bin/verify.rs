// SPDX-License-Identifier: MIT OR Apache-2.0
//! Shows the verifier's instruction count of each program on the running kernel; fails if a program is
//! refused or over its budget.

#![expect(clippy::print_stdout, reason = "it is here to show something")]

use std::process::ExitCode;

use lb_tests::verify;

fn main() -> ExitCode {
    let programs = match verify::programs() {
        Ok(programs) => programs,
        Err(error) => {
            eprintln!("error: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    let mut over = false;
    for program in &programs {
        println!("{program}");
        if program.is_over_budget() {
            over = true;
            eprintln!(
                "error: {} is over its budget\nhint: find the change that made the verifier walk more paths, or raise the figure in lb-ebpf/verify-budget.json and say why in the commit",
                program.program
            );
        }
    }
    if over { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
