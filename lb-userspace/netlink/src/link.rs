// SPDX-License-Identifier: MIT OR Apache-2.0
//! Interfaces.

use futures_util::TryStreamExt as _;
use netlink_packet_core::DefaultNla;
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage, LinkXdp,
    VlanProtocol, XdpAttached,
};
use nix::libc;
use rtnetlink::{LinkMessageBuilder, LinkUnspec};
use serde::{Deserialize, Serialize};

use super::{Mac, Netlink, NetlinkError, errno, first};

/// Attribute for the namespace of a request (`include/uapi/linux/if_link.h`).
const IFLA_TARGET_NETNSID: u16 = 46;

/// A network interface at the time of the request.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Interface {
    /// Index, which is stable while the interface exists.
    pub index: u32,
    /// Name, such as `eth0`.
    pub name: String,
    /// Ethernet address; `None` for interfaces without Ethernet (loopback, tunnels).
    pub mac: Option<Mac>,
    /// MTU: the largest IP packet in bytes, without the Ethernet header.
    pub mtu: u32,
    /// The administrator set the interface up.
    pub up: bool,
    /// The interface is up and its link has a carrier: packets can leave.
    pub running: bool,
    /// The interface does not use ARP: loopback, tunnels, or ARP switched off by hand.
    pub noarp: bool,
    /// Kind of virtual device (`veth`, `vlan`, `ipip`, …); `None` for hardware and loopback.
    pub kind: Option<String>,
    /// VLAN of a VLAN device.
    pub vlan: Option<Vlan>,
    /// Index of the interface beneath this one (the parent of a VLAN), or of a veth's peer.
    pub parent: Option<u32>,
    /// Kernel's id of the namespace of `parent`, if that is another one.
    #[serde(default)]
    pub parent_namespace: Option<i32>,
    /// Index of the bond, team or bridge of which the interface is a member.
    pub controller: Option<u32>,
    /// Place of the attached XDP program, if there is one.
    pub xdp: Option<XdpPlace>,
    /// Id of that program.
    #[serde(default)]
    pub xdp_program: Option<u32>,
}

/// A VLAN (IEEE 802.1Q).
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Vlan {
    /// VLAN id.
    pub id: u16,
    /// The tags are service tags (802.1ad).
    pub service: bool,
}

/// Place in the kernel where an attached XDP program runs.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum XdpPlace {
    /// The driver.
    Native,
    /// The network stack.
    Generic,
    /// The network card, or several places at once.
    Other,
}

impl XdpPlace {
    /// Returns the name in output.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Other => "other",
        }
    }
}

impl Interface {
    /// Returns whether this is the loopback device.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.name == "lo"
    }
}

impl Netlink {
    /// Returns the interface called `name`.
    ///
    /// # Errors
    /// [`NetlinkError::NoSuchInterface`] if there is none.
    pub async fn interface(&self, name: &str) -> Result<Interface, NetlinkError> {
        // For an impossible name, the kernel reports EINVAL, not ENODEV.
        if name.is_empty() || name.len() >= libc::IFNAMSIZ {
            return Err(NetlinkError::NoSuchInterface(format!("{name:?}")));
        }
        let answer = first(self.handle.link().get().match_name(name).execute()).await;
        one(answer, name.to_owned())
    }

    /// Returns the interface with this index.
    ///
    /// # Errors
    /// [`NetlinkError::NoSuchInterface`] if there is none.
    pub async fn interface_by_index(&self, index: u32) -> Result<Interface, NetlinkError> {
        let answer = first(self.handle.link().get().match_index(index).execute()).await;
        one(answer, format!("#{index}"))
    }

    /// Returns whether the peer of a veth accepts frames that an XDP program sends through this end: the
    /// driver drops them unless an XDP program runs on the peer too, in native mode. `None` if this is not a
    /// veth, or if the peer cannot be queried.
    pub async fn veth_takes_xdp(&self, interface: &Interface) -> Option<bool> {
        if interface.kind.as_deref() != Some("veth") {
            return None;
        }
        let mut request = self.handle.link().get().match_index(interface.parent?);
        if let Some(number) = interface.parent_namespace {
            let number = number.to_ne_bytes().to_vec();
            let target = LinkAttribute::Other(DefaultNla::new(IFLA_TARGET_NETNSID, number));
            request.message_mut().attributes.push(target);
        }
        let peer = Interface::from(&first(request.execute()).await.ok()??);
        Some(peer.xdp == Some(XdpPlace::Native))
    }

    /// Returns every interface of the namespace.
    pub async fn interfaces(&self) -> Result<Vec<Interface>, NetlinkError> {
        self.handle
            .link()
            .get()
            .execute()
            .map_ok(|message| Interface::from(&message))
            .try_collect()
            .await
            .map_err(|e| NetlinkError::new("list interfaces", &e))
    }

