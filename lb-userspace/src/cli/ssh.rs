// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xvs real add … --ssh`: first sets up the real server, by `xvs host setup` there.
#![forbid(unsafe_code)]

use std::{
    collections::BTreeSet,
    io,
    net::IpAddr,
    process::{ExitStatus, Stdio},
};

use clap::Args;
use tokio::process::Command;

use super::ui::say;
use crate::api::types::ServiceView;
use lb_control::options::RealOptions;
use lb_model::failure::Failure;
use lb_model::{Forward, RealAddress, Tunnel};

/// The way to reach the real server.
#[derive(Args, Debug)]
pub struct SshArgs {
    /// First run `xvs host setup` on the real server with ssh, and print its output
    ///
    /// The real is added only if the setup succeeds. For dr and tun; other methods need no setup.
    #[arg(long, value_name = "USER@HOST", value_parser = destination)]
    ssh: Option<String>,
    /// The xvs command on the real server
    #[arg(long, value_name = "COMMAND", default_value = "xvs", requires = "ssh")]
    ssh_xvs: String,
    /// Repeat the setup whenever the real server boots
    #[arg(long, requires = "ssh")]
    persist: bool,
}

/// Exit code of ssh if ssh itself failed.
const OWN_FAILURE: i32 = 255;
/// Exit code of a shell if the command does not exist.
const NO_COMMAND: i32 = 127;

fn destination(text: &str) -> Result<String, String> {
    match text {
        "" => Err("it is empty".to_owned()),
        _ if text.starts_with('-') => Err("a host's name does not begin with '-'".to_owned()),
        _ => Ok(text.to_owned()),
    }
}

/// A real server that was set up.
pub(super) struct SetUp {
    destination: String,
    restore: String,
}

impl SshArgs {
    /// Sets the real server up, if requested.
    ///
    /// # Errors
    /// If the setup fails, or the real is in the service already without `--if-missing`: then it must not be
    /// added.
    pub(super) async fn set_up(
        &self,
        service: impl Future<Output = Result<ServiceView, Failure>>,
        reals: &[RealAddress],
        options: &RealOptions,
        if_missing: bool,
    ) -> Result<Option<SetUp>, Failure> {
        let Some(destination) = &self.ssh else { return Ok(None) };
        let [real] = *reals else {
            return Err(Failure::wrong_input(format!(
                "--ssh sets up one real server, and {} are given",
                reals.len()
            ))
            .hint("add them one by one, each with its own --ssh; nothing was changed"));
        };
        let forward = options.forward.unwrap_or(Forward::Dr);
        if !matches!(forward, Forward::Dr | Forward::Tun) {
            return Err(Failure::wrong_input(format!("{forward} needs nothing that --ssh could set up"))
                .hint("leave --ssh off"));
        }
        // Requests that the daemon would refuse are refused before the real server changes.
        let service = service.await?;
        let address = real.of_service(&service.id);
        if service.reals.iter().any(|known| known.address == address) {
            if if_missing {
                return Ok(None);
            }
            return Err(Failure::failed(format!("{} has the real {address} already", service.id)).hint(
                "`xvs real edit` changes it; `xvs host setup` on the real server sets up only that host",
            ));
        }
        let vips: BTreeSet<IpAddr> = service.endpoints.iter().map(|endpoint| endpoint.address.ip()).collect();
        let vips = Vec::from_iter(vips);
        let tunnel = options.tunnel.unwrap_or_default();
        let setup = self.setup(&vips, real.ip, forward, tunnel);
        let command = format!("{} {setup}", self.ssh_xvs);
        say(format_args!("[{destination}] {command}"));
        let mut ssh = Command::new("ssh");
        // The output of the remote command is not a result of this one.
        ssh.args(["--", destination.as_str(), &command]).stdout(Stdio::from(io::stderr()));
        let status = ssh.status().await.map_err(|error| {
            let hint = match error.kind() {
                io::ErrorKind::NotFound => {
                    "install it (Debian: openssh-client), or run `xvs host setup` there yourself"
                }
                _ => "run `xvs host setup` there yourself, and leave --ssh off",
            };
            Failure::failed(format!("cannot start ssh: {error}; {address} was not added")).hint(hint)
        })?;
        self.judge(destination, status)?;
        let vips: Vec<String> = vips.iter().map(|vip| format!(" --vip {vip}")).collect();
        let restore = format!("{} host restore{}", self.ssh_xvs, vips.concat());
        Ok(Some(SetUp { destination: destination.clone(), restore }))
    }

