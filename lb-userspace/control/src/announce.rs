// SPDX-License-Identifier: MIT OR Apache-2.0
//! Announcements of addresses to a link: gratuitous ARP, and unsolicited neighbour advertisements.
#![forbid(unsafe_code)]

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::{AsRawFd as _, OwnedFd},
    time::Duration,
};

use nix::{
    ifaddrs::getifaddrs,
    sys::socket::{AddressFamily, LinkAddr, MsgFlags, SockFlag, SockType, sendto, socket},
};

use lb_model::failure::chain;
use lb_netlink::Mac;

/// Pauses between repetitions. A switch whose port has just come up may lose the first frame.
const REPEAT_AFTER: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(2)];

const BROADCAST: Mac = [0xff; 6];

/// Announces that `ip` is at `mac` on the interface with this index: once before this returns, and twice more
/// from a task of its own.
///
/// Uses the network namespace of the calling thread. Needs a tokio runtime and `CAP_NET_RAW`.
pub fn announce(ip: IpAddr, mac: Mac, ifindex: u32) -> io::Result<()> {
    let frames = frames(ip, mac);
    let link = Link::open(ifindex)?;
    link.send(&frames)?;
    tokio::spawn(async move {
        for pause in REPEAT_AFTER {
            tokio::time::sleep(pause).await;
            // The first announcement was sent; if the link went down since, a repetition is of no use.
            if let Err(error) = link.send(&frames) {
                tracing::debug!(%ip, ifindex, error = chain(&error), "announcement not repeated");
            }
        }
    });
    Ok(())
}

/// Returns the frames to send: both forms of gratuitous ARP, since some hosts learn from requests only and
/// others from replies only (RFC 5227 §3, as keepalived sends them), or one neighbour advertisement.
fn frames(ip: IpAddr, mac: Mac) -> Vec<Vec<u8>> {
    match ip {
        IpAddr::V4(v4) => vec![arp(ARP_REQUEST, v4, mac).to_vec(), arp(ARP_REPLY, v4, mac).to_vec()],
        IpAddr::V6(v6) => vec![advertisement(v6, mac).to_vec()],
    }
}

const ARP_REQUEST: u8 = 1;
const ARP_REPLY: u8 = 2;

/// Returns a gratuitous ARP frame (RFC 826, RFC 5227): sender and target address are the same.
///
/// | offset | field                                         |
/// |-------:|-----------------------------------------------|
/// | 0      | Ethernet: broadcast, `mac`, 0x0806            |
/// | 14     | hardware type 1, protocol type 0x0800, 6, 4   |
/// | 20     | operation: 1 request, 2 reply                 |
/// | 22     | sender: `mac`, `ip`                           |
/// | 32     | target: broadcast (ignored in requests), `ip` |
fn arp(operation: u8, ip: Ipv4Addr, mac: Mac) -> [u8; 42] {
    let mut frame = [0; 42];
    frame[0..6].copy_from_slice(&BROADCAST);
    frame[6..12].copy_from_slice(&mac);
    frame[12..22].copy_from_slice(&[0x08, 0x06, 0, 1, 0x08, 0x00, 6, 4, 0, operation]);
    frame[22..28].copy_from_slice(&mac);
    frame[28..32].copy_from_slice(&ip.octets());
    frame[32..38].copy_from_slice(&BROADCAST);
    frame[38..42].copy_from_slice(&ip.octets());
    frame
}

/// Returns an unsolicited neighbour advertisement (RFC 4861 §4.4, §7.2.6) to all nodes of the link.
///
/// | offset | field                                                                  |
/// |-------:|------------------------------------------------------------------------|
/// | 0      | Ethernet: 33:33:00:00:00:01, `mac`, 0x86dd                             |
/// | 14     | IPv6: payload length 32, ICMPv6, hop limit 255, from `ip` to `ff02::1` |
/// | 54     | ICMPv6: type 136, code 0, checksum, flags 0x20 (override)              |
/// | 62     | target: `ip`                                                           |
/// | 78     | option 2 (target link-layer address), length 1, `mac`                  |
fn advertisement(ip: Ipv6Addr, mac: Mac) -> [u8; 86] {
    const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let mut frame = [0; 86];
    frame[0..6].copy_from_slice(&[0x33, 0x33, 0, 0, 0, 1]);
    frame[6..12].copy_from_slice(&mac);
    frame[12..22].copy_from_slice(&[0x86, 0xdd, 0x60, 0, 0, 0, 0, 32, 58, 255]);
    frame[22..38].copy_from_slice(&ip.octets());
    frame[38..54].copy_from_slice(&ALL_NODES.octets());
    frame[54] = 136;
    frame[58] = 0x20;
    frame[62..78].copy_from_slice(&ip.octets());
    frame[78..80].copy_from_slice(&[2, 1]);
    frame[80..86].copy_from_slice(&mac);
    let checksum = icmpv6_checksum(&frame[22..54], &frame[54..]);
    frame[56..58].copy_from_slice(&checksum);
    frame
}

/// Returns the `ICMPv6` checksum over the pseudo-header (RFC 8200 §8.1) and the message, in network byte
/// order.
fn icmpv6_checksum(addresses: &[u8], message: &[u8]) -> [u8; 2] {
    let words = addresses.chunks(2).chain(message.chunks(2));
    let sum: u32 = words.map(|word| u32::from(word[0]) << 8 | u32::from(word[1])).sum();
    let mut sum = sum + message.len() as u32 + 58;
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}

/// A socket that sends whole frames through one interface.
struct Link {
    socket: OwnedFd,
    address: LinkAddr,
}

impl Link {
    fn open(ifindex: u32) -> io::Result<Self> {
        // SOCK_RAW uses only the index of the address. nix cannot construct such addresses, but `getifaddrs`
        // lists them.
        let address = getifaddrs()?
            .filter_map(|entry| entry.address?.as_link_addr().copied())
            .find(|address| address.ifindex() == ifindex as usize)
            .ok_or(io::ErrorKind::NotFound)?;
        let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)?;
        Ok(Self { socket, address })
    }

    fn send(&self, frames: &[Vec<u8>]) -> io::Result<()> {
        for frame in frames {
            sendto(self.socket.as_raw_fd(), frame, &self.address, MsgFlags::empty())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = [0x02, 0, 0, 0, 0, 0x0a];

    #[test]
    fn both_forms_of_gratuitous_arp_are_sent() {
        let frames = frames("10.0.0.100".parse().unwrap(), MAC);
        let request: Vec<u8> = [
            &[0xff; 6][..],
            &MAC,
            &[0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1],
            &MAC,
            &[10, 0, 0, 100],
            &[0xff; 6],
            &[10, 0, 0, 100],
        ]
        .concat();
        let mut reply = request.clone();
        reply[21] = 2;
        assert_eq!(frames, [request, reply]);
    }

    #[test]
    fn an_advertisements_checksum_is_right() {
        let frame = advertisement("2001:db8::100".parse().unwrap(), MAC);
        // The sum over a message with its checksum is zero.
        assert_eq!(icmpv6_checksum(&frame[22..54], &frame[54..]), [0, 0]);
    }
}
