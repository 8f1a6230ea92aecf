// SPDX-License-Identifier: MIT OR Apache-2.0
//! Asking the director what this host is to it.

use std::{fmt, net::IpAddr, str::FromStr, time::Duration};

use http_body_util::{BodyExt as _, Empty};
use hyper::{
    Request, StatusCode,
    body::Bytes,
    header::{AUTHORIZATION, ETAG, HOST, IF_NONE_MATCH},
    http::Uri,
};
use hyper_util::rt::TokioIo;
use nix::sys::socket::{setsockopt, sockopt};
use tokio::{net::TcpStream, time::timeout};

use crate::{
    api::{roles::Role, token::Token},
    failure::Failure,
};

/// How long everything but the director's own waiting may take.
const PATIENCE: Duration = Duration::from_secs(4);

/// Where a director's API for agents is: `http://HOST:PORT`.
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

/// What is asked.
pub(super) struct Ask<'a> {
    /// This host's addresses.
    pub(super) addresses: Vec<IpAddr>,
    /// What the director wants to see.
    pub(super) token: Token,
    /// What is known already.
    pub(super) tag: Option<&'a str>,
    /// How long to wait for something else than that.
    pub(super) wait: Duration,
}

/// What the director says.
#[derive(Debug)]
pub(super) enum Answer {
    /// These are this host's roles, and that is how the director knows them again.
    Roles(Vec<Role>, String),
    /// What is known already.
    AsKnown,
}

impl Address {
    /// Asks, and waits for the answer.
    pub(super) async fn ask(&self, ask: &Ask<'_>) -> Result<Answer, Failure> {
        let waiting = if ask.tag.is_some() { ask.wait } else { Duration::ZERO };
        let silent = || self.unreachable(&"it is silent");
        let stream = timeout(PATIENCE, TcpStream::connect(&self.0)).await.map_err(|_| silent())?;
        let stream = stream.map_err(|error| self.unreachable(&error))?;
        notice_silence(&stream).map_err(|error| self.unreachable(&error))?;
        timeout(PATIENCE + waiting, self.exchange(stream, ask)).await.map_err(|_| silent())?
    }

    async fn exchange(&self, stream: TcpStream, ask: &Ask<'_>) -> Result<Answer, Failure> {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|e| self.unreachable(&e))?;
        let _driver = Driver(tokio::spawn(async move { drop(connection.await) }));
        let addresses: Vec<String> = ask.addresses.iter().map(ToString::to_string).collect();
        let mut request = Request::get(format!("/v1/roles?addresses={}", addresses.join(",")))
            .header(HOST, &self.0)
            .header(AUTHORIZATION, ask.token.header());
        if let Some(tag) = ask.tag {
            request =
                request.header(IF_NONE_MATCH, tag).header("prefer", format!("wait={}", ask.wait.as_secs()));
        }
        let request = request.body(Empty::<Bytes>::new()).map_err(|error| self.strange(&error))?;
        let response = sender.send_request(request).await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        let tag = response.headers().get(ETAG).and_then(|tag| tag.to_str().ok()).map(str::to_owned);
        let body = response.into_body().collect().await.map_err(|error| self.unreachable(&error))?.to_bytes();
        match (status, tag) {
            (StatusCode::NOT_MODIFIED, _) => Ok(Answer::AsKnown),
            (StatusCode::OK, Some(tag)) => {
                let roles = serde_json::from_slice(&body).map_err(|error| self.strange(&error))?;
                Ok(Answer::Roles(roles, tag))
            }
            (status, _) => Err(match serde_json::from_slice::<Failure>(&body) {
                Ok(failure) => Failure { message: format!("{self}: {}", failure.message), ..failure },
                Err(_) => self.strange(&status),
            }),
        }
    }

    fn unreachable(&self, why: &dyn fmt::Display) -> Failure {
        Failure::unreachable(format!("the director at {self} cannot be asked: {why}"))
            .hint("does `xvs run --api ADDR:PORT` run there, and does a firewall let this host in?")
    }

    fn strange(&self, why: &dyn fmt::Display) -> Failure {
        Failure::failed(format!("{self} answers strangely: {why}"))
            .hint("is it an xvs director, of the same version? see `xvs --version` on both")
    }
}

/// A director that lost its power closes no connection: the kernel is to ask for it while nothing is said, and to give up
/// when nothing is acknowledged.
fn notice_silence(stream: &TcpStream) -> nix::Result<()> {
    setsockopt(stream, sockopt::KeepAlive, &true)?;
    setsockopt(stream, sockopt::TcpKeepIdle, &1)?;
    setsockopt(stream, sockopt::TcpKeepInterval, &1)?;
    setsockopt(stream, sockopt::TcpKeepCount, &3)?;
    setsockopt(stream, sockopt::TcpUserTimeout, &PATIENCE.as_millis().try_into().unwrap_or(u32::MAX))
}

/// A task that ends with what needs it.
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
