// SPDX-License-Identifier: MIT OR Apache-2.0
//! A second copy of the programs over the same maps, which tells what it does with a packet.
#![forbid(unsafe_code)]

use std::io;

use aya::{
    Ebpf,
    maps::{Array, MapData, ProgramArray},
    programs::{TestRun as _, TestRunOptions, Xdp},
};
use lb_common::schema::{Mode, Timeouts, Trace};
use thiserror::Error;

use super::{
    Options,
    load::{LoadError, connect_programs, load_object, load_programs, program},
    map_source::take,
    tables::{TableError, Tables, failed},
};

/// The section of the global `TRACE`, which is a map of this copy of the programs alone.
const TRACE: &str = ".bss";
/// More than a test run accepts, which is a page with the room before and behind.
const LARGEST_FRAME: usize = 4096;

/// The programs, loaded once more over pinned maps. They are attached nowhere: they run when they are asked to.
pub struct Tracer {
    ebpf: Ebpf,
    trace: Array<MapData, Trace>,
    /// Keeps the programs that the first one goes on in, unless [`Tables`] do.
    _programs: Option<ProgramArray<MapData>>,
}

/// What became of a packet.
#[derive(Clone, Debug)]
pub struct Run {
    /// What the driver would be told (`enum xdp_action`).
    pub action: u32,
    /// The frame that came out.
    pub frame: Vec<u8>,
    /// The steps on its way.
    pub trace: Trace,
}

/// Why a packet cannot be run.
#[derive(Debug, Error)]
pub enum RunError {
    /// The kernel took no such packet.
    #[error("the kernel runs no program on a frame of {length} bytes from interface #{ifindex}")]
    Refused {
        /// Bytes of the frame.
        length: usize,
        /// The device that it was to come by.
        ifindex: u32,
        /// What the kernel said.
        source: io::Error,
    },
    /// The steps cannot be read.
    #[error(transparent)]
    Table(#[from] TableError),
}

impl Tracer {
    /// Loads the programs over the maps that are pinned where `options` says.
    ///
    /// # Errors
    /// [`LoadError`]; nothing is changed then, nor if it succeeds.
    pub fn load(options: &Options, mode: Mode) -> Result<Self, LoadError> {
        let mut ebpf = load_object(options, mode, |name| name != "PROGRAMS")?;
        let mut programs: ProgramArray<MapData> = take(&mut ebpf, "PROGRAMS")?;
        load_programs(&mut ebpf)?;
        connect_programs(&mut ebpf, |number, fd| {
            programs.set(number as u32, fd, 0).map_err(failed("write", "PROGRAMS"))
        })?;
        let trace = take(&mut ebpf, TRACE)?;
        Ok(Self { ebpf, trace, _programs: Some(programs) })
    }

    /// Loads the programs with maps that are nobody else's and hold nothing, but for those pinned ones that `shared` says.
    pub(super) fn with_maps_of_its_own(
        options: &Options,
        mode: Mode,
        shared: impl Fn(&str) -> bool,
    ) -> Result<(Self, Tables), LoadError> {
        let mut ebpf = load_object(options, mode, shared)?;
        load_programs(&mut ebpf)?;
        let mut tables = Tables::open(&mut ebpf)?;
        connect_programs(&mut ebpf, |number, fd| tables.put_program(number, fd))?;
        tables.put_timeouts(&options.timeouts.unwrap_or(Timeouts::DEFAULT))?;
        let trace = take(&mut ebpf, TRACE)?;
        Ok((Self { ebpf, trace, _programs: None }, tables))
    }

    /// The main program.
    pub fn director(&mut self) -> &mut Xdp {
        program(&mut self.ebpf, "director")
    }

    /// Runs the director on a frame that comes in by a device. `&mut`: the steps are of one packet at a time.
    ///
    /// # Errors
    /// [`RunError::Refused`] if there is no such device, or the frame is longer than the kernel's test runs take.
    pub fn run(&mut self, frame: &[u8], ifindex: u32) -> Result<Run, RunError> {
        let (action, frame) = run(self.director(), frame, ifindex)?;
        let trace = self.trace.get(&0, 0).map_err(failed("read", TRACE))?;
        Ok(Run { action, frame, trace })
    }
}

/// Runs a program on a frame that comes in by a device: what the driver would be told, and the frame that came out.
///
/// # Errors
/// As [`Tracer::run`].
pub fn run(program: &Xdp, frame: &[u8], ifindex: u32) -> Result<(u32, Vec<u8>), RunError> {
    let refused = |source| RunError::Refused { length: frame.len(), ifindex, source };
    let length = u32::try_from(frame.len()).map_err(|_| refused(io::ErrorKind::InvalidInput.into()))?;
    // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex
    let context = [0, length, 0, ifindex, 0, 0].map(u32::to_ne_bytes).concat();
    let mut out = vec![0; LARGEST_FRAME];
    let options = TestRunOptions {
        data_in: Some(frame),
        data_out: Some(&mut out),
        ctx_in: Some(&context),
        // A second run would see what the first one made of the frame.
        repeat: 1,
        ..TestRunOptions::default()
    };
    let result = program.test_run(options).map_err(|error| refused(io::Error::other(error)))?;
    out.truncate(result.data_size_out as usize);
    Ok((result.return_value, out))
}
