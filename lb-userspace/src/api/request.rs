// SPDX-License-Identifier: MIT OR Apache-2.0
//! Request bodies: JSON that is parsed completely, or refused with the name of the wrong field.
//!
//! serde's `deny_unknown_fields` does not work with `flatten`, and misses keys beside the tag of a variant.
//! So the parsed value is serialised again, and must contain each key of the request.
#![forbid(unsafe_code)]

use axum::{
    Json,
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Query, Request},
    http::{StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    health::CheckRun,
    ipvs::Which,
    sync::SyncChange,
    types::{AttachOptions, Change, StandingChange, Together},
};
use lb_control::{
    options::{CheckOptions, RealOptions, ServiceOptions},
    state::FlowLimits,
};
use lb_explain::{Plan, Question};
use lb_model::check::{CheckName, CheckType};
use lb_model::failure::{Failure, FailureKind};
use lb_model::{Endpoint, GroupId, RealAddress, timeouts::TimeoutOptions};

/// Type of a request body.
pub trait Ask: DeserializeOwned + Serialize {
    /// Returns the wrong field of a body that could not be parsed, and the reason, where serde does not know
    /// it.
    #[must_use]
    fn blame(_body: &Value) -> Option<String> {
        None
    }
}

impl Ask for Question {}
impl Ask for Plan {}
impl Ask for SyncChange {}
impl Ask for TimeoutOptions {}
impl Ask for AttachOptions {}
impl Ask for FlowLimits {}
impl Ask for StandingChange {}
impl Ask for CheckRun {
    fn blame(body: &Value) -> Option<String> {
        field("service", body.get("service")?, service)
    }
}
impl Ask for Which {
    fn blame(body: &Value) -> Option<String> {
        field("service", body.get("service")?, service)
    }
}
impl Ask for Change {
    fn blame(body: &Value) -> Option<String> {
        let of_service =
            matches!(body.get("change").and_then(Value::as_str), Some("add-service" | "edit-service"));
        let of_check = matches!(body.get("change").and_then(Value::as_str), Some("add-check" | "edit-check"));
        body.as_object()?.iter().find_map(|(name, value)| match name.as_str() {
            "service" => field(name, value, service),
            "real" => field(name, value, check::<RealAddress>),
            "group" => field(name, value, check::<GroupId>),
            "endpoints" => field(name, value, check::<Vec<Endpoint>>),
            "name" => field(name, value, check::<CheckName>),
            "type" => field(name, value, check::<CheckType>),
            "options" if of_check => field(name, value, check::<CheckOptions>),
            "options" if of_service => field(name, value, check::<ServiceOptions>),
            "options" => field(name, value, check::<RealOptions>),
            _ => None,
        })
    }
}
impl Ask for Vec<Change> {
    fn blame(body: &Value) -> Option<String> {
        let mut changes = body.as_array()?.iter().enumerate();
        changes.find_map(|(number, change)| Some(format!("[{number}].{}", Change::blame(change)?)))
    }
}
impl Ask for Together {
    fn blame(body: &Value) -> Option<String> {
        Some(format!("changes{}", <Vec<Change>>::blame(body.get("changes")?)?))
    }
}

/// A completely parsed body.
pub struct Body<T>(pub T);

impl<S: Send + Sync, T: Ask> FromRequest<S> for Body<T> {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let path = request.uri().path().to_owned();
        let body = Bytes::from_request(request, state).await.map_err(IntoResponse::into_response)?;
        read(&body).map(Self).map_err(|why| {
            Refusal(Failure::wrong_input(format!("cannot parse the body of {path}: {why}"))).into_response()
        })
    }
}

/// A completely parsed query.
pub struct Params<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let path = parts.uri.path().to_owned();
        let query = Query::from_request_parts(parts, state).await;
        query.map(|Query(query)| Self(query)).map_err(|error| {
            Refusal(Failure::wrong_input(format!("cannot parse the query of {path}: {}", error.body_text())))
        })
    }
}

/// A body that is a text.
pub struct Text(pub String);

impl<S: Send + Sync> FromRequest<S> for Text {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let path = request.uri().path().to_owned();
        String::from_request(request, state).await.map(Self).map_err(|error| {
            Refusal(Failure::wrong_input(format!("cannot read the body of {path}: {}", error.body_text())))
        })
    }
}

/// Parses JSON that has only fields of `T`.
///
/// # Errors
/// If the body is invalid; the message has the error and the field.
pub fn read<T: Ask>(body: &[u8]) -> Result<T, String> {
    let value: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let mut source = serde_json::Deserializer::from_slice(body);
    let asked: T = serde_path_to_error::deserialize(&mut source).map_err(|error| {
        T::blame(&value).unwrap_or_else(|| match error.path().to_string().as_str() {
            "." => error.inner().to_string(),
            path => format!("{path}: {}", error.inner()),
        })
    })?;
    let understood = serde_json::to_value(&asked).map_err(|error| error.to_string())?;
    match unknown(&value, &understood) {
        None => Ok(asked),
        Some(field) => Err(format!("unknown field `{field}`")),
    }
}

