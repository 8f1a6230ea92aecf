// SPDX-License-Identifier: MIT OR Apache-2.0
//! Listeners on TCP: they are bound before anything changes, and answer once traffic is forwarded.
#![forbid(unsafe_code)]

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use tokio::net::TcpListener;

use super::RunOptions;
use crate::{
    api::{
        door::{Door, DoorOptions},
        listener,
        tls::{Tls, TlsFiles, TlsListener},
        token::Token,
    },
    daemon::Shared,
    server::{agents, http, metrics},
};
use lb_control::config::Config;
use lb_model::failure::Failure;
use lb_model::text::count;

/// Bound listeners.
pub(super) struct Servers {
    metrics: Option<TcpListener>,
    agents: Option<(TcpListener, Token)>,
    http: Option<Http>,
}

/// The listener for people and programs.
struct Http {
    listener: TcpListener,
    tls: Option<Tls>,
    door: Arc<Door>,
}

/// What SIGHUP reads again.
pub(super) struct Files {
    door: Arc<Door>,
    tls: Option<Tls>,
}

impl Files {
    /// Reads tokens and certificates again, and logs the result.
    pub(super) fn reload(&self) {
        match self.door.reload() {
            Ok(Some(tokens)) => tracing::info!("SIGHUP: {} read", count(tokens, "token")),
            Ok(None) => {}
            Err(failure) => tracing::error!("SIGHUP: the tokens stay as they are: {}", failure.message),
        }
        match self.tls.as_ref().map(Tls::reload) {
            Some(Ok(())) => tracing::info!("SIGHUP: the certificate was read again"),
            Some(Err(failure)) => {
                tracing::error!("SIGHUP: the certificate stays as it is: {}", failure.message);
            }
            None => {}
        }
    }
}

impl Servers {
    /// Binds the listeners; flags take precedence over the config file.
    ///
    /// # Errors
    /// If an address cannot be bound, or a file with tokens cannot be used.
    pub(super) async fn bind(options: &RunOptions, config: &Config) -> Result<Self, Failure> {
        let metrics = match options.metrics.or(config.director.metrics.map(|at| at.0)) {
            Some(address) => Some(bind_metrics(address).await?),
            None => None,
        };
        Ok(Self {
            metrics,
            agents: bind_agents(options, config).await?,
            http: bind_http(options, config).await?,
        })
    }

    /// Starts to answer. Returns the files that SIGHUP reads again.
    pub(super) fn start(self, director: &Shared, reals: u32) -> Option<Files> {
        if let Some(metrics) = self.metrics {
            let router = http::complete(metrics::router(director.clone()));
            tokio::spawn(listener::serve(metrics, router, metrics::LIMITS));
        }
        if let Some((agents, token)) = self.agents {
            let router = agents::router(director.clone(), token);
            tokio::spawn(listener::serve(agents, router, agents::limits(reals)));
        }
        let Http { listener, tls, door } = self.http?;
        let router = http::router(director);
        if let Some(tls) = tls.clone() {
            let listener = TlsListener::new(listener, tls);
            tokio::spawn(listener::serve_through(door.clone(), listener, router, http::LIMITS));
        } else {
            tokio::spawn(listener::serve_through(door.clone(), listener, router, http::LIMITS));
        }
        Some(Files { door, tls })
    }
}

/// Binds the listener of the agent API and reads its token.
async fn bind_agents(options: &RunOptions, config: &Config) -> Result<Option<(TcpListener, Token)>, Failure> {
    let file = options.api_token_file.as_ref().or(config.director.api_token_file.as_ref());
    match (options.api.or(config.director.api.map(|at| at.0)), file) {
        (Some(address), Some(file)) => {
            let token = Token::read(file)?;
            Ok(Some((agents::bind(address).await?, token)))
        }
        (Some(address), None) => {
            Err(Failure::wrong_input(format!("the API for agents on {address} has no token"))
                .hint("name the file that holds it with --api-token-file, or api-token-file in [director]"))
        }
        (None, _) => Ok(None),
    }
}

/// Binds the listener for people and programs, and reads its tokens and certificates.
async fn bind_http(options: &RunOptions, config: &Config) -> Result<Option<Http>, Failure> {
    let section = &config.director;
    let Some(address) = options.http.or(section.http.map(|at| at.0)) else { return Ok(None) };
    let door = Door::new(DoorOptions {
        tokens: options.tokens.clone().or_else(|| section.tokens.clone()),
        closed: section.http_anonymous == Some(false),
        hosts: section.http_hosts.clone(),
    })?;
    let given = |option: &Option<PathBuf>, key: &Option<PathBuf>| option.clone().or_else(|| key.clone());
    let client_ca = given(&options.http_client_ca, &section.http_client_ca);
    let tls =
        match (given(&options.http_cert, &section.http_cert), given(&options.http_key, &section.http_key)) {
            (Some(cert), Some(key)) => Some(Tls::read(TlsFiles { cert, key, client_ca })?),
            (None, None) if client_ca.is_none() => None,
            _ => {
                return Err(Failure::wrong_input("TLS needs a certificate and its key")
                    .hint("give both --http-cert and --http-key, or http-cert and http-key in [director]"));
            }
        };
    if door.has_tokens() && tls.is_none() && !address.ip().is_loopback() {
        tracing::warn!(
            "tokens cross the network in the clear: {address} is not a loopback address, and has no TLS: give \
             --http-cert and --http-key"
        );
    }
    Ok(Some(Http { listener: http::bind(address).await?, tls, door: Arc::new(door) }))
}

async fn bind_metrics(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        Failure::failed(format!("cannot serve metrics on {address}: {error}"))
            .hint("is the port in use? `--metrics ADDR:PORT` names another")
    })
}
