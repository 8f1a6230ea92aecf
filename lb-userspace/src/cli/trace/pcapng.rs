// SPDX-License-Identifier: MIT OR Apache-2.0
//! Packets as a pcapng file (draft-ietf-opsawg-pcapng), with a comment on each.
#![forbid(unsafe_code)]

use std::{
    borrow::Cow,
    io::{self, Write},
    time::Duration,
};

use pcap_file::{
    DataLink, Endianness, PcapError,
    pcapng::{
        Block, PcapNgWriter,
        blocks::{
            enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption},
            interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption},
            section_header::{SectionHeaderBlock, SectionHeaderOption},
        },
    },
};

use crate::api::trace::TracedPacket;
use lb_explain::hex;

/// Resolution of time stamps: powers of ten of a second. The crate writes nanoseconds in any case.
const NANOSECONDS: u8 = 9;

/// A capture that is written.
pub(super) struct Capture<W: Write> {
    writer: PcapNgWriter<W>,
    /// Names of the interfaces, in the order of their blocks.
    interfaces: Vec<String>,
}

impl<W: Write> Capture<W> {
    /// Writes the header.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn begin(file: W) -> io::Result<Self> {
        let section = SectionHeaderBlock {
            endianness: Endianness::native(),
            options: vec![SectionHeaderOption::UserApplication(Cow::Borrowed(concat!(
                "xvs ",
                env!("CARGO_PKG_VERSION")
            )))],
            ..SectionHeaderBlock::default()
        };
        let writer = PcapNgWriter::with_section_header(file, section).map_err(failed)?;
        let mut capture = Self { writer, interfaces: Vec::new() };
        capture.writer.get_mut().flush()?;
        Ok(capture)
    }

    /// Writes a packet.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn put(&mut self, packet: &TracedPacket) -> io::Result<()> {
        let interface_id = self.interface(&packet.interface)?;
        let data = hex::decode(&packet.frame).unwrap_or_default();
        let block = EnhancedPacketBlock {
            interface_id,
            timestamp: Duration::from_millis(packet.time) + Duration::from_nanos(packet.nanoseconds.into()),
            original_len: packet.length,
            data: Cow::Owned(data),
            options: vec![EnhancedPacketOption::Comment(Cow::Borrowed(&packet.text))],
        };
        self.writer.write_block(&Block::EnhancedPacket(block)).map_err(failed)?;
        self.writer.get_mut().flush()
    }

    /// Returns the number of an interface, and describes it at its first packet.
    fn interface(&mut self, name: &str) -> io::Result<u32> {
        if let Some(number) = self.interfaces.iter().position(|known| known == name) {
            return Ok(number as u32);
        }
        let block = InterfaceDescriptionBlock {
            linktype: DataLink::ETHERNET,
            snaplen: 0,
            options: vec![
                InterfaceDescriptionOption::IfName(Cow::Borrowed(name)),
                InterfaceDescriptionOption::IfTsResol(NANOSECONDS),
            ],
        };
        self.writer.write_block(&Block::InterfaceDescription(block)).map_err(failed)?;
        self.interfaces.push(name.to_owned());
        Ok(self.interfaces.len() as u32 - 1)
    }
}

fn failed(error: PcapError) -> io::Error {
    match error {
        PcapError::IoError(error) => error,
        other => io::Error::other(other),
    }
}
