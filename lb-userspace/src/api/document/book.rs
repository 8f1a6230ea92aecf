// SPDX-License-Identifier: MIT OR Apache-2.0
//! Builder of the document.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;

use axum::http::Method;
use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use crate::api::access::{Need, Role, need};
use lb_model::failure::Failure;

/// Statuses of failures that every operation may answer with.
const FAILURES: [(&str, &str); 6] = [
    ("400", "The request is wrong; nothing was changed"),
    ("401", "A token is missing or unknown"),
    ("403", "The role of the token is not sufficient"),
    ("413", "The body is too large"),
    ("421", "The host has another name"),
    ("500", "The request is correct, but could not be carried out"),
];

/// End of the name of a schema of requests, where answers have another one of that name.
const INPUT: &str = "Input";

/// The document while it is written.
pub(super) struct Book {
    paths: Map<String, Value>,
    /// Schemas of answers, by name.
    answers: SchemaGenerator,
    /// Schemas of requests, which refuse unknown fields.
    requests: SchemaGenerator,
}

/// A parameter in the query.
pub(super) struct Param(Value);

impl Param {
    fn new(name: &str, about: &str, schema: &Value) -> Self {
        Self(json!({ "name": name, "in": "query", "description": about, "schema": schema }))
    }

    pub(super) fn boolean(name: &str, about: &str) -> Self {
        Self::new(name, about, &json!({ "type": "boolean" }))
    }

    pub(super) fn number(name: &str, about: &str) -> Self {
        Self::new(name, about, &json!({ "type": "integer", "format": "uint64", "minimum": 0 }))
    }

    pub(super) fn text(name: &str, about: &str) -> Self {
        Self::new(name, about, &json!({ "type": "string" }))
    }

    pub(super) fn required(mut self) -> Self {
        self.0["required"] = true.into();
        self
    }
}

/// One operation while it is written. The last call says what it answers.
#[must_use]
pub(super) struct Operation<'a> {
    book: &'a mut Book,
    method: Method,
    path: &'static str,
    content: Map<String, Value>,
    params: Vec<Value>,
    /// Further statuses of failures.
    more: Vec<(&'static str, &'static str)>,
}

