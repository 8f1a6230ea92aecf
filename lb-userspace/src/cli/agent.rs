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
    /// The director: http://HOST:PORT, as `xvs run --api HOST:PORT` has it there
    #[arg(long, value_name = "URL")]
    director: Address,
    /// The director's token, in a file that only its owner can read
    #[arg(long, value_name = "FILE", default_value = "/etc/xvs/token")]
    token_file: PathBuf,
    /// Which ARP requests this host answers, as the kernel's `arp_ignore` [default: 1, or what is stricter already]
    #[arg(long, value_name = "0|1|2|3|8", value_parser = arp::ignore_level)]
    arp_ignore: Option<i32>,
    /// Which address its own ARP requests name, as the kernel's `arp_announce` [default: 2]
    #[arg(long, value_name = "0|1|2", value_parser = arp::announce_level)]
    arp_announce: Option<i32>,
    /// What unwraps tunnelled packets; where no device of the kernel can, the XDP program does
    #[arg(long, value_name = "HOW", default_value = "auto")]
    decap: Choice,
    /// A director whose tunnels the XDP decapsulator takes, by its address towards this host (can be repeated) [default: any]
    #[arg(long, value_name = "DIRECTOR")]
    from: Vec<IpAddr>,
    /// Where the XDP decapsulator is pinned
    #[arg(long, value_name = "DIR", default_value = "/sys/fs/bpf/xvs")]
    bpffs: PathBuf,
    /// Networks that VIPs may be from (can be repeated) [default: any]
    #[arg(long, value_name = "NET", value_parser = network)]
    vips: Vec<IpNet>,
    /// Where the agent keeps what was there before its changes; `host restore --state FILE` takes them back
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

/// Reads a network such as 192.0.2.0/24, or an address alone.
fn network(text: &str) -> Result<IpNet, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.into());
    }
    text.parse().map_err(|_| format!("'{text}' is not a network such as 192.0.2.0/24, nor an address"))
}
