// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xvs doctor`: what is wrong, and what mends it.
#![forbid(unsafe_code)]

use clap::Args;

use super::ui::Ui;
use crate::{api::client::Api, doctor::Finding, failure::Failure};

/// Find out what keeps clients from being served, and what mends it
///
/// Looks at the director and probes every real of every service from it. Changes nothing. Exit code 0 if nothing is
/// wrong, 1 if something is.
#[derive(Args, Debug)]
pub struct DoctorArgs {}

/// Prints what is wrong.
///
/// # Errors
/// If something is, or the daemon does not answer.
pub async fn doctor(api: &Api, ui: &mut Ui) -> Result<(), Failure> {
    let findings: Vec<Finding> = api.get("/v1/doctor").await?;
    ui.show(&findings, |findings| match findings.as_slice() {
        [] => "nothing is wrong".to_owned(),
        findings => findings.iter().map(paragraph).collect::<Vec<_>>().join("\n"),
    })?;
    match findings.len() {
        0 => Ok(()),
        1 => Err(Failure::failed("1 thing is wrong")),
        wrong => Err(Failure::failed(format!("{wrong} things are wrong"))),
    }
}

fn paragraph(finding: &Finding) -> String {
    format!("{}\n      on {}: {}", finding.summary(), finding.place, finding.fix)
}
