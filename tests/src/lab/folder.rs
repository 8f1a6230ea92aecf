// SPDX-License-Identifier: MIT OR Apache-2.0
//! A lab's place in the file system, and how everything of it goes away again.

use std::{
    env,
    fs::{self, File},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{self, Command},
    sync::atomic::{AtomicU32, Ordering},
};

use nix::mount::{MsFlags, mount};

/// How the folders of labs are called; the namespaces' names start with the rest of it.
const PREFIX: &str = "xvs-lab-";

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
        static LABS: AtomicU32 = AtomicU32::new(0);
        let id = format!("{}-{}", process::id(), LABS.fetch_add(1, Ordering::Relaxed));
        let path = env::temp_dir().join(format!("{PREFIX}{id}"));

        // Nobody may take a folder for dead that is made but not locked yet.
        let guard =
            File::create(env::temp_dir().join("xvs-lab.lock")).expect("the temporary folder is writable");
        guard.lock().expect("a lock on a local file");
        sweep();
        for part in ["files", "log", "bpf"] {
            fs::create_dir_all(path.join(part)).expect("the temporary folder is writable");
        }
        let lock = File::create(path.join("lock")).expect("the temporary folder is writable");
        lock.lock().expect("a lock on a new file");
        drop(guard);

        let folder = Self { path, id, _lock: lock };
        folder.write_delete_script(namespaces);
        mount(Some("bpf"), &folder.bpffs(), Some("bpf"), MsFlags::empty(), None::<&str>)
            .unwrap_or_else(|error| panic!("cannot mount a bpffs ({error}): the lab needs root"));
        folder
    }

    /// The full name of a namespace of this lab.
    pub fn namespace(&self, name: &str) -> String {
        format!("xvs-{}-{name}", self.id)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the bpffs is mounted.
    pub fn bpffs(&self) -> PathBuf {
        self.path.join("bpf")
    }

    /// What the web servers serve.
    pub fn files(&self) -> PathBuf {
        self.path.join("files")
    }

    /// Keeps the lab from being deleted, and says how to enter and delete it.
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

    /// One script deletes a lab, whoever calls it: `Drop`, a later lab, or a person after `--keep`.
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
    for entry in fs::read_dir(env::temp_dir()).into_iter().flatten().flatten() {
        let path = entry.path();
        let is_lab = entry.file_name().to_string_lossy().starts_with(PREFIX);
        let is_dead = || File::open(path.join("lock")).is_ok_and(|lock| lock.try_lock().is_ok());
        if is_lab && !path.join("keep").exists() && is_dead() {
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
