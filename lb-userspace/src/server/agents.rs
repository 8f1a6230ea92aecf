// SPDX-License-Identifier: MIT OR Apache-2.0
//! API for agents of real servers: the roles of a host. It is read-only, over TCP, and each side proves to
//! the other that it has the token ([`crate::api::proof`]). docs/agent.md has the protocol.
#![forbid(unsafe_code)]

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Extension, Json, Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse as _, Response},
    routing::post,
};
use http_body_util::{BodyExt as _, Collected};
use tokio::{
    net::TcpListener,
    time::{Instant, timeout_at},
};

use crate::api::request::Refusal;
use crate::{
    api::{
        caller::{Caller, Peer},
        listener::Limits,
        proof::{self, Asked, SCHEME, Stale, credentials},
        request,
        roles::{PROOF, Question, Role, Told},
        token::Token,
    },
    daemon::Shared,
};
use lb_dataplane::descriptors;
use lb_model::failure::Failure;

/// Maximum number of connections without a valid proof so far.
const IDLE: usize = 64;
/// Maximum size of the body of a request, in bytes.
const BODY: usize = 64 << 10;
/// Maximum time that an answer waits.
const LONGEST: Duration = Duration::from_mins(1);
/// Minimum interval of log lines about wrong proofs.
const TELL: Duration = Duration::from_secs(10);
/// Returns the limits of the server for agents: the host of each real may wait for an answer twice.
#[must_use]
pub fn limits(reals: u32) -> Limits {
    let most = (reals as usize).saturating_mul(2).saturating_add(IDLE);
    Limits { connections: most.min(descriptors::spare()), idle: IDLE, body: BODY }
}

/// State of the authentication of agents.
#[derive(Clone)]
struct Gate(Arc<Inner>);

struct Inner {
    token: Token,
    asked: Asked,
    wrong: Mutex<Wrong>,
}

/// Number of wrong proofs since the last log line about them.
#[derive(Default)]
struct Wrong {
    number: u64,
    told: Option<Instant>,
}

/// Creates the router with every path for agents.
pub fn router(director: Shared, token: Token) -> Router {
    let gate = Gate(Arc::new(Inner { token, asked: Asked::default(), wrong: Mutex::default() }));
    Router::new()
        .route("/v1/roles", post(roles))
        .layer(from_fn_with_state(gate, authenticate))
        .with_state(director)
}

/// Creates the router for a listener that identifies the sender by a token: the question needs no proof, and the
/// answer has none.
pub fn asked_by_token(director: Shared) -> Router {
    let asked = async |State(director): State<Shared>, request::Body(question): request::Body<Question>| {
        roles(State(director), Extension(question)).await
    };
    Router::new().route("/v1/roles", post(asked)).with_state(director)
}

/// Binds the listener of the agent API.
///
/// # Errors
/// If the address is not the director's, or in use.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        Failure::failed(format!("cannot serve the API for agents on {address}: {error}"))
            .hint("is it an address of this host, and the port free? `--api ADDR:PORT` names another")
    })
}

/// Admits only agents, and signs the answers to them.
async fn authenticate(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Caller>().map_or(Peer::Unknown, |caller| caller.peer);
    let (head, body) = request.into_parts();
    // The body is in memory already.
    let body = body.collect().await.map(Collected::to_bytes).unwrap_or_default();
    let question = match gate.admit(&head.headers, &body) {
        Ok(question) => question,
        Err(failure) => {
            gate.tell(peer, &failure);
            let scheme = HeaderValue::from_static(SCHEME);
            return (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, scheme)], Json(failure))
                .into_response();
        }
    };
    let question = match question {
        Ok(question) => question,
        Err(failure) => return Refusal(failure).into_response(),
    };
    let nonce = question.nonce;
    let mut request = Request::from_parts(head, Body::empty());
    request.extensions_mut().insert(question);
    let answer = next.run(request).await;
    let (mut head, body) = answer.into_parts();
    let body = body.collect().await.map(Collected::to_bytes).unwrap_or_default();
    if let Ok(proof) = HeaderValue::from_str(&gate.0.token.sign_answer(nonce, &body)) {
        head.headers.insert(PROOF, proof);
    }
    Response::from_parts(head, Body::from(body))
}

