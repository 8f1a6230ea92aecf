// SPDX-License-Identifier: MIT OR Apache-2.0
//! Uses of addresses, and the filters in front of them.
#![forbid(unsafe_code)]

use lb_common::{
    schema::{AddressFilter, AddressUse, MapName},
    wire::Be128,
};

use super::{TableError, Tables, failed};

impl Tables {
    /// Returns every address and its uses.
    pub fn addresses(&self) -> Result<Vec<(Be128, AddressUse)>, TableError> {
        self.addresses.all()
    }

    /// Writes the filters of used addresses. Must be called before an address is added, and after one was removed.
    pub fn put_marks(
        &mut self,
        addresses: impl IntoIterator<Item = (Be128, AddressUse)>,
    ) -> Result<(), TableError> {
        let mut marks = AddressFilter::NONE;
        let mut source_marks = vec![AddressFilter::NONE; self.source_marks.len() as usize];
        for (address, used) in addresses {
            let v4 = address.as_v4();
            if used.is(AddressUse::FORWARDS) {
                match v4 {
                    Some(v4) => marks.set(v4),
                    None => marks.set(address),
                }
            }
            if used.is(AddressUse::FORBIDS) {
                match v4 {
                    Some(v4) => AddressFilter::set_source(&mut source_marks, v4),
                    None => AddressFilter::set_source(&mut source_marks, address),
                }
            }
        }
        for (element, marks) in (0..).zip(source_marks) {
            self.source_marks.set(element, marks, 0).map_err(failed("write", MapName::SourceFilter))?;
        }
        self.marks.set(0, marks, 0).map_err(failed("write", MapName::AddressFilter))
    }

    /// Sets the uses of an address.
    pub fn put_address(&mut self, address: Be128, used: AddressUse) -> Result<(), TableError> {
        self.unsettle()?;
        self.addresses.put(&address, &used)
    }

    /// Removes an address that has no use any more.
    pub fn remove_address(&mut self, address: Be128) -> Result<(), TableError> {
        self.unsettle()?;
        self.addresses.remove(&address)
    }
}
