// SPDX-License-Identifier: MIT OR Apache-2.0
//! Copies of the programs and of the maps, which test runs use without a trace in the live ones.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;

use lb_common::{
    ids::{IfIndex, RealId},
    schema::{FlowKey, Mode, Real},
};

use super::{Maps, maps_failed};
use lb_control::{
    apply::{Time, apply},
    dips::Dips,
    image::Image,
    plan::plan,
};
use lb_dataplane::{DryRunPlane, Options, Tracer, clock};
use lb_model::failure::Failure;

impl Maps {
    /// Returns the options with which the live data plane was loaded.
    pub(in super::super) fn options(&self) -> Options {
        Options {
            pins: Some(self.pins.clone()),
            limits: self.limits,
            settings: Some(self.settings),
            timeouts: Some(self.timeouts),
            ..Options::default()
        }
    }

    /// Returns the copy of the programs over the live maps, and loads it at the first call.
    ///
    /// # Errors
    /// If the kernel refuses the programs.
    pub(in super::super) fn tracer(&mut self) -> Result<&mut Tracer, Failure> {
        if self.tracer.is_none() {
            self.tracer = Some(Tracer::load(&self.options(), Mode::DRY)?);
        }
        self.tracer.as_mut().ok_or_else(|| Failure::failed("the programs were not loaded"))
    }

    /// Loads a separate data plane with copies of the live tables, of connections, and of the client and flow
    /// of a packet, and changes it to `want`. Returns it with its reals.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub(in super::super) fn dry_run(
        &mut self,
        want: &Image,
        dips: &Dips,
        devices: &BTreeSet<u32>,
        flow: Option<&FlowKey>,
    ) -> Result<(DryRunPlane, Vec<(RealId, Real)>), Failure> {
        let mut dry_run = DryRunPlane::load(&self.options())?;
        let dips = [false, true].map(|six| dips.table(six));
        let mut copy = || {
            dry_run.copy(self.plane.tables(), [&dips[0], &dips[1]], flow)?;
            for index in devices {
                dry_run.tables.put_device(IfIndex(*index))?;
            }
            let steps = plan(&self.image, want);
            let time = Time { now: clock::now(), timeouts: &self.timeouts };
            apply(&mut dry_run.tables, &mut self.image.clone(), &steps, time)?;
            dry_run.tables.reals()
        };
        let reals = copy().map_err(|error| maps_failed(&error))?;
        Ok((dry_run, reals))
    }
}
