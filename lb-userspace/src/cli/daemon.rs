// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xvs run`, `xvs attach`, `xvs resize` and `xvs detach`.
#![forbid(unsafe_code)]

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use rustix::thread::CapabilitySet;

use super::ui::{Ui, say};
use crate::{
    api::{client::Api, socket, types::AttachOptions},
    daemon, privileges,
    run::RunOptions,
};
use lb_control::state::FlowLimits;
use lb_dataplane::descriptors;
use lb_dataplane::{Mode, PinDir, links, private};
use lb_model::failure::{Failure, chain};
use lb_model::written::listen_address;
use lb_netlink::Netlink;

/// Run the director: load and attach the eBPF programs, and maintain their maps
///
/// Programs and maps are pinned: forwarding continues when the daemon stops, crashes or is replaced, and the
/// next daemon takes over.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  xvs run -i eth0 --metrics 127.0.0.1:9471\n  xvs run --config /etc/xvs/xvs.toml"
)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub struct RunArgs {
    /// Interface that receives packets from clients or replies from nat reals (can be repeated); VIPs are
    /// added to the first [default: that of the default route]
    #[arg(short, long = "interface", value_name = "IFACE")]
    interfaces: Vec<String>,
    /// Config file; if it has services, they replace those of the state file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// XDP mode [default: auto]
    #[arg(long, value_name = "MODE")]
    xdp_mode: Option<Mode>,
    /// Directory for pinned programs, maps and links
    #[arg(long, value_name = "DIR", default_value = "/sys/fs/bpf/xvs")]
    bpffs: PathBuf,
    /// File that stores the services
    #[arg(long, value_name = "FILE", default_value = "/var/lib/xvs/state.json")]
    state: PathBuf,
    /// Serve Prometheus metrics at http://ADDR:PORT/metrics
    #[arg(long, value_name = "ADDR:PORT", value_parser = listen_address)]
    metrics: Option<SocketAddr>,
    /// Serve the API for agents on real servers (`xvs host agent`); requires --api-token-file
    #[arg(long, value_name = "ADDR:PORT", value_parser = listen_address)]
    api: Option<SocketAddr>,
    /// File with the token that agents must present, readable by its owner only
    #[arg(long, value_name = "FILE")]
    api_token_file: Option<PathBuf>,
    /// Serve the API, the metrics and the status page at http://ADDR:PORT; changes need a token of --tokens
    #[arg(long, value_name = "ADDR:PORT", value_parser = listen_address)]
    http: Option<SocketAddr>,
    /// Certificate for --http and those that lead to its CA (PEM); requires --http-key
    #[arg(long, value_name = "FILE", requires = "http_key")]
    http_cert: Option<PathBuf>,
    /// Private key of the certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "http_cert")]
    http_key: Option<PathBuf>,
    /// CAs of clients (PEM): each client of --http needs a certificate of one of them
    #[arg(long, value_name = "FILE")]
    http_client_ca: Option<PathBuf>,
    /// File with the tokens for --http, readable by its owner only; a line is NAME ROLE SECRET, and a role is
    /// read, agent or write
    #[arg(long, value_name = "FILE")]
    tokens: Option<PathBuf>,
    /// Interval of the doctor's checks for `xvs status` and the metrics; 0s disables them
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = humantime::parse_duration)]
    doctor_every: Duration,
    /// Take services, reals and timeouts from the kernel's IPVS on this host, and follow its changes: keepalived,
    /// ldirectord, ipvsadm or kube-proxy control it as before
    #[arg(long)]
    follow_ipvs: bool,
    /// Do not add VIPs to the interface, because VRRP or BGP does
    #[arg(long)]
    no_manage_vips: bool,
    /// Take over VIPs that another machine answers for
    #[arg(long)]
    take_over: bool,
    /// Stop forwarding when the daemon stops
    #[arg(long)]
    detach_on_exit: bool,
}

impl RunArgs {
    /// Performs the steps that need more capabilities than the daemon keeps, and drops the others. Must run
    /// before the first thread is started.
    ///
    /// # Errors
    /// If this process lacks capabilities that the daemon needs.
    pub fn prepare(&self) -> Result<(), Failure> {
        privileges::require(privileges::DAEMON, "xvs run")?;
        descriptors::raise_limit();
        private::mount_bpffs(&self.bpffs).map_err(|error| {
            Failure::failed(format!("cannot mount a bpffs for {}: {error}", self.bpffs.display())).hint(
                "`mount -t bpf -o mode=0700 bpf /sys/fs/bpf` as root; in a container, mount the host's there",
            )
        })?;
        if private::pins_end_with_us() {
            say(format_args!(
                "warning: mounted a bpf filesystem for {} in this process's own mount namespace: forwarding \
                 ends with the daemon. Mount one outside (`mount -t bpf bpf DIR`), and name a directory in \
                 it with --bpffs",
                self.bpffs.display()
            ));
        }
        socket::join_group();
        privileges::keep_only(privileges::DAEMON, privileges::CHECKS)
    }
}

