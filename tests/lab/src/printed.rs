// SPDX-License-Identifier: MIT OR Apache-2.0
//! Command lines as xvs prints them, run by a shell on the machine that they are meant for.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use super::{Host, Lab, Outcome, Real, rip6};
use crate::artifacts;

impl Lab {
    /// Runs a command line as it was printed, by a shell on the machine called `place`: `director`, or an
    /// address of a real.
    ///
    /// The command `xvs` there is the one under test with the lab's paths, which are the system's otherwise.
    #[track_caller]
    pub fn run_as_printed(&self, place: &str, line: &str) -> Outcome {
        if place == "director" {
            let (socket, bpffs, state) =
                (self.director.socket(), self.director.bpffs(), self.director.state());
            let script = format!(
                "case $1 in detach) set -- \"$@\" --bpffs {} --state {};; esac\nexec {} --socket {} \"$@\"",
                bpffs.display(),
                state.display(),
                artifacts::xvs().display(),
                socket.display()
            );
            return shell(&self.director, &script, line);
        }
        let is_there =
            |rip: std::net::Ipv4Addr| [rip.to_string(), rip6(rip).to_string()].contains(&place.to_owned());
        let real = self.reals.iter().chain(&self.more_reals).find(|real| is_there(real.rip));
        let real = real.unwrap_or_else(|| panic!("no machine of the lab is called {place}: {line}"));
        shell(real, &on_real(real), line)
    }
}

impl Real {
    /// Writes a program that acts as `xvs` would on this machine, with this lab's paths.
    #[track_caller]
    pub fn xvs_program(&self) -> PathBuf {
        let programs = self.path("bin");
        fs::create_dir_all(&programs).expect("the lab's folder is writable");
        executable(&programs.join("xvs"), &on_real(self));
        programs.join("xvs")
    }
}

/// Returns the command line of `xvs` on a real.
fn on_real(real: &Real) -> String {
    format!(
        "state='--state {}' pins='--bpffs {}'\n\
         case $2 in check) state=;; restore|open) pins=;; esac\n\
         exec {} \"$@\" $state $pins",
        real.path("host.json").display(),
        real.bpffs().display(),
        artifacts::xvs().display(),
    )
}

/// Runs a line by a shell to which `xvs` is a script.
#[track_caller]
fn shell(host: &Host, script: &str, line: &str) -> Outcome {
    let programs = host.path("bin");
    fs::create_dir_all(&programs).expect("the lab's folder is writable");
    executable(&programs.join("xvs"), script);
    let path = format!("PATH={}:{}", programs.display(), super::host::search_path().display());
    host.exec(["env", &path, "sh", "-c", line])
}

#[track_caller]
fn executable(path: &Path, script: &str) {
    fs::write(path, format!("#!/bin/sh\n{script}\n")).expect("the lab's folder is writable");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("our own file");
}
