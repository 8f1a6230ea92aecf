// SPDX-License-Identifier: MIT OR Apache-2.0
//! Client of the API, on the unix socket or over TCP.
#![forbid(unsafe_code)]

use std::{
    fmt, io,
    path::{Path, PathBuf},
    time::Duration,
};

use http_body_util::{BodyExt as _, Full};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::UnixStream,
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::remote::Remote;
use lb_model::failure::Failure;

/// Timeout of an answer.
const SHORT: Duration = Duration::from_secs(10);
/// Timeout of an answer to a slow request.
const LONG: Duration = Duration::from_mins(2);
/// Time between attempts to connect.
const BETWEEN: Duration = Duration::from_millis(20);

/// A connection to a daemon.
pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Where a daemon answers.
#[derive(Clone, Debug)]
enum Place {
    /// On a unix socket of this machine.
    Socket(PathBuf),
    /// On another machine.
    Remote(Box<Remote>),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => path.display().fmt(f),
            Self::Remote(remote) => remote.fmt(f),
        }
    }
}

/// A daemon.
#[derive(Clone, Debug)]
pub struct Api {
    place: Place,
}

impl Api {
    /// Creates a client of the daemon that listens on `socket`.
    #[must_use]
    pub fn new(socket: &Path) -> Self {
        Self { place: Place::Socket(socket.to_owned()) }
    }

    /// Returns whether the daemon is on this machine.
    #[must_use]
    pub const fn is_local(&self) -> bool {
        matches!(self.place, Place::Socket(_))
    }

    /// Creates a client of a daemon on another machine.
    #[must_use]
    pub fn remote(remote: Remote) -> Self {
        Self { place: Place::Remote(Box::new(remote)) }
    }

    /// Sends a GET request, and parses the answer.
    ///
    /// # Errors
    /// Unreachable if the daemon does not answer; otherwise the failure that the daemon reports.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.decode(&self.call(Method::GET, path, Bytes::new(), "").await?)
    }

    /// Sends a GET request whose answer has the same form if the state that it reports is bad (status 503).
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn get_state<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let (status, body) = self.call_any(Method::GET, path, Bytes::new(), "").await?;
        if status.is_success() || status == StatusCode::SERVICE_UNAVAILABLE {
            self.decode(&body)
        } else {
            Err(self.reported(status, &body))
        }
    }

    /// Sends a GET request whose answer is a text.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn get_text(&self, path: &str) -> Result<String, Failure> {
        let body = self.call(Method::GET, path, Bytes::new(), "").await?;
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    /// Sends a POST request for a change.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Failure> {
        let body = serde_json::to_vec(body).map_err(|error| Failure::failed(error.to_string()))?;
        self.decode(&self.call(Method::POST, path, body.into(), "application/json").await?)
    }

    /// Sends a text in a PUT request.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn put_text<T: DeserializeOwned>(&self, path: &str, text: String) -> Result<T, Failure> {
        self.decode(&self.call(Method::PUT, path, text.into(), "text/plain; charset=utf-8").await?)
    }

    /// Sends a text in a POST request.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn post_text<T: DeserializeOwned>(&self, path: &str, text: String) -> Result<T, Failure> {
        self.decode(&self.call(Method::POST, path, text.into(), "text/plain; charset=utf-8").await?)
    }

    fn decode<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, Failure> {
        serde_json::from_slice(body).map_err(|error| self.strange(&error))
    }

    async fn call(&self, method: Method, path: &str, body: Bytes, kind: &str) -> Result<Bytes, Failure> {
        let (status, body) = self.call_any(method, path, body, kind).await?;
        if status.is_success() { Ok(body) } else { Err(self.reported(status, &body)) }
    }

    /// Sends a request, and returns the answer with any status.
    async fn call_any(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        kind: &str,
    ) -> Result<(StatusCode, Bytes), Failure> {
        let patience = patience(path);
        timeout(patience, self.exchange(method, path, body, kind)).await.unwrap_or_else(|_| {
            let seconds = patience.as_secs();
            Err(Failure::unreachable(format!(
                "the daemon on {} has not answered for {seconds} s",
                self.place
            ))
            .hint(
                "it is stopped, or very busy; a requested change may still take effect: `xvs status` and \
                 `xvs export` show what is in force",
            ))
        })
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        kind: &str,
    ) -> Result<(StatusCode, Bytes), Failure> {
        let (response, driver) = self.send(method, path, body, kind).await?;
        let status = response.status();
        let body = response.into_body().collect().await.map_err(|error| self.strange(&error))?.to_bytes();
        driver.abort();
        Ok((status, body))
    }

    /// Sends a request. Returns the head of the answer, whose body is still to be read, and the task of the
    /// connection.
    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        kind: &str,
    ) -> Result<(Response<Incoming>, JoinHandle<hyper::Result<()>>), Failure> {
        let stream = self.connect().await.map_err(|error| {
            let failure =
                Failure::unreachable(format!("no xvs daemon answers on {}: {error}", self.place));
            if let Place::Remote(_) = self.place {
                return failure.hint("does `xvs run --http` listen there, and does this client trust its certificate (--server-ca)?");
            }
            if error.kind() == io::ErrorKind::PermissionDenied {
                return failure.hint("only root and members of the group xvs can use the socket: run this as root, or `usermod -aG xvs USER` and \
                     log in again");
            }
            failure.hint("is `xvs run` running? `--socket PATH` or XVS_SOCKET names another socket")
        })?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|e| self.strange(&e))?;
        let driver = tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", self.host())
            .header("content-type", kind);
        let request = match self.authorization() {
            Some(authorization) => request.header("authorization", authorization),
            None => request,
        };
        let request = request.body(Full::new(body)).map_err(|error| self.strange(&error))?;
        let response = sender.send_request(request).await.map_err(|error| self.strange(&error))?;
        Ok((response, driver))
    }

    /// Returns the failure in an answer that reports one.
    fn reported(&self, status: StatusCode, body: &[u8]) -> Failure {
        serde_json::from_slice::<Failure>(body)
            .unwrap_or_else(|_| self.strange(&format!("{status}: {}", String::from_utf8_lossy(body).trim())))
    }

    /// Sends a GET request whose answer is a stream of lines that may never end.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn stream(&self, path: &str) -> Result<Lines<'_>, Failure> {
        self.lines(self.send(Method::GET, path, Bytes::new(), "").await?).await
    }

    /// Sends a POST request whose answer is a stream of lines that may never end.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn post_stream(&self, path: &str, body: &impl Serialize) -> Result<Lines<'_>, Failure> {
        let body = serde_json::to_vec(body).map_err(|error| Failure::failed(error.to_string()))?;
        self.lines(self.send(Method::POST, path, body.into(), "application/json").await?).await
    }

    async fn lines(
        &self,
        (response, driver): (Response<Incoming>, JoinHandle<hyper::Result<()>>),
    ) -> Result<Lines<'_>, Failure> {
        let (status, body) = (response.status(), response.into_body());
        let mut lines = Lines { api: self, body, rest: Vec::new(), driver };
        if status.is_success() {
            return Ok(lines);
        }
        let mut text = Vec::new();
        while let Some(line) = lines.next().await? {
            text.extend_from_slice(line.as_bytes());
        }
        Err(self.reported(status, &text))
    }

    fn host(&self) -> &str {
        match &self.place {
            Place::Socket(_) => "xvs",
            Place::Remote(remote) => remote.authority(),
        }
    }

    fn authorization(&self) -> Option<String> {
        match &self.place {
            Place::Socket(_) => None,
            Place::Remote(remote) => remote.authorization(),
        }
    }

    /// Connects, and retries while the kernel's queue of connections is full.
    async fn connect(&self) -> io::Result<Box<dyn Io>> {
        let socket = match &self.place {
            Place::Remote(remote) => return remote.connect().await,
            Place::Socket(socket) => socket,
        };
        loop {
            match UnixStream::connect(socket).await {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(BETWEEN).await,
                other => return other.map(|stream| Box::new(stream) as Box<dyn Io>),
            }
        }
    }

    fn strange(&self, why: &dyn std::fmt::Display) -> Failure {
        Failure::unreachable(format!("the daemon on {} sent an unexpected response: {why}", self.place))
            .hint("are daemon and command of the same version? see `xvs status` and `xvs --version`")
    }
}

