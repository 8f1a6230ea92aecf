// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who sent a request, for the audit.
#![forbid(unsafe_code)]

use std::{fmt, net::SocketAddr, sync::Arc};

use super::{access::Role, accounts};

/// The other end of a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Peer {
    /// A client over TCP.
    Tcp(SocketAddr),
    /// A process of this host, as the kernel reports it (`SO_PEERCRED`).
    Local {
        /// User id of the process.
        uid: u32,
        /// Process id; `None` if the process is in another pid namespace.
        pid: Option<i32>,
    },
    /// The kernel did not report it.
    Unknown,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Local { uid, pid } => {
                let user = accounts::user_name(*uid);
                write!(f, "{} (uid {uid}", user.as_deref().unwrap_or("a user without a name"))?;
                match pid {
                    Some(pid) => write!(f, ", pid {pid})"),
                    None => f.write_str(")"),
                }
            }
            Self::Unknown => f.write_str("an unknown client"),
        }
    }
}

/// Sender of a request.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The other end of the connection.
    pub peer: Peer,
    /// Name and role of the token that the request has.
    pub token: Option<(Arc<str>, Role)>,
}

impl Caller {
    /// Returns the name of the user or the token, for the history.
    #[must_use]
    pub fn name(&self) -> String {
        match (&self.token, self.peer) {
            (Some((name, _)), _) => format!("{name} (token)"),
            (None, Peer::Local { uid, .. }) => {
                accounts::user_name(uid).unwrap_or_else(|| format!("uid {uid}"))
            }
            (None, peer) => peer.to_string(),
        }
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.token {
            Some((name, _)) => write!(f, "{name} (token) from {}", self.peer),
            None => self.peer.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_is_named_by_user_or_token() {
        let local = Peer::Local { uid: 0, pid: Some(7) };
        let root = Caller { peer: local, token: None };
        assert_eq!((root.to_string().as_str(), root.name().as_str()), ("root (uid 0, pid 7)", "root"));
        let peer = Peer::Tcp("192.0.2.1:5000".parse().unwrap());
        let token = Some(("alice".into(), Role::Write));
        let alice = Caller { peer, token };
        assert_eq!(alice.to_string(), "alice (token) from 192.0.2.1:5000");
        assert_eq!(alice.name(), "alice (token)");
    }
}
