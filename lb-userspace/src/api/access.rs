// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a request over TCP needs: the one table of routes and roles. A route that is not in the table needs the
//! role that may do everything, so that a new route is closed until the table opens it.
#![forbid(unsafe_code)]

use std::fmt;

use axum::http::Method;
use serde::{Deserialize, Serialize};

/// Role of a token. A role includes those before it.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Reads everything.
    Read,
    /// Also asks for the roles of real servers.
    Agent,
    /// Also changes everything.
    Write,
}

impl Role {
    /// Returns the role of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::Read, Self::Agent, Self::Write].into_iter().find(|role| role.to_string() == name)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Agent => "agent",
            Self::Write => "write",
        })
    }
}

/// Permission that a request needs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Need {
    /// Nothing: the files of the status page, which contain no data.
    Nothing,
    /// A token of any role, unless reading without a token is allowed.
    Reading,
    /// A token of at least this role.
    Token(Role),
}

/// Needs of all requests that need less than the role `write`. Requests that are costly or show addresses of
/// clients need a token in any case.
const LESS: [(&str, &str, Need); 19] = [
    ("GET", "/metrics", Need::Reading),
    ("GET", "/v1/status", Need::Reading),
    ("GET", "/v1/ready", Need::Reading),
    ("GET", "/v1/stats", Need::Reading),
    ("GET", "/v1/groups", Need::Reading),
    ("GET", "/v1/checks", Need::Reading),
    ("GET", "/v1/events", Need::Reading),
    ("GET", "/v1/live", Need::Reading),
    ("GET", "/v1/openapi.json", Need::Reading),
    ("GET", "/v1/connections", Need::Token(Role::Read)),
    ("GET", "/v1/sync", Need::Token(Role::Read)),
    ("GET", "/v1/config", Need::Token(Role::Read)),
    ("GET", "/v1/history", Need::Token(Role::Read)),
    ("GET", "/v1/revision", Need::Token(Role::Read)),
    ("GET", "/v1/doctor", Need::Token(Role::Read)),
    ("POST", "/v1/explain", Need::Token(Role::Read)),
    ("POST", "/v1/plan", Need::Token(Role::Read)),
    ("POST", "/v1/ipvs", Need::Token(Role::Read)),
    ("POST", "/v1/roles", Need::Token(Role::Agent)),
];

/// Returns what a request needs.
#[must_use]
pub fn need(method: &Method, path: &str) -> Need {
    let method = if method == Method::HEAD { "GET" } else { method.as_str() };
    if method == "GET" && (path == "/" || path.starts_with("/page/")) {
        return Need::Nothing;
    }
    let rule = LESS.iter().find(|(of_method, of_path, _)| *of_method == method && *of_path == path);
    rule.map_or(Need::Token(Role::Write), |(.., need)| *need)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_table_lacks_needs_the_highest_role() {
        for (method, path) in [
            (Method::POST, "/v1/changes"),
            (Method::POST, "/v1/trace"),
            (Method::PUT, "/v1/config"),
            (Method::POST, "/v1/status"),
            (Method::GET, "/v1/new"),
            (Method::GET, "/v1/status/"),
            (Method::POST, "/page/x"),
            (Method::OPTIONS, "/v1/status"),
        ] {
            assert_eq!(need(&method, path), Need::Token(Role::Write), "{method} {path}");
        }
        assert_eq!(need(&Method::HEAD, "/v1/status"), Need::Reading);
        assert_eq!(need(&Method::GET, "/"), Need::Nothing);
        assert_eq!(need(&Method::POST, "/v1/plan"), Need::Token(Role::Read));
    }

    #[test]
    fn a_role_includes_those_before_it() {
        assert!(Role::Write > Role::Agent && Role::Agent > Role::Read);
        for role in [Role::Read, Role::Agent, Role::Write] {
            assert_eq!(Role::named(&role.to_string()), Some(role));
        }
        assert_eq!(Role::named("root"), None);
    }
}