/// Lines of an answer, as they arrive.
pub struct Lines<'a> {
    api: &'a Api,
    body: Incoming,
    rest: Vec<u8>,
    driver: JoinHandle<hyper::Result<()>>,
}

impl Lines<'_> {
    /// Returns the next line, without its end; `None` after the last one.
    ///
    /// # Errors
    /// If the connection breaks.
    pub async fn next(&mut self) -> Result<Option<String>, Failure> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Ok(Some(String::from_utf8_lossy(&line[..end]).trim_end_matches('\r').to_owned()));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => self.rest.extend(frame.into_data().unwrap_or_default()),
                Some(Err(error)) => return Err(self.api.strange(&error)),
                None if self.rest.is_empty() => return Ok(None),
                None => {
                    let rest = std::mem::take(&mut self.rest);
                    return Ok(Some(String::from_utf8_lossy(&rest).into_owned()));
                }
            }
        }
    }
}

impl Drop for Lines<'_> {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Returns the timeout of an answer: requests that wait for the network, or may move a million flows, have a
/// longer one.
fn patience(path: &str) -> Duration {
    match path.split('?').next().unwrap_or(path) {
        "/v1/doctor" | "/v1/explain" | "/v1/resize" | "/v1/config" | "/v1/plan" | "/v1/batch"
        | "/v1/check-runs" | "/v1/sync/import" => LONG,
        _ => SHORT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lb_model::failure::FailureKind;

    #[tokio::test(start_paused = true)]
    async fn a_daemon_that_does_not_answer_is_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("sock");
        let _silent = tokio::net::UnixListener::bind(&socket).unwrap();
        let api = Api::new(&socket);
        for (path, seconds) in [("/v1/status", 10), ("/v1/changes", 10), ("/v1/config?name=x", 120)] {
            let began = tokio::time::Instant::now();
            let failure = api.get_text(path).await.unwrap_err();
            assert_eq!(began.elapsed().as_secs(), seconds, "{path}");
            assert_eq!(failure.kind, FailureKind::Unreachable);
            assert!(failure.message.ends_with(&format!("has not answered for {seconds} s")), "{failure}");
            assert!(failure.hint.unwrap().contains("may still take effect"));
        }
    }
}