/// Returns the first key of `body` that the parsed value lacks.
fn unknown(body: &Value, understood: &Value) -> Option<String> {
    let below = |name: &str, rest: String| {
        if rest.starts_with('[') { format!("{name}{rest}") } else { format!("{name}.{rest}") }
    };
    match (body, understood) {
        (Value::Object(body), Value::Object(understood)) => {
            body.iter().find_map(|(name, value)| match understood.get(name) {
                None => Some(name.clone()),
                Some(known) => unknown(value, known).map(|rest| below(name, rest)),
            })
        }
        (Value::Array(body), Value::Array(understood)) if body.len() == understood.len() => {
            let mut pairs = body.iter().zip(understood).enumerate();
            pairs.find_map(|(number, (value, known))| {
                unknown(value, known).map(|rest| below(&format!("[{number}]"), rest))
            })
        }
        // The object was parsed as another kind of value.
        (Value::Object(body), _) => body.keys().next().cloned(),
        // serde takes the fields of an object from an array, too.
        (Value::Array(_), Value::Object(_)) => Some("[0]".to_owned()),
        _ => None,
    }
}

/// Path of a wrong value below its parent, and the reason.
type Wrong = (String, String);

fn field(name: &str, value: &Value, check: impl Fn(&Value) -> Result<(), Wrong>) -> Option<String> {
    let (place, why) = check(value).err()?;
    Some(match place.as_str() {
        "." => format!("{name}: {why}"),
        place if place.starts_with('[') => format!("{name}{place}: {why}"),
        place => format!("{name}.{place}: {why}"),
    })
}

fn check<T: DeserializeOwned>(value: &Value) -> Result<(), Wrong> {
    serde_path_to_error::deserialize::<_, T>(value)
        .map(drop)
        .map_err(|error| (error.path().to_string(), error.inner().to_string()))
}

/// Checks the identity of a service: serde only reports that it is neither an endpoint nor a group.
fn service(value: &Value) -> Result<(), Wrong> {
    /// A group by its number only.
    #[derive(Deserialize)]
    struct Group {
        #[expect(dead_code, reason = "it is only to be understood")]
        group: GroupId,
    }
    if value.is_null() {
        return Ok(());
    }
    if value.get("group").is_some() { check::<Group>(value) } else { check::<Endpoint>(value) }
}

