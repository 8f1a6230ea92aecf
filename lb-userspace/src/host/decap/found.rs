// SPDX-License-Identifier: MIT OR Apache-2.0
//! Search for existing decapsulation.

use std::collections::BTreeSet;

use super::{Choice, Decapsulation, Device};
use crate::host::{
    encapsulation::{Encapsulation, Kind},
    finding::Finding,
    observed::Observed,
    target::Target,
};
use lb_netlink::Interface;

/// Result of a search for decapsulation.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Existing decapsulation, which may be incomplete.
    pub decapsulation: Option<Decapsulation>,
    /// Encapsulations that nothing removes.
    pub missing: Vec<Encapsulation>,
}

/// Finds the existing decapsulation, among the ways that `target` allows.
#[must_use]
pub fn find(target: &Target, observed: &Observed) -> Found {
    if target.decap != Choice::Device && observed.has_program {
        return Found { decapsulation: Some(Decapsulation::Program), missing: Vec::new() };
    }
    let (mut devices, mut missing) = (Vec::new(), Vec::new());
    let interfaces = if target.decap == Choice::Xdp { &[][..] } else { &observed.interfaces };
    for encapsulation in target.encapsulations() {
        let kind = encapsulation.kind();
        let kernels = encapsulation.has_kernels_device().then(|| kind.kernels_device());
        let names = std::iter::once(kind.device()).chain(kernels);
        let working = |name: &&str| interfaces.iter().any(|one| is_working_device(one, kind, name));
        match names.into_iter().find(working) {
            Some(name) => devices.push(Device { name: name.to_owned(), encapsulation }),
            None => missing.push(encapsulation),
        }
    }
    let decapsulation = (!devices.is_empty()).then_some(Decapsulation::Devices(devices));
    Found { decapsulation, missing }
}

fn is_working_device(interface: &Interface, kind: Kind, name: &str) -> bool {
    interface.name == name && interface.kind.as_deref() == Some(kind.as_str()) && interface.up
}

/// Describes the result of [`find`] for the operator.
#[must_use]
pub fn finding(target: &Target, found: &Found) -> Finding {
    let kinds: BTreeSet<&str> = target.encapsulations().into_iter().map(|one| one.kind().as_str()).collect();
    let devices = format!("a device of kind {}", Vec::from_iter(kinds).join(" and one of kind "));
    let expected = match target.decap {
        Choice::Auto => format!("{devices}, or the XDP program"),
        Choice::Device => devices,
        Choice::Xdp => "the XDP program".to_owned(),
    };
    let mut parts: Vec<String> = match &found.decapsulation {
        Some(Decapsulation::Devices(devices)) => devices.iter().map(Device::to_string).collect(),
        Some(Decapsulation::Program) => vec![format!("the XDP program on {}", target.interface.name)],
        None => Vec::new(),
    };
    parts.extend(found.missing.iter().map(|missing| format!("nothing for {missing}")));
    Finding {
        item: "decapsulation".to_owned(),
        expected,
        found: parts.join(", "),
        ok: found.missing.is_empty(),
        why: "tunnelled packets must be unwrapped before a service can see them".to_owned(),
    }
}
