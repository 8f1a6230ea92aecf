// SPDX-License-Identifier: MIT OR Apache-2.0
//! Virtual machines with other kernels: Debian's, under qemu's software emulation, with this machine's root
//! file system. Nothing but packages is installed here; the rest is in the target folder.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    setup,
    shell::{self, say},
    workspace,
};

/// The emulator, what a guest boots with, and what loads its modules.
const PACKAGES: &[&str] = &["qemu-system-x86", "busybox-static", "kmod", "python3-venv"];

/// The package that boots a kernel on the host's root file system.
const VIRTME: &str = "virtme-ng==1.42";

/// Seconds that a machine may take to boot and to stop.
pub const BOOT: u32 = 60;

/// A folder with the tools to boot a guest.
pub struct VirtualMachine {
    /// Folder of the programs of virtme-ng.
    programs: PathBuf,
}

fn folder() -> PathBuf {
    workspace::target().join("vm")
}

/// Installs what boots guests.
pub fn install() -> Result<VirtualMachine> {
    setup::packages(PACKAGES)?;
    let venv = folder().join("venv");
    let programs = venv.join("bin");
    if !programs.join("vng").exists() {
        shell::run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
        shell::run(Command::new(programs.join("pip")).args(["install", "--quiet", VIRTME]))?;
    }
    Ok(VirtualMachine { programs })
}

/// A kernel and its modules, unpacked.
pub struct Kernel {
    /// Release, as printed by `uname -r`.
    release: String,
    folder: PathBuf,
}

impl Kernel {
    /// Returns the newest of Debian's kernels of this version ("6.12"); fetches it if it is missing.
    pub fn find_or_fetch(version: &str) -> Result<Self> {
        let folder = folder().join(version);
        if let Some(release) = release(&folder) {
            return Ok(Self { release, folder });
        }
        let package = newest_package(version)?;
        say!("fetching {package}");
        // Unpacked beside its place first: a half-done one is never taken for whole.
        let part = self::folder().join(format!("{version}.part"));
        if part.exists() {
            std::fs::remove_dir_all(&part)?;
        }
        std::fs::create_dir_all(&part)?;
        shell::run(Command::new("apt-get").args(["--quiet", "download", &package]).current_dir(&part))?;
        let archive = std::fs::read_dir(&part)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
            .context("apt-get download left no package")?;
        shell::run(Command::new("dpkg-deb").arg("-x").args([&archive, &part]))?;
        std::fs::remove_file(&archive)?;
        let release = release(&part).with_context(|| format!("{package} holds no kernel"))?;
        shell::run(shell::root("depmod").arg("-b").arg(&part).arg(&release))?;
        std::fs::rename(&part, &folder)?;
        Ok(Self { release, folder })
    }

    fn image(&self) -> PathBuf {
        self.folder.join("boot").join(format!("vmlinuz-{}", self.release))
    }
}

/// Returns the release of the kernel that is unpacked in a folder.
fn release(folder: &Path) -> Option<String> {
    std::fs::read_dir(folder.join("boot")).ok()?.find_map(|entry| {
        Some(entry.ok()?.file_name().to_string_lossy().strip_prefix("vmlinuz-")?.to_owned())
    })
}

fn newest_package(version: &str) -> Result<String> {
    let search = || {
        let pattern = format!("^linux-image-{}[.][0-9]+[-+].*amd64$", version.replace('.', "[.]"));
        let list = shell::ask(Command::new("apt-cache").args(["search", "--names-only", &pattern]))?;
        let plain = |name: &&str| !["-rt-", "-cloud-", "-dbg", "-unsigned"].iter().any(|w| name.contains(w));
        let names: Vec<String> =
            list.lines().filter_map(|line| line.split(' ').next()).filter(plain).map(str::to_owned).collect();
        names.into_iter().max_by_key(|name| numbers(name))
    };
    if let Some(name) = search() {
        return Ok(name);
    }
    shell::run(shell::root("apt-get").args(["--quiet", "update"]))?;
    search().with_context(|| {
        format!("Debian's archive has no linux-image-{version}\nhint: `apt-cache search linux-image` lists those that it has")
    })
}

/// Returns the numbers in a name, to compare versions by.
fn numbers(name: &str) -> Vec<u64> {
    name.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
}

/// A machine that boots, runs one command as root, and stops.
pub struct Guest<'a> {
    machine: &'a VirtualMachine,
    kernel: Kernel,
    /// Network cards on one wire, as qemu calls them.
    cards: &'static [&'static str],
}

impl<'a> Guest<'a> {
    /// Returns a machine with this kernel.
    pub fn new(machine: &'a VirtualMachine, kernel: Kernel) -> Self {
        Self { machine, kernel, cards: &[] }
    }

    /// Gives the machine network cards, on a wire of their own.
    pub const fn with_cards(mut self, cards: &'static [&'static str]) -> Self {
        self.cards = cards;
        self
    }

    /// Boots, runs a shell command within that many seconds, and fails if it does.
    pub fn run(&self, command: &str, seconds: u32) -> Result<()> {
        say!("on Linux {}, emulated:", self.kernel.release);
        // The exit code of a guest is lost if the guest crashes: only this line proves success. Console
        // output that is pending when the guest powers down is lost: the pause lets it through.
        let script = format!("{{ {command}; }} && echo {DONE}; sleep 1");
        let mut vng = Command::new("timeout");
        vng.args(["--kill-after=5", &seconds.to_string()]).arg(self.machine.programs.join("vng"));
        vng.arg("--run").arg(self.kernel.image());
        // /dev/kvm may exist and not work; 9p and the plain machine are the ones that Debian's kernels
        // support. Without --verbose, output comes by a device that these kernels have only as a module.
        vng.args(["--disable-kvm", "--force-9p", "--disable-microvm", "--verbose", "--user", "root"]);
        vng.args(["--memory", "4G", "--cpus", "2", "--rw"]);
        let mut options = "-accel tcg,thread=multi -cpu max".to_owned();
        for (number, card) in self.cards.iter().enumerate() {
            let _infallible = write!(
                options,
                " -netdev hubport,id=wire{number},hubid=0 -device {card},netdev=wire{number}"
            );
        }
        vng.arg(format!("--qemu-opts={options}")).arg("--");
        vng.arg(&script);
        let path = std::env::var("PATH").unwrap_or_default();
        vng.env("PATH", format!("{}:{path}:/usr/sbin", self.machine.programs.display()));
        let (mut began, mut done) = (false, false);
        shell::lines(&mut vng, |line| {
            let line = line.trim_end();
            done |= line.ends_with(DONE);
            // The console has the kernel's messages too.
            if began && !line.starts_with('[') {
                eprintln!("{line}");
            }
            began |= line.contains("starting script");
        })?;
        if !done {
            bail!(
                "the guest with Linux {} did not finish `{command}` within {seconds} seconds, or it failed",
                self.kernel.release
            );
        }
        Ok(())
    }
}

const DONE: &str = "guest: done";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newer_packages_have_higher_numbers() {
        assert!(numbers("linux-image-6.12.117+deb12-amd64") > numbers("linux-image-6.12.9+deb12-amd64"));
    }
}
