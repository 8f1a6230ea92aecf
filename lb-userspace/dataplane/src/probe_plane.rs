// SPDX-License-Identifier: MIT OR Apache-2.0
//! A separate data plane with one service and one real at a time.
#![forbid(unsafe_code)]

use lb_common::{
    ids::{IfIndex, RealId, ServiceId},
    reason::Reason,
    schema::{
        AddressUse, Method, Mode, Real, Scheduler, Service, ServiceKey, Settings, Step, Trace, Tracking,
    },
    ticks::Ticks,
    wire::{Be16, Be128},
};

use super::{DryRunPlane, Limits, LoadError, Options, RunError, TableError};

/// Id of the only real.
const REAL: RealId = RealId(1);
/// Id of the only service.
const SERVICE: ServiceId = ServiceId(1);
/// Values of `enum xdp_action`: sent out of the device by which the packet arrived, or of another device.
const TX: u32 = 3;
const REDIRECT: u32 = 4;

/// A second load of the programs over separate maps, in which a service has one real only. They send the same
/// packets to that real as the director's own programs, and the director's maps stay unchanged.
pub struct ProbePlane {
    options: Options,
    dips: [Vec<Be128>; 2],
    loaded: Option<Box<DryRunPlane>>,
    service: Option<ServiceKey>,
}

/// A service and a real, as in the director's maps.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Key of the endpoint.
    pub key: ServiceKey,
    /// Service of the endpoint.
    pub service: Service,
    /// Real.
    pub real: Real,
}

/// Reason why no packet was sent.
#[derive(Debug, thiserror::Error)]
pub enum ProbePlaneError {
    /// The programs cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The programs cannot be run.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The maps of the programs cannot be written.
    #[error(transparent)]
    Table(#[from] TableError),
    /// There is no interface on which to run the programs, or no real.
    #[error("no interface for clients' packets is up")]
    NoIngress,
    /// The programs do not send the packet.
    #[error("{}", .0.map_or("it is no packet of the service", Reason::as_str))]
    Kept(Option<Reason>),
}

impl ProbePlane {
    /// Creates the data plane with the `options` of the director's own; `dips` are the SNAT addresses. The
    /// programs are loaded for the first packet.
    #[must_use]
    pub fn new(options: &Options, dips: [Vec<Be128>; 2]) -> Self {
        const FEW: u32 = 1024;
        let limits = Limits { services: 1, reals: 1, flows: FEW, flows6: FEW, flow_places: None };
        let settings = other_ports(options.settings.unwrap_or(Settings::DEFAULT));
        let options = Options { limits, settings: Some(settings), ..options.clone() };
        Self { options, dips, loaded: None, service: None }
    }

    /// Runs the programs on a client's frame that arrives on the device `ingress`. Returns the egress device,
    /// and the frame as sent.
    ///
    /// # Errors
    /// [`ProbePlaneError`]; then nothing has happened.
    pub fn forward(
        &mut self,
        entry: &Entry,
        frame: &[u8],
        ingress: IfIndex,
    ) -> Result<(IfIndex, Vec<u8>), ProbePlaneError> {
        self.know(entry)?;
        if entry.real.method == Method::Fnat as u16 {
            self.forget_translations()?;
        }
        let loaded = self.loaded()?;
        let run = loaded.tracer.run(frame, ingress)?;
        match (run.action, reason(&run.trace)) {
            (TX, None | Some(Reason::Forwarded)) => Ok((ingress, run.frame)),
            (REDIRECT, None | Some(Reason::Forwarded)) => Ok((entry.real.ifindex, run.frame)),
            // This includes answers to the sender, which are sent too.
            (_, reason) => Err(ProbePlaneError::Kept(reason)),
        }
    }

    /// Removes all SNAT entries: no sweep releases the ports in these maps. Ports are allocated in turn, so
    /// that none is reused soon.
    fn forget_translations(&mut self) -> Result<(), ProbePlaneError> {
        let tables = &mut self.loaded()?.tables;
        let mut taken = Vec::new();
        tables.for_each_translation(|reply, request| taken.push((*reply, *request)))?;
        for (reply, request) in &taken {
            tables.remove_translation(reply)?;
            tables.remove_lease(request)?;
        }
        Ok(())
    }

