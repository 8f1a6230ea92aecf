// SPDX-License-Identifier: MIT OR Apache-2.0
//! Prepared definitions.
#![forbid(unsafe_code)]

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use lb_model::check::Check;

use crate::{probe::Prepared, target::Target};

/// Time after which certificates and users are read again.
const REFRESH: Duration = Duration::from_hours(1);
/// Time after which a definition that could not be prepared is tried again.
const RETRY: Duration = Duration::from_secs(10);

type Result = std::result::Result<Arc<Prepared>, String>;

/// Prepared definitions by definition.
#[derive(Debug, Default)]
pub(super) struct Definitions(HashMap<Arc<Check>, (Instant, Result)>);

impl Definitions {
    /// Returns a definition, ready to run.
    pub fn get(&mut self, check: &Arc<Check>) -> Result {
        let is_current =
            |(at, result): &&(Instant, Result)| at.elapsed() < if result.is_ok() { REFRESH } else { RETRY };
        if let Some((_, result)) = self.0.get(check).filter(is_current) {
            return result.clone();
        }
        let result = Prepared::new(check).map(Arc::new);
        self.0.insert(Arc::clone(check), (Instant::now(), result.clone()));
        result
    }

    /// Forgets definitions that no target uses.
    pub fn keep_used(&mut self, targets: &[Target]) {
        let used: HashSet<&Check> = targets.iter().map(|target| &*target.check).collect();
        self.0.retain(|check, _| used.contains(&**check));
    }
}
