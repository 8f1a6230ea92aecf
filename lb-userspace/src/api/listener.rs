// SPDX-License-Identifier: MIT OR Apache-2.0
//! HTTP over a listener, for every server of xvs, with limits, so that slow, idle or numerous clients do not
//! affect others.
#![forbid(unsafe_code)]

use std::{
    convert::Infallible,
    future::Future,
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode, header, request::Parts},
    response::{IntoResponse as _, Response},
};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::{
    body::{Body as _, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    sync::Semaphore,
};
use tower_service::Service as _;

use super::{
    caller::{Caller, Peer},
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

/// Size of a body, in bytes, above which only [`LARGE`] bodies are in memory at a time.
const SMALL: usize = 1 << 20;
/// Number of large bodies in memory.
const LARGE: usize = 2;

/// Admission of the requests of a server. It is asked before the body of a request is read.
pub trait Gate: Send + Sync + 'static {
    /// Identifies the sender of a request, and returns the maximum size of its body in bytes, which is at most
    /// `most`.
    ///
    /// # Errors
    /// The answer to a request that is refused.
    fn admit(&self, head: &mut Parts, peer: Peer, most: usize) -> Result<usize, Box<Response>>;

    /// Completes an answer, that to a refused request included.
    fn complete(&self, _response: &mut Response) {}
}

/// Admits every request: the permissions of a socket, or the router, decide.
pub struct Open;

impl Gate for Open {
    fn admit(&self, head: &mut Parts, peer: Peer, most: usize) -> Result<usize, Box<Response>> {
        head.extensions.insert(Caller { peer, token: None });
        Ok(most)
    }
}

/// A source of connections.
pub trait Listen: Send + 'static {
    /// A connection.
    type Io: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Returns the next connection.
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Io, Peer)>> + Send;
}

impl Listen for TcpListener {
    type Io = tokio::net::TcpStream;

    async fn accept(&mut self) -> io::Result<(Self::Io, Peer)> {
        let (stream, address) = Self::accept(self).await?;
        Ok((stream, Peer::Tcp(address)))
    }
}

impl Listen for UnixListener {
    type Io = tokio::net::UnixStream;

    async fn accept(&mut self) -> io::Result<(Self::Io, Peer)> {
        let (stream, _) = Self::accept(self).await?;
        let peer = stream.peer_cred();
        Ok((stream, peer.map_or(Peer::Unknown, |peer| Peer::Local { uid: peer.uid(), pid: peer.pid() })))
    }
}

/// Serves forever, without a gate.
pub async fn serve(listener: impl Listen, router: Router, limits: Limits) -> Infallible {
    serve_through(Arc::new(Open), listener, router, limits).await
}

/// Serves requests that a gate admits, forever.
pub async fn serve_through(
    gate: Arc<dyn Gate>,
    mut listener: impl Listen,
    router: Router,
    limits: Limits,
) -> Infallible {
    let large = Arc::new(Semaphore::new(LARGE));
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
        let server = Server { router: router.clone(), gate: gate.clone(), large: large.clone(), limits };
        tokio::spawn(attend(io, peer, server, crowd.enter()));
    }
}

/// State that all connections of a server share.
#[derive(Clone)]
struct Server {
    router: Router,
    gate: Arc<dyn Gate>,
    /// Permits of large bodies.
    large: Arc<Semaphore>,
    limits: Limits,
}

/// Answers the requests of one connection, until it ends or reaches its deadline.
async fn attend(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: Peer,
    server: Server,
    ticket: Ticket,
) {
    let io = TokioIo::new(Watched::new(io, ticket.clone()));
    let answering = ticket.clone();
    let service = service_fn(move |request| answer(request, peer, server.clone(), answering.clone()));
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
    peer: Peer,
    server: Server,
    ticket: Ticket,
) -> Result<Response, Infallible> {
    ticket.reads_a_body();
    let mut response = match server.take_in(request, peer).await {
        Ok(request) => {
            ticket.is_answered();
            let Ok(response) = server.router.clone().call(request).await;
            response
        }
        Err(refusal) => *refusal,
    };
    server.gate.complete(&mut response);
    if is_stream(&response) {
        ticket.is_streamed();
    } else {
        ticket.is_written();
    }
    Ok(response)
}

impl Server {
    /// Admits a request and reads its body.
    ///
    /// # Errors
    /// The answer to a request that is refused.
    async fn take_in(&self, request: Request<Incoming>, peer: Peer) -> Result<Request<Body>, Box<Response>> {
        let (mut head, body) = request.into_parts();
        let most = self.gate.admit(&mut head, peer, self.limits.body)?;
        let size = body.size_hint().upper().map_or(most, |size| usize::try_from(size).unwrap_or(most));
        let _large = if size.min(most) > SMALL { self.large.acquire().await.ok() } else { None };
        match Limited::new(body, most).collect().await {
            Ok(body) => Ok(Request::from_parts(head, Body::from(body.to_bytes()))),
            Err(error) if error.is::<LengthLimitError>() => {
                let path = head.uri.path();
                let failure = Failure::wrong_input(format!("the body of {path} has more than {most} bytes"));
                let mut response = Refusal(failure).into_response();
                *response.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
                Err(Box::new(response))
            }
            Err(error) => {
                let why = format!("the body of {} ended early: {error}", head.uri.path());
                Err(Box::new(Refusal(Failure::wrong_input(why)).into_response()))
            }
        }
    }
}

/// Returns whether an answer is a stream of events, which may never end.
fn is_stream(response: &Response) -> bool {
    let kind = response.headers().get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"))
}
