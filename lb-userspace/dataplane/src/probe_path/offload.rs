// SPDX-License-Identifier: MIT OR Apache-2.0
//! Offloads of the prober's interface.
#![expect(unsafe_code, reason = "an ioctl that takes a pointer")]

use std::{
    io,
    os::fd::{AsRawFd as _, OwnedFd},
    ptr,
};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// `ETHTOOL_STXCSUM` (include/uapi/linux/ethtool.h).
const SET_TX_CHECKSUM: u32 = 0x17;
/// `ETHTOOL_STSO`.
const SET_TSO: u32 = 0x1f;
/// `ETHTOOL_SGSO`.
const SET_GSO: u32 = 0x24;
/// `ETHTOOL_SGRO`.
const SET_GRO: u32 = 0x2c;

/// `struct ethtool_value`.
#[repr(C)]
struct Setting {
    command: u32,
    value: u32,
}

/// Sets the offloads that an interface of the calling thread's namespace needs as the prober's end.
///
/// Its packets must be whole when XDP gets them: checksums complete, and no packet longer than the MTU. And
/// the driver must take frames that a program of another interface redirects to it: `veth` does so with GRO.
///
/// # Errors
/// If the kernel refuses.
pub(super) fn set(interface: &str) -> io::Result<()> {
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    // Without checksum offload, the kernel permits neither TSO nor GSO.
    for (command, value) in [(SET_TSO, 0), (SET_GSO, 0), (SET_TX_CHECKSUM, 0), (SET_GRO, 1)] {
        set_one(&socket, interface, Setting { command, value })?;
    }
    Ok(())
}

fn set_one(socket: &OwnedFd, interface: &str, mut setting: Setting) -> io::Result<()> {
    // SAFETY: `ifreq` is plain data, for which zero is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if interface.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_data = ptr::from_mut(&mut setting).cast();
    // SAFETY: the kernel reads the name and the setting, which live until the call returns.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
