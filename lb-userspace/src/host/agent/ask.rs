// SPDX-License-Identifier: MIT OR Apache-2.0
//! Requests to the director for the roles of this host.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    str::FromStr,
    time::Duration,
};

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Request, StatusCode,
    body::Bytes,
    header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, WWW_AUTHENTICATE},
    http::{Uri, response::Parts},
};
use hyper_util::rt::TokioIo;
use nix::sys::socket::{setsockopt, sockopt};
use tokio::{net::TcpStream, time::timeout};

use crate::api::{
    proof::{self, Nonce},
    roles::{self, Question, Role, Told},
    token::Token,
};
use lb_model::{failure::Failure, names};

/// Timeout of everything but the director's own waiting.
const PATIENCE: Duration = Duration::from_secs(4);

/// Maximum size of an answer, in bytes.
const MOST: usize = 16 << 20;

/// Address of a director's agent API: `http://HOST:PORT`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Address(String);

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let uri: Uri = text.parse().map_err(|error| format!("it is no URL: {error}"))?;
        match (uri.scheme_str(), uri.authority(), uri.port_u16()) {
            (Some("https"), ..) => {
                Err("the director speaks http; to encrypt it, lead it through a tunnel such as WireGuard"
                    .to_owned())
            }
            (Some("http"), Some(authority), Some(_)) if uri.path().trim_end_matches('/').is_empty() => {
                Ok(Self(authority.as_str().to_owned()))
            }
            _ => {
                Err("it must be http://HOST:PORT, as `xvs run --api HOST:PORT` has it on the director"
                    .to_owned())
            }
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.0)
    }
}

/// A request.
pub(super) struct Ask<'a> {
    /// Addresses of this host.
    pub(super) addresses: Vec<IpAddr>,
    /// Shared secret of director and agent.
    pub(super) token: Token,
    /// Tag of the roles that the agent knows.
    pub(super) tag: Option<&'a str>,
    /// Time for which the director may wait for other roles.
    pub(super) wait: Duration,
}

/// Answer of the director.
#[derive(Debug)]
pub(super) enum Answer {
    /// Roles of this host, and their tag.
    Roles(Vec<Role>, String),
    /// The roles are unchanged.
    AsKnown,
}

impl Address {
    /// Sends the request and waits for the answer. Returns the answer, and the address that it came from.
    pub(super) async fn ask(&self, ask: &Ask<'_>) -> Result<(Answer, IpAddr), Failure> {
        let waiting = if ask.tag.is_some() { ask.wait } else { Duration::ZERO };
        let silent = || self.unreachable(&"it is silent");
        let stream = timeout(PATIENCE, self.connect()).await.map_err(|_| silent())?;
        let stream = stream.map_err(|error| self.unreachable(&error))?;
        notice_silence(&stream).map_err(|error| self.unreachable(&error))?;
        let peer = stream.peer_addr().map_err(|error| self.unreachable(&error))?.ip().to_canonical();
        let answer =
            timeout(PATIENCE + waiting, self.exchange(stream, ask)).await.map_err(|_| silent())??;
        Ok((answer, peer))
    }

    /// Connects to the first address of the director that accepts.
    async fn connect(&self) -> io::Result<TcpStream> {
        let (host, port) = self.0.rsplit_once(':').unwrap_or((&self.0, ""));
        let port = port.parse().map_err(io::Error::other)?;
        let host = host.to_owned();
        let found = tokio::task::spawn_blocking(move || names::addresses(&host)).await??;
        let found: Vec<SocketAddr> = found.into_iter().map(|address| (address, port).into()).collect();
        TcpStream::connect(&found[..]).await
    }