impl Book {
    pub(super) fn new() -> Self {
        let answers = SchemaSettings::draft2020_12().for_serialize().with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        });
        let requests = SchemaSettings::draft2020_12().for_deserialize().with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        });
        Self { paths: Map::new(), answers: answers.into_generator(), requests: requests.into_generator() }
    }

    pub(super) fn get(&mut self, path: &'static str, id: &str, about: &str) -> Operation<'_> {
        self.operation(Method::GET, path, id, about)
    }

    pub(super) fn post(&mut self, path: &'static str, id: &str, about: &str) -> Operation<'_> {
        self.operation(Method::POST, path, id, about)
    }

    pub(super) fn put(&mut self, path: &'static str, id: &str, about: &str) -> Operation<'_> {
        self.operation(Method::PUT, path, id, about)
    }

    fn operation(&mut self, method: Method, path: &'static str, id: &str, about: &str) -> Operation<'_> {
        let (security, role) = match need(&method, path) {
            Need::Nothing => (json!([]), "none"),
            Need::Reading => (json!([{}, { "token": [] }]), "none"),
            Need::Token(Role::Read) => (json!([{ "token": [] }]), "read"),
            Need::Token(Role::Agent) => (json!([{ "token": [] }]), "agent"),
            Need::Token(Role::Write) => (json!([{ "token": [] }]), "write"),
        };
        let mut content = Map::new();
        content.insert("operationId".to_owned(), id.into());
        content.insert("summary".to_owned(), about.into());
        content.insert("security".to_owned(), security);
        content.insert("x-xvs-role".to_owned(), role.into());
        Operation { book: self, method, path, content, params: Vec::new(), more: Vec::new() }
    }

    /// Returns the document.
    pub(super) fn finish(mut self) -> Value {
        let failure = self.answers.subschema_for::<Failure>();
        let failures: Map<String, Value> = FAILURES
            .iter()
            .map(|(status, about)| {
                let content = json!({ "application/json": { "schema": failure } });
                (format!("failure-{status}"), json!({ "description": about, "content": content }))
            })
            .collect();
        let mut schemas = self.answers.take_definitions(true);
        let mut requests = self.requests.take_definitions(true);
        requests.values_mut().for_each(close);
        let apart = apart(&requests, &schemas);
        for (name, mut schema) in requests {
            rename(&mut schema, &apart);
            schemas.insert(if apart.contains(&name) { format!("{name}{INPUT}") } else { name }, schema);
        }
        for operation in self.paths.values_mut().filter_map(Value::as_object_mut).flat_map(Map::values_mut) {
            rename(&mut operation["requestBody"], &apart);
            if operation["requestBody"].is_null() {
                drop(operation.as_object_mut().and_then(|operation| operation.remove("requestBody")));
            }
        }
        json!({
            "openapi": "3.1.0",
            "info": {
                "title": "xvs",
                "version": "1",
                "description": "The API of an xvs director. docs/api.md has the listeners, tokens and roles.",
                "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
            },
            "servers": [{ "url": "http://127.0.0.1:9472" }],
            "paths": self.paths,
            "components": {
                "schemas": schemas,
                "responses": failures,
                "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
            },
        })
    }
}

impl Operation<'_> {
    /// Adds a parameter.
    pub(super) fn param(mut self, param: Param) -> Self {
        self.params.push(param.0);
        self
    }

    /// Adds a status of failures.
    pub(super) fn fails(mut self, status: &'static str, about: &'static str) -> Self {
        self.more.push((status, about));
        self
    }

    /// Adds a body of JSON.
    pub(super) fn body<T: JsonSchema>(mut self) -> Self {
        let mut schema = self.book.requests.subschema_for::<T>().to_value();
        close(&mut schema);
        let content = json!({ "application/json": { "schema": schema } });
        self.content.insert("requestBody".to_owned(), json!({ "required": true, "content": content }));
        self
    }

    /// Adds a body of text.
    pub(super) fn body_text(mut self, about: &str) -> Self {
        let content = json!({ "text/plain": { "schema": { "type": "string" } } });
        let body = json!({ "required": true, "description": about, "content": content });
        self.content.insert("requestBody".to_owned(), body);
        self
    }

    /// Ends an operation that answers with JSON.
    pub(super) fn answer<T: JsonSchema>(self) {
        let schema = self.book.answers.subschema_for::<T>().to_value();
        self.end("application/json", &schema);
    }

    /// Ends an operation that answers with a text.
    pub(super) fn text(self, kind: &str) {
        let schema = if kind == "application/json" { json!({}) } else { json!({ "type": "string" }) };
        self.end(kind, &schema);
    }

    /// Ends an operation that answers with server-sent events.
    pub(super) fn stream(self) {
        self.end("text/event-stream", &json!({ "type": "string" }));
    }

    fn end(mut self, kind: &str, schema: &Value) {
        let mut responses = Map::new();
        let content: Map<String, Value> =
            [(kind.to_owned(), json!({ "schema": schema }))].into_iter().collect();
        responses.insert("200".to_owned(), json!({ "description": "Done", "content": content }));
        for (status, _) in FAILURES {
            let to = format!("#/components/responses/failure-{status}");
            responses.insert(status.to_owned(), json!({ "$ref": to }));
        }
        let failure = self.book.answers.subschema_for::<Failure>();
        for (status, about) in self.more {
            let content = json!({ "application/json": { "schema": failure } });
            responses.insert(status.to_owned(), json!({ "description": about, "content": content }));
        }
        self.content.insert("responses".to_owned(), responses.into());
        if !self.params.is_empty() {
            self.content.insert("parameters".to_owned(), self.params.into());
        }
        let methods = self.book.paths.entry(self.path).or_insert_with(|| json!({}));
        methods[self.method.as_str().to_lowercase()] = self.content.into();
    }
}

/// Returns the names of schemas that requests and answers share, but that differ, and of those that refer to one.
fn apart(requests: &Map<String, Value>, answers: &Map<String, Value>) -> BTreeSet<String> {
    let differ =
        |(name, schema): &(&String, &Value)| answers.get(*name).is_some_and(|other| other != *schema);
    let mut apart: BTreeSet<String> = requests.iter().filter(differ).map(|(name, _)| name.clone()).collect();
    loop {
        let before = apart.len();
        for (name, schema) in requests.iter().filter(|(name, _)| answers.contains_key(*name)) {
            let mut copy = schema.clone();
            rename(&mut copy, &apart);
            if copy != *schema {
                apart.insert(name.clone());
            }
        }
        if apart.len() == before {
            return apart;
        }
    }
}

/// Renames references to the schemas of requests that are apart.
fn rename(schema: &mut Value, apart: &BTreeSet<String>) {
    match schema {
        Value::Object(fields) => {
            if let Some(Value::String(to)) = fields.get_mut("$ref")
                && to.rsplit('/').next().is_some_and(|name| apart.contains(name))
            {
                to.push_str(INPUT);
            }
            fields.values_mut().for_each(|value| rename(value, apart));
        }
        Value::Array(values) => values.iter_mut().for_each(|value| rename(value, apart)),
        _ => {}
    }
}

/// Forbids unknown fields in the objects of a request, as [`read`](crate::api::request::read) does.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            for value in fields.values_mut() {
                close(value);
            }
            // A value that is there twice counts once.
            fields.remove("uniqueItems");
            let has_fields = fields.get("properties").is_some_and(Value::is_object);
            if has_fields || fields.get("type").is_some_and(|kind| kind == "object") {
                fields.entry("additionalProperties").or_insert(false.into());
            }
        }
        Value::Array(values) => values.iter_mut().for_each(close),
        _ => {}
    }
}
