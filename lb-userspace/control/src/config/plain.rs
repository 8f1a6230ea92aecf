// SPDX-License-Identifier: MIT OR Apache-2.0
//! Plain-English messages for errors of the TOML parser.
#![forbid(unsafe_code)]

use lb_model::text::likely;

/// Returns a plain sentence for a message of the parser about `line`.
pub(super) fn sentence(message: &str, line: &str) -> String {
    // The parser puts names between backquotes: first the wrong one, then the valid ones.
    let names: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let is = |text: &str| message.starts_with(text);
    if is("unknown field") || is("unknown variant") {
        let what = if is("unknown field") { "key" } else { "value" };
        let Some((wrong, known)) = names.split_first() else { return message.to_owned() };
        return match likely(wrong, known.iter().copied()) {
            Some(meant) => format!("unknown {what} '{wrong}'; did you mean {meant}?"),
            None => format!("unknown {what} '{wrong}'; there are {}", known.join(", ")),
        };
    }
    let value = line.split_once('=').map_or(line, |(_, value)| value).trim();
    if is("invalid type: map, expected a sequence") {
        let name = line.trim().trim_matches(['[', ']', ' ']);
        return format!("there can be several of these: write [[{name}]], with two brackets");
    }
    if is("invalid type: string") && expects_number(message) {
        return format!("a number is written without quotes: {}", value.trim_matches(['"', '\'']));
    }
    if is("invalid type: string") && message.contains("expected a boolean") {
        return "write true or false, without quotes".to_owned();
    }
    if (is("invalid type: integer") || is("invalid type: boolean")) && message.contains("a string") {
        return format!("a string is written in quotes: \"{value}\"");
    }
    if is("invalid type: string") && message.contains("expected a sequence") {
        return format!("a list is written in brackets: [{value}]");
    }
    if let Some(range) = range(message) {
        return format!("{value} is not {range}");
    }
    let is_word = value.starts_with(|first: char| first.is_ascii_alphabetic());
    if is_word && (is("invalid boolean") || is("string values must be quoted") || message.contains("literal"))
    {
        return format!("a string is written in quotes: \"{value}\"");
    }
    message.to_owned()
}

/// Returns whether the parser expected a number.
fn expects_number(message: &str) -> bool {
    ["u8", "u16", "u32", "u64", "i64"].iter().any(|kind| message.ends_with(&format!("expected {kind}")))
}

/// Returns the range of numbers that the parser expected, if the value was out of range.
fn range(message: &str) -> Option<String> {
    let most = match message.rsplit_once("expected ")?.1 {
        "u8" => u64::from(u8::MAX),
        "u16" => u64::from(u16::MAX),
        "u32" => u64::from(u32::MAX),
        _ => return None,
    };
    Some(format!("a whole number from 0 to {most}"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config;

    const SERVICE: &str = "[[service]]\nprotocol = \"tcp\"\naddress = \"10.0.0.1:80\"\n";
    const REAL: &str = "[[service.real]]\naddress = \"10.0.0.2\"\n";

    fn refusal(text: &str) -> String {
        config::parse(text, Path::new("xvs.toml")).unwrap_err().message
    }

    #[test]
    fn each_mistake_is_named_and_shown() {
        let service = |rest: &str| format!("{SERVICE}{rest}\n");
        let real = |rest: &str| format!("{SERVICE}{REAL}{rest}\n");
        for (text, said) in [
            (service("schedular = \"rr\""), "unknown key 'schedular'; did you mean scheduler?"),
            (service("zzz = 1"), "unknown key 'zzz'; there are protocol, address"),
            (service("scheduler = \"wrrr\""), "unknown value 'wrrr'; did you mean wrr?"),
            ("[service]\nprotocol = \"tcp\"\n".to_owned(), "write [[service]], with two brackets"),
            (real("weight = \"100\""), "a number is written without quotes: 100"),
            (real("weight = 1.5"), "1.5 is not a whole number from 0 to 4294967295"),
            (service("one-packet = \"yes\""), "write true or false, without quotes"),
            (service("persistent = 300"), "a string is written in quotes: \"300\""),
            ("[[service]]\nprotocol = tcp\n".to_owned(), "a string is written in quotes: \"tcp\""),
            ("[director]\ninterfaces = \"eth0\"\n".to_owned(), "a list is written in brackets: [\"eth0\"]"),
            (
                "[[service]]\nprotocol = \"tcp\"\naddress = \"10.0.0.1\"\n".to_owned(),
                "'10.0.0.1' has no port; write 10.0.0.1:80",
            ),
            ("[director]\nmetrics = \"9471\"\n".to_owned(), "has no address; write 127.0.0.1:9471"),
        ] {
            let message = refusal(&text);
            assert!(message.contains(said), "{text}{message}");
            assert!(message.contains("\n  | ") && message.ends_with('^'), "{message}");
        }
    }
}
