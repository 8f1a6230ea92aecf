// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xvs host`: commands for real servers.
#![forbid(unsafe_code)]

use std::{
    io::{self, Write},
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use serde::Serialize;

use super::agent::AgentArgs;
use crate::{
    host::{
        Done, Host, Outcome, agent, arp,
        check::check,
        decap::Choice,
        finding::Finding,
        open::{self, Opening},
        restore, setup,
        state::Place,
        target::{Method, Request, Target},
    },
    observe::log::Detached,
};
use lb_model::failure::Failure;
use lb_model::{
    Protocol, Tunnel,
    written::{ip_address, socket_address},
};

/// Prepare this host to be a real server
///
/// A real server for `dr` or `tun` holds the VIP, as the director does. It accepts packets to the VIP, and
/// must never announce or answer for the VIP in ARP.
#[derive(Args, Clone, Debug)]
pub struct HostArgs {
    #[command(subcommand)]
    command: HostCommand,
}

#[derive(Clone, Debug, Subcommand)]
enum HostCommand {
    /// Add the VIP, set the ARP sysctls, and set up decapsulation
    ///
    /// Settings that are right already stay. Old values are saved first, for `restore`. If a step fails, the
    /// steps before it are undone.
    #[command(after_help = "Example:\n  xvs host setup --vip 192.0.2.100 --forward dr --interface eth0")]
    Setup(SetupArgs),
    /// Check every setting that setup makes
    ///
    /// Changes nothing. Exit code 1 if a setting is wrong.
    Check(TargetArgs),
    /// Run an agent that keeps this host set up for the director's services
    ///
    /// The agent asks the director which packets it sends to this host, and sets up VIPs, ARP sysctls and
    /// decapsulation, at once when services change. While the director cannot be reached, and after the agent
    /// ends, the setup stays.
    Agent(AgentArgs),
    /// Let packets of a service pass this host's firewall
    ///
    /// Inserts rules at the top of every nftables or iptables chain that may drop them. `restore` removes the
    /// rules. Without a filter, nothing changes.
    Open(OpenArgs),
    /// Undo setup
    ///
    /// Addresses and devices from before setup stay.
    Restore(RestoreArgs),
}

#[derive(Args, Clone, Debug)]
struct SetupArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// Print the changes, and the commands for them, without making them
    #[arg(long)]
    dry_run: bool,
    /// Repeat the setup at every boot, with a file in sysctl.d and a systemd unit; `restore` removes both
    #[arg(long)]
    persist: bool,
    /// Directory for these files; the same for all setups in a state file
    #[arg(long, value_name = "DIR", default_value = "/etc", requires = "persist")]
    etc: PathBuf,
    #[command(flatten)]
    state: StateArgs,
}

#[derive(Args, Clone, Debug)]
struct OpenArgs {
    /// Protocol of the service: tcp, udp or sctp
    #[arg(value_name = "PROTO", ignore_case = true)]
    protocol: Protocol,
    /// Destination address of the service's packets on this host (the VIP; the RIP for nat), and the port; 0
    /// for every port
    #[arg(value_name = "ADDR:PORT", value_parser = socket_address)]
    address: SocketAddr,
    /// Encapsulation of the packets
    #[arg(long, value_name = "TUNNEL")]
    tunnel: Option<Tunnel>,
    /// Print the changes, and the commands for them, without making them
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    state: StateArgs,
}

#[derive(Args, Clone, Debug)]
struct RestoreArgs {
    /// Only remove this VIP (can be repeated); the last one restores everything else
    #[arg(long = "vip", value_name = "VIP", value_parser = ip_address)]
    vips: Vec<IpAddr>,
    /// Print the changes, and the commands for them, without making them
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    state: StateArgs,
}