impl Gate {
    /// Returns the question of an agent. The inner error is for an agent whose body is not a valid question.
    ///
    /// # Errors
    /// If the proof is missing or wrong, or the question is outdated.
    fn admit(&self, headers: &HeaderMap, body: &Bytes) -> Result<Result<Question, Failure>, Failure> {
        let shown = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes).unwrap_or_default();
        if std::str::from_utf8(shown).is_ok_and(|shown| credentials(shown, "Bearer").is_some()) {
            return Err(Failure::failed(
                "the agent sends its token, which the network can read, instead of a \
                 proof",
            )
            .hint(
                "it is older than the director: upgrade xvs on the real server, then make a new token \
                 for all",
            ));
        }
        let Inner { token, asked, .. } = &*self.0;
        if !token.signed_question(shown, body) {
            return Err(Failure::failed("the token is not the director's")
                .hint("agents need the content of the file that `xvs run --api-token-file` names"));
        }
        let question: Question = match request::read(body) {
            Ok(question) => question,
            Err(why) => {
                return Ok(Err(Failure::wrong_input(format!("cannot parse the question: {why}"))));
            }
        };
        match asked.note(question.time, question.nonce, proof::now()) {
            Ok(()) => Ok(Ok(question)),
            Err(Stale::Clock(seconds)) => Err(Failure::failed(format!(
                "the clocks of director and agent differ by {seconds} s; {} are allowed",
                proof::CLOCKS.as_secs()
            ))
            .hint("synchronise both clocks, for instance by NTP")),
            Err(Stale::Again) => Err(Failure::failed("this request is a repetition")),
        }
    }

    /// Logs a refusal, at limited intervals.
    fn tell(&self, peer: Peer, failure: &Failure) {
        let mut wrong = self.0.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        wrong.number += 1;
        if wrong.told.is_some_and(|told| told.elapsed() < TELL) {
            return;
        }
        tracing::warn!(
            "{} questions of agents refused, the last one from {peer}: {}",
            wrong.number,
            failure.message
        );
        *wrong = Wrong { number: 0, told: Some(Instant::now()) };
    }
}

async fn roles(State(director): State<Shared>, Extension(question): Extension<Question>) -> Json<Told> {
    let end = Instant::now() + Duration::from_secs(question.wait).min(LONGEST);
    let mut snapshots = director.snapshots();
    loop {
        let roles = snapshots.borrow_and_update().roles(&question.addresses);
        let tag = tag(&roles);
        if question.known.as_ref() != Some(&tag) {
            return Json(Told { tag, roles: Some(roles) });
        }
        if timeout_at(end, snapshots.changed()).await.is_err() {
            return Json(Told { tag, roles: None });
        }
    }
}

fn tag(roles: &[Role]) -> String {
    let mut hasher = DefaultHasher::new();
    for role in roles {
        (role.vip, role.rip, role.forward, role.tunnel.to_string()).hash(&mut hasher);
    }
    format!("{:016x}", hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::proof::Nonce;

    fn gate() -> Gate {
        let token = Token::from("0123456789abcdef");
        Gate(Arc::new(Inner { token, asked: Asked::default(), wrong: Mutex::default() }))
    }

    fn refused(gate: &Gate, authorization: &str, body: &str) -> Failure {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, authorization.parse().unwrap());
        gate.admit(&headers, &Bytes::from(body.to_owned())).unwrap_err()
    }

    #[test]
    fn only_agents_with_the_token_are_let_in_and_each_question_once() {
        let gate = gate();
        let question = Question {
            time: proof::now(),
            nonce: Nonce::random().unwrap(),
            addresses: vec!["10.0.0.11".parse().unwrap()],
            known: None,
            wait: 0,
        };
        let body = serde_json::to_string(&question).unwrap();
        let proof = gate.0.token.sign_question(body.as_bytes());
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, proof.parse().unwrap());
        let admitted = gate.admit(&headers, &Bytes::from(body.clone())).unwrap().unwrap();
        assert_eq!(admitted.nonce, question.nonce);
        assert!(refused(&gate, &proof, &body).message.contains("repetition"));
        assert!(refused(&gate, &proof, &body.replace(".11", ".12")).message.contains("not the director's"));
        for old in ["Bearer 0123456789abcdef", "bearer 0123456789abcdef", "BEARER x"] {
            assert!(
                refused(&gate, old, &body).hint.unwrap().contains("upgrade xvs on the real server"),
                "{old}"
            );
        }
        let late = serde_json::to_string(&Question { time: proof::now() - 1000, ..question }).unwrap();
        let proof = gate.0.token.sign_question(late.as_bytes());
        assert!(refused(&gate, &proof, &late).message.contains("clocks"));
        // An agent whose body is wrong gets a message about it.
        let other = r#"{"addresses":"ten"}"#;
        headers.insert(header::AUTHORIZATION, gate.0.token.sign_question(other.as_bytes()).parse().unwrap());
        let failure = gate.admit(&headers, &Bytes::from(other)).unwrap().unwrap_err();
        assert!(failure.message.contains("addresses: "), "{failure}");
    }
}
