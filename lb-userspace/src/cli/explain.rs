// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xvs explain`: the path of a packet through the loaded programs.
#![forbid(unsafe_code)]

use std::{fs, net::SocketAddr, path::PathBuf};

use clap::Args;

use super::ui::Ui;
use crate::api::client::Api;
use lb_explain::{Explanation, Flag, Flow, Question, StepView, hex, pcap};
use lb_model::failure::Failure;
use lb_model::{Protocol, written::socket_address};

/// Show step by step how the loaded programs handle a packet
///
/// A copy of the programs runs on the live maps. No packet is sent, and no map or counter changes.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  xvs explain tcp 198.51.100.7:40000 192.0.2.100:80")]
pub struct ExplainArgs {
    /// Protocol of the packet
    #[arg(
        value_name = "PROTO",
        ignore_case = true,
        required_unless_present = "pcap",
        conflicts_with = "pcap"
    )]
    protocol: Option<Protocol>,
    /// Source address and port
    #[arg(value_name = "CIP:PORT", value_parser = socket_address, required_unless_present = "pcap")]
    client: Option<SocketAddr>,
    /// Destination address and port
    #[arg(value_name = "VIP:PORT", value_parser = socket_address, required_unless_present = "pcap")]
    service: Option<SocketAddr>,
    /// Kind of TCP segment [default: syn]
    #[arg(long, value_name = "FLAG", conflicts_with = "pcap")]
    flags: Option<Flag>,
    /// Bytes of payload
    #[arg(long, value_name = "N", default_value_t = 0, conflicts_with = "pcap")]
    length: u16,
    /// Interface that receives the packet [default: the daemon's first]
    #[arg(long, value_name = "IFACE")]
    interface: Option<String>,
    /// Read the packet from a capture file (`tcpdump -w`)
    #[arg(long, value_name = "FILE")]
    pcap: Option<PathBuf>,
    /// Number of the packet in the capture, counted from 1
    #[arg(long, value_name = "N", default_value_t = 1, requires = "pcap")]
    packet: usize,
    /// Show how the packet would be handled after `xvs apply` of this config file
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
}

/// Requests an explanation of a packet, and prints it.
///
/// # Errors
/// If the input is wrong, or the daemon does not answer.
pub async fn explain(args: ExplainArgs, api: &Api, ui: &mut Ui) -> Result<(), Failure> {
    let plan = args.plan.as_deref().map(super::config::understood).transpose()?;
    let (frame, from) = args.frame()?;
    let question = Question { frame: hex::encode(&frame), interface: args.interface, plan };
    let mut explanation: Explanation = api.post("/v1/explain", &question).await?;
    explanation.steps.splice(0..0, from);
    ui.show(&explanation, Explanation::lines)
}

impl ExplainArgs {
    /// Returns the frame of the request and, if it comes from a capture, a step with its number.
    fn frame(&self) -> Result<(Vec<u8>, Option<StepView>), Failure> {
        if let Some(path) = &self.pcap {
            let name = path.display().to_string();
            let file = fs::read(path)
                .map_err(|error| Failure::wrong_input(format!("cannot read {name}: {error}")))?;
            let (frame, packets) = pcap::packet(&file, self.packet, &name)?;
            let which = StepView::new("packet", format!("{} of {packets} in {name}", self.packet));
            return Ok((frame.to_vec(), Some(which)));
        }
        let (Some(protocol), Some(client), Some(service)) = (self.protocol, self.client, self.service) else {
            return Err(Failure::wrong_input("neither a flow nor a capture was named")
                .hint("`xvs explain tcp 192.0.2.1:40000 10.0.0.100:80`"));
        };
        if self.flags.is_some() && protocol != Protocol::Tcp {
            return Err(Failure::wrong_input(format!("--flags is for tcp: {protocol} has none"))
                .hint("leave --flags out"));
        }
        let flow =
            Flow { protocol, client, service, flag: self.flags.unwrap_or_default(), length: self.length };
        let frame = flow.frame().ok_or_else(|| {
            if client.is_ipv4() == service.is_ipv4() {
                return Failure::wrong_input(format!(
                    "{} bytes of payload are more than a packet holds",
                    self.length
                ))
                .hint("test runs of the kernel take frames of up to about 3,000 bytes");
            }
            Failure::wrong_input(format!("{client} and {service} are not of the same version of IP"))
                .hint("client and VIP are both IPv4, or both IPv6")
        })?;
        Ok((frame, None))
    }
}
