// SPDX-License-Identifier: MIT OR Apache-2.0
//! The traffic between hosts as the switch counts it, independently of xvs.

use std::ops::Sub;

use super::Host;

const TABLE: &str = r#"
table bridge crossing {
    counter client_to_director {}
    counter director_to_client {}
    counter director_to_reals {}
    counter reals_to_director {}
    counter reals_to_client {}
    chain forward {
        type filter hook forward priority 0
        meta protocol != ip accept
        iifname "client" oifname "director" counter name client_to_director
        iifname "director" oifname "client" counter name director_to_client
        iifname "director*" oifname "real*" counter name director_to_reals
        iifname "real*" oifname "director*" counter name reals_to_director
        iifname "real*" oifname "client" counter name reals_to_client
    }
}
"#;

/// IPv4 packets and bytes (Ethernet headers not counted) on each way through the switch.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Crossing {
    /// Requests from the client to the director.
    pub client_to_director: Count,
    /// Replies of `nat`.
    pub director_to_client: Count,
    /// Requests that the director forwarded to the reals.
    pub director_to_reals: Count,
    /// Replies of `nat`.
    pub reals_to_director: Count,
    /// Replies of `dr` and `tun`.
    pub reals_to_client: Count,
    /// Packets for the director that the switch counted and then lost, since the interface was full.
    pub lost: u64,
}

/// Packets and their bytes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Count {
    /// Number of packets.
    pub packets: u64,
    /// Number of bytes.
    pub bytes: u64,
}

/// Makes the switch count.
#[track_caller]
pub(super) fn start(switch: &Host) {
    switch.feed(&["nft", "-f", "-"], TABLE);
}

impl Crossing {
    #[track_caller]
    pub(super) fn read(switch: &Host) -> Self {
        let listed = switch.sh("nft -j list counters").succeeds().json();
        let count = |name: &str| {
            let objects = listed["nftables"].as_array().into_iter().flatten();
            let counter = objects.map(|object| &object["counter"]).find(|counter| counter["name"] == name);
            let field = |field: &str| counter.and_then(|counter| counter[field].as_u64());
            let (packets, bytes) =
                field("packets").zip(field("bytes")).expect("the counters of our own table");
            Count { packets, bytes }
        };
        Self {
            client_to_director: count("client_to_director"),
            director_to_client: count("director_to_client"),
            director_to_reals: count("director_to_reals"),
            reals_to_director: count("reals_to_director"),
            reals_to_client: count("reals_to_client"),
            lost: lost(switch),
        }
    }

    /// Returns the number of packets that have reached the director.
    pub fn reached_director(&self) -> u64 {
        self.client_to_director.packets + self.reals_to_director.packets - self.lost
    }
}

#[track_caller]
fn lost(switch: &Host) -> u64 {
    let devices = switch.sh("ip -json -stats link show").succeeds().json();
    let ports = devices.as_array().into_iter().flatten();
    let ports = ports.filter(|port| port["ifname"].as_str().is_some_and(|name| name.starts_with("director")));
    ports.map(|port| port["stats64"]["tx"]["dropped"].as_u64().expect("the kernel counts drops")).sum()
}

impl Sub for Count {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self { packets: self.packets - before.packets, bytes: self.bytes - before.bytes }
    }
}

impl Sub for Crossing {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            client_to_director: self.client_to_director - before.client_to_director,
            director_to_client: self.director_to_client - before.director_to_client,
            director_to_reals: self.director_to_reals - before.director_to_reals,
            reals_to_director: self.reals_to_director - before.reals_to_director,
            reals_to_client: self.reals_to_client - before.reals_to_client,
            lost: self.lost - before.lost,
        }
    }
}
