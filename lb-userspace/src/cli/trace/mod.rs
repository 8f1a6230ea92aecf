// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xvs trace`: packets and what becomes of them.
#![forbid(unsafe_code)]

mod feed; //   events of the daemon
mod pcapng; // packets as a capture file

use std::{
    fs::File,
    io::{self, Write},
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use clap::Args;
use ipnet::IpNet;

use super::{say, ui::Output};
use crate::api::{
    client::Api,
    connections::network,
    trace::{LONGEST, MOST, RATE, TraceCounts, TraceFlow, TraceQuestion, TracedPacket},
};
use feed::{Feed, News};
use lb_common::schema::LONGEST_SAMPLE;
use lb_model::{
    Protocol, RealAddress, ServiceId,
    failure::Failure,
    written::{self, socket_address},
};
use pcapng::Capture;

/// Show live packets, and what the programs do with them, and why
///
/// A line or, with --write, a packet of a capture is a sample: the packet as received, its reason and its verdict. The
/// options select packets; all that are given must match. While a trace runs, the director's programs are replaced by
/// their tracing build, which costs some time for each packet. Without --reason, packets that are not for a service are
/// left out.
///
/// `xvs explain` shows each step of the programs for one packet that is not sent.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  xvs trace --client 198.51.100.0/24\n  xvs trace --service tcp 192.0.2.100:80 --reason no_real --reason all_down -c 10\n  xvs trace --flow tcp 198.51.100.7:40000 192.0.2.100:80 -w flow.pcapng\n  xvs trace -w - | tshark -r - -T fields -e frame.comment"
)]
pub struct TraceArgs {
    /// Packets of this service
    #[arg(long, num_args = 2, value_names = ["PROTO", "VIP:PORT"])]
    service: Option<Vec<String>>,
    /// Packets to and from this real; without a port, of all its ports
    #[arg(long, value_name = "RIP[:PORT]")]
    real: Option<RealAddress>,
    /// Packets of clients with this address, or in this network
    #[arg(long, value_name = "CIP[/LEN]", value_parser = network)]
    client: Option<IpNet>,
    /// Packets of this flow, in both directions
    #[arg(long, num_args = 3, value_names = ["PROTO", "CIP:PORT", "VIP:PORT"])]
    flow: Option<Vec<String>>,
    /// Packets with this reason (can be repeated)
    #[arg(long = "reason", value_name = "REASON")]
    reasons: Vec<String>,
    /// End after this number of packets
    #[arg(short, long, value_name = "N")]
    count: Option<u64>,
    /// Largest number of packets per second, over time
    #[arg(long, value_name = "N", default_value_t = RATE, value_parser = rate)]
    rate: u32,
    /// Write a capture (pcapng) with a comment on each packet to this file, or to stdout: -
    #[arg(short, long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// Bytes of each frame, which may include data of applications [default: the headers]
    #[arg(long, value_name = "BYTES", value_parser = snaplen)]
    snaplen: Option<u32>,
    /// End after this time, at most an hour
    #[arg(long = "for", value_name = "DURATION", default_value = "10m", value_parser = humantime::parse_duration)]
    duration: Duration,
}

fn rate(text: &str) -> Result<u32, String> {
    written::number(text, 1, MOST)
}

fn snaplen(text: &str) -> Result<u32, String> {
    written::number(text, 1, LONGEST_SAMPLE)
}

impl TraceArgs {
    fn question(&self) -> Result<TraceQuestion, Failure> {
        let service = match self.service.as_deref() {
            Some([kind, name]) => Some(ServiceId::parse(kind, name).map_err(Failure::wrong_input)?),
            _ => None,
        };
        let flow = match self.flow.as_deref() {
            Some([protocol, client, destination]) => Some(flow(protocol, client, destination)?),
            _ => None,
        };
        let seconds = self.duration.as_secs().max(1);
        if seconds > LONGEST {
            return Err(Failure::wrong_input(format!("a trace of {seconds} s is longer than an hour"))
                .hint("start another one when it ends"));
        }
        let question = TraceQuestion {
            service,
            real: self.real,
            client: self.client,
            flow,
            reasons: self.reasons.clone(),
            rate: self.rate,
            snaplen: self.snaplen,
            seconds,
        };
        question.checked()?;
        Ok(question)
    }
}

