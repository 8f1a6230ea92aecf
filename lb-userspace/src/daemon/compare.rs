// SPDX-License-Identifier: MIT OR Apache-2.0
//! Comparison of the config file with the running state, without the lock on the director. A comparison is made
//! again only if either has changed.
#![forbid(unsafe_code)]

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use super::{change, count::off_the_lock, snapshot::Snapshot};
use crate::api::config::ConfigStatus;
use lb_control::config;
use lb_model::failure::Failure;

/// The last comparison.
#[derive(Default)]
pub(super) struct Compared(Mutex<Option<Known>>);

struct Known {
    stamp: Option<Stamp>,
    snapshot: Arc<Snapshot>,
    result: Outcome,
}

/// Modification time and size of a file.
type Stamp = (SystemTime, u64);
/// Number of differences, if the file has services.
type Outcome = Result<Option<u64>, String>;

impl Compared {
    /// Compares a config file, and completes its status.
    pub(super) async fn compare(self: &Arc<Self>, config: &mut ConfigStatus, snapshot: Arc<Snapshot>) {
        let (this, file) = (Arc::clone(self), config.file.clone());
        let result = off_the_lock(move || Ok(this.outcome(Path::new(&file), snapshot))).await;
        match result.unwrap_or_else(|failure: Failure| Err(failure.message)) {
            Ok(differences) => config.differences = differences,
            Err(why) => config.error = Some(why),
        }
    }

    fn outcome(&self, file: &Path, snapshot: Arc<Snapshot>) -> Outcome {
        let stamp = fs::metadata(file).and_then(|data| Ok((data.modified()?, data.len()))).ok();
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.as_ref()
            && known.stamp == stamp
            && Arc::ptr_eq(&known.snapshot, &snapshot)
        {
            return known.result.clone();
        }
        let result = differences(file, &snapshot);
        *known = Some(Known { stamp, snapshot, result: result.clone() });
        result
    }
}

fn differences(file: &Path, snapshot: &Snapshot) -> Outcome {
    let mut wanted = config::read(file).map_err(|failure| failure.message)?.desired;
    if wanted.services.is_empty() {
        return Ok(None);
    }
    change::carry_over(snapshot.desired(), &mut wanted);
    Ok(Some(change::differences(snapshot.desired(), &wanted).len() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use lb_model::Desired;

    #[test]
    fn a_file_is_compared_as_it_is_now() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("xvs.toml");
        let compared = Compared::default();
        let empty = Arc::new(Snapshot::new(Desired::default()));
        assert!(compared.outcome(&file, empty.clone()).unwrap_err().contains("cannot read"));
        let text = "[[service]]\nprotocol = \"tcp\"\naddress = \"192.0.2.1:80\"\n";
        fs::write(&file, text).unwrap();
        assert_eq!(compared.outcome(&file, empty.clone()), Ok(Some(1)));
        let same = Arc::new(Snapshot::new(config::read(&file).unwrap().desired));
        assert_eq!(compared.outcome(&file, same.clone()), Ok(Some(0)));
        assert_eq!(compared.outcome(&file, same.clone()), Ok(Some(0)));
        fs::write(&file, "[[service]").unwrap();
        assert!(compared.outcome(&file, same.clone()).unwrap_err().contains("line 1"));
        fs::write(&file, "").unwrap();
        assert_eq!(compared.outcome(&file, same), Ok(None));
    }
}
