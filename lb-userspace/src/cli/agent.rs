// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xvs host agent`: follows the director.
#![forbid(unsafe_code)]

use std::{net::IpAddr, path::PathBuf};

use clap::Args;
use ipnet::IpNet;

use crate::host::{
    agent::{Address, Options},
    arp::{self, Levels},
    decap::Choice,
};

/// Arguments of `xvs host agent`.
#[derive(Args, Clone, Debug)]
pub struct AgentArgs {
    /// URL of the director's API: http://HOST:PORT, from its `xvs run --api HOST:PORT`
    #[arg(long, value_name = "URL")]
    director: Address,
    /// File with the director's token, readable by its owner only
    #[arg(long, value_name = "FILE", default_value = "/etc/xvs/token")]
    token_file: PathBuf,
    /// Value of `arp_ignore`: which ARP requests this host answers [default: 1, or a stricter present value]
    #[arg(long, value_name = "0|1|2|3|8", value_parser = arp::ignore_level)]
    arp_ignore: Option<i32>,
    /// Value of `arp_announce`: which source address this host's ARP requests carry [default: 2]
    #[arg(long, value_name = "0|1|2", value_parser = arp::announce_level)]
    arp_announce: Option<i32>,
    /// Method of decapsulating tunnelled packets; auto uses the XDP program if no kernel device can
    #[arg(long, value_name = "HOW", default_value = "auto")]
    decap: Choice,
    /// Address of a director whose tunnels the XDP decapsulator accepts (can be repeated) [default: any]
    #[arg(long, value_name = "DIRECTOR")]
    from: Vec<IpAddr>,
    /// Directory in which the XDP decapsulator is pinned
    #[arg(long, value_name = "DIR", default_value = "/sys/fs/bpf/xvs")]
    bpffs: PathBuf,
    /// Network that VIPs must be in (can be repeated) [default: any]
    #[arg(long, value_name = "NET", value_parser = network)]
    vips: Vec<IpNet>,
    /// File for the values from before the agent's changes; `host restore --state FILE` restores them
    #[arg(long, value_name = "FILE", default_value = "/run/xvs/agent.json")]
    state: PathBuf,
}

impl From<AgentArgs> for Options {
    fn from(args: AgentArgs) -> Self {
        let AgentArgs { director, token_file, arp_ignore, arp_announce, decap, from, bpffs, vips, state } =
            args;
        let arp = Levels { ignore: arp_ignore, announce: arp_announce };
        Self { director, token_file, arp, decap, from: from.into_iter().collect(), bpffs, vips, state }
    }
}

/// Parses a network such as 192.0.2.0/24, or a single address.
fn network(text: &str) -> Result<IpNet, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.into());
    }
    text.parse().map_err(|_| format!("'{text}' is not a network such as 192.0.2.0/24, nor an address"))
}
