// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sources of `nat` replies, and the services of replies of shared reals.
#![forbid(unsafe_code)]

use lb_common::schema::{FlowKey, Source, SourceKey};

use super::{TableError, Tables};

impl Tables {
    /// Returns every source of `nat` replies.
    pub fn sources(&self) -> Result<Vec<(SourceKey, Source)>, TableError> {
        self.sources.all()
    }

    /// Sets the service to which the replies of a `nat` real belong.
    pub fn put_source(&mut self, key: &SourceKey, source: &Source) -> Result<(), TableError> {
        self.unsettle()?;
        self.sources.put(key, source)
    }

    /// Sets the services to which the replies of several `nat` reals belong.
    pub fn put_sources(&mut self, sources: &[(SourceKey, Source)]) -> Result<(), TableError> {
        self.unsettle()?;
        self.sources.put_all(sources)
    }

    /// Removes a reply source.
    pub fn remove_source(&mut self, key: &SourceKey) -> Result<(), TableError> {
        self.unsettle()?;
        self.sources.remove(key)
    }

    /// Returns the service of a flow's replies, if several services share the real.
    #[must_use]
    pub fn reply(&self, key: &FlowKey) -> Option<Source> {
        self.replies.get(key)
    }

    /// Sets the service of a flow's replies.
    pub fn put_reply(&mut self, key: &FlowKey, source: &Source) -> Result<(), TableError> {
        self.replies.put(key, source)
    }

    /// Calls `each` with every reply entry of a flow.
    pub fn for_each_reply(&self, each: impl FnMut(&FlowKey, &Source)) -> Result<(), TableError> {
        self.replies.for_each(each)
    }

    /// Removes the reply entry of a flow.
    pub fn remove_reply(&mut self, key: &FlowKey) -> Result<(), TableError> {
        self.replies.remove(key)
    }
}
