// SPDX-License-Identifier: MIT OR Apache-2.0
//! Wiring the machines together.

use std::{fmt::Write as _, net::Ipv4Addr};

use super::{
    CLIENT, CLIENT6, Client, DIP, DIP6, DIRECTOR, DIRECTOR6, Director, Host, Lab, RIPS, Real, crossing,
    folder::Folder, rip6, stub,
};

/// Name of the second director.
const SECOND: &str = "director2";

const NAMES: [&str; 6] = ["client", "director", "real1", "real2", "real3", "switch"];

/// The table by which a real routes what it sends from a VIP.
const FROM_VIP: u32 = 100;

/// The connection of the director.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Layout {
    /// One switch for all hosts.
    #[default]
    OneArm,
    /// Clients on one switch, reals on another, the director between them.
    TwoArm,
}

/// Options of a lab.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// The connection of the director.
    pub layout: Layout,
    /// Leaves checksum and segmentation offload on, as the kernel makes veth devices.
    ///
    /// Off by default: with offloads, checksums are not filled in on any link of the lab, and no test would
    /// notice a wrong one.
    pub offloads: bool,
    /// Reals besides the three that every lab has.
    pub more_reals: u8,
    /// A second director, on the switch of the clients, which is that of the reals with one arm.
    pub second_director: bool,
}

/// A cable: from a port of a bridge on the switch to an interface of a host.
struct Cable<'a> {
    bridge: &'static str,
    port: String,
    host: &'a Host,
    device: &'static str,
    mac: String,
}

impl Lab {
    /// Builds the lab.
    #[track_caller]
    pub fn with(options: Options) -> Self {
        let more: Vec<(String, Ipv4Addr)> = (0..options.more_reals).map(another_real).collect();
        let others = more.iter().map(|(name, _)| name.as_str()).chain([SECOND]);
        let names: Vec<&str> = NAMES.into_iter().chain(others).collect();
        let folder = Folder::create(&names);
        let host = |name| prepare(Host::create(name, &folder));
        let (client, director, switch) = (host("client"), host("director"), host("switch"));
        let servers = ["real1", "real2", "real3"].map(host);
        let (front, back) = match options.layout {
            Layout::OneArm => ("lan", "lan"),
            Layout::TwoArm => ("front", "back"),
        };
        let cable = |bridge, port: &str, host, device, mac: &str| Cable {
            bridge,
            port: port.to_owned(),
            host,
            device,
            mac: mac.to_owned(),
        };
        let others: Vec<(Host, Ipv4Addr)> = more.iter().map(|(name, rip)| (host(name), *rip)).collect();
        let mut cables = vec![
            cable(front, "client", &client, "eth0", "02:00:c0:00:02:0a"),
            cable(front, "director", &director, "eth0", "02:00:c0:00:02:01"),
            cable(back, "real1", &servers[0], "eth0", "02:00:0a:00:00:0b"),
            cable(back, "real2", &servers[1], "eth0", "02:00:0a:00:00:0c"),
            cable(back, "real3", &servers[2], "eth0", "02:00:0a:00:00:0d"),
        ];
        if options.layout == Layout::TwoArm {
            cables.push(cable(back, "director-back", &director, "eth1", "02:00:0a:00:00:01"));
        }
        let second = options.second_director.then(|| host(SECOND));
        if let Some(second) = &second {
            cables.push(cable(front, SECOND, second, "eth0", "02:00:c0:00:02:02"));
        }
        for (host, rip) in &others {
            let mac = format!("02:00:0a:00:00:{:02x}", rip.octets()[3]);
            cables.push(cable(back, host.name(), host, "eth0", &mac));
        }
        connect(&switch, &cables);
        stub::attach(&switch, cables.iter().map(|cable| cable.port.as_str()), &folder.bpffs());
        if !options.offloads {
            // After the stub: attaching XDP to a veth device turns GRO on.
            for cable in &cables {
                offloads_off(&switch, cable);
            }
        }
        crossing::start(&switch);

        address_client(&client);
        let behind = if options.layout == Layout::TwoArm { "eth1" } else { "eth0" };
        address_director(&director, "eth0", behind);
        if let Some(second) = &second {
            address_second_director(second);
        }
        let mut rips = RIPS.into_iter();
        let reals = servers.map(|host| {
            let rip = rips.next().expect("as many addresses as reals");
            address_real(&host, rip);
            Real::new(host, rip)
        });
        let others = others.into_iter().map(|(host, rip)| {
            address_real(&host, rip);
            Real::new(host, rip)
        });
        let more_reals = others.collect();
        let director = Director::new(director, options.layout);
        let second = second.map(|second| Director::new(second, Layout::OneArm));
        Self { client: Client::new(client), director, second, reals, more_reals, switch, folder }
    }

    /// Adds the director's addresses to an interface that replaces its usual one.
    #[track_caller]
    pub fn address_director(&self, device: &str) {
        address_director(&self.director, device, device);
    }
}

