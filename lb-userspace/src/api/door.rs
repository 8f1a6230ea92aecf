// SPDX-License-Identifier: MIT OR Apache-2.0
//! The gate of the TCP listener for people and programs: names of the host, tokens and roles, and the headers
//! of every answer.
#![forbid(unsafe_code)]

use std::{
    net::IpAddr,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::{Duration, Instant},
};

use axum::{
    Json,
    http::{HeaderName, HeaderValue, StatusCode, header, request::Parts, uri::Authority},
    response::{IntoResponse as _, Response},
};

use super::{
    access::{Need, Role, need},
    caller::{Caller, Peer},
    listener::Gate,
    proof::credentials,
    tokens::Tokens,
};
use lb_model::failure::Failure;

/// Scheme of the tokens in `Authorization`.
const SCHEME: &str = "Bearer";
/// Maximum size of the body of a request without the role `write`, in bytes.
const BODY: usize = 64 << 10;
/// Maximum size of a body that a token of the role `read` or `agent` may send to be planned, in bytes.
const PLAN: usize = 1 << 20;
/// Minimum interval of log lines about refused requests.
const TELL: Duration = Duration::from_secs(10);

/// Headers of every answer. The status page loads its files from this listener only, and no other page may frame
/// it or read from it.
const HEADERS: [(HeaderName, &str); 7] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
         font-src 'self'; manifest-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()"),
];

/// Settings of the listener.
#[derive(Clone, Debug, Default)]
pub struct DoorOptions {
    /// File with the tokens; without it, this listener refuses every change.
    pub tokens: Option<PathBuf>,
    /// Reading needs a token, too.
    pub closed: bool,
    /// Names of this host that requests may have in `Host`, beside addresses and `localhost`.
    pub hosts: Vec<String>,
}

/// Name and role of a token.
type Named = (Arc<str>, Role);

/// The gate.
pub struct Door {
    options: DoorOptions,
    tokens: RwLock<Tokens>,
    refused: Mutex<Refused>,
}

/// Number of refused requests since the last log line about them.
#[derive(Default)]
struct Refused {
    number: u64,
    told: Option<Instant>,
}

impl Door {
    /// Creates the gate, and reads the tokens.
    ///
    /// # Errors
    /// If the file of the tokens cannot be used.
    pub fn new(options: DoorOptions) -> Result<Self, Failure> {
        let tokens = options.tokens.as_deref().map(Tokens::read).transpose()?.unwrap_or_default();
        Ok(Self { options, tokens: RwLock::new(tokens), refused: Mutex::default() })
    }

    /// Returns whether there is a file with tokens.
    #[must_use]
    pub const fn has_tokens(&self) -> bool {
        self.options.tokens.is_some()
    }

    /// Reads the tokens again. Returns their number, or `None` without a file.
    ///
    /// # Errors
    /// If the file cannot be used; then the tokens stay as they are.
    pub fn reload(&self) -> Result<Option<usize>, Failure> {
        let Some(path) = &self.options.tokens else { return Ok(None) };
        let tokens = Tokens::read(path)?;
        let number = tokens.len();
        *self.tokens.write().unwrap_or_else(PoisonError::into_inner) = tokens;
        Ok(Some(number))
    }

    /// Returns whether a request is for this host by a name that it has: a page of another host that resolves to
    /// this one (DNS rebinding) has another name. With two headers `Host`, a proxy and this listener might read
    /// different ones (RFC 9112, section 3.2).
    fn knows_host(&self, head: &Parts) -> bool {
        if head.headers.get_all(header::HOST).iter().nth(1).is_some() {
            return false;
        }
        let authority = head.uri.authority().map(Authority::as_str);
        let header = head.headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let mut hosts = authority.into_iter().chain(header).peekable();
        hosts.peek().is_some() && hosts.all(|host| self.is_ours(host))
    }

