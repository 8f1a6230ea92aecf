// SPDX-License-Identifier: MIT OR Apache-2.0
//! The XDP program that passes everything, for the peers of devices that send by XDP.

use std::{fs, path::Path};

use aya::{
    Ebpf,
    programs::{Xdp, XdpMode, links::FdLink},
};

use super::Host;
use crate::artifacts;

/// Attaches the program to `devices` of `host` in driver mode.
///
/// The links are pinned below `pins`, so that they last as long as the lab and not as this process.
#[track_caller]
pub fn attach<'a>(host: &Host, devices: impl IntoIterator<Item = &'a str> + Send, pins: &Path) {
    let pins = pins.join("stub");
    fs::create_dir_all(&pins).expect("the lab's bpffs is writable");
    let mut ebpf = Ebpf::load_file(artifacts::stub()).expect("the stub is a valid object");
    let stub: &mut Xdp =
        ebpf.program_mut("stub").expect("the stub's name").try_into().expect("the stub is an XDP program");
    stub.load().expect("the kernel takes a program that passes everything");
    host.run(|| {
        for device in devices {
            let attached = stub.attach(device, XdpMode::Driver);
            let id =
                attached.unwrap_or_else(|error| panic!("stub on {device} of {}: {error:?}", host.name()));
            let link = stub.take_link(id).expect("it has just been attached");
            let link = FdLink::try_from(link).expect("this kernel has BPF links (5.7)");
            link.pin(pins.join(device)).expect("the lab's bpffs is writable");
        }
    });
}
