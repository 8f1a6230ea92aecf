// SPDX-License-Identifier: MIT OR Apache-2.0
//! Unix socket between the CLI and the daemon.
#![forbid(unsafe_code)]

use std::{
    fs, io,
    os::unix::{
        fs::{FileTypeExt as _, PermissionsExt as _, lchown},
        net,
    },
    path::Path,
};

use nix::{
    sys::stat::{Mode, umask},
    unistd::{Gid, getgroups, setgroups},
};
use tokio::net::UnixListener;

use super::accounts;
use lb_model::failure::Failure;

/// Group whose members may use the socket, if it exists.
pub const GROUP: &str = "xvs";

/// Listens on a unix socket that only its owner and the members of [`GROUP`] may use. Replaces a socket on which no process listens any
/// more. Call this only while no other daemon can do the same: with the lock on the pins.
///
/// # Errors
/// If another daemon answers there, the path is a file other than a socket, or the socket cannot be created.
pub fn bind(path: &Path) -> Result<UnixListener, Failure> {
    let failed = |error: io::Error| {
        Failure::failed(format!("cannot listen on {}: {error}", path.display()))
            .hint("`--socket PATH` names another socket")
    };
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).map_err(failed)?;
    }
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(Failure::failed(format!(
                "{} exists and is not a socket; it was not changed",
                path.display()
            ))
            .hint("`--socket PATH` names another place for the socket, or remove that file yourself"));
        }
        Ok(_) => {
            if net::UnixStream::connect(path).is_ok() {
                return Err(Failure::failed(format!("another xvs daemon answers on {}", path.display()))
                    .hint(
                        "`xvs status` shows it; stop it first, or give this one its own --socket, --bpffs \
                         and --state",
                    ));
            }
            fs::remove_file(path).map_err(failed)?;
        }
    }
    // The socket has its mode from the beginning.
    let before = umask(Mode::from_bits_truncate(0o177));
    let listener = UnixListener::bind(path);
    umask(before);
    let listener = listener.map_err(failed)?;
    if let Some(group) = accounts::group_id(GROUP)
        && let Err(error) = open_to(path, group)
    {
        tracing::warn!("{} is for its owner alone: its group cannot be {GROUP}: {error}", path.display());
    }
    Ok(listener)
}

/// Lets the members of a group use a socket.
fn open_to(path: &Path, group: u32) -> io::Result<()> {
    lchown(path, None, Some(group))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o660))
}

/// Makes this process a member of [`GROUP`], if it exists: then it may give the socket to the group without a
/// further privilege. Must run before the first thread is started, with `CAP_SETGID`.
pub fn join_group() {
    let Some(group) = accounts::group_id(GROUP).map(Gid::from_raw) else { return };
    let mut groups = getgroups().unwrap_or_default();
    if !groups.contains(&group) {
        groups.push(group);
        // Without the privilege, the socket stays for its owner alone, and the daemon says so.
        let _not_allowed = setgroups(&groups);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, symlink};

    use super::*;

    #[tokio::test]
    async fn only_a_socket_without_a_listener_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sock");
        let precious = dir.path().join("precious");
        fs::write(&precious, "data").unwrap();
        let fifo = dir.path().join("fifo");
        nix::unistd::mkfifo(&fifo, Mode::S_IRWXU).unwrap();
        let link = dir.path().join("link");
        symlink(&precious, &link).unwrap();
        let dangling = dir.path().join("dangling");
        symlink(dir.path().join("nowhere"), &dangling).unwrap();
        let folder = dir.path().join("folder");
        fs::create_dir(&folder).unwrap();
        for taken in [&precious, &fifo, &link, &dangling, &folder] {
            let before = fs::symlink_metadata(taken).unwrap().file_type();
            let refused = bind(taken).unwrap_err();
            assert!(refused.message.contains("is not a socket"), "{refused}");
            assert_eq!(fs::symlink_metadata(taken).unwrap().file_type(), before);
        }
        assert_eq!(fs::read_to_string(&precious).unwrap(), "data");

        let first = bind(&path).unwrap();
        let mode = if accounts::group_id(GROUP).is_some() { 0o660 } else { 0o600 };
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode);
        let own = nix::unistd::getgid().as_raw();
        open_to(&path, own).unwrap();
        let found = fs::metadata(&path).unwrap();
        assert_eq!((found.permissions().mode() & 0o777, found.gid()), (0o660, own));
        assert!(bind(&path).unwrap_err().message.contains("another xvs daemon answers"));
        drop(first);
        bind(&path).unwrap();
    }
}