    fn is_ours(&self, host: &str) -> bool {
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => host,
        };
        let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        bare.parse::<IpAddr>().is_ok()
            || name.eq_ignore_ascii_case("localhost")
            || self.options.hosts.iter().any(|known| known.eq_ignore_ascii_case(name))
    }

    /// Returns name and role of the token of a request; `None` if it has none.
    ///
    /// # Errors
    /// If the token is unknown.
    fn token(&self, head: &Parts) -> Result<Option<Named>, Failure> {
        let Some(shown) = head.headers.get(header::AUTHORIZATION) else { return Ok(None) };
        let secret = shown.to_str().ok().and_then(|shown| credentials(shown, SCHEME));
        let tokens = self.tokens.read().unwrap_or_else(PoisonError::into_inner);
        match secret.and_then(|secret| tokens.find(secret.as_bytes())) {
            Some(found) => Ok(Some(found)),
            None => Err(Failure::failed("the token is not one of this director").hint(
                "send the header `Authorization: Bearer SECRET`, with a secret of the file of --tokens",
            )),
        }
    }

    /// Decides about a request.
    fn decide(&self, head: &Parts) -> Result<Option<Named>, (StatusCode, Failure)> {
        if !self.knows_host(head) {
            let failure = Failure::wrong_input("the request is for a host that this director does not know")
                .hint("use its address, or add the name to http-hosts in [director]");
            return Err((StatusCode::MISDIRECTED_REQUEST, failure));
        }
        let role = match need(&head.method, head.uri.path()) {
            Need::Nothing => return Ok(None),
            Need::Reading if !self.options.closed => None,
            Need::Reading => Some(Role::Read),
            Need::Token(role) => Some(role),
        };
        let token = self.token(head).map_err(|failure| (StatusCode::UNAUTHORIZED, failure))?;
        match (role, &token) {
            (Some(role), None) => {
                let failure = Failure::failed(format!("this needs a token with the role {role}")).hint(
                    "send the header `Authorization: Bearer SECRET`; `xvs run --tokens FILE` has the secrets",
                );
                Err((StatusCode::UNAUTHORIZED, failure))
            }
            (Some(role), Some((name, has))) if *has < role => {
                let why = format!("this needs the role {role}, and the token {name} has the role {has}");
                Err((StatusCode::FORBIDDEN, Failure::failed(why)))
            }
            _ => Ok(token),
        }
    }

    /// Logs a refusal, at limited intervals.
    fn tell(&self, head: &Parts, peer: Peer, failure: &Failure) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.number += 1;
        if refused.told.is_some_and(|told| told.elapsed() < TELL) {
            return;
        }
        tracing::warn!(
            target: "audit",
            "{} requests refused, the last one from {peer}, {} {:?}: {}",
            refused.number,
            head.method,
            head.uri.path(),
            failure.message
        );
        *refused = Refused { number: 0, told: Some(Instant::now()) };
    }
}

impl Gate for Door {
    fn admit(&self, head: &mut Parts, peer: Peer, most: usize) -> Result<usize, Box<Response>> {
        match self.decide(head) {
            Ok(token) => {
                let body = match &token {
                    Some((_, Role::Write)) => most,
                    Some(_) => most.min(PLAN),
                    None => most.min(BODY),
                };
                head.extensions.insert(Caller { peer, token });
                Ok(body)
            }
            Err((status, failure)) => {
                self.tell(head, peer, &failure);
                let mut response = (status, Json(failure)).into_response();
                if status == StatusCode::UNAUTHORIZED {
                    let scheme = HeaderValue::from_static(SCHEME);
                    response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
                }
                Err(Box::new(response))
            }
        }
    }

