// SPDX-License-Identifier: MIT OR Apache-2.0
//! A separate data plane for the dry run of a change.
#![forbid(unsafe_code)]

use lb_common::{
    schema::{ClientKey, FlowKey, MapName, Mode, Source, SourceKey},
    wire::{Be16, Be128},
};

use super::{Limits, LoadError, Options, TableError, Tables, Tracer};

/// Size of its flow tables.
const FEW: u32 = 1024;

/// Maps that only the programs write. These programs do not write: they read the maps of the live data plane.
const SHARED: [MapName; 11] = [
    MapName::Localities,
    MapName::Fragments,
    MapName::Fragments6,
    MapName::ReturnPaths,
    MapName::ReturnPaths6,
    MapName::CachedPaths,
    MapName::CachedPaths6,
    MapName::RouterPaths,
    MapName::Bypass,
    MapName::Bypass6,
    MapName::LastBypass,
];

/// Programs that record their steps, with maps of their own.
pub struct DryRunPlane {
    /// Programs.
    pub tracer: Tracer,
    /// Maps of the programs.
    pub tables: Tables,
}

impl DryRunPlane {
    /// Loads the programs with empty maps for a few flows. Return paths, fragments and localities come from
    /// the maps that are pinned in the directory of `options`.
    ///
    /// # Errors
    /// [`LoadError`] if the kernel refuses.
    pub fn load(options: &Options) -> Result<Self, LoadError> {
        let limits = Limits { flows: FEW, flows6: FEW, flow_places: None, ..options.limits };
        Self::with_mode(&Options { limits, ..options.clone() }, Mode::DRY, |map| SHARED.contains(&map))
    }

    /// Loads the programs with empty maps of the sizes in `options`, except the pinned maps for which
    /// `shared` returns true.
    pub(super) fn with_mode(
        options: &Options,
        mode: Mode,
        shared: impl Fn(MapName) -> bool,
    ) -> Result<Self, LoadError> {
        let (tracer, tables) = Tracer::with_maps_of_its_own(options, mode, shared)?;
        Ok(Self { tracer, tables })
    }

    /// Copies other tables: services, reals, their slot tables and connections. Of flows and clients, it
    /// copies only the entries for the packet of a `flow`, whichever end sends it.
    ///
    /// # Errors
    /// [`TableError`] if a map cannot be read or written.
    pub fn copy(
        &mut self,
        live: &Tables,
        dips: [&[Be128]; 2],
        flow: Option<&FlowKey>,
    ) -> Result<(), TableError> {
        let tables = &mut self.tables;
        tables.copy_services(live)?;
        for (_, service) in live.services()? {
            let client = flow.map(|flow| ClientKey::new(&service, flow.source));
            if let Some((key, client)) = client.and_then(|key| Some((key, live.client(&key)?))) {
                tables.put_client(&key, &client)?;
            }
        }
        tables.put_dips(dips[0], dips[1])?;
        flow.map_or(Ok(()), |flow| self.copy_flow(live, &live.sources()?, flow))
    }

    /// Copies the entries for the packet of a `flow`: as a request, and as the reply to a possible request.
    fn copy_flow(
        &mut self,
        live: &Tables,
        sources: &[(SourceKey, Source)],
        flow: &FlowKey,
    ) -> Result<(), TableError> {
        let mut requests = vec![*flow];
        if let Some(request) = live.translation(flow) {
            self.tables.put_translation(flow, &request)?;
            requests.push(request);
        }
        let known = live.reply(flow);
        if let Some(source) = &known {
            self.tables.put_reply(flow, source)?;
        }
        let is_of = |key: &SourceKey| {
            let port = key.port == flow.source_port || key.port == Be16::ZERO;
            key.address == flow.source && port && u32::from(key.protocol) == flow.protocol
        };
        let sources = sources.iter().filter(|(key, _)| is_of(key)).map(|(_, source)| source);
        requests.extend(sources.chain(&known).map(|source| FlowKey {
            source: flow.destination,
            destination: source.vip,
            source_port: flow.destination_port,
            destination_port: if source.port == Be16::ZERO { flow.source_port } else { source.port },
            ..*flow
        }));
        for request in requests {
            let Some(flow) = live.flow(&request) else { continue };
            self.tables.put_flow(&request, &flow)?;
            let reply = live.real(flow.real()).map(|real| real.reply_key(&request));
            if let Some((reply, source)) = reply.and_then(|reply| Some((reply, live.reply(&reply)?))) {
                self.tables.put_reply(&reply, &source)?;
            }
        }
        Ok(())
    }
}