    async fn exchange(&self, stream: TcpStream, ask: &Ask<'_>) -> Result<Answer, Failure> {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|e| self.unreachable(&e))?;
        let _driver = Driver(tokio::spawn(async move { drop(connection.await) }));
        let nonce =
            Nonce::random().map_err(|error| Failure::failed(format!("no random numbers: {error}")))?;
        let question = Question {
            time: proof::now(),
            nonce,
            addresses: ask.addresses.clone(),
            known: ask.tag.map(str::to_owned),
            wait: ask.wait.as_secs(),
        };
        let body = serde_json::to_vec(&question).map_err(|error| self.strange(&error))?;
        let request = Request::post("/v1/roles")
            .header(HOST, &self.0)
            .header(CONTENT_TYPE, "application/json")
            .header(AUTHORIZATION, ask.token.sign_question(&body))
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| self.strange(&error))?;
        let response = sender.send_request(request).await.map_err(|error| self.unreachable(&error))?;
        let (head, body) = response.into_parts();
        let body =
            Limited::new(body, MOST).collect().await.map_err(|error| self.unreachable(&error))?.to_bytes();
        let proof = head.headers.get(roles::PROOF).map(HeaderValue::as_bytes).unwrap_or_default();
        if head.status != StatusCode::OK {
            return Err(self.refused(&head, &body));
        }
        if !ask.token.signed_answer(proof, nonce, &body) {
            return Err(Failure::failed(format!(
                "{self} does not prove that it has the token: its answer is ignored"
            ))
            .hint("another program answers there, or a director with another token or version"));
        }
        let told: Told = serde_json::from_slice(&body).map_err(|error| self.strange(&error))?;
        Ok(told.roles.map_or(Answer::AsKnown, |roles| Answer::Roles(roles, told.tag)))
    }

    /// Returns the failure for a missing proof or an error. Text without a proof is only for the log.
    fn refused(&self, head: &Parts, body: &[u8]) -> Failure {
        let scheme =
            head.headers.get(WWW_AUTHENTICATE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if scheme.to_ascii_lowercase().starts_with("bearer") {
            return Failure::failed(format!("{self} wants the token itself, which the network could read"))
                .hint("the director is older than this agent: upgrade xvs there");
        }
        match serde_json::from_slice::<Failure>(body) {
            Ok(failure) => Failure { message: format!("{self}: {}", failure.message), ..failure },
            Err(_) => self.strange(&head.status),
        }
    }

    fn unreachable(&self, why: &dyn fmt::Display) -> Failure {
        Failure::unreachable(format!("the director at {self} cannot be asked: {why}"))
            .hint("does `xvs run --api ADDR:PORT` run there, and does a firewall let this host in?")
    }

    fn strange(&self, why: &dyn fmt::Display) -> Failure {
        Failure::failed(format!("{self} sent an unexpected response: {why}"))
            .hint("is it an xvs director, of the same version? see `xvs --version` on both")
    }
}

/// Enables keep-alive probes and a user timeout: a director that lost its power closes no connection, so the
/// kernel must notice that it acknowledges nothing.
fn notice_silence(stream: &TcpStream) -> nix::Result<()> {
    setsockopt(stream, sockopt::KeepAlive, &true)?;
    setsockopt(stream, sockopt::TcpKeepIdle, &1)?;
    setsockopt(stream, sockopt::TcpKeepInterval, &1)?;
    setsockopt(stream, sockopt::TcpKeepCount, &3)?;
    setsockopt(stream, sockopt::TcpUserTimeout, &PATIENCE.as_millis().try_into().unwrap_or(u32::MAX))
}

/// A task that is aborted when its owner is dropped.
struct Driver(tokio::task::JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_director_is_named_by_http_host_and_port() {
        for good in ["http://10.0.0.1:9470", "http://[fd00::1]:9470/", "http://director.example:9470"] {
            assert!(good.parse::<Address>().is_ok(), "{good}");
        }
        for bad in
            ["10.0.0.1:9470", "http://10.0.0.1", "https://10.0.0.1:9470", "http://10.0.0.1:9470/v1", ""]
        {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }
}
