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
        assert_eq!(Caller { peer: local, token: None }.to_string(), "root (uid 0, pid 7)");
        let peer = Peer::Tcp("192.0.2.1:5000".parse().unwrap());
        let token = Some(("alice".into(), Role::Write));
        assert_eq!(Caller { peer, token }.to_string(), "alice (token) from 192.0.2.1:5000");
    }
}
