// SPDX-License-Identifier: MIT OR Apache-2.0
//! SNAT addresses, and the flows that own their ports.
#![forbid(unsafe_code)]

use aya::maps::MapError;
use lb_common::{
    schema::{FlowKey, MapName, Real, SnatBinding},
    wire::{Be32, Be128},
};

use super::{TableError, Tables, failed};

impl Tables {
    /// Returns the SNAT addresses, IPv4 and IPv6; IPv4 addresses are mapped to 128 bits.
    pub fn pool(&self) -> Result<[Vec<Be128>; 2], TableError> {
        let v4: Result<Vec<Be32>, MapError> = self.dips.iter().collect();
        let wide =
            |address: Be32| if address == Be32::default() { Be128::ZERO } else { Be128::mapped(address) };
        let v4 = v4.map_err(failed("read", MapName::SnatAddresses))?.into_iter().map(wide).collect();
        let v6: Result<Vec<Be128>, MapError> = self.dips6.iter().collect();
        Ok([v4, v6.map_err(failed("read", MapName::SnatAddresses6))?])
    }

    /// Writes the SNAT addresses, IPv4 and IPv6, by index.
    pub fn put_dips(&mut self, dips: &[Be128], dips6: &[Be128]) -> Result<(), TableError> {
        for (index, address) in (0..).zip(dips) {
            let address = address.as_v4().unwrap_or_default();
            self.dips.set(index, address, 0).map_err(failed("write", MapName::SnatAddresses))?;
        }
        for (index, address) in (0..).zip(dips6) {
            self.dips6.set(index, address, 0).map_err(failed("write", MapName::SnatAddresses6))?;
        }
        Ok(())
    }

    /// Returns the address of a [`SnatBinding`] towards a real.
    pub fn snat_address(&self, dip: SnatBinding, real: &Real) -> Result<Be128, TableError> {
        let index = u32::from(dip.address);
        match (dip.address, real.is(Real::IPV6)) {
            (0, _) => Ok(real.source),
            (_, true) => self.dips6.get(&index, 0).map_err(failed("read", MapName::SnatAddresses6)),
            (_, false) => {
                Ok(Be128::mapped(self.dips.get(&index, 0).map_err(failed("read", MapName::SnatAddresses))?))
            }
        }
    }

    /// Calls `each` with every `fnat` flow: the key of the real's packets, and that of the client's.
    pub fn for_each_translation(&self, each: impl FnMut(&FlowKey, &FlowKey)) -> Result<(), TableError> {
        self.translations.for_each(each)
    }

    /// Returns the flow to which a real's packets to an SNAT port belong.
    #[must_use]
    pub fn translation(&self, reply: &FlowKey) -> Option<FlowKey> {
        self.translations.get(reply)
    }

    /// Sets the flow to which a real's packets to an SNAT port belong.
    pub fn put_translation(&mut self, reply: &FlowKey, request: &FlowKey) -> Result<(), TableError> {
        self.translations.put(reply, request)
    }

    /// Releases an SNAT port.
    pub fn remove_translation(&mut self, reply: &FlowKey) -> Result<(), TableError> {
        self.translations.remove(reply)
    }
}
