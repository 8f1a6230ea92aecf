// SPDX-License-Identifier: MIT OR Apache-2.0
//! A lab's place in the file system, and how everything of it goes away again.

use std::{
    fs::{self, File},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{self, Command},
    sync::atomic::{AtomicU32, Ordering},
};

use nix::mount::{MsFlags, mount};

/// Parent of the labs' folders. Not in /tmp: root runs scripts from here.
const LABS: &str = "/var/lib/xvs-lab";

/// Holds the bpffs, sockets, logs, configurations and a script that deletes the lab.
pub struct Folder {
    path: PathBuf,
    id: String,
    /// Locked while this process lives: who can lock it has found a dead lab.
    _lock: File,
}

impl Folder {
    /// Makes the folder of a new lab, after deleting those of dead processes.
    #[track_caller]
    pub fn create(namespaces: &[&str]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let id = format!("{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = Path::new(LABS).join(&id);
        fs::create_dir_all(LABS).unwrap_or_else(|error| panic!("{LABS}: {error} (the lab needs root)"));

        // No process may take a folder for abandoned that exists but is not locked yet.
        let guard = File::open(LABS).expect("it has just been made");
        guard.lock().expect("a lock on a local file");
        sweep();
        for part in ["files", "log", "bpf"] {
            fs::create_dir_all(path.join(part)).expect("root may write there");
        }
        let lock = File::create(path.join("lock")).expect("root may write there");
        lock.lock().expect("a lock on a new file");
        let folder = Self { path, id, _lock: lock };
        folder.write_delete_script(namespaces);
        drop(guard);

        mount(Some("bpf"), &folder.bpffs(), Some("bpf"), MsFlags::empty(), None::<&str>)
            .unwrap_or_else(|error| panic!("cannot mount a bpffs ({error}): the lab needs root"));
        folder
    }

    /// Returns the full name of a namespace of this lab.
    pub fn namespace(&self, name: &str) -> String {
        format!("xvs-{}-{name}", self.id)
    }

    /// Returns the path of the folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the mount point of the bpffs.
    pub fn bpffs(&self) -> PathBuf {
        self.path.join("bpf")
    }

    /// Returns the folder that the web servers serve.
    pub fn files(&self) -> PathBuf {
        self.path.join("files")
    }

    /// Keeps the lab after the program. Returns how to enter and how to delete it.
    pub fn keep(&self) -> String {
        fs::write(self.path.join("keep"), "").expect("the lab's folder is writable");
        let (enter, script) = (self.namespace("director"), self.script());
        format!(
            "The lab stays up: namespaces {}, files in {}\n  enter it:  ip netns exec {enter} bash\n  delete it: {}",
            self.namespace("*"),
            self.path.display(),
            script.display(),
        )
    }

    fn script(&self) -> PathBuf {
        self.path.join("delete")
    }

    /// Writes the script that deletes the lab, for every caller: `Drop`, a later lab, or a person after
    /// `--keep`.
    fn write_delete_script(&self, namespaces: &[&str]) {
        let names: Vec<String> = namespaces.iter().map(|name| self.namespace(name)).collect();
        let (names, path) = (names.join(" "), self.path.display());
        let text = format!(
            "#!/bin/sh\n\
             # Deletes this lab: the processes in its namespaces, the namespaces, the bpffs, the files.\n\
             for name in {names}; do\n\
             \x20   [ -e /run/netns/$name ] || continue\n\
             \x20   ip netns pids $name | xargs --no-run-if-empty kill -9\n\
             \x20   ip netns delete $name\n\
             done\n\
             umount --lazy {path}/bpf\n\
             rm --recursive --one-file-system {path}\n"
        );
        fs::write(self.script(), text).expect("the lab's folder is writable");
        fs::set_permissions(self.script(), fs::Permissions::from_mode(0o755)).expect("our own file");
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        delete(&self.script());
    }
}

/// Deletes the labs of processes that are no more, unless they were to be kept.
fn sweep() {
    for path in fs::read_dir(LABS).into_iter().flatten().flatten().map(|entry| entry.path()) {
        let is_dead = || File::open(path.join("lock")).is_ok_and(|lock| lock.try_lock().is_ok());
        if !path.join("keep").exists() && is_dead() {
            delete(&path.join("delete"));
        }
    }
}

fn delete(script: &Path) {
    // Nothing more can be done from here, and a panic would hide that of the test.
    let deleted = Command::new(script).output();
    if !deleted.as_ref().is_ok_and(|output| output.status.success()) {
        eprintln!("{} failed: {deleted:?}", script.display());
    }
}
