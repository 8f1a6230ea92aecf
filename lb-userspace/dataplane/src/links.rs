// SPDX-License-Identifier: MIT OR Apache-2.0
//! BPF links of other programs, by their ids. `ip link set … xdp off` does not detach them.
#![expect(unsafe_code, reason = "system calls that aya does not have")]

use std::{
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

/// Commands of the system call (`enum bpf_cmd`).
const OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const LINK_GET_FD_BY_ID: libc::c_long = 30;
const LINK_GET_NEXT_ID: libc::c_long = 31;
const LINK_DETACH: libc::c_long = 34;
/// `BPF_LINK_TYPE_XDP`.
const XDP: u32 = 6;

/// The first words of `union bpf_attr`, which suffice for all of these commands.
type Attributes = [u32; 4];

/// Start of `struct bpf_link_info`, as far as XDP needs it.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Info {
    kind: u32,
    id: u32,
    program: u32,
    _pad: u32,
    ifindex: u32,
    _rest: [u32; 11],
}

/// Returns the id of the link that attaches a program to a device; `None` if there is none, or more than one:
/// devices of other network namespaces may have the same index.
#[must_use]
pub fn of(program: u32, ifindex: u32) -> Option<u32> {
    let mut found = Vec::new();
    let mut id = 0;
    loop {
        let mut attributes: Attributes = [id, 0, 0, 0];
        if bpf(LINK_GET_NEXT_ID, &mut attributes).is_err() {
            break;
        }
        id = attributes[1];
        let info = open(id).and_then(|link| info(&link));
        if info.is_ok_and(|info| (info.kind, info.program, info.ifindex) == (XDP, program, ifindex)) {
            found.push(id);
        }
    }
    match found[..] {
        [one] => Some(one),
        _ => None,
    }
}

/// Detaches the link of that id, whichever process created it.
///
/// # Errors
/// If the link does not exist, or the caller lacks the permission.
pub fn detach(id: u32) -> io::Result<()> {
    let link = open(id)?;
    bpf(LINK_DETACH, &mut [link.as_raw_fd().cast_unsigned(), 0, 0, 0]).map(drop)
}

fn open(id: u32) -> io::Result<OwnedFd> {
    let fd = bpf(LINK_GET_FD_BY_ID, &mut [id, 0, 0, 0])?;
    // SAFETY: the kernel has just created the descriptor, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn info(link: &OwnedFd) -> io::Result<Info> {
    let mut info = Info::default();
    let address = &raw mut info as u64;
    let [low, high] = [address as u32, (address >> 32) as u32];
    #[cfg(target_endian = "big")]
    let [low, high] = [high, low];
    let mut attributes: Attributes = [link.as_raw_fd().cast_unsigned(), size_of::<Info>() as u32, low, high];
    bpf(OBJ_GET_INFO_BY_FD, &mut attributes)?;
    Ok(info)
}

fn bpf(command: libc::c_long, attributes: &mut Attributes) -> io::Result<i32> {
    // SAFETY: the kernel only reads and writes these words, and the buffer that a pointer among them refers
    // to: `info` passes the address of an `Info` with its size.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_mut_ptr(), size_of::<Attributes>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}
