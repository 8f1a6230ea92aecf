// SPDX-License-Identifier: MIT OR Apache-2.0
//! The verifier's instruction count of each program, against a budget in the repository.

use std::{collections::BTreeMap, fmt};

use anyhow::{Context as _, Result};
use aya::programs::ProgramInfo;
use lb_dataplane::{DataPlane, Options, decap::Decap, probe_path::ProbeProgram};

use crate::{object, storm};

/// The most instructions that the verifier may walk through, by program: a tenth more than it took when the
/// figure was written. The kernel's own limit is a million, but older verifiers need more than newer ones.
const BUDGET: &str = include_str!("../../lb-ebpf/verify-budget.json");

/// A program that the running kernel has taken.
#[derive(Clone, Debug)]
pub struct Verified {
    /// Name of the program.
    pub program: String,
    /// Instructions that the verifier walked through, over all paths.
    pub instructions: u32,
    /// Instructions that the budget allows.
    pub budget: u32,
    /// Size of the program as the kernel keeps it, in bytes.
    pub translated: u32,
    /// Size of its machine code, in bytes.
    pub compiled: u32,
}

impl Verified {
    fn new(program: impl Into<String>, info: &ProgramInfo, budget: &BTreeMap<String, u32>) -> Result<Self> {
        let program = program.into();
        Ok(Self {
            instructions: info
                .verified_instruction_count()
                .context("the kernel does not count verified instructions (Linux 5.16 does)")?,
            budget: *budget.get(&program).with_context(|| format!("verify-budget.json has no {program}"))?,
            program,
            translated: info.size_translated().unwrap_or(0),
            compiled: info.size_jitted(),
        })
    }

    /// Returns whether the verifier needed more instructions than the budget allows.
    #[must_use]
    pub fn is_over_budget(&self) -> bool {
        self.instructions > self.budget
    }
}

impl fmt::Display for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { program, instructions, budget, translated, compiled } = self;
        write!(
            f,
            "{program:<28} {instructions:>7} instructions verified (budget {budget}), {translated} bytes \
             translated, {compiled} compiled"
        )
    }
}

/// Loads every program, as the director and a real server load it, and those that test the flow table.
///
/// # Errors
/// If the kernel refuses one, with its words.
pub fn programs() -> Result<Vec<Verified>> {
    let budget = serde_json::from_str(BUDGET).context("verify-budget.json")?;
    object::provide();
    let mut plane = DataPlane::load(&Options::default()).context("director")?;
    let _samples = plane.begin_samples(&Options::default()).context("tracing build")?;
    let mut decap = Decap::load().context("decap")?;
    let mut prober = ProbeProgram::load(&Options::default()).context("director_probe")?;
    let mut programs = Vec::new();
    for (name, program) in plane.programs() {
        programs.push(Verified::new(name, &program.info()?, &budget)?);
    }
    for (name, program) in plane.tracing_programs() {
        programs.push(Verified::new(format!("tracing_{name}"), &program.info()?, &budget)?);
    }
    programs.push(Verified::new("director_probe", &prober.program().info()?, &budget)?);
    programs.push(Verified::new("guard", &plane.guard().info()?, &budget)?);
    programs.push(Verified::new("decap", &decap.program().info()?, &budget)?);
    for name in ["storm", "storm6"] {
        programs.push(Verified::new(name, &storm::verified(name)?, &budget)?);
    }
    Ok(programs)
}
