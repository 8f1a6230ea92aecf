// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command line, with one file per noun. Doc comments become the help.

pub mod agent; //    `xvs host agent`
pub mod check; //    `xvs check`
pub mod config; //   `xvs plan`, `apply`, `confirm`, `export`
pub mod connections; // `xvs connections`
pub mod daemon; //   `xvs run`, `attach`, `resize`, `detach`
pub mod director; // `xvs ready`, `director`
pub mod doctor; //   `xvs doctor`
pub mod events; //   `xvs events`
pub mod explain; //  `xvs explain`
pub mod filter; //   filters of lists
mod follow; //       services of the kernel's IPVS
mod generate; //     man pages and completions
pub mod group; //    `xvs group`
pub mod host; //     `xvs host`: on real servers
pub mod import; //   `xvs import`
pub mod ipvsadm; //  `xvs ipvsadm`
pub mod list; //     options of every list
mod main; //         the main function
mod misuse; //       invalid command lines
pub mod real; //     `xvs real`
pub mod revisions; // `xvs config`
pub mod service; //  `xvs service`
pub mod show; //     `xvs status`, `stats`, `connections`
mod ssh; //          `xvs real add --ssh`
pub mod sync; //     `xvs sync`
mod table; //        tables
pub mod timeouts; // `xvs timeouts`
pub mod top; //      `xvs top`
pub mod trace; //    `xvs trace`
pub mod ui; //       results as text or JSON
pub mod units; //    numbers for people

use std::{ffi::OsString, ops::ControlFlow, path::PathBuf, process::ExitCode};

use clap::{CommandFactory as _, Parser, Subcommand, error::ErrorKind};

use crate::api::{
    client::Api,
    remote::{Remote, RemoteOptions},
};
use ipvsadm::IpvsadmArgs;
use lb_model::failure::Failure;
pub use main::main;
pub use ui::say;
use ui::{Output, Ui};

/// A layer-4 load balancer: the Linux Virtual Server rebuilt on XDP
///
/// Exit codes: 0 done, 1 failed, 2 wrong input, 3 daemon unreachable.
#[derive(Debug, Parser)]
#[command(name = "xvs", version, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    /// Socket on which the daemon listens
    #[arg(
        long,
        global = true,
        help_heading = "Global options",
        env = "XVS_SOCKET",
        default_value = "/run/xvs/xvs.sock",
        value_name = "PATH"
    )]
    socket: PathBuf,
    /// Daemon on another machine: the URL of its `xvs run --http`
    #[arg(long, global = true, help_heading = "Global options", env = "XVS_SERVER", value_name = "URL")]
    server: Option<String>,
    /// File with the token for --server, readable by its owner only
    #[arg(
        long,
        global = true,
        help_heading = "Global options",
        env = "XVS_SERVER_TOKEN_FILE",
        value_name = "FILE"
    )]
    server_token_file: Option<PathBuf>,
    /// File with the CAs of --server (PEM) [default: those of this host]
    #[arg(long, global = true, help_heading = "Global options", env = "XVS_SERVER_CA", value_name = "FILE")]
    server_ca: Option<PathBuf>,
    /// File with certificate and key of this client for --server (PEM)
    #[arg(
        long,
        global = true,
        help_heading = "Global options",
        env = "XVS_CLIENT_CERT",
        value_name = "FILE"
    )]
    client_cert: Option<PathBuf>,
    /// Output format
    #[arg(
        short,
        long,
        global = true,
        help_heading = "Global options",
        default_value = "table",
        value_name = "FORMAT"
    )]
    output: Output,
    /// Print JSON: short for --output json
    #[arg(long, global = true, help_heading = "Global options", conflicts_with = "output")]
    json: bool,
    /// Print more detail; `run` also logs messages of the eBPF programs
    #[arg(short, long, global = true, help_heading = "Global options")]
    verbose: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(daemon::RunArgs),
    Attach(daemon::AttachArgs),
    Resize(daemon::ResizeArgs),
    Detach(daemon::DetachArgs),
    Status(show::StatusArgs),
    Ready(director::ReadyArgs),
    #[command(subcommand)]
    Director(director::DirectorCommand),
    Doctor(doctor::DoctorArgs),
    Explain(explain::ExplainArgs),
    Trace(trace::TraceArgs),
    #[command(subcommand, aliases = ["svc", "services"])]
    Service(service::ServiceCommand),
    #[command(subcommand, alias = "reals")]
    Real(real::RealCommand),
    #[command(subcommand, alias = "groups")]
    Group(group::GroupCommand),
    #[command(subcommand, alias = "checks")]
    Check(check::CheckCommand),
    Timeouts(timeouts::TimeoutsArgs),
    Plan(config::PlanArgs),
    Apply(config::ApplyArgs),
    Confirm(config::ConfirmArgs),
    Export(config::ExportArgs),
    #[command(subcommand)]
    Config(revisions::ConfigCommand),
    Connections(connections::ConnectionsArgs),
    Stats(show::StatsArgs),
    Top(top::TopArgs),
    Events(events::EventsArgs),
    #[command(subcommand)]
    Sync(sync::SyncCommand),
    #[command(subcommand)]
    Import(import::ImportCommand),
    Ipvsadm(ipvsadm::IpvsadmArgs),
    Host(host::HostArgs),
    #[command(hide = true)]
    Generate(generate::GenerateArgs),
    ApiDoc(show::ApiDocArgs),
}

