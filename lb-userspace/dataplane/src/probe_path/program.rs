// SPDX-License-Identifier: MIT OR Apache-2.0
//! The program that forwards probes, and its maps, over the pinned maps of the director.
#![forbid(unsafe_code)]

use std::io;

use aya::{
    Ebpf,
    maps::{HashMap as BpfHashMap, MapData, xdp::DevMapHash},
    programs::{Xdp, XdpMode},
};
use lb_common::schema::{FlowKey, MapName, Mode, Probe, ProbeReply};

use crate::{
    LoadError, Options, TableError,
    load::{load_object, load_program, program},
    map_source::take,
    tables::{batch_failed, failed, gone},
};

use super::PathError;

/// Name of the program.
const NAME: &str = "director_probe";

/// The loaded program `director_probe` with its maps. It forwards by the same maps as the director.
pub struct ProbeProgram {
    ebpf: Ebpf,
    probes: BpfHashMap<MapData, FlowKey, Probe>,
    replies: BpfHashMap<MapData, FlowKey, ProbeReply>,
    devices: DevMapHash<MapData>,
}

impl ProbeProgram {
    /// Loads the program over the maps that are pinned in the directory of `options`; without pins, over
    /// empty maps that nothing else uses. Removes the entries of an earlier run from the maps of probes.
    ///
    /// # Errors
    /// [`LoadError`] if the kernel refuses. In no case does this change what the director forwards.
    pub fn load(options: &Options) -> Result<Self, LoadError> {
        let mut ebpf = load_object(options, Mode::FORWARD, |_| true)?;
        load_program(&mut ebpf, NAME)?;
        let mut program = Self {
            probes: take(&mut ebpf, MapName::Probes)?,
            replies: take(&mut ebpf, MapName::ProbeReplies)?,
            devices: take(&mut ebpf, MapName::Devices)?,
            ebpf,
        };
        // The program holds the maps that it uses. The others must not live on with it: a resize replaces the flow
        // tables, and the kernel frees the old ones only with their last descriptor.
        let names: Vec<String> = program.ebpf.maps().map(|(name, _)| name.to_owned()).collect();
        for name in names {
            drop(program.ebpf.take_map(&name));
        }
        program.clear()?;
        Ok(program)
    }

    /// Returns the program.
    pub fn program(&mut self) -> &mut Xdp {
        program(&mut self.ebpf, NAME)
    }

    /// Attaches the program to an interface of the calling thread's network namespace, in generic mode, and
    /// permits redirects to the interface. The attachment ends with this value.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub(super) fn attach(&mut self, ifindex: u32) -> Result<(), PathError> {
        self.devices
            .insert(ifindex, ifindex, None, 0)
            .map_err(|error| batch_failed("write", MapName::Devices)(io::Error::other(error)))?;
        self.program().attach_to_if_index(ifindex, XdpMode::Skb)?;
        Ok(())
    }

    /// Adds or replaces the real of a probe.
    pub(super) fn put_probe(&mut self, key: &FlowKey, probe: Probe) -> Result<(), TableError> {
        self.probes.insert(key, probe, 0).map_err(failed("write", MapName::Probes))
    }

    /// Adds or replaces the prober of a reply.
    pub(super) fn put_reply(&mut self, key: &FlowKey, reply: ProbeReply) -> Result<(), TableError> {
        self.replies.insert(key, reply, 0).map_err(failed("write", MapName::ProbeReplies))
    }

    /// Removes a probe and its reply, if they exist.
    pub(super) fn remove(&mut self, probe: &FlowKey, reply: &FlowKey) -> Result<(), TableError> {
        gone(self.probes.remove(probe)).map_err(failed("delete from", MapName::Probes))?;
        gone(self.replies.remove(reply)).map_err(failed("delete from", MapName::ProbeReplies))
    }

    fn clear(&mut self) -> Result<(), TableError> {
        let probes: Vec<FlowKey> = self.probes.keys().filter_map(Result::ok).collect();
        let replies: Vec<FlowKey> = self.replies.keys().filter_map(Result::ok).collect();
        for key in probes {
            gone(self.probes.remove(&key)).map_err(failed("delete from", MapName::Probes))?;
        }
        for key in replies {
            gone(self.replies.remove(&key)).map_err(failed("delete from", MapName::ProbeReplies))?;
        }
        Ok(())
    }
}

/// Converts an error of a table into one of the system, for callers that open sockets.
pub(super) fn as_io(error: TableError) -> io::Error {
    io::Error::other(error)
}