#[derive(Args, Clone, Debug)]
struct TargetArgs {
    /// Virtual address (can be repeated)
    #[arg(long = "vip", value_name = "VIP", value_parser = ip_address, required = true)]
    vips: Vec<IpAddr>,
    /// Forward method that the director uses for this host
    #[arg(long, value_name = "METHOD", default_value = "dr")]
    forward: Method,
    /// Interface towards the director [default: that of the default route]
    #[arg(long, value_name = "IFACE")]
    interface: Option<String>,
    /// Address by which the director reaches this host. It selects the interface that has it, and the outer
    /// IP version of tunnelled packets [default: the version of the VIP, if the interface has an address of
    /// it]
    #[arg(long, value_name = "RIP", value_parser = ip_address)]
    rip: Option<IpAddr>,
    /// Value of `arp_ignore`: which ARP requests this host answers [default: 1, or a stricter present value]
    #[arg(long, value_name = "0|1|2|3|8", value_parser = arp::ignore_level)]
    arp_ignore: Option<i32>,
    /// Value of `arp_announce`: which source address this host's ARP requests carry [default: 2]
    #[arg(long, value_name = "0|1|2", value_parser = arp::announce_level)]
    arp_announce: Option<i32>,
    /// Method of decapsulating tunnelled packets
    #[arg(long, value_name = "HOW", default_value = "auto")]
    decap: Choice,
    /// Address of a director whose tunnels the XDP decapsulator accepts (can be repeated) [default: any]
    #[arg(long, value_name = "DIRECTOR")]
    from: Vec<IpAddr>,
    /// Directory in which the XDP decapsulator is pinned
    #[arg(long, value_name = "DIR", default_value = "/sys/fs/bpf/xvs")]
    bpffs: PathBuf,
}

#[derive(Args, Clone, Debug)]
struct StateArgs {
    /// File for the values from before setup [default: /run/xvs/host.json, with --persist
    /// /var/lib/xvs/host.json]
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
}

/// State file that disappears at the next start, like the changes of setup.
const STATE: &str = "/run/xvs/host.json";

/// State file that stays, like the changes of `--persist`. Once it exists, all commands use it.
const PERSISTENT_STATE: &str = "/var/lib/xvs/host.json";

impl StateArgs {
    /// Returns the place of the state file; the contents of the temporary file move to the one that stays.
    fn place(&self, persist: bool) -> Place {
        match &self.state {
            Some(path) => Place::at(path),
            None if persist || Path::new(PERSISTENT_STATE).exists() => Place::after(STATE, PERSISTENT_STATE),
            None => Place::at(STATE),
        }
    }
}

impl HostArgs {
    /// Returns whether the command keeps running and reports events.
    #[must_use]
    pub const fn is_agent(&self) -> bool {
        matches!(self.command, HostCommand::Agent(_))
    }
}

/// Executes `xvs host …`; results go to stdout, as lines or, if `json`, as one list.
pub async fn run(args: &HostArgs, json: bool) -> Result<(), Failure> {
    let host = Host::open()?;
    if args.is_agent() {
        return run_on(&host, args, json, &mut Detached::new(io::stdout())).await;
    }
    run_on(&host, args, json, &mut io::stdout()).await
}