    fn loaded(&mut self) -> Result<&mut DryRunPlane, LoadError> {
        match &mut self.loaded {
            Some(loaded) => Ok(loaded),
            none => {
                // Not a dry run: each `fnat` flow needs a port of its own.
                let mut new = DryRunPlane::with_mode(&self.options, Mode::TRACE, |_| false)?;
                new.tables.put_dips(&self.dips[0], &self.dips[1])?;
                Ok(none.insert(Box::new(new)))
            }
        }
    }

    /// Replaces the contents of the maps with one entry.
    fn know(&mut self, entry: &Entry) -> Result<(), ProbePlaneError> {
        let Entry { key, service, real } = *entry;
        let before = self.service.take().filter(|before| *before != key);
        let tables = &mut self.loaded()?.tables;
        if let Some(before) = before {
            tables.remove_service(&before)?;
            tables.remove_address(before.address)?;
        }
        let by_fnat = real.method == Method::Fnat as u16;
        let flags = Real::IPV6 | Real::TAGGED | if by_fnat { Real::NEEDS_FLOW } else { 0 };
        let real = Real { service: SERVICE, weight: 1, upper: 0, flags: real.flags & flags, ..real };
        let tracking = if by_fnat { Tracking::Full } else { Tracking::None };
        let service = Service {
            id: SERVICE,
            first: 0,
            slots: 1,
            scheduler: Scheduler::Mh as u32,
            tracking: tracking as u32,
            persistent: Ticks::ZERO,
            ..service
        };
        let every_port = if key.port == Be16::ZERO { AddressUse::EVERY_PORT } else { 0 };
        tables.put_real(REAL, &real)?;
        tables.put_device(real.ifindex)?;
        tables.put_table(service.first, &[REAL.0])?;
        let used = AddressUse(AddressUse::VIP | every_port);
        tables.put_marks([(key.address, used)])?;
        tables.put_address(key.address, used)?;
        tables.put_service(&key, &service)?;
        self.service = Some(key);
        Ok(())
    }
}

/// Returns the reason under which a run was counted.
fn reason(trace: &Trace) -> Option<Reason> {
    let reasons = trace.steps().filter(|(step, ..)| *step == Step::Reason);
    reasons.filter_map(|(_, _, number)| Reason::from_number(number)).last()
}

/// Returns settings with `fnat` ports that neither the director's programs nor Linux (`ip_local_port_range`)
/// allocate, so that answers match no other connection.
fn other_ports(settings: Settings) -> Settings {
    const LINUX: (u64, u64) = (32_768, 60_999);
    let given = (settings.first_dip_port, settings.first_dip_port + settings.dip_ports - 1);
    let mut taken = [given, LINUX];
    taken.sort_unstable();
    let [first, second] = taken;
    let gaps = [(1024, first.0), (first.1 + 1, second.0), (first.1.max(second.1) + 1, 65_536)];
    let sizes = gaps.map(|(from, to)| (to.saturating_sub(from), from));
    let (dip_ports, first_dip_port) = sizes.into_iter().max().unwrap_or_default();
    // If the director uses all ports, a client's answer may be taken for that of a probe.
    if dip_ports == 0 {
        return Settings { first_dip_port: LINUX.1 + 1, dip_ports: 65_535 - LINUX.1, ..settings };
    }
    Settings { first_dip_port, dip_ports, ..settings }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_of_probes_are_nobody_elses() {
        let pool = |first, count| Settings { first_dip_port: first, dip_ports: count, ..Settings::DEFAULT };
        let others = |settings| {
            let Settings { first_dip_port, dip_ports, .. } = other_ports(settings);
            (first_dip_port, dip_ports)
        };
        assert_eq!(others(Settings::DEFAULT), (61_000, 4_536));
        assert_eq!(others(pool(20_000, 100)), (1024, 18_976));
        assert_eq!(others(pool(40_000, 25_536)), (1024, 31_744));
        assert_eq!(others(pool(1, 65_535)), (61_000, 4_536));
    }
}
