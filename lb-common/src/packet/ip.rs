// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! The two versions of IP, as far as the data plane must tell them apart.

use core::{fmt::Debug, hash::Hash};

use super::{Packet, Part};
use crate::{
    checksum::{Delta, Sum},
    reason::Reason,
    wire::{Be16, Be128},
};

/// An address, [`crate::wire::Be32`] or [`crate::wire::Be128`], and by its type the version of IP.
///
/// Whatever handles packets is written once, over this trait, and compiled for each version.
pub trait Ip: Copy + Default + Eq + 'static {
    /// Zeros at the end of a key of an address and four bytes more, up to a multiple of the address's alignment: the kernel
    /// compares all of a key.
    type Padding: Copy + Debug + Default + Eq + Hash + Ord;

    /// `EtherType` of its frames.
    const ETHER_TYPE: Be16;
    /// Bytes of a header without options or extensions.
    const HEADER_LEN: usize;
    /// Offset of the source address in the header.
    const SOURCE: usize;
    /// Offset of the destination address in the header.
    const DESTINATION: usize;
    /// Offset of the time to live or hop limit in the header.
    const HOPS: usize;
    /// Protocol number of its ICMP.
    const ICMP: u8;
    /// Whether the checksum of its ICMP covers the addresses, too.
    const ICMP_COVERS_ADDRESSES: bool;
    /// Protocol number of its packets within others (RFC 2003, RFC 2473).
    const TUNNELLED: u8;

    /// Returns whether the address can be that of a host behind a router: it is not unspecified, loopback, link-local,
    /// multicast or broadcast, nor one of the other version.
    fn is_host(self) -> bool;

    /// The address in 128 bits.
    fn wide(self) -> Be128;

    /// The address in 128 bits, which is of this version, as it is on the wire.
    fn narrow(address: Be128) -> Self;

    /// Reads an address.
    ///
    /// # Errors
    /// [`Reason::Truncated`] if the frame ends before.
    fn load(packet: &impl Packet, offset: usize) -> Result<Self, Reason>;

    /// Writes an address.
    ///
    /// # Errors
    /// [`Reason::Truncated`] if the frame ends before; then nothing is written.
    fn store(self, packet: &impl Packet, offset: usize) -> Result<(), Reason>;

    /// The change of a checksum that covers an address which becomes another.
    fn replace(change: Delta, old: Self, new: Self) -> Delta;

    /// The sum of the words of an address.
    fn add_to(self, sum: Sum) -> Sum;

    /// Both addresses of a flow, mixed under a seed: the first part of [`crate::hash::flow`].
    fn mix(source: Self, destination: Self, seed: u64) -> u64;

    /// Returns the address without what hosts of one network usually differ in: the last 8 bits of IPv4, the last 64 of IPv6.
    #[must_use]
    fn network(self) -> Self;

    /// Returns a hash of the address for [`crate::schema::Marks`]. Its upper bits are the better ones.
    fn mark(self) -> u32;

    /// For [`crate::schema::Near`]: a hash of the address without its last three bits; those; and what tells it, under a seed, from
    /// others of which these two are the same.
    fn near(self, seed: u64) -> (u32, u32, u32);

    /// The address in 32 bits, in the machine's order, as IPVS folds it (`ip_vs_addr_fold`).
    fn fold(self) -> u32;

    /// Reads the header at `l3` with its options or extensions.
    ///
    /// # Errors
    /// [`Reason::NotOurs`] if there is none, [`Reason::Truncated`] if the frame ends before.
    fn start(packet: &impl Packet, l3: usize) -> Result<Start<Self>, Reason>;

    /// Where in its datagram the frame's packet begins, in words of eight bytes, if it is a later fragment whose part of the
    /// datagram is at `l4`.
    ///
    /// # Errors
    /// [`Reason::Truncated`] if the frame ends before.
    fn fragment_offset(packet: &impl Packet, l4: usize) -> Result<u16, Reason>;

    /// Type of service, or traffic class, of the frame's packet.
    ///
    /// # Errors
    /// [`Reason::Truncated`] if the frame ends before.
    fn traffic_class(packet: &impl Packet) -> Result<u8, Reason>;

    /// Takes one off the time to live of the frame's packet, and applies that and another change of its header to the
    /// header's checksum, if it has one.
    ///
    /// # Errors
    /// [`Reason::Truncated`] if the frame ends before; then nothing is written.
    fn hop(packet: &impl Packet, change: Delta) -> Result<(), Reason>;

    /// Applies a change of the frame's header to the header's checksum, if it has one.
    ///
    /// # Errors
    /// [`Reason::Truncated`] if the frame ends before; then nothing is written.
    fn apply(packet: &impl Packet, change: Delta) -> Result<(), Reason>;

    /// Writes a new header behind the frame's Ethernet header, with 64 hops to go.
    ///
    /// # Errors
    /// [`Reason::Truncated`] if the frame ends before; then nothing is written.
    fn write(packet: &impl Packet, header: &Header<Self>) -> Result<(), Reason>;

    /// What an ICMP message of that type is.
    fn icmp(icmp_type: u8) -> Icmp;

    /// The beginning of an ICMP error: type, code, and the last word of its header in memory order.
    fn error(error: Error) -> (u8, u8, u32);

    /// How many bytes such an error quotes of a packet of `length` bytes whose transport header is `behind` bytes after
    /// its beginning: a multiple of four.
    fn quote(length: usize, behind: usize) -> usize;
}

/// What a header, with its options or extensions, says about the packet.
#[derive(Clone, Copy)]
pub struct Start<A> {
    /// Source address.
    pub source: A,
    /// Destination address.
    pub destination: A,
    /// Protocol of what is behind it, an IANA number.
    pub protocol: u8,
    /// Offset of that in the frame.
    pub l4: usize,
    /// Bytes of the packet.
    pub length: u32,
    /// Identification of the datagram as it lies on the wire.
    pub id: u32,
    /// Which part of it this is.
    pub part: Part,
}

/// A header that is written anew.
pub struct Header<A> {
    /// Bytes of the packet, the header with them.
    pub length: usize,
    /// Type of service, or traffic class.
    pub traffic_class: u8,
    /// What is behind it, an IANA number.
    pub protocol: u8,
    /// Source address.
    pub source: A,
    /// Destination address.
    pub destination: A,
}

/// What kinds of ICMP messages there are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Icmp {
    /// It quotes a packet.
    Error,
    /// A ping.
    Echo,
    /// It keeps the link together, as ARP does for IPv4: none of a balancer's business.
    Link,
    /// Anything else.
    Other,
}

/// The errors that are made here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Error {
    /// Nobody is there.
    PortUnreachable,
    /// The packet is larger than so many bytes.
    TooBig(u16),
    /// The time to live has run out on the way.
    TimeExceeded,
}