/// Runs the daemon.
///
/// # Errors
/// If the daemon cannot start, or a server fails.
pub async fn run(args: RunArgs, socket: PathBuf, verbose: bool) -> Result<(), Failure> {
    let RunArgs {
        interfaces,
        config,
        xdp_mode,
        bpffs,
        state,
        metrics,
        api,
        api_token_file,
        http,
        http_cert,
        http_key,
        http_client_ca,
        tokens,
        doctor_every,
        follow_ipvs,
        no_manage_vips,
        take_over,
        detach_on_exit,
    } = args;
    // On the heap, because the future is large.
    Box::pin(crate::run::run(RunOptions {
        interfaces,
        config,
        xdp_mode,
        bpffs,
        state,
        metrics,
        api,
        api_token_file,
        http,
        http_cert,
        http_key,
        http_client_ca,
        tokens,
        doctor_every,
        follow_ipvs,
        no_manage_vips,
        take_over,
        detach_on_exit,
        verbose,
        socket,
    }))
    .await
}

/// Attach the program to an interface again, for example in another XDP mode
///
/// Use it after another program removed it, or after a driver gained native XDP. Tables and flows stay. The
/// mode holds until the daemon starts again.
#[derive(Args, Debug)]
pub struct AttachArgs {
    #[command(flatten)]
    options: AttachOptions,
}

/// Attaches to an interface again.
///
/// # Errors
/// If the daemon refuses or cannot be reached.
pub async fn attach(args: &AttachArgs, api: &Api, ui: &mut Ui) -> Result<(), Failure> {
    ui.done(&api.post("/v1/attach", &args.options).await?)
}

/// Enlarge the flow tables
///
/// Forwarding continues, and tracked connections stay. The new size also holds at later starts, unless the
/// config file has a larger one.
#[derive(Args, Debug)]
pub struct ResizeArgs {
    #[command(flatten)]
    room: FlowLimits,
}

/// Enlarges the flow tables.
///
/// # Errors
/// If the daemon refuses or cannot be reached.
pub async fn resize(args: &ResizeArgs, api: &Api, ui: &mut Ui) -> Result<(), Failure> {
    ui.done(&api.post("/v1/resize", &args.room).await?)
}

/// Stop forwarding: remove VIPs, links, programs and maps of a stopped daemon
///
/// Services stay in the state file. While this host keeps a VIP that xvs did not add, a guard drops the
/// packets of its services, because the network stack would reset every connection.
#[derive(Args, Debug)]
pub struct DetachArgs {
    /// Directory for pinned programs, maps and links
    #[arg(long, value_name = "DIR", default_value = "/sys/fs/bpf/xvs")]
    bpffs: PathBuf,
    /// File that stores the services
    #[arg(long, value_name = "FILE", default_value = "/var/lib/xvs/state.json")]
    state: PathBuf,
    /// For an upgrade: keep the guard, so that packets are dropped, not answered with resets, until the next
    /// start
    #[arg(long, conflicts_with = "remove_guard")]
    keep_guard: bool,
    /// Only remove the guard that an earlier `detach` left
    #[arg(long)]
    remove_guard: bool,
    /// Only detach another program: its BPF link by the id that `bpftool link` shows
    #[arg(long, value_name = "ID")]
    link: Option<u32>,
    /// Only detach another program: the BPF link on this interface, unless xvs pinned it
    #[arg(long, value_name = "IFACE", conflicts_with = "link")]
    other: Option<String>,
}

/// Detaches programs, as the options select.
///
/// # Errors
/// If a daemon is still running, or a link or pin cannot be removed.
pub async fn detach(args: &DetachArgs, ui: &mut Ui) -> Result<(), Failure> {
    privileges::require(CapabilitySet::NET_ADMIN, "xvs detach")?;
    let link = match &args.other {
        Some(name) => Some(link_of_another(name, &args.bpffs).await?),
        None => args.link,
    };
    if let Some(id) = link {
        links::detach(id).map_err(|error| {
            Failure::failed(format!("cannot detach the BPF link {id}: {error}")).hint(
                "`bpftool link` lists the links; detaching one requires CAP_SYS_ADMIN and CAP_NET_ADMIN",
            )
        })?;
        return ui.show(&vec![format!("detached the BPF link {id}")], |lines| lines.join("\n"));
    }
    let lines = if args.remove_guard {
        daemon::remove_guard(&args.bpffs)?
    } else {
        daemon::detach(&args.bpffs, &args.state, args.keep_guard).await?
    };
    ui.show(&lines, |lines| lines.join("\n"))
}

/// Returns the id of the link that attaches another program than xvs's to an interface.
async fn link_of_another(name: &str, bpffs: &Path) -> Result<u32, Failure> {
    let interface =
        Netlink::open()?.interface(name).await.map_err(|error| Failure::wrong_input(chain(&error)))?;
    let Some(program) = interface.xdp_program else {
        return Err(Failure::wrong_input(format!("no XDP program is attached to {name}")));
    };
    // If a link was detached from outside, its pin remains, and another program may be attached instead.
    if PinDir::at(bpffs).linked_program(interface.index) == Some(program) {
        return Err(Failure::wrong_input(format!(
            "the program attached to {name} is that of xvs, pinned under {}",
            bpffs.display()
        ))
        .hint("`xvs detach` detaches xvs"));
    }
    links::of(program, interface.index).ok_or_else(|| {
        Failure::failed(format!("no BPF link is known to attach program {program} to {name}"))
            .hint(format!("`ip link set dev {name} xdp off` detaches a program that has no link"))
    })
}
