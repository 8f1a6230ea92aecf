// SPDX-License-Identifier: MIT OR Apache-2.0
//! Removed targets, for targets of the same plan that differ from them by the name of their check only.
#![forbid(unsafe_code)]

use std::{collections::HashMap, net::SocketAddr, sync::Arc};

use lb_model::{Forward, Protocol, Tunnel, check::Check};

use super::{Slot, machine::Machine};
use crate::target::{Target, TargetKey};

/// A key without the name of the check.
type Nameless = (SocketAddr, Forward, Tunnel, Option<SocketAddr>, Protocol);

/// States of removed targets.
#[derive(Debug, Default)]
pub(super) struct Removed(HashMap<Nameless, Vec<(Arc<Check>, Machine)>>);

impl Removed {
    pub fn insert(&mut self, slot: Slot) {
        self.0.entry(nameless(&slot.key)).or_default().push((Arc::clone(&slot.target.check), slot.machine));
    }

    /// Takes the state of a removed target with the same real and the same definition.
    pub fn take(&mut self, target: &Target) -> Option<Machine> {
        let candidates = self.0.get_mut(&nameless(&target.key))?;
        let place = candidates.iter().position(|(check, _)| *check == target.check)?;
        Some(candidates.swap_remove(place).1)
    }
}

const fn nameless(key: &TargetKey) -> Nameless {
    (key.real, key.forward, key.tunnel, key.vip, key.protocol)
}
