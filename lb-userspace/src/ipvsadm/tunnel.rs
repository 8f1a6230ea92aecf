// SPDX-License-Identifier: MIT OR Apache-2.0
//! `--tun-type` and the options that go with it.
#![forbid(unsafe_code)]

use super::{legal::Topic, trouble::Trouble};
use lb_model::{Forward, Tunnel};

/// Returns the encapsulation of a real with that method. `has` returns whether an option was given.
///
/// # Errors
/// If options conflict, in ipvsadm's words, or if checksums should be left to the receiver, which xvs
/// refuses.
pub fn read(
    forward: Forward,
    kind: Option<&str>,
    port: Option<u16>,
    has: impl Fn(Topic) -> bool,
) -> Result<Tunnel, Trouble> {
    let options = [Topic::TunPort, Topic::TunNocsum, Topic::TunCsum, Topic::TunRemcsum];
    let given: Vec<Topic> = options.into_iter().filter(|topic| has(*topic)).collect();
    if forward != Forward::Tun {
        return if kind.is_none() && given.is_empty() {
            Ok(Tunnel::Ipip)
        } else {
            Err(Trouble::usage("Tunnel options conflict with forward method"))
        };
    }
    let kind = kind.unwrap_or("ipip");
    let illegal: &[Topic] = match kind {
        "gue" => &[],
        "gre" => &[Topic::TunPort, Topic::TunRemcsum],
        _ => &[Topic::TunPort, Topic::TunNocsum, Topic::TunCsum, Topic::TunRemcsum],
    };
    if let Some(option) = given.iter().find(|option| illegal.contains(option)) {
        let option = option.name();
        return Err(Trouble::usage(format!("Illegal '{option}' option with the '{kind}' tunnel type")));
    }
    let checksums: Vec<&Topic> = given.iter().filter(|topic| **topic != Topic::TunPort).collect();
    if let [first, second, ..] = checksums[..] {
        return Err(Trouble::usage(format!(
            "The option '{}' conflicts with the '{}' option in the '{kind}' tunnel type",
            second.name(),
            first.name()
        )));
    }
    if given.contains(&Topic::TunRemcsum) {
        return Err(Trouble::refused(
            "remote checksums are not made: tun-remcsum",
            "say --tun-csum, or --tun-nocsum: the packet inside has one",
        ));
    }
    let csum = given.contains(&Topic::TunCsum);
    match (kind, port) {
        ("gue", Some(port)) => Ok(Tunnel::Gue { port, csum }),
        ("gue", None) => {
            Err(Trouble::usage("You need to supply the 'tun-port' option for the 'gue' tunnel type"))
        }
        ("gre", _) => Ok(Tunnel::Gre { csum }),
        _ => Ok(Tunnel::Ipip),
    }
}
