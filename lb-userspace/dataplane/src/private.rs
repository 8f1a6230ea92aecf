// SPDX-License-Identifier: MIT OR Apache-2.0
//! Directories for pins that only this user can write: another user who replaces or removes a pin ends forwarding.
#![forbid(unsafe_code)]

use std::{
    fs::{self, DirBuilder, Permissions},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use nix::{
    mount::{MsFlags, mount},
    sys::statfs::{BPF_FS_MAGIC, statfs},
    unistd::geteuid,
};

/// Mode: no access for the group and others.
const MODE: u32 = 0o700;
/// Sticky bit: in a directory that all may write, only the owner of a file may remove it.
const STICKY: u32 = 0o1000;

/// This process mounted a bpffs that no other process can see, so that the pins end with the process.
static ENDS_WITH_US: AtomicBool = AtomicBool::new(false);

/// Returns whether this process mounted the bpffs in a mount namespace other than the system's, as in `ip
/// netns exec` or a container: its pins most likely end with the process.
pub fn pins_end_with_us() -> bool {
    ENDS_WITH_US.load(Ordering::Relaxed)
}

/// Returns whether this process is in the mount namespace of process 1, and is not process 1 itself.
fn is_in_first_namespace() -> bool {
    let namespace = |process: &str| fs::read_link(format!("/proc/{process}/ns/mnt")).ok();
    std::process::id() != 1 && namespace("self").is_some() && namespace("self") == namespace("1")
}

/// Mounts a bpffs if `path` is in none. A path below `/sys/fs/bpf` gets the usual mount there; any other
/// directory becomes a separate bpffs.
///
/// # Errors
/// If the system refuses.
pub fn mount_bpffs(path: &Path) -> io::Result<()> {
    let existing = path.ancestors().find(|p| p.is_dir()).unwrap_or(Path::new("/"));
    if statfs(existing)?.filesystem_type() == BPF_FS_MAGIC {
        return Ok(());
    }
    let standard = Path::new("/sys/fs/bpf");
    let target = if path.starts_with(standard) { standard } else { path };
    fs::create_dir_all(target)?;
    mount(Some("bpf"), target, Some("bpf"), MsFlags::empty(), Some("mode=0700"))?;
    ENDS_WITH_US.store(!is_in_first_namespace(), Ordering::Relaxed);
    Ok(())
}

/// Creates a directory that only this user can enter, or checks that the existing one is such.
///
/// # Errors
/// If it cannot be created, belongs to another user, or another user may have written into it or can replace it.
pub fn directory(path: &Path) -> io::Result<()> {
    let refuse = |why: String| Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    let me = geteuid().as_raw();
    if let Some(parent) = path.parent().filter(|parent| !parent.is_dir()) {
        DirBuilder::new().recursive(true).mode(MODE).create(parent)?;
    }
    if let Err(error) = DirBuilder::new().mode(MODE).create(path)
        && error.kind() != io::ErrorKind::AlreadyExists
    {
        return Err(error);
    }
    // Do not follow a symbolic link, which may lead to a place that another user can write.
    let found = fs::symlink_metadata(path)?;
    if !found.is_dir() {
        return refuse("it is not a directory".to_owned());
    }
    if found.uid() != me {
        return refuse(format!(
            "it belongs to user {}, who could remove the pins; remove the directory first",
            found.uid()
        ));
    }
    if found.mode() & 0o022 != 0 {
        return refuse(format!(
            "others may write there (mode {:o}); remove it, or look at its content and then `chmod 700` it",
            found.mode() & 0o7777
        ));
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        let above = fs::metadata(parent)?;
        if above.mode() & 0o022 != 0 && above.mode() & STICKY == 0 {
            return refuse(format!(
                "others may exchange it: {} has mode {:o}",
                parent.display(),
                above.mode() & 0o7777
            ));
        }
    }
    if found.mode() & 0o077 != 0 {
        // An earlier version of xvs created the directory: it cannot contain files of other users.
        fs::set_permissions(path, Permissions::from_mode(MODE))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{chown, symlink};

    use super::*;

    #[test]
    fn a_directory_is_ours_alone_or_refused() {
        let root = tempfile::tempdir().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
        let at = |name: &str, mode: u32| {
            let path = root.path().join(name);
            fs::create_dir(&path).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            path
        };
        let new = root.path().join("new/deep");
        directory(&new).unwrap();
        assert_eq!([mode(&new), mode(&root.path().join("new"))], [0o700, 0o700]);
        let old = at("old", 0o755);
        directory(&old).unwrap();
        assert_eq!(mode(&old), 0o700);
        for loose in [0o770, 0o777, 0o1777, 0o702] {
            let path = at(&format!("{loose:o}"), loose);
            assert!(directory(&path).is_err(), "{loose:o}");
            assert_eq!(mode(&path), loose, "it is left alone");
            // In a directory that all may write, only the sticky bit makes subdirectories safe.
            assert_eq!(directory(&path.join("below")).is_ok(), loose & STICKY != 0, "{loose:o}");
        }
        let link = root.path().join("link");
        symlink(&old, &link).unwrap();
        assert!(directory(&link).is_err());
        if geteuid().is_root() {
            let others = at("others", 0o700);
            chown(&others, Some(65534), None).unwrap();
            assert!(directory(&others).unwrap_err().to_string().contains("user 65534"));
        }
    }
}