impl Cli {
    /// Parses the words of a command line. If they only request help or the version, the text is printed, and
    /// the exit code is returned instead of a command.
    ///
    /// # Errors
    /// If the words are wrong input.
    pub fn understand(
        words: impl IntoIterator<Item = OsString>,
    ) -> Result<ControlFlow<ExitCode, Self>, Failure> {
        let mut words: Vec<OsString> = words.into_iter().collect();
        let said = words.clone();
        let ipvsadm = IpvsadmArgs::cut_off(&mut words);
        match Self::try_parse_from(words) {
            Ok(cli) => Ok(ControlFlow::Continue(match ipvsadm {
                Some(args) => Self { command: Command::Ipvsadm(args), ..cli },
                None => cli,
            })),
            Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
                // A closed pipe is not an error.
                drop(error.print());
                Ok(ControlFlow::Break(ExitCode::SUCCESS))
            }
            Err(error) if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
                say(error.render());
                Ok(ControlFlow::Break(ExitCode::from(Failure::wrong_input("").exit_code())))
            }
            Err(error) => Err(misuse::failure(&error, &said, &Self::command())),
        }
    }

    /// Returns whether the command is the daemon, which logs more.
    #[must_use]
    pub fn is_daemon(&self) -> bool {
        matches!(self.command, Command::Run(_))
    }

    /// Returns whether the command keeps running and reports events.
    #[must_use]
    pub fn runs_on(&self) -> bool {
        self.is_daemon() || matches!(&self.command, Command::Host(args) if args.is_agent())
    }

    /// Performs the steps that must precede the first thread.
    ///
    /// # Errors
    /// If the command cannot be executed.
    pub fn prepare(&self) -> Result<(), Failure> {
        match &self.command {
            Command::Run(args) => args.prepare(),
            _ => Ok(()),
        }
    }

    /// Returns whether `--verbose` was given.
    #[must_use]
    pub fn is_verbose(&self) -> bool {
        self.verbose
    }

    /// Executes the command.
    ///
    /// # Errors
    /// If the command fails; the failure is a message for the operator.
    pub async fn carry_out(self) -> Result<ExitCode, Failure> {
        let api = match self.server {
            None => Api::new(&self.socket),
            Some(server) => Api::remote(Remote::new(&RemoteOptions {
                server,
                token_file: self.server_token_file,
                ca_file: self.server_ca,
                client_cert: self.client_cert,
            })?),
        };
        let output = if self.json { Output::Json } else { self.output };
        let mut ui = Ui::new(output);
        let outcome = match self.command {
            Command::Run(args) => daemon::run(args, self.socket, self.verbose).await,
            Command::Attach(args) => daemon::attach(&args, &api, &mut ui).await,
            Command::Resize(args) => daemon::resize(&args, &api, &mut ui).await,
            Command::Detach(args) => daemon::detach(&args, &mut ui).await,
            Command::Status(args) => show::status(&args, &api, &mut ui).await,
            Command::Ready(_) => return director::ready(&api, &mut ui).await,
            Command::Director(command) => return director::run(&command, &api, &mut ui).await,
            Command::Doctor(_) => doctor::doctor(&api, &mut ui).await,
            Command::Trace(args) => trace::run(&args, &api, output).await,
            Command::Explain(args) => explain::explain(args, &api, &mut ui).await,
            Command::Service(command) => service::run(command, &api, &mut ui).await,
            Command::Real(command) => real::run(command, &api, &mut ui).await,
            Command::Group(command) => group::run(command, &api, &mut ui).await,
            Command::Check(command) => check::run(command, &api, &mut ui).await,
            Command::Timeouts(args) => timeouts::run(&args, &api, &mut ui).await,
            Command::Plan(args) => config::plan(&args, &api, &mut ui).await,
            Command::Apply(args) => config::apply(&args, &api, &mut ui).await,
            Command::Confirm(_) => config::confirm(&api, &mut ui).await,
            Command::Config(command) => revisions::run(&command, &api, &mut ui).await,
            Command::Export(args) => config::export(&args, &api, &mut ui).await,
            Command::Connections(args) => connections::run(&args, &api, &mut ui).await,
            Command::Stats(args) => show::stats(&args, &api, &mut ui).await,
            Command::Top(args) => top::run(&args, &api, &mut ui).await,
            Command::Events(args) => events::run(&args, &api).await,
            Command::Sync(command) => sync::run(&command, &api, &mut ui).await,
            Command::Import(command) => return import::run(&command, self.verbose, &mut ui),
            Command::Ipvsadm(args) => return Ok(args.run(&api).await),
            Command::ApiDoc(_) => show::api_doc(&mut ui),
            Command::Host(args) => host::run(&args, output == Output::Json).await,
            Command::Generate(args) => args.run(Self::command()),
        };
        outcome.map(|()| ExitCode::SUCCESS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_of_every_command_is_consistent() {
        Cli::command().debug_assert();
    }
}
