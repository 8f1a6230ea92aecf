// SPDX-License-Identifier: MIT OR Apache-2.0
//! HTTP over a listener, for every server of xvs, with limits, so that slow, idle or numerous clients do not
//! affect others.
#![forbid(unsafe_code)]

use std::{
    convert::Infallible,
    future::Future,
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
};
use tower_service::Service as _;

use super::{
    crowd::{Crowd, Ticket, Watched},
    request::Refusal,
};
use lb_model::failure::Failure;

/// Maximum size of the head of a request, in bytes.
const HEAD: usize = 64 << 10;
/// Pause after the system had no descriptor for a connection.
const PAUSE: Duration = Duration::from_millis(50);
/// Minimum interval of log lines about a failing listener.
const TELL: Duration = Duration::from_mins(1);

/// Limits of a server.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Maximum number of connections. Another one replaces the longest idle one, or waits if all are being
    /// answered.
    pub connections: usize,
    /// Maximum number of connections without a request that is being answered.
    pub idle: usize,
    /// Maximum size of the body of a request, in bytes.
    pub body: usize,
}

/// Address of a client, for the log.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// A source of connections.
pub trait Listen: Send + 'static {
    /// A connection.
    type Io: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Returns the next connection.
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Io, Option<Peer>)>> + Send;
}

impl Listen for TcpListener {
    type Io = tokio::net::TcpStream;

    async fn accept(&mut self) -> io::Result<(Self::Io, Option<Peer>)> {
        let (stream, address) = Self::accept(self).await?;
        Ok((stream, Some(Peer(address))))
    }
}

impl Listen for UnixListener {
    type Io = tokio::net::UnixStream;

    async fn accept(&mut self) -> io::Result<(Self::Io, Option<Peer>)> {
        Ok((Self::accept(self).await?.0, None))
    }
}

/// Serves forever.
pub async fn serve(mut listener: impl Listen, router: Router, limits: Limits) -> Infallible {
    let crowd = Arc::new(Crowd::default());
    let mut told: Option<Instant> = None;
    loop {
        let (io, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                if told.is_none_or(|told| told.elapsed() > TELL) {
                    tracing::warn!("a connection cannot be accepted: {error}");
                    told = Some(Instant::now());
                }
                crowd.make_room();
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        crowd.room_for_one(limits.connections, limits.idle).await;
        tokio::spawn(attend(io, peer, router.clone(), crowd.enter(), limits.body));
    }
}

/// Answers the requests of one connection, until it ends or reaches its deadline.
async fn attend(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: Option<Peer>,
    router: Router,
    ticket: Ticket,
    body: usize,
) {
    let io = TokioIo::new(Watched::new(io, ticket.clone()));
    let answering = ticket.clone();
    let service = service_fn(move |request| answer(request, peer, router.clone(), answering.clone(), body));
    let mut http = http1::Builder::new();
    // The ticket has the timeouts: hyper's own would end idle connections as early as slow heads.
    http.timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(HEAD);
    tokio::select! {
        // A client that disconnects is not logged.
        _ended = http.serve_connection(io, service) => {}
        () = ticket.expired() => {}
    }
}

async fn answer(
    request: Request<Incoming>,
    peer: Option<Peer>,
    mut router: Router,
    ticket: Ticket,
    most: usize,
) -> Result<Response, Infallible> {
    ticket.reads_a_body();
    let (head, body) = request.into_parts();
    let response = match Limited::new(body, most).collect().await {
        Ok(body) => {
            let mut request = Request::from_parts(head, Body::from(body.to_bytes()));
            if let Some(peer) = peer {
                request.extensions_mut().insert(peer);
            }
            ticket.is_answered();
            let Ok(response) = router.call(request).await;
            response
        }
        Err(error) if error.is::<LengthLimitError>() => {
            let failure =
                Failure::wrong_input(format!("the body of {} has more than {most} bytes", head.uri.path()));
            let mut response = Refusal(failure).into_response();
            *response.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
            response
        }
        Err(error) => {
            let why = format!("the body of {} ended early: {error}", head.uri.path());
            Refusal(Failure::wrong_input(why)).into_response()
        }
    };
    if is_stream(&response) {
        ticket.is_streamed();
    } else {
        ticket.is_written();
    }
    Ok(response)
}

/// Returns whether an answer is a stream of events, which may never end.
fn is_stream(response: &Response) -> bool {
    let kind = response.headers().get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"))
}