fn flow(protocol: &str, client: &str, destination: &str) -> Result<TraceFlow, Failure> {
    let address = |text: &str| -> Result<SocketAddr, Failure> {
        socket_address(text).map_err(|why| Failure::wrong_input(format!("--flow: {why}")))
    };
    let protocol: Protocol = protocol.to_lowercase().parse().map_err(|_| {
        Failure::wrong_input(format!("--flow: '{protocol}' is not a protocol; write tcp, udp or sctp"))
    })?;
    Ok(TraceFlow { protocol, client: address(client)?, destination: address(destination)? })
}

/// Where packets go.
enum Sink {
    Text,
    Json,
    Capture(Box<Capture<Box<dyn Write>>>),
}

impl Sink {
    fn new(args: &TraceArgs, output: Output) -> Result<Self, Failure> {
        let Some(path) = &args.write else {
            return Ok(if output == Output::Json { Self::Json } else { Self::Text });
        };
        let file: Box<dyn Write> = if path.as_os_str() == "-" {
            Box::new(io::stdout())
        } else {
            let failed = |error| Failure::failed(format!("cannot write {}: {error}", path.display()));
            Box::new(File::create(path).map_err(failed)?)
        };
        let capture = Capture::begin(file).map_err(|error| written_failed(&error))?;
        Ok(Self::Capture(Box::new(capture)))
    }

    fn put(&mut self, packet: &TracedPacket) -> io::Result<()> {
        let line = match self {
            Self::Capture(capture) => return capture.put(packet),
            Self::Json => serde_json::to_string(packet)?,
            Self::Text => line(packet),
        };
        let mut stdout = io::stdout();
        writeln!(stdout, "{line}")?;
        stdout.flush()
    }
}

fn written_failed(error: &io::Error) -> Failure {
    Failure::failed(format!("cannot write the packets: {error}"))
}

/// Returns the line of a packet: time, interface, packet, and the sentence about it.
fn line(packet: &TracedPacket) -> String {
    let time = SystemTime::UNIX_EPOCH + Duration::from_millis(packet.time);
    let time = humantime::format_rfc3339_millis(time).to_string();
    let time = time.split_once('T').map_or(&*time, |(_, time)| time.trim_end_matches('Z'));
    let end = |end: &Option<String>| end.clone().unwrap_or_else(|| "?".to_owned());
    format!(
        "{time} {} {} {} > {} {} B  {}",
        packet.interface,
        end(&packet.protocol),
        end(&packet.source),
        end(&packet.destination),
        packet.length,
        packet.text,
    )
}

/// Executes the command.
///
/// # Errors
/// If the input is wrong, the daemon refuses or cannot be reached, or the packets cannot be written.
pub async fn run(args: &TraceArgs, api: &Api, output: Output) -> Result<(), Failure> {
    let question = args.question()?;
    let mut feed = Feed::open(api, &question).await?;
    let mut sink = Sink::new(args, output)?;
    let (mut shown, mut counts) = (0, TraceCounts::default());
    let mut interrupted = Box::pin(tokio::signal::ctrl_c());
    let why = loop {
        if args.count.is_some_and(|count| shown >= count) {
            break None;
        }
        let news = tokio::select! {
            news = feed.next() => news?,
            _ = &mut interrupted => break None,
        };
        match news {
            News::Packet(packet) => match sink.put(&packet) {
                Ok(()) => shown += 1,
                // The reader has enough.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                Err(error) => return Err(written_failed(&error)),
            },
            News::Counts(latest) => counts = latest,
            News::End(why) => break Some(why),
        }
    };
    if let Some(why) = why {
        say(format_args!("the daemon has ended the trace: {why}"));
    }
    say(summary(shown, &counts));
    Ok(())
}

/// Returns the last line.
fn summary(shown: u64, counts: &TraceCounts) -> String {
    let TraceCounts { selected, limited, lost } = counts;
    let beyond = (*limited > 0).then(|| format!("; {limited} of {selected} were beyond --rate"));
    let lost = (*lost > 0).then(|| format!("; {lost} samples were lost"));
    [Some(format!("{shown} packets traced")), beyond, lost].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests;