/// Executes the command as [`run`] does, on a given host and with results to `out`.
pub async fn run_on(
    host: &Host,
    args: &HostArgs,
    json: bool,
    out: &mut (dyn Write + Send),
) -> Result<(), Failure> {
    match &args.command {
        HostCommand::Setup(SetupArgs { target, dry_run, persist, etc, state }) => {
            let target = target.resolve(host).await?;
            let etc = persist.then_some(etc.as_path());
            let mut lines = Lines::new(json, out);
            let mut report = |done| lines.add(done);
            let place = state.place(*persist);
            let result = if *dry_run {
                setup::dry_run(host, &target, &place, etc, &mut report).await
            } else {
                setup::setup(host, &target, &place, etc, &mut report).await
            };
            lines.end();
            result
        }
        HostCommand::Check(target) => {
            let target = target.resolve(host).await?;
            let findings = check(host, &target).await?;
            let wrong = findings.iter().filter(|finding| !finding.ok).count();
            let all = findings.len();
            let mut lines = Lines::new(json, out);
            for finding in findings {
                lines.add(finding);
            }
            lines.end();
            match wrong {
                0 => Ok(()),
                _ => Err(Failure::failed(format!("{wrong} of {all} things are wrong"))
                    .hint("`xvs host setup` with the same options corrects what it can")),
            }
        }
        HostCommand::Agent(args) => {
            let mut report = |done: Done| {
                let line = if json { serde_json::to_string(&done).unwrap_or_default() } else { done.line() };
                // The agent continues when the reader of its output is gone.
                drop(out.write_all(format!("{line}\n").as_bytes()).and_then(|()| out.flush()));
            };
            agent::run(host, args.clone().into(), &mut report).await
        }
        HostCommand::Open(OpenArgs { protocol, address, tunnel, dry_run, state }) => {
            let opening = Opening { protocol: *protocol, address: *address, tunnel: *tunnel };
            let mut lines = Lines::new(json, out);
            let mut report = |done| lines.add(done);
            let result = if *dry_run {
                open::dry_run(&opening, &mut report).await
            } else {
                open::open(host, &opening, &state.place(false), &mut report).await
            };
            lines.end();
            result
        }
        HostCommand::Restore(RestoreArgs { vips, dry_run, state }) => {
            let mut lines = Lines::new(json, out);
            let mut report = |done| lines.add(done);
            let place = state.place(false);
            let result = if *dry_run {
                restore::dry_run(host, vips, &place, &mut report).await
            } else {
                restore::restore(host, vips, &place, &mut report).await
            };
            lines.end();
            result
        }
    }
}

impl TargetArgs {
    async fn resolve(&self, host: &Host) -> Result<Target, Failure> {
        let request = Request {
            vips: self.vips.clone(),
            method: self.forward,
            interface: self.interface.clone(),
            rip: self.rip,
            arp: arp::Levels { ignore: self.arp_ignore, announce: self.arp_announce },
            decap: self.decap,
            from: self.from.iter().copied().collect(),
            bpffs: self.bpffs.clone(),
        };
        Target::new(request, &host.netlink).await
    }
}

/// A result that has a line for people, and an object for scripts.
trait Line: Serialize {
    fn line(&self) -> String;
}

impl Line for Done {
    fn line(&self) -> String {
        let word = match self.outcome {
            Outcome::Changed => "set",
            Outcome::Already => "ok",
            Outcome::Restored => "back",
            Outcome::Planned => "would",
            Outcome::Warning => "WRONG",
            Outcome::Skipped => "skip",
        };
        let mut line = format!("{word:<5} {}: {}", self.item, self.detail);
        for command in self.command.iter().flat_map(|command| command.lines()) {
            line.push_str("\n      ");
            line.push_str(command);
        }
        line
    }
}

impl Line for Finding {
    fn line(&self) -> String {
        let Self { item, expected, found, ok, why } = self;
        if *ok {
            format!("ok    {item}: {found}")
        } else {
            format!("WRONG {item} is {found}, should be {expected}: {why}")
        }
    }
}

/// Lines that are printed at once, or collected for one JSON list at the end.
struct Lines<'a, T> {
    json: Option<Vec<T>>,
    out: &'a mut (dyn Write + Send),
}

impl<'a, T: Line> Lines<'a, T> {
    fn new(json: bool, out: &'a mut (dyn Write + Send)) -> Self {
        Self { json: json.then(Vec::new), out }
    }

    fn add(&mut self, item: T) {
        match &mut self.json {
            Some(list) => list.push(item),
            None => self.write(&item.line()),
        }
    }

    fn end(mut self) {
        if let Some(list) = self.json.take() {
            let text =
                serde_json::to_string_pretty(&list).unwrap_or_else(|e| format!("{{\"error\": \"{e}\"}}"));
            self.write(&text);
        }
    }

    /// Writes a text. Without a reader, the command still continues to its end.
    fn write(&mut self, text: &str) {
        drop(writeln!(self.out, "{text}"));
    }
}
