// SPDX-License-Identifier: MIT OR Apache-2.0
//! Forward methods: `lb_kind` and `lvs_method`.
#![forbid(unsafe_code)]

use super::{super::Kind, number::unsigned};
use lb_model::{Forward, Tunnel};

/// Method by which packets reach a real.
#[derive(Clone, Copy, Debug, Default)]
pub struct Way {
    /// Method, if given.
    pub forward: Option<Forward>,
    /// Encapsulation.
    pub tunnel: Tunnel,
}

/// Result of parsing a line.
#[derive(Debug)]
pub enum Taken {
    /// The line was carried over.
    Yes,
    /// The line was not carried over, or not exactly.
    No(String, Kind),
}

impl Way {
    /// Parses `METHOD [type ipip|gre|gue] [port N] [csum|nocsum|remcsum]`, with the options in any order. The
    /// method is set even if the options are invalid.
    pub fn take(&mut self, words: &[&str]) -> Taken {
        let forward = match words[1] {
            "NAT" => Forward::Nat,
            "DR" => Forward::Dr,
            "TUN" => Forward::Tun,
            // Only forks of keepalived for full NAT have this method.
            "FNAT" => Forward::Fnat,
            other => {
                let why = format!("keepalived knows no method {other} and ignores the line");
                return Taken::No(why, Kind::Setting);
            }
        };
        self.forward = Some(forward);
        match tunnel(&words[2..]) {
            Ok((tunnel, remote)) => {
                self.tunnel = tunnel;
                if remote {
                    let why = "remote checksums are not made: the tunnel has no checksum";
                    return Taken::No(why.to_owned(), Kind::Setting);
                }
            }
            Err(why) if forward == Forward::Tun => return Taken::No(why, Kind::Setting),
            // Options of another method are ignored.
            Err(_) => {}
        }
        Taken::Yes
    }
}

/// Parses the options of a tunnel. Also returns whether checksums are left to the receiver.
fn tunnel(words: &[&str]) -> Result<(Tunnel, bool), String> {
    let (mut kind, mut port, mut csum, mut remote) = ("ipip", 0, false, false);
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match *word {
            "type" => {
                kind = words.next().copied().unwrap_or_default();
                if !["ipip", "gre", "gue"].contains(&kind) {
                    return Err(format!("keepalived knows no tunnel of type {kind}"));
                }
            }
            "port" => {
                let text = words.next().copied().unwrap_or_default();
                let number = unsigned(text, 1, 65535, false).and_then(|number| u16::try_from(number).ok());
                port = number.ok_or_else(|| format!("{text} is no port"))?;
            }
            "nocsum" => (csum, remote) = (false, false),
            "csum" => (csum, remote) = (true, false),
            "remcsum" => (csum, remote) = (false, true),
            other => return Err(format!("keepalived knows no option {other} of a tunnel")),
        }
    }
    match kind {
        "gue" if port > 0 => Ok((Tunnel::Gue { port, csum }, remote)),
        "gre" if port == 0 && !remote => Ok((Tunnel::Gre { csum }, false)),
        "ipip" if port == 0 && !csum && !remote => Ok((Tunnel::Ipip, false)),
        _ => Err(format!("keepalived takes no such options of a tunnel by {kind}")),
    }
}
