// SPDX-License-Identifier: MIT OR Apache-2.0
//! Changes of the document that break clients: a path, field or value that has gone, another type, a new required
//! field, a higher role.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;

use serde_json::Value;

/// Depth to which schemas are compared.
const DEEP: usize = 24;

/// Who writes a value.
#[derive(Clone, Copy, PartialEq)]
enum From {
    /// The client: the daemon must go on accepting it.
    Client,
    /// The daemon: the client must be able to go on reading it.
    Daemon,
}

/// Two documents, old and new.
struct Pair<'a> {
    old: &'a Value,
    new: &'a Value,
    found: Vec<String>,
}

/// Returns the changes from `old` to `new` that break clients, one line each.
pub(super) fn breaks(old: &Value, new: &Value) -> Vec<String> {
    let mut pair = Pair { old, new, found: Vec::new() };
    if old == new {
        return pair.found;
    }
    for (path, methods) in old["paths"].as_object().into_iter().flatten() {
        for (method, before) in methods.as_object().into_iter().flatten() {
            let place = format!("{} {path}", method.to_uppercase());
            match &new["paths"][path][method] {
                Value::Null => pair.found.push(format!("{place} has gone")),
                after => pair.operation(&place, before, after),
            }
        }
    }
    pair.found
}

impl Pair<'_> {
    fn operation(&mut self, place: &str, old: &Value, new: &Value) {
        let rank = |operation: &Value| {
            let roles = ["none", "read", "agent", "write"];
            roles.iter().position(|role| operation["x-xvs-role"] == **role)
        };
        if rank(new) > rank(old) {
            self.found.push(format!("{place} needs a higher role"));
        }
        let named = |operation: &Value| -> Vec<Value> {
            operation["parameters"].as_array().cloned().unwrap_or_default()
        };
        for before in named(old) {
            match named(new).into_iter().find(|after| after["name"] == before["name"]) {
                None => self.found.push(format!("{place}: the parameter {} has gone", before["name"])),
                Some(after) => {
                    let place = format!("{place}: {}", before["name"]);
                    self.schema(&place, &before["schema"], &after["schema"], From::Client, DEEP);
                }
            }
        }
        for after in named(new).into_iter().filter(|after| after["required"] == true) {
            let before = named(old).into_iter().find(|before| before["name"] == after["name"]);
            if before.is_none_or(|before| before["required"] != true) {
                self.found.push(format!("{place}: the parameter {} is required now", after["name"]));
            }
        }
        self.contents(place, &old["requestBody"]["content"], &new["requestBody"]["content"], From::Client);
        if old["requestBody"].is_null() && new["requestBody"]["required"] == true {
            self.found.push(format!("{place} needs a body now"));
        }
        let answer = |operation: &Value| operation["responses"]["200"]["content"].clone();
        self.contents(place, &answer(old), &answer(new), From::Daemon);
    }

    fn contents(&mut self, place: &str, old: &Value, new: &Value, from: From) {
        for (kind, before) in old.as_object().into_iter().flatten() {
            match &new[kind] {
                Value::Null => self.found.push(format!("{place}: {kind} has gone")),
                after => self.schema(place, &before["schema"], &after["schema"], from, DEEP),
            }
        }
    }

    fn schema(&mut self, place: &str, old: &Value, new: &Value, from: From, deep: usize) {
        let Pair { old: old_document, new: new_document, .. } = *self;
        let (old, new) = (resolved(old_document, old), resolved(new_document, new));
        if deep == 0 {
            return;
        }
        let (was, is) = (types(old_document, old), types(new_document, new));
        // Values that the receiver does not know, or no longer does.
        let unknown: Vec<_> = match from {
            From::Client => was.difference(&is).cloned().collect(),
            From::Daemon => is.difference(&was).cloned().collect(),
        };
        if !unknown.is_empty() && !was.is_empty() && !is.is_empty() {
            self.found.push(format!("{place}: the type was {was:?} and is {is:?}"));
        }
        if from == From::Client {
            let (was, is) = (values(old), values(new));
            for value in was.iter().filter(|value| !is.is_empty() && !is.contains(value)) {
                self.found.push(format!("{place}: the value {value} has gone"));
            }
            let required = required(old);
            for field in self::required(new).difference(&required) {
                if !old["properties"].is_null() {
                    self.found.push(format!("{place}.{field} is required now"));
                }
            }
        }
        for (field, before) in old["properties"].as_object().into_iter().flatten() {
            let place = format!("{place}.{field}");
            match &new["properties"][field] {
                Value::Null => self.found.push(format!("{place} has gone")),
                after => self.schema(&place, before, after, from, deep - 1),
            }
        }
        if from == From::Daemon {
            for field in required(old).difference(&required(new)) {
                if !new["properties"][field].is_null() {
                    self.found.push(format!("{place}.{field} may be missing now"));
                }
            }
        }
        self.schema_if(&format!("{place}[]"), &old["items"], &new["items"], from, deep);
        for list in ["oneOf", "anyOf", "allOf", "prefixItems"] {
            let variants = |schema: &Value| schema[list].as_array().cloned().unwrap_or_default();
            let after = variants(new);
            for (number, before) in variants(old).iter().enumerate() {
                let name = variant(before);
                let same = after.iter().find(|other| name.is_some() && variant(other) == name);
                match same.or_else(|| after.get(number)) {
                    Some(other) => {
                        let place = format!("{place}/{}", name.unwrap_or_else(|| number.to_string()));
                        self.schema(&place, before, other, from, deep - 1);
                    }
                    None if from == From::Client => {
                        self.found.push(format!("{place}: the variant {name:?} has gone"));
                    }
                    None => {}
                }
            }
        }
    }

    fn schema_if(&mut self, place: &str, old: &Value, new: &Value, from: From, deep: usize) {
        if !old.is_null() && !new.is_null() {
            self.schema(place, old, new, from, deep - 1);
        }
    }
}