    /// Returns the arguments of xvs on the real server: addresses and names of methods, which need no quotes
    /// in any shell.
    fn setup(&self, vips: &[IpAddr], rip: IpAddr, forward: Forward, tunnel: Tunnel) -> String {
        let vips: Vec<String> = vips.iter().map(|vip| format!(" --vip {vip}")).collect();
        let decap = if forward == Forward::Tun && !tunnel.is_ipip() { " --decap xdp" } else { "" };
        let persist = if self.persist { " --persist" } else { "" };
        format!("host setup{} --forward {forward} --rip {rip}{decap}{persist}", vips.concat())
    }

    fn judge(&self, destination: &str, status: ExitStatus) -> Result<(), Failure> {
        let failed = |what: String| Failure::failed(format!("{what}; the real was not added"));
        match status.code() {
            Some(0) => Ok(()),
            Some(OWN_FAILURE) => {
                Err(failed(format!("ssh cannot reach {destination}, or ended early")).hint(format!(
                    "`ssh {destination} true` must work; put keys, ports and jump hosts into \
                     ~/.ssh/config"
                )))
            }
            Some(NO_COMMAND) => Err(failed(format!("there is no `{}` on {destination}", self.ssh_xvs))
                .hint("copy xvs there, or name its path with --ssh-xvs")),
            Some(code) => Err(failed(format!("setting up {destination} failed (exit code {code})")).hint(
                "its message is above, and its changes are reverted; a user other than root needs \
                 `--ssh-xvs 'sudo xvs'`",
            )),
            None => Err(failed("ssh was killed".to_owned())
                .hint(format!("`xvs host check` on {destination} shows what is set up"))),
        }
    }
}

impl SetUp {
    /// Adds to a failure how to undo the setup of the real server.
    pub(super) fn in_vain(self, failure: Failure) -> Failure {
        let back = format!("`ssh {} {}` reverts the set-up there", self.destination, self.restore);
        let hint = failure.hint.as_ref().map_or(back.clone(), |hint| format!("{hint}; {back}"));
        failure.hint(hint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_there_says_all_that_matters() {
        let args = SshArgs { ssh: Some("root@real1".into()), ssh_xvs: "xvs".into(), persist: true };
        let vips = ["192.0.2.100".parse().unwrap(), "2001:db8::100".parse().unwrap()];
        let rip = "fd00::11".parse().unwrap();
        assert_eq!(
            args.setup(&vips, rip, Forward::Tun, Tunnel::Gre { csum: false }),
            "host setup --vip 192.0.2.100 --vip 2001:db8::100 --forward tun --rip fd00::11 --decap xdp \
             --persist"
        );
        let args = SshArgs { persist: false, ..args };
        assert_eq!(
            args.setup(&vips[..1], rip, Forward::Dr, Tunnel::Ipip),
            "host setup --vip 192.0.2.100 --forward dr --rip fd00::11"
        );
    }

    #[tokio::test]
    async fn one_host_is_set_up_at_a_time() {
        let args = SshArgs { ssh: Some("root@real1".into()), ssh_xvs: "xvs".into(), persist: false };
        let reals = ["10.0.0.11", "10.0.0.12"].map(|real| real.parse().unwrap());
        let nobody_asks = std::future::pending();
        let Err(failure) = args.set_up(nobody_asks, &reals, &RealOptions::default(), true).await else {
            panic!("two were set up");
        };
        assert_eq!(failure.message, "--ssh sets up one real server, and 2 are given");
    }

    #[test]
    fn a_host_is_no_option() {
        assert!(destination("-oProxyCommand=reboot").is_err());
        assert!(destination("").is_err());
        assert_eq!(destination("root@10.0.0.11").as_deref(), Ok("root@10.0.0.11"));
    }
}
