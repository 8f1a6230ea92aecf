// SPDX-License-Identifier: MIT OR Apache-2.0
//! A Debian system with systemd as its process 1, in the network namespace of a host of the lab.

use std::{fs, path::PathBuf, process::Command};

use super::{Host, Outcome, Process, eventually};

/// Mounts the file systems of a system at its root folder, enters it, and becomes its process 1. The arguments are
/// the control group and the root folder.
const BOOT: &str = r#"
set -eu
if [ "$1" != inside ]; then
    echo $$ > "$1/cgroup.procs"
    exec unshare --mount --pid --fork --kill-child --uts --ipc --cgroup sh -c "$0" "$0" inside "$2"
fi
root=$2
mount --make-rprivate /
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t bpf -o mode=0700 bpf "$root/sys/fs/bpf"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/tmp"
mount -t tmpfs -o mode=755 dev "$root/dev"
cd "$root/dev"
mknod -m 666 null c 1 3
mknod -m 666 zero c 1 5
mknod -m 666 full c 1 7
mknod -m 666 random c 1 8
mknod -m 666 urandom c 1 9
mknod -m 666 tty c 5 0
mkdir pts shm mqueue hugepages
mount -t devpts -o newinstance,ptmxmode=0666 devpts pts
ln -s pts/ptmx ptmx
ln -s /proc/self/fd fd
hostname "$(basename "$root")"
cd "$root"
mkdir -p old
pivot_root . old
umount --lazy /old
# systemd mounts nothing of its own in a container; everything is there.
exec env -i container=lab PATH=/usr/sbin:/usr/bin:/sbin:/bin /sbin/init
"#;

/// A running system. Dropping it ends all of its processes.
#[must_use]
pub struct Machine<'a> {
    host: &'a Host,
    process: Process,
    /// Its process 1, as seen from here.
    init: String,
    group: PathBuf,
}

impl<'a> Machine<'a> {
    /// Boots the system in `root`, and waits until its services have been started.
    #[track_caller]
    pub fn boot(host: &'a Host, root: &str) -> Self {
        let mounts = fs::read_to_string("/proc/mounts").expect("/proc is there");
        let group = mounts
            .lines()
            .find_map(|line| {
                let mut words = line.split(' ').skip(1);
                let place = words.next()?;
                (words.next() == Some("cgroup2")).then_some(place)
            })
            .expect("systemd needs control groups, and no cgroup2 file system is mounted");
        let group = PathBuf::from(group).join(host.ns().name());
        fs::create_dir_all(&group).expect("root may make a control group");
        let mut command = Command::new("sh");
        command.args(["-c", BOOT, BOOT]).arg(&group).arg(root);
        let mut process = host.start("systemd", &mut command);
        let unshare = process.id();
        let init = process.is_ready_when(|| {
            let children = fs::read_to_string(format!("/proc/{unshare}/task/{unshare}/children"));
            let child = children.unwrap_or_default().trim().to_owned();
            let name = fs::read_to_string(format!("/proc/{child}/comm")).unwrap_or_default();
            if name.trim() == "systemd" { Ok(child) } else { Err(format!("process {child} is {name}")) }
        });
        let machine = Self { host, process, init, group };
        eventually("the system has booted", || {
            let state = machine.sh("systemctl is-system-running --wait");
            if state.is_success() { Ok(()) } else { Err(state.to_string()) }
        });
        machine
    }

    /// Runs a line of a shell inside.
    #[track_caller]
    pub fn sh(&self, line: &str) -> Outcome {
        let enter =
            ["nsenter", "--mount", "--pid", "--uts", "--ipc", "--cgroup", "--root", "--wd", "--target"];
        self.host.exec(enter.into_iter().chain([self.init.as_str(), "sh", "-c", line]))
    }
}

impl Drop for Machine<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let journal = self.sh("journalctl --no-pager --lines 60");
            eprintln!("{journal}");
        }
        // It ignores SIGTERM, and its end kills process 1, whose end kills all others.
        self.process.kill();
        // The groups of processes that are still dying cannot be removed yet.
        eventually("the control groups are gone", || {
            let mut find = Command::new("find");
            let output =
                find.arg(&self.group).args(["-depth", "-type", "d", "-exec", "rmdir", "{}", ";"]).output();
            if self.group.exists() { Err(format!("{output:?}")) } else { Ok(()) }
        });
    }
}
