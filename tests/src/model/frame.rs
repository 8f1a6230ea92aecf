// SPDX-License-Identifier: MIT OR Apache-2.0
//! An Ethernet frame with a packet of IP: its addresses, its VLAN tags (802.1Q, 802.1ad), the packet and what
//! follows it.

use super::{Version, bytes::u16_at};

/// Destination and source, as they lie in a frame.
pub type Macs = [u8; 12];

/// A frame with up to two tags around a packet of IP.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Frame {
    /// Destination and source.
    pub macs: Macs,
    /// The tags as they lie in the frame, the outer one first.
    pub tags: Vec<[u8; 4]>,
    /// IP version by the `EtherType` of the frame.
    pub version: Version,
    /// The packet, and what follows it to the end of the frame.
    pub packet: Vec<u8>,
}

/// Returns whether the frame has a tag at this `EtherType`.
fn is_tag(ether_type: u16) -> bool {
    matches!(ether_type, 0x8100 | 0x88a8)
}

impl Frame {
    /// Takes a frame apart; `None` if no packet of IP is behind at most two tags.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let macs = bytes.get(..12)?.try_into().expect("twelve bytes");
        let (mut at, mut tags) = (12, Vec::new());
        while tags.len() < 2 && is_tag(u16_at(bytes, at)?) {
            tags.push(bytes.get(at..at + 4)?.try_into().expect("four bytes"));
            at += 4;
        }
        let version = match u16_at(bytes, at)? {
            0x0800 => Version::V4,
            0x86dd => Version::V6,
            _ => return None,
        };
        Some(Self { macs, tags, version, packet: bytes[at + 2..].to_vec() })
    }

    /// Returns the bytes of the frame.
    pub fn bytes(&self) -> Vec<u8> {
        [&self.macs[..], &self.tags.concat(), &self.version.ether_type(), &self.packet].concat()
    }

    /// Returns whether the frame is for more than one station.
    pub fn is_for_a_group(&self) -> bool {
        self.macs[0] & 1 != 0
    }

    /// Returns destination and source MAC address of an answer.
    pub fn macs_back(&self) -> Macs {
        swapped(self.macs)
    }

    /// Returns the address on the link that it came from.
    pub fn source_mac(&self) -> [u8; 6] {
        self.macs[6..].try_into().expect("the second half")
    }

    /// Returns the tags of frames to the sender: those that the frame arrived with, without the drop eligible
    /// bit. A last tag with neither VLAN nor priority is left out.
    pub fn tags_back(&self) -> Vec<[u8; 4]> {
        let mut tags: Vec<[u8; 4]> = self.tags.iter().map(|&[a, b, c, d]| [a, b, c & !0x10, d]).collect();
        while tags.last() == Some(&[0x81, 0, 0, 0]) {
            tags.pop();
        }
        tags
    }

    /// Returns the priority of the outer tag, which is the upper three bits of its third byte.
    pub fn priority(&self) -> u8 {
        self.tags.first().map_or(0, |tag| tag[2] & 0xe0)
    }
}

/// Returns the pair with destination and source exchanged.
pub fn swapped(macs: Macs) -> Macs {
    let mut back = macs;
    back.rotate_left(6);
    back
}
