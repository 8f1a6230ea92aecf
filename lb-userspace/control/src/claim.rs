// SPDX-License-Identifier: MIT OR Apache-2.0
//! Probes for addresses that other machines have, before the director adds them (RFC 5227, section 2.1; RFC
//! 4862, section 5.4).
#![forbid(unsafe_code)]

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::{AsRawFd as _, OwnedFd},
};

use nix::{
    errno::Errno,
    ifaddrs::getifaddrs,
    sys::socket::{
        AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, recvfrom, sendto, socket,
    },
};

use lb_model::failure::chain;
use lb_netlink::{Interface, Mac, neighbour_frames};

/// A machine that has an address.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Holder {
    /// Ethernet address of the machine.
    pub mac: Mac,
    /// Interface on which the machine answers.
    pub interface: String,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mac = self.mac.map(|byte| format!("{byte:02x}")).join(":");
        write!(f, "{mac} on {}", self.interface)
    }
}

/// A probe for several addresses at a time. [`read`](Self::read) collects the answers without waiting.
pub struct Claim {
    socket: OwnedFd,
    wanted: Vec<(IpAddr, Interface, LinkAddr)>,
    ours: BTreeSet<Mac>,
    holders: BTreeMap<IpAddr, Holder>,
}

impl Claim {
    /// Prepares to probe for each address on the link of its interface, in the network namespace of the
    /// calling thread. `links` are all interfaces of this host, whose own answers do not count.
    ///
    /// # Errors
    /// If a packet socket cannot be opened (`CAP_NET_RAW`).
    pub fn new(wanted: &[(IpAddr, Interface)], links: &[Interface]) -> io::Result<Self> {
        // SOCK_RAW uses only the index of the address. nix cannot construct such addresses, but `getifaddrs`
        // lists them.
        let addresses: BTreeMap<usize, LinkAddr> = getifaddrs()?
            .filter_map(|entry| entry.address?.as_link_addr().copied())
            .map(|address| (address.ifindex(), address))
            .collect();
        let on_ethernet = |(ip, interface): &(IpAddr, Interface)| {
            interface.mac.filter(|_| !interface.noarp)?;
            Some((*ip, interface.clone(), *addresses.get(&(interface.index as usize))?))
        };
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        Ok(Self {
            socket: socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll)?,
            wanted: wanted.iter().filter_map(on_ethernet).collect(),
            ours: links.iter().filter_map(|link| link.mac).collect(),
            holders: BTreeMap::new(),
        })
    }

    /// Sends the probes. A machine that has an address answers within about a millisecond.
    pub fn ask(&self) {
        for (ip, interface, address) in &self.wanted {
            let nobody: IpAddr =
                if ip.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
            let question = neighbour_frames::question(interface.mac.unwrap_or_default(), nobody, *ip);
            if let Some(question) = question
                && let Err(error) = sendto(self.socket.as_raw_fd(), &question, address, MsgFlags::empty())
            {
                // On a link that is down there is no other machine.
                tracing::debug!(%ip, interface = interface.name, error = chain(&error), "no probe was sent for it");
            }
        }
    }

    /// Reads the answers received so far.
    pub fn read(&mut self) {
        let mut frame = [0; 256];
        loop {
            match recvfrom::<LinkAddr>(self.socket.as_raw_fd(), &mut frame) {
                Ok((length, from)) => {
                    let ifindex = from.map_or(0, |from| from.ifindex());
                    self.hear(&frame[..length.min(frame.len())], ifindex);
                }
                Err(Errno::EINTR) => {}
                Err(_) => return,
            }
        }
    }

    fn hear(&mut self, frame: &[u8], ifindex: usize) {
        let Some((mac, ip)) = neighbour_frames::answer(frame) else { return };
        let asked = |(wanted, interface, _): &&(IpAddr, Interface, LinkAddr)| {
            *wanted == ip && interface.index as usize == ifindex
        };
        if !self.ours.contains(&mac)
            && let Some((_, interface, _)) = self.wanted.iter().find(asked)
        {
            self.holders.insert(ip, Holder { mac, interface: interface.name.clone() });
        }
    }

    /// Returns the machines that have the addresses.
    #[must_use]
    pub fn holders(self) -> BTreeMap<IpAddr, Holder> {
        self.holders
    }
}
