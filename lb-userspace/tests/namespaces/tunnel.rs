// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tunnelled packets on a real server that `xvs host setup` prepared: with the kernel's ipip if it has that,
//! otherwise with the XDP program. (The packet tests cover the decapsulation by the program.)

use std::{
    net::{Ipv4Addr, SocketAddrV4, UdpSocket},
    os::fd::AsRawFd as _,
    time::Duration,
};

use lb_netlink::{Netlink, NetlinkError, TunnelDevice};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, sendto, socket,
};

use crate::host::Lab;

const VIP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 100);
const RIP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
/// An address behind the default route: its return path is never the tunnel.
const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 77);
const PORT: u16 = 5353;

const SETUP: &str = "setup --vip 10.0.0.100 --vip 10.0.0.101 --forward tun";
const CHECK: &str = "check --vip 10.0.0.100 --vip 10.0.0.101 --forward tun";

impl Lab {
    /// Returns whether this kernel has ipip, without the code under test.
    pub fn kernel_has_ipip(&self) -> bool {
        self.real.block_on(|| async {
            let netlink = Netlink::open().unwrap();
            let outcome = netlink.add_tunnel("probe", TunnelDevice::Ipip).await;
            netlink.delete_interface("probe").await.unwrap();
            match outcome {
                Ok(_) => true,
                Err(NetlinkError::Unsupported { .. }) => false,
                Err(other) => panic!("{other}"),
            }
        })
    }

    /// Sends a datagram for the VIP through a tunnel to the real server. Returns whether the service gets it.
    fn tunnelled_datagram_arrives(&self) -> bool {
        let service = self.real.run(|| UdpSocket::bind((VIP, PORT)).unwrap());
        service.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        self.client.run(|| {
            let raw =
                socket(AddressFamily::Inet, SockType::Raw, SockFlag::empty(), SockProtocol::Raw).unwrap();
            let to = SockaddrIn::from(SocketAddrV4::new(RIP, 0));
            sendto(raw.as_raw_fd(), &tunnelled(b"hello"), &to, MsgFlags::empty()).unwrap();
        });
        let mut buffer = [0; 64];
        matches!(service.recv_from(&mut buffer), Ok((5, from)) if from.ip() == CLIENT)
    }
}

/// A datagram from the client to the VIP in IPIP (RFC 2003) from the director to the real.
fn tunnelled(payload: &[u8]) -> Vec<u8> {
    let length = 8 + payload.len() as u16;
    let ports = [4242_u16.to_be_bytes(), PORT.to_be_bytes()].concat();
    let datagram = [&ports, &length.to_be_bytes()[..], &[0, 0], payload].concat();
    let inner = [&ipv4_header(CLIENT, VIP, 17, datagram.len())[..], &datagram].concat();
    [&ipv4_header(Ipv4Addr::new(10, 0, 0, 50), RIP, 4, inner.len())[..], &inner].concat()
}

fn ipv4_header(from: Ipv4Addr, to: Ipv4Addr, protocol: u8, payload: usize) -> [u8; 20] {
    let mut header = [0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    header[2..4].copy_from_slice(&(20 + payload as u16).to_be_bytes());
    header[12..16].copy_from_slice(&from.octets());
    header[16..20].copy_from_slice(&to.octets());
    let sum: u32 = header.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1])).sum();
    let checksum = !((sum & 0xffff) + (sum >> 16)) as u16;
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
    header
}

#[test]
fn tunnels_are_unwrapped_by_the_kernel_where_it_can_and_by_xdp_where_it_cannot() {
    let lab = Lab::new();
    lab.set("all", "rp_filter", 1);
    let has_ipip = lab.kernel_has_ipip();
    let before = lab.everything();

    if has_ipip {
        let output = lab.succeeds(SETUP);
        assert!(output.contains("decapsulation: by the ipip device xvs-ipip"), "{output}");
        let second = lab.succeeds(SETUP);
        assert!(second.lines().all(|line| line.starts_with("ok ")), "{second}");
        assert!(lab.tunnelled_datagram_arrives());
    } else {
        let refused = lab.fails(&format!("{SETUP} --decap ipip"));
        assert!(refused.message.contains("this kernel cannot make the ipip device"), "{refused}");
        assert_eq!(lab.everything(), before);
        let output = lab.succeeds(SETUP);
        assert!(
            output.contains("skip  devices of the kernel") && output.contains("by the XDP program on eth0"),
            "{output}"
        );
    }
    lab.succeeds(CHECK);
    lab.succeeds("restore");
    assert_eq!(lab.everything(), before);
}

#[test]
fn what_check_calls_wrong_about_the_reverse_path_filter_loses_packets() {
    let lab = Lab::new();
    if !lab.kernel_has_ipip() {
        // No means of decapsulation: check reports it.
        let (output, _) = lab.xvs_host(&format!("{CHECK} --decap ipip"));
        assert!(
            output.contains(
                "WRONG decapsulation is nothing for IPv4 within IPv4, should be a device of kind ipip"
            ),
            "{output}"
        );
        return;
    }
    lab.succeeds(SETUP);
    // (own, all, does the device have an address?): does the packet arrive, says the kernel's source?
    for (own, all, address, arrives) in [
        (0, 0, false, true),
        (1, 0, true, false),
        (0, 1, true, false),
        (2, 0, false, false),
        (2, 0, true, true),
        (2, 1, false, false),
        (2, 1, true, true),
    ] {
        lab.set("xvs-ipip", "rp_filter", own);
        lab.set("all", "rp_filter", all);
        lab.real.ip("address flush dev xvs-ipip");
        if address {
            lab.real.ip("address add 10.0.0.100/32 dev xvs-ipip");
        }
        let case = format!("own {own}, all {all}, address {address}");
        assert_eq!(lab.tunnelled_datagram_arrives(), arrives, "{case}");
        let (output, checked) = lab.xvs_host(CHECK);
        assert_eq!(checked.is_ok(), arrives, "{case}: {output}");
    }
}

#[test]
fn the_vips_on_a_tunnel_go_one_by_one() {
    let lab = Lab::new();
    let has_ipip = lab.kernel_has_ipip();
    let before = lab.everything();
    lab.set("all", "rp_filter", 1);
    lab.succeeds(SETUP);
    lab.succeeds("restore --vip 10.0.0.101");
    lab.succeeds("check --vip 10.0.0.100 --forward tun");
    if has_ipip {
        assert!(lab.tunnelled_datagram_arrives());
    }
    lab.succeeds("restore --vip 10.0.0.100");
    lab.set("all", "rp_filter", 0);
    assert_eq!(lab.everything(), before);
}

#[test]
fn a_tunnel_that_was_set_up_by_hand_is_used_and_stays() {
    let lab = Lab::new();
    if !lab.kernel_has_ipip() {
        assert!(!lab.real.ip("link show").contains("tunl0"), "a kernel without ipip has no tunnel to find");
        return;
    }
    lab.real.ip("link set tunl0 up");
    lab.real.ip("address add 10.0.0.100/32 dev tunl0");
    lab.set("all", "rp_filter", 1);
    let before = lab.everything();

    let output = lab.succeeds(SETUP);
    assert!(output.contains("ok    decapsulation: the ipip device tunl0"), "{output}");
    assert!(lab.tunnelled_datagram_arrives());
    lab.succeeds("restore");
    assert_eq!(lab.everything(), before);
}