    fn complete(&self, response: &mut Response) {
        let headers = response.headers_mut();
        for (name, value) in HEADERS {
            headers.insert(name, HeaderValue::from_static(value));
        }
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use axum::http::Request;

    use super::*;

    const PEER: Peer = Peer::Unknown;

    fn door(dir: &tempfile::TempDir, closed: bool) -> Door {
        let path = dir.path().join("tokens");
        fs::write(&path, "alice write 0123456789abcdef\ngraphs read fedcba9876543210\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        Door::new(DoorOptions { tokens: Some(path), closed, hosts: vec!["lb1.example".to_owned()] }).unwrap()
    }

    fn status(door: &Door, line: &str, host: &str, token: &str) -> u16 {
        let (method, path) = line.split_once(' ').unwrap();
        let mut request = Request::builder().method(method).uri(path).header("host", host);
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let (mut head, ()) = request.body(()).unwrap().into_parts();
        match door.admit(&mut head, PEER, 64 << 20) {
            Ok(_) => 200,
            Err(response) => response.status().as_u16(),
        }
    }

    #[test]
    fn reading_needs_no_token_and_writing_the_role_write() {
        let dir = tempfile::tempdir().unwrap();
        let open = door(&dir, false);
        let (write, read, host) = ("0123456789abcdef", "fedcba9876543210", "127.0.0.1:9472");
        for (line, without, with_read) in [
            ("GET /v1/status", 200, 200),
            ("GET /v1/connections", 401, 200),
            ("POST /v1/plan", 401, 200),
            ("POST /v1/changes", 401, 403),
            ("PUT /v1/config", 401, 403),
            ("POST /v1/roles", 401, 403),
            ("GET /nothing", 401, 403),
        ] {
            let got = ["", read, write, "0123456789abcdeF"].map(|token| status(&open, line, host, token));
            assert_eq!(got, [without, with_read, 200, 401], "{line}");
        }
        let closed = door(&dir, true);
        let got = ["", read].map(|token| status(&closed, "GET /v1/status", host, token));
        assert_eq!(got, [401, 200]);
        assert_eq!(status(&closed, "GET /", host, ""), 200);
    }

    #[test]
    fn a_name_that_the_host_does_not_have_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let door = door(&dir, false);
        for host in ["127.0.0.1", "[::1]:9472", "10.0.0.1:9472", "localhost:80", "LB1.example:9472"] {
            assert_eq!(status(&door, "GET /v1/status", host, ""), 200, "{host}");
        }
        for host in ["evil.example", "127.0.0.1.evil.example:80", "lb1.example.evil", "", "localhost.evil"] {
            assert_eq!(status(&door, "GET /v1/status", host, ""), 421, "{host}");
        }
        let request = Request::builder().uri("/v1/status").header("host", "[::1]").header("host", "[::1]");
        let (mut head, ()) = request.body(()).unwrap().into_parts();
        let refusal = door.admit(&mut head, PEER, 64 << 20).unwrap_err();
        assert_eq!(refusal.status().as_u16(), 421);
    }

    #[test]
    fn tokens_are_read_again_and_a_broken_file_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let door = door(&dir, false);
        let path = dir.path().join("tokens");
        let get = |token| status(&door, "GET /v1/config", "[::1]", token);
        fs::write(&path, "bob read 00112233445566778").unwrap();
        assert_eq!(door.reload().unwrap(), Some(1));
        assert_eq!((get("00112233445566778"), get("fedcba9876543210")), (200, 401));
        fs::write(&path, "bob read").unwrap();
        assert!(door.reload().is_err());
        assert_eq!(get("00112233445566778"), 200);
    }

    #[test]
    fn the_size_of_a_body_depends_on_the_role() {
        let dir = tempfile::tempdir().unwrap();
        let door = door(&dir, false);
        let most = |path: &str, token: &str| {
            let request = Request::builder().uri(path).header("host", "[::1]");
            let request = if token.is_empty() {
                request
            } else {
                request.header("authorization", format!("Bearer {token}"))
            };
            let (mut head, ()) = request.body(()).unwrap().into_parts();
            door.admit(&mut head, PEER, 64 << 20).unwrap()
        };
        assert_eq!(most("/v1/status", ""), 64 << 10);
        assert_eq!(most("/v1/config", "fedcba9876543210"), 1 << 20);
        assert_eq!(most("/v1/config", "0123456789abcdef"), 64 << 20);
    }
}
