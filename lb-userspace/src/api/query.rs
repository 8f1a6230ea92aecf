// SPDX-License-Identifier: MIT OR Apache-2.0
//! Queries of the client's requests.
#![forbid(unsafe_code)]

use std::fmt::{Display, Write as _};

/// Returns a text as a value in a query (RFC 3986, section 2.1).
#[must_use]
pub fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                escaped.push(char::from(byte));
            }
            // A string takes everything.
            _ => drop(write!(escaped, "%{byte:02X}")),
        }
    }
    escaped
}

/// Returns the path of a request with the parameters that have a value.
#[must_use]
pub fn path(path: &str, parameters: &[(&str, Option<&dyn Display>)]) -> String {
    let given = parameters.iter().filter_map(|(name, value)| Some((name, (*value)?)));
    let words: Vec<String> =
        given.map(|(name, value)| format!("{name}={}", escaped(&value.to_string()))).collect();
    if words.is_empty() { path.to_owned() } else { format!("{path}?{}", words.join("&")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_parameters_with_a_value_are_in_the_path() {
        assert_eq!(path("/v1/x", &[("a", None), ("b", None)]), "/v1/x");
        let (service, port) = ("tcp [2001:db8::1]:80", 7);
        let written = path("/v1/x", &[("s", Some(&service)), ("b", None), ("p", Some(&port))]);
        assert_eq!(written, "/v1/x?s=tcp%20%5B2001%3Adb8%3A%3A1%5D%3A80&p=7");
    }
}
