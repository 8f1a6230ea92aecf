// SPDX-License-Identifier: MIT OR Apache-2.0
//! Examinations of the doctor: the last findings, and the programs that make probes.
#![forbid(unsafe_code)]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::Mutex;

use crate::api::types::DoctorView;
use lb_dataplane::ProbePlane;
use lb_doctor::Finding;
use lb_model::finding::FindingView;

/// Result of the doctor's last run.
struct Examined {
    ended: Instant,
    took: Duration,
    findings: Vec<Finding>,
    /// Number of changes of the services at the time.
    revision: u64,
}

/// Owner of the findings and of the programs that make probes.
#[derive(Default)]
pub(super) struct Examiner {
    /// Last findings.
    examined: Option<Examined>,
    /// Programs that make probes, between two examinations.
    prober: Option<Box<ProbePlane>>,
    /// Lock of an examination: two at the same time would receive each other's answers to probes.
    examining: Arc<Mutex<()>>,
}

impl Examiner {
    /// Returns the lock that an examination holds, without the lock on the director.
    pub(super) fn examining(&self) -> Arc<Mutex<()>> {
        Arc::clone(&self.examining)
    }

    /// Takes the programs that make probes, and loads them with `load` at the first call.
    pub(super) fn take_prober(&mut self, load: impl FnOnce() -> ProbePlane) -> ProbePlane {
        self.prober.take().map_or_else(load, |programs| *programs)
    }

    /// Keeps the findings, and the programs for the next examination. Logs the new findings.
    pub(super) fn finish(
        &mut self,
        findings: Vec<Finding>,
        programs: Option<ProbePlane>,
        took: Duration,
        revision: u64,
    ) {
        let before = self.examined.as_ref().map_or(&[][..], |examined| &examined.findings);
        let is_new = |finding: &&Finding| !before.iter().any(|one| one.is_same_fault(finding));
        for finding in findings.iter().filter(is_new).map(FindingView::from) {
            tracing::warn!("doctor: {}; on {}: {}", finding.summary(), finding.place, finding.fix);
        }
        self.prober = programs.map(Box::new);
        self.examined = Some(Examined { ended: Instant::now(), took, findings, revision });
    }

    /// Returns the findings of the last examination; `revision` is the number of changes of the services now.
    pub(super) fn view(&self, revision: u64) -> Option<DoctorView> {
        self.examined.as_ref().map(|examined| DoctorView {
            is_outdated: examined.revision != revision,
            seconds_ago: examined.ended.elapsed().as_secs(),
            took_seconds: examined.took.as_secs_f64(),
            findings: examined.findings.iter().map(FindingView::from).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_outdated_after_a_change() {
        let mut examiner = Examiner::default();
        assert!(examiner.view(0).is_none());
        examiner.finish(Vec::new(), None, Duration::from_millis(500), 7);
        let is_outdated = |revision| examiner.view(revision).unwrap().is_outdated;
        assert_eq!((is_outdated(7), is_outdated(8)), (false, true));
    }
}
