// SPDX-License-Identifier: MIT OR Apache-2.0
//! The CLI's side of the API.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request, body::Bytes};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::net::UnixStream;

use crate::failure::Failure;

/// A daemon behind a unix socket.
#[derive(Clone, Debug)]
pub struct Api {
    socket: PathBuf,
}

impl Api {
    /// The daemon that listens on `socket`.
    #[must_use]
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    /// Asks for something.
    ///
    /// # Errors
    /// Unreachable if nobody answers, else what the daemon said.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.decode(&self.call(Method::GET, path, Bytes::new(), "").await?)
    }

    /// Asks for a text.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn get_text(&self, path: &str) -> Result<String, Failure> {
        let body = self.call(Method::GET, path, Bytes::new(), "").await?;
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    /// Asks for a change.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Failure> {
        let body = serde_json::to_vec(body).map_err(|error| Failure::failed(error.to_string()))?;
        self.decode(&self.call(Method::POST, path, body.into(), "application/json").await?)
    }

    /// Hands a text over.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn put_text<T: DeserializeOwned>(&self, path: &str, text: String) -> Result<T, Failure> {
        self.decode(&self.call(Method::PUT, path, text.into(), "text/plain; charset=utf-8").await?)
    }

    fn decode<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, Failure> {
        serde_json::from_slice(body).map_err(|error| self.strange(&error))
    }

    async fn call(&self, method: Method, path: &str, body: Bytes, kind: &str) -> Result<Bytes, Failure> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| {
            let failure =
                Failure::unreachable(format!("no xvs daemon answers on {}: {error}", self.socket.display()));
            if error.kind() == std::io::ErrorKind::PermissionDenied {
                return failure.hint("the socket is its owner's alone: run this as root");
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
            .header("host", "xvs")
            .header("content-type", kind)
            .body(Full::new(body))
            .map_err(|error| self.strange(&error))?;
        let response = sender.send_request(request).await.map_err(|error| self.strange(&error))?;
        let status = response.status();
        let body = response.into_body().collect().await.map_err(|error| self.strange(&error))?.to_bytes();
        driver.abort();
        if status.is_success() {
            return Ok(body);
        }
        Err(serde_json::from_slice::<Failure>(&body).unwrap_or_else(|_| {
            self.strange(&format!("{status}: {}", String::from_utf8_lossy(&body).trim()))
        }))
    }

    fn strange(&self, why: &dyn std::fmt::Display) -> Failure {
        Failure::unreachable(format!("the daemon on {} answers strangely: {why}", self.socket.display()))
            .hint("are daemon and command of the same version? see `xvs status` and `xvs --version`")
    }
}