/// The response to a request that failed: the failure as JSON, with the status of its kind.
#[derive(Debug)]
pub struct Refusal(pub Failure);

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self(failure)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = match self.0.kind {
            FailureKind::WrongInput => StatusCode::BAD_REQUEST,
            FailureKind::Failed | FailureKind::Unreachable => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let mut response = (status, Json(&self.0)).into_response();
        // For the audit.
        response.extensions_mut().insert(self.0);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVICE: &str = r#""service":{"protocol":"tcp","address":"192.0.2.1:80"}"#;

    #[track_caller]
    fn wrong<T: Ask>(body: &str, field: &str) {
        let Err(why) = read::<T>(body.as_bytes()) else { panic!("{body} was understood") };
        assert!(why.contains(field), "{body}: {why}");
    }

    #[test]
    fn what_the_cli_sends_is_understood() {
        for body in [
            format!(r#"{{"change":"add-service",{SERVICE},"options":{{"scheduler":"rr","flags":[]}}}}"#),
            format!(r#"{{"change":"add-real",{SERVICE},"real":"10.0.0.1","options":{{"weight":5,"tunnel":"gue:6080"}}}}"#),
            r#"{"change":"remove-service","service":{"group":7}}"#.to_owned(),
            r#"{"change":"add-to-group","group":7,"endpoints":[{"protocol":"udp","address":"[2001:db8::1]:53"}]}"#.to_owned(),
            r#"{"change":"clear"}"#.to_owned(),
            r#"{"change":"clear-services"}"#.to_owned(),
        ] {
            if let Err(why) = read::<Change>(body.as_bytes()) {
                panic!("{body}: {why}");
            }
            let again = serde_json::to_string(&read::<Change>(body.as_bytes()).unwrap()).unwrap();
            read::<Change>(again.as_bytes()).unwrap();
        }
        assert!(read::<Which>(b"{}").unwrap().service.is_none());
        assert!(read::<Which>(br#"{"service":null}"#).unwrap().service.is_none());
        assert_eq!(read::<TimeoutOptions>(br#"{"tcp":5}"#).unwrap().tcp, Some(5));
        assert_eq!(read::<FlowLimits>(br#"{"max_flows":5}"#).unwrap().max_flows, Some(5));
    }

    #[test]
    fn an_unknown_field_is_refused_wherever_it_stands() {
        wrong::<Which>(r#"{"servce":{"group":1}}"#, "`servce`");
        wrong::<Which>(r#"{"service":{"group":1,"x":2}}"#, "`service.x`");
        wrong::<Which>(
            r#"{"service":{"protocol":"tcp","address":"192.0.2.1:80","group":2}}"#,
            "`service.group`",
        );
        wrong::<TimeoutOptions>(r#"{"tpc":5}"#, "`tpc`");
        wrong::<FlowLimits>(r#"{"max-flows":5}"#, "`max-flows`");
        wrong::<AttachOptions>(r#"{"interface":"eth0","xdp_mode":"native"}"#, "`xdp_mode`");
        wrong::<Question>(r#"{"frame":"00","plan":{"name":"a","text":"","more":1}}"#, "`plan.more`");
        wrong::<Plan>(r#"{"name":"a","text":"","strict":true}"#, "`strict`");
        wrong::<Change>(r#"{"change":"clear","service":{"group":1}}"#, "`service`");
        wrong::<Change>(r#"{"change":"clear-services","only":[]}"#, "`only`");
        wrong::<Change>(&format!(r#"{{"change":"remove-service",{SERVICE},"force":true}}"#), "`force`");
        wrong::<Change>(
            &format!(r#"{{"change":"add-service",{SERVICE},"options":{{"schedular":"rr"}}}}"#),
            "`options.schedular`",
        );
        wrong::<Change>(
            r#"{"change":"add-to-group","group":1,"endpoints":[{"protocol":"udp","address":"192.0.2.1:53","x":1}]}"#,
            "`endpoints[0].x`",
        );
        wrong::<Vec<Change>>(
            &format!(r#"[{{"change":"remove-service",{SERVICE}}},{{"change":"clear","x":1}}]"#),
            "`[1].x`",
        );
        wrong::<Together>(r#"{"changes":[{"change":"clear","x":1}]}"#, "`changes[0].x`");
        wrong::<Together>(r#"{"changes":[],"if-missing":true}"#, "`if-missing`");
    }

    #[test]
    fn a_field_that_is_wrong_is_named() {
        wrong::<TimeoutOptions>(r#"{"tcp":"5m"}"#, "tcp: ");
        wrong::<TimeoutOptions>(r#"{"udp":4294967296}"#, "udp: ");
        wrong::<TimeoutOptions>(r#"{"udp":-1}"#, "udp: ");
        wrong::<TimeoutOptions>(r#"{"tcp":1,"tcp":2}"#, "`tcp`");
        wrong::<AttachOptions>("{}", "`interface`");
        wrong::<AttachOptions>(r#"{"interface":"eth0","mode":"fast"}"#, "mode: ");
        wrong::<Question>(r#"{"frame":5}"#, "frame: ");
        wrong::<Which>(r#"{"service":{"protocol":"tcp"}}"#, "service: missing field `address`");
        wrong::<Which>(r#"{"service":{"group":"web"}}"#, "service.group: ");
        wrong::<Which>("[null]", "`[0]`");
        wrong::<TimeoutOptions>("[null, null, null]", "`[0]`");
        wrong::<Change>("{}", "`change`");
        wrong::<Change>(r#"{"change":"destroy"}"#, "destroy");
        wrong::<Change>(&format!(r#"{{"change":"add-service",{SERVICE}}}"#), "`options`");
        wrong::<Change>(
            &format!(r#"{{"change":"add-service",{SERVICE},"options":{{"persistent":"5m"}}}}"#),
            "options.persistent: ",
        );
        wrong::<Change>(
            &format!(r#"{{"change":"add-real",{SERVICE},"real":"10.0.0","options":{{}}}}"#),
            "real: '10.0.0'",
        );
        wrong::<Change>(
            &format!(r#"{{"change":"add-real",{SERVICE},"real":"10.0.0.1","options":{{"weight":1.5}}}}"#),
            "options.weight: ",
        );
        wrong::<Change>(
            r#"{"change":"remove-service","service":{"protocol":"icmp","address":"192.0.2.1:80"}}"#,
            "service.protocol: ",
        );
        wrong::<Change>(r#"{"change":"remove-service","service":"tcp 192.0.2.1:80"}"#, "service: ");
        wrong::<Vec<Change>>(
            &format!(r#"[{{"change":"add-real",{SERVICE},"real":7,"options":{{}}}}]"#),
            "[0].real: ",
        );
        wrong::<Together>(
            &format!(r#"{{"changes":[{{"change":"add-real",{SERVICE},"real":7,"options":{{}}}}]}}"#),
            "changes[0].real: ",
        );
        for broken in ["", "{", "nonsense", "{\"change\":\"clear\"} {}", "\u{1}"] {
            wrong::<Change>(broken, "");
            wrong::<TimeoutOptions>(broken, "");
        }
    }
}