    /// Deletes an interface. Returns whether it existed.
    pub async fn delete_interface(&self, name: &str) -> Result<bool, NetlinkError> {
        let interface = match self.interface(name).await {
            Ok(interface) => interface,
            Err(NetlinkError::NoSuchInterface(_)) => return Ok(false),
            Err(e) => return Err(e),
        };
        match self.handle.link().del(interface.index).execute().await {
            Ok(()) => Ok(true),
            Err(e) if errno(&e) == Some(libc::ENODEV) => Ok(false),
            Err(e) => Err(NetlinkError::new(format!("delete the interface {name}"), &e)),
        }
    }

    /// Sets an interface up or down.
    pub async fn set_up(&self, interface: &Interface, up: bool) -> Result<(), NetlinkError> {
        let change = LinkMessageBuilder::<LinkUnspec>::new().index(interface.index);
        let change = if up { change.up() } else { change.down() };
        self.handle.link().change(change.build()).execute().await.map_err(|e| {
            let direction = if up { "up" } else { "down" };
            NetlinkError::new(format!("set the interface {} {direction}", interface.name), &e)
        })
    }
}

fn one(
    answer: Result<Option<LinkMessage>, rtnetlink::Error>,
    asked: String,
) -> Result<Interface, NetlinkError> {
    match answer {
        Ok(Some(message)) => Ok(Interface::from(&message)),
        Ok(None) => Err(NetlinkError::NoSuchInterface(asked)),
        Err(e) if errno(&e) == Some(libc::ENODEV) => Err(NetlinkError::NoSuchInterface(asked)),
        Err(e) => Err(NetlinkError::new(format!("look up the interface {asked}"), &e)),
    }
}

impl From<&LinkMessage> for Interface {
    fn from(message: &LinkMessage) -> Self {
        let flags = message.header.flags;
        let mut interface = Self {
            index: message.header.index,
            name: String::new(),
            mac: None,
            mtu: 0,
            up: flags.contains(LinkFlags::Up),
            running: flags.contains(LinkFlags::Up | LinkFlags::Running),
            noarp: flags.contains(LinkFlags::Noarp) || flags.contains(LinkFlags::Loopback),
            kind: None,
            vlan: None,
            parent: None,
            parent_namespace: None,
            controller: None,
            xdp: None,
            xdp_program: None,
        };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => interface.name.clone_from(name),
                LinkAttribute::Mtu(mtu) => interface.mtu = *mtu,
                LinkAttribute::Controller(index) => interface.controller = Some(*index),
                LinkAttribute::Link(parent) => interface.parent = Some(*parent),
                LinkAttribute::LinkNetNsId(number) => interface.parent_namespace = Some(*number),
                LinkAttribute::Address(bytes) if message.header.link_layer_type == LinkLayerType::Ether => {
                    interface.mac = bytes.as_slice().try_into().ok();
                }
                LinkAttribute::Xdp(attributes) => {
                    interface.xdp = xdp(attributes);
                    interface.xdp_program = attributes.iter().find_map(|attribute| match attribute {
                        LinkXdp::ProgId(id) => Some(*id),
                        _ => None,
                    });
                }
                LinkAttribute::LinkInfo(infos) => {
                    interface.kind = kind(infos);
                    interface.vlan = vlan(infos);
                }
                _ => {}
            }
        }
        interface
    }
}

fn xdp(attributes: &[LinkXdp]) -> Option<XdpPlace> {
    attributes.iter().find_map(|attribute| match attribute {
        LinkXdp::Attached(XdpAttached::None) => None,
        LinkXdp::Attached(XdpAttached::Driver) => Some(XdpPlace::Native),
        LinkXdp::Attached(XdpAttached::SocketBuffer) => Some(XdpPlace::Generic),
        LinkXdp::Attached(_) => Some(XdpPlace::Other),
        _ => None,
    })
}

fn vlan(infos: &[LinkInfo]) -> Option<Vlan> {
    let data = infos.iter().find_map(|info| match info {
        LinkInfo::Data(InfoData::Vlan(data)) => Some(data),
        _ => None,
    })?;
    let id = data.iter().find_map(|item| if let InfoVlan::Id(id) = item { Some(*id) } else { None })?;
    let service = data.iter().any(|item| matches!(item, InfoVlan::Protocol(VlanProtocol::Ieee8021Ad)));
    Some(Vlan { id, service })
}

fn kind(infos: &[LinkInfo]) -> Option<String> {
    infos.iter().find_map(|info| match info {
        LinkInfo::Kind(kind) => Some(InfoKind::to_string(kind)),
        _ => None,
    })
}
