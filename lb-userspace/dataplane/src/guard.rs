// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guard on an interface: attached before the XDP program and detached after it, so that packets of
//! services never reach a stack that would reset them. From Linux 6.6 on it has a pinned link (`tcx`), before
//! that a filter of `clsact`, which persists by itself.

use aya::{
    programs::{
        LinkOrder, ProgramError, SchedClassifier, TcAttachType,
        links::{FdLink, PinnedLink},
        tc::{self, NlOptions, SchedClassifierLink, TcAttachOptions, TcHandle},
    },
    util::KernelVersion,
};
use nix::net::if_::if_nameindex;

use super::{DataPlane, PinDir};
use lb_model::failure::chain;

/// Name of the program and of its filters.
const NAME: &str = "guard";

/// Priority and handle that distinguish the guard's filter from others: it runs early, under a handle of its own.
const FILTER: NlOptions = NlOptions { priority: 1, handle: TcHandle::new(0, 0x7876), classid: None };

impl DataPlane {
    /// Attaches the guard to interfaces, by name and index, once the maps have the services.
    ///
    /// A start with new maps must not replace the guard that an earlier detach left: until its own maps have the services, it
    /// would pass their packets to the stack, which resets the connections.
    pub fn guard_interfaces<'a>(&mut self, interfaces: impl IntoIterator<Item = (&'a str, u32)>) {
        self.guards = true;
        for (interface, ifindex) in interfaces {
            self.watch(interface, ifindex);
        }
    }

    /// Returns whether the guard is attached together with the program.
    #[must_use]
    pub fn guards(&self) -> bool {
        self.guards
    }

    /// Attaches the guard to an interface. A failure is only a warning: everything works without the guard,
    /// but the stack resets connections while no XDP program is attached.
    pub(super) fn watch(&mut self, interface: &str, ifindex: u32) {
        let Some(pins) = self.pins.clone() else { return };
        if let Err(error) = self.attach_guard(interface, ifindex, &pins) {
            tracing::warn!(
                interface,
                error = chain(error.as_ref()),
                "no guard: while no XDP program is attached, the director's stack resets connections"
            );
        }
    }

    fn attach_guard(&mut self, interface: &str, ifindex: u32, pins: &PinDir) -> anyhow::Result<()> {
        let program = self.guard_program();
        if !has_tcx() {
            return Ok(attach_filter(program, interface)?);
        }
        let path = pins.guard(ifindex);
        if let Ok(pinned) = PinnedLink::from_pin(&path) {
            let replaced = SchedClassifierLink::try_from(FdLink::from(pinned))
                .ok()
                .and_then(|link| program.attach_to_link(link).ok());
            if let Some(id) = replaced {
                // The pin keeps the link alive.
                drop(program.take_link(id)?);
                return Ok(());
            }
            // The device was deleted.
            std::fs::remove_file(&path)?;
        }
        let order = TcAttachOptions::TcxOrder(LinkOrder::first());
        let id = program.attach_with_options(interface, TcAttachType::Ingress, order)?;
        let link: FdLink = program.take_link(id)?.try_into()?;
        link.pin(&path)?;
        Ok(())
    }

    /// Returns the guard program.
    ///
    /// # Panics
    /// If the object lacks the program: then it is not the object of this build.
    #[must_use]
    pub fn guard(&self) -> &SchedClassifier {
        let program = self.ebpf.program(NAME).expect("the object holds the program");
        program.try_into().expect("the program is a classifier")
    }

    fn guard_program(&mut self) -> &mut SchedClassifier {
        let program = self.ebpf.program_mut(NAME).expect("the object holds the program");
        program.try_into().expect("the program is a classifier")
    }

    /// Loads the guard.
    ///
    /// # Errors
    /// If the kernel refuses it.
    pub(super) fn load_guard(&mut self) -> Result<(), ProgramError> {
        self.guard_program().load()
    }
}

/// Returns whether the kernel has links for programs of this type.
fn has_tcx() -> bool {
    KernelVersion::current().is_ok_and(|version| version >= KernelVersion::new(6, 6, 0))
}

/// Attaches the guard with a filter, and replaces an earlier one.
fn attach_filter(program: &mut SchedClassifier, interface: &str) -> Result<(), ProgramError> {
    // The qdisc may exist, which is fine.
    drop(tc::qdisc_add_clsact(interface));
    let earlier = SchedClassifierLink::attached(
        interface,
        TcAttachType::Ingress,
        FILTER.priority,
        FILTER.handle,
        None,
    )?;
    let id = match program.attach_to_link(earlier) {
        Ok(id) => id,
        Err(_) => {
            program.attach_with_options(interface, TcAttachType::Ingress, TcAttachOptions::Netlink(FILTER))?
        }
    };
    // Without a run of the destructor, the filter stays.
    std::mem::forget(program.take_link(id)?);
    Ok(())
}

/// Removes filters of this name from every interface, on kernels without `tcx`.
pub(super) fn remove_filters() {
    if has_tcx() {
        return;
    }
    for interface in if_nameindex().iter().flatten() {
        if let Ok(name) = interface.name().to_str() {
            // Most interfaces have no such filter.
            drop(tc::qdisc_detach_program(name, TcAttachType::Ingress, NAME));
        }
    }
}
