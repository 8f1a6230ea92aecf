// SPDX-License-Identifier: MIT OR Apache-2.0
//! A second copy of the programs over the same maps, which records its steps with a packet.
#![forbid(unsafe_code)]

use std::io;

use aya::{
    Ebpf,
    maps::{Array, MapData, ProgramArray},
    programs::{TestRun as _, TestRunOptions, Xdp},
};
use lb_common::{
    ids::IfIndex,
    schema::{MapName, Mode, Timeouts, Trace},
};
use thiserror::Error;

use super::{
    Options,
    load::{LoadError, connect_programs, load_object, load_programs, program},
    map_source::take,
    tables::{TableError, Tables, failed},
};

/// Section of the global `TRACE`, which is a map of this copy only.
const TRACE: &str = ".bss";
/// Size that exceeds the limit of a test run, which is a page minus headroom and tailroom, in bytes.
const LARGEST_FRAME: usize = 4096;

/// A second load of the programs over pinned maps. They are attached nowhere, and only run on request.
pub struct Tracer {
    ebpf: Ebpf,
    trace: Array<MapData, Trace>,
    /// Keeps the targets of tail calls alive, unless [`Tables`] does.
    _programs: Option<ProgramArray<MapData>>,
}

/// Result of a run.
#[derive(Clone, Debug)]
pub struct Run {
    /// Action, as returned to the driver (`enum xdp_action`).
    pub action: u32,
    /// Resulting frame.
    pub frame: Vec<u8>,
    /// Recorded steps.
    pub trace: Trace,
}

/// Reason why a packet cannot be run.
#[derive(Debug, Error)]
pub enum RunError {
    /// The kernel refuses the packet.
    #[error("the kernel runs no program on a frame of {length} bytes from interface #{ifindex}")]
    Refused {
        /// Length of the frame, in bytes.
        length: usize,
        /// Index of the ingress device.
        ifindex: IfIndex,
        /// Error of the kernel.
        source: io::Error,
    },
    /// The steps cannot be read.
    #[error(transparent)]
    Table(#[from] TableError),
}

impl Tracer {
    /// Loads the programs over the maps that are pinned in the directory of `options`.
    ///
    /// # Errors
    /// [`LoadError`]. In no case does this change the live data plane.
    pub fn load(options: &Options, mode: Mode) -> Result<Self, LoadError> {
        let mut ebpf = load_object(options, mode, |map| map != MapName::Programs)?;
        let mut programs: ProgramArray<MapData> = take(&mut ebpf, MapName::Programs)?;
        load_programs(&mut ebpf)?;
        connect_programs(&mut ebpf, |number, fd| {
            programs.set(number as u32, fd, 0).map_err(failed("write", MapName::Programs))
        })?;
        let trace = take(&mut ebpf, TRACE)?;
        Ok(Self { ebpf, trace, _programs: Some(programs) })
    }

    /// Loads the programs with separate, empty maps, except the pinned ones for which `shared` returns true.
    pub(super) fn with_maps_of_its_own(
        options: &Options,
        mode: Mode,
        shared: impl Fn(MapName) -> bool,
    ) -> Result<(Self, Tables), LoadError> {
        let mut ebpf = load_object(options, mode, shared)?;
        load_programs(&mut ebpf)?;
        let mut tables = Tables::open(&mut ebpf)?;
        connect_programs(&mut ebpf, |number, fd| tables.put_program(number, fd))?;
        tables.put_timeouts(&options.timeouts.unwrap_or(Timeouts::DEFAULT))?;
        let trace = take(&mut ebpf, TRACE)?;
        Ok((Self { ebpf, trace, _programs: None }, tables))
    }

    /// Returns the main program.
    pub fn director(&mut self) -> &mut Xdp {
        program(&mut self.ebpf, "director")
    }

    /// Runs the director on a frame that arrives on a device. It takes `&mut self`, because the trace holds
    /// the steps of one packet at a time.
    ///
    /// # Errors
    /// [`RunError::Refused`] if the device does not exist, or the frame is longer than the kernel's test runs permit.
    pub fn run(&mut self, frame: &[u8], ifindex: IfIndex) -> Result<Run, RunError> {
        let (action, frame) = run(self.director(), frame, ifindex)?;
        let trace = self.trace.get(&0, 0).map_err(failed("read", TRACE))?;
        Ok(Run { action, frame, trace })
    }
}

/// Runs a program on a frame that arrives on a device. Returns the action, and the resulting frame.
///
/// # Errors
/// As [`Tracer::run`].
pub fn run(program: &Xdp, frame: &[u8], ifindex: IfIndex) -> Result<(u32, Vec<u8>), RunError> {
    let refused = |source| RunError::Refused { length: frame.len(), ifindex, source };
    let length = u32::try_from(frame.len()).map_err(|_| refused(io::ErrorKind::InvalidInput.into()))?;
    // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex
    let context = [0, length, 0, ifindex.0, 0, 0].map(u32::to_ne_bytes).concat();
    let mut out = vec![0; LARGEST_FRAME];
    let options = TestRunOptions {
        data_in: Some(frame),
        data_out: Some(&mut out),
        ctx_in: Some(&context),
        // A second run would process the output of the first.
        repeat: 1,
        ..TestRunOptions::default()
    };
    let result = program.test_run(options).map_err(|error| refused(io::Error::other(error)))?;
    out.truncate(result.data_size_out as usize);
    Ok((result.return_value, out))
}