/// Returns a schema, or the one that it refers to.
fn resolved<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    let target =
        schema["$ref"].as_str().and_then(|to| to.strip_prefix('#')).and_then(|to| document.pointer(to));
    target.unwrap_or(schema)
}

/// Returns the types of a schema. Whole numbers are numbers too.
fn types(document: &Value, schema: &Value) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    match &schema["type"] {
        Value::String(one) => all.extend([one.clone()]),
        Value::Array(several) => all.extend(several.iter().filter_map(Value::as_str).map(str::to_owned)),
        _ => {}
    }
    for list in ["anyOf", "oneOf"] {
        for one in schema[list].as_array().into_iter().flatten() {
            all.extend(types(document, resolved(document, one)));
        }
    }
    all
}

/// Returns the values of an enumeration.
fn values(schema: &Value) -> Vec<Value> {
    let mut all = schema["enum"].as_array().cloned().unwrap_or_default();
    all.extend(schema.get("const").cloned());
    for one in schema["oneOf"].as_array().into_iter().flatten() {
        all.extend(one.get("const").cloned());
    }
    all
}

fn required(schema: &Value) -> BTreeSet<String> {
    let all = schema["required"].as_array().into_iter().flatten();
    all.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Returns the name of a variant: the constant of its tag.
fn variant(schema: &Value) -> Option<String> {
    if let Some(value) = schema["const"].as_str() {
        return Some(value.to_owned());
    }
    let fields = schema["properties"].as_object()?;
    fields.values().find_map(|field| field["const"].as_str().map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::document::document;

    fn broken(change: impl FnOnce(&mut Value)) -> Vec<String> {
        let old = document();
        let mut new = old.clone();
        change(&mut new);
        breaks(&old, &new)
    }

    fn first(change: impl FnOnce(&mut Value)) -> String {
        broken(change).first().cloned().unwrap_or_default()
    }

    #[test]
    fn what_breaks_a_client_is_found() {
        let schemas = |document: &mut Value, name: &str| document["components"]["schemas"][name].take();
        assert!(broken(|_| {}).is_empty());
        assert_eq!(
            first(|new| {
                new["paths"].as_object_mut().unwrap().remove("/v1/zero");
            }),
            "POST /v1/zero has gone"
        );
        let gone = first(|new| {
            let mut status = schemas(new, "Status");
            status["properties"].as_object_mut().unwrap().remove("pid");
            new["components"]["schemas"]["Status"] = status;
        });
        assert!(gone.contains(".pid has gone"), "{gone}");
        let other = first(|new| {
            new["components"]["schemas"]["Status"]["properties"]["version"] = json!({ "type": "integer" });
        });
        assert!(other.contains("GET /v1/status.version: the type was"), "{other}");
        let body = "/components/schemas/TimeoutOptions";
        let required = first(|new| new.pointer_mut(body).unwrap()["required"] = json!(["tcp"]));
        assert!(required.contains("tcp is required now"), "{required}");
        let narrowed =
            first(|new| new.pointer_mut(body).unwrap()["properties"]["tcp"] = json!({ "type": "string" }));
        assert!(narrowed.contains("the type was"), "{narrowed}");
        let role = first(|new| new["paths"]["/v1/status"]["get"]["x-xvs-role"] = "write".into());
        assert!(role.contains("a higher role"), "{role}");
    }

    #[test]
    fn what_only_adds_is_compatible() {
        let added = broken(|new| {
            new["paths"]["/v1/more"] = json!({ "get": {} });
            new["components"]["schemas"]["Status"]["properties"]["more"] = json!({ "type": "string" });
            let fields = "/components/schemas/TimeoutOptions/properties";
            new.pointer_mut(fields).unwrap()["more"] = json!({ "type": "string" });
        });
        assert!(added.is_empty(), "{added:?}");
    }
}