/// Returns name and address of a real in addition to the three.
fn another_real(number: u8) -> (String, Ipv4Addr) {
    let [.., last] = RIPS;
    let [a, b, c, d] = last.octets();
    (format!("real{}", RIPS.len() + 1 + usize::from(number)), Ipv4Addr::new(a, b, c, d + 1 + number))
}

/// Sets the defaults for new interfaces of a host: no forwarding, no source filter, and no unsolicited IPv6
/// traffic. A new namespace inherits the settings for IPv4 from the machine, where a container engine may have
/// turned forwarding on.
#[track_caller]
fn prepare(host: Host) -> Host {
    for (name, value) in [
        ("ipv4/ip_forward", "0"),
        ("ipv4/conf/all/rp_filter", "0"),
        ("ipv4/conf/default/rp_filter", "0"),
        ("ipv4/conf/all/send_redirects", "0"),
        ("ipv4/conf/default/send_redirects", "0"),
        ("ipv6/conf/default/accept_dad", "0"),
        ("ipv6/conf/default/accept_ra", "0"),
        ("ipv6/conf/default/router_solicitations", "0"),
    ] {
        host.sysctl(name, value);
    }
    host
}

#[track_caller]
fn connect(switch: &Host, cables: &[Cable<'_>]) {
    // The switch has no address.
    switch.sysctl("ipv6/conf/default/disable_ipv6", "1");
    let mut script = String::new();
    let mut bridges: Vec<_> = cables.iter().map(|cable| cable.bridge).collect();
    bridges.sort_unstable();
    bridges.dedup();
    for bridge in bridges {
        let _infallible =
            writeln!(script, "link add {bridge} type bridge mcast_snooping 0\nlink set {bridge} up");
    }
    for Cable { bridge, port, host, device, mac } in cables {
        let _infallible = writeln!(
            script,
            "link add {port} type veth peer name {device} address {mac} netns {}\n\
             link set {port} master {bridge}\n\
             link set {port} up",
            host.ns().name()
        );
    }
    switch.ip(&script);
    for cable in cables {
        // With a queue before it, a full veth device makes senders wait (6.16) instead of losing frames.
        switch.sh(&format!("tc qdisc add dev {} root pfifo limit 1000", cable.port)).succeeds();
    }
    for cable in cables {
        cable.host.ip(&format!("link set {} up", cable.device));
    }
}

#[track_caller]
fn offloads_off(switch: &Host, cable: &Cable<'_>) {
    for (host, device) in [(switch, cable.port.as_str()), (cable.host, cable.device)] {
        host.sh(&format!("ethtool -K {device} rx off tx off tso off gso off gro off")).succeeds();
    }
}

#[track_caller]
fn address_client(client: &Host) {
    client.ip(&format!(
        "address add {CLIENT}/24 dev eth0\n\
         address add {CLIENT6}/64 dev eth0 nodad\n\
         route add 10.0.0.0/24 via {DIRECTOR}\n\
         route add fd00::/64 via {DIRECTOR6}"
    ));
}

#[track_caller]
fn address_director(director: &Host, front: &str, back: &str) {
    director.ip(&format!(
        "address add {DIRECTOR}/24 dev {front}\n\
         address add {DIRECTOR6}/64 dev {front} nodad\n\
         address add {DIP}/24 dev {back}\n\
         address add {DIP6}/64 dev {back} nodad"
    ));
    // As behind LVS-NAT: the director routes traffic of no service between the networks.
    director.sysctl("ipv4/ip_forward", "1");
    director.sysctl("ipv6/conf/all/forwarding", "1");
}

/// Gives the second director its addresses, which are those after the first one's.
#[track_caller]
fn address_second_director(director: &Host) {
    let next = |address: Ipv4Addr| Ipv4Addr::from_bits(address.to_bits() + 1);
    director.ip(&format!(
        "address add {}/24 dev eth0\naddress add {}/24 dev eth0",
        next(DIRECTOR),
        next(DIP)
    ));
    director.sysctl("ipv4/ip_forward", "1");
    // As with VRRP: the director that does not have the VIP must not answer for it.
    director.sysctl("ipv4/conf/all/arp_ignore", "1");
}

#[track_caller]
fn address_real(real: &Host, rip: Ipv4Addr) {
    let rip6 = rip6(rip);
    real.ip(&format!(
        "address add {rip}/24 dev eth0\n\
         address add {rip6}/64 dev eth0 nodad\n\
         route add default via {DIP}\n\
         rule add from 192.0.2.0/24 lookup {FROM_VIP}\n\
         route add 192.0.2.0/24 dev eth0 table {FROM_VIP}"
    ));
    for line in [
        format!("route add default via {DIP6}"),
        format!("rule add from 2001:db8::/64 lookup {FROM_VIP}"),
        format!("route add 2001:db8::/64 dev eth0 table {FROM_VIP}"),
    ] {
        real.sh(&format!("ip -6 {line}")).succeeds();
    }
}
