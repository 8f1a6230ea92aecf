// SPDX-License-Identifier: MIT OR Apache-2.0
//! Words of a line, and those that keepalived knows.
#![forbid(unsafe_code)]

/// Blocks that are skipped by their braces: keepalived's process for services does not read them. The blocks
/// of `HOST` hold no words, so that without a brace nothing is skipped.
pub const HOST: &[&str] = &["linkbeat_interfaces", "static_ipaddress", "static_routes", "static_rules"];
pub const VRRP: &[&str] =
    &["garp_group", "track_group", "vrrp_instance", "vrrp_script", "vrrp_sync_group", "vrrp_track_process"];
/// Checks, and the name of their inner blocks.
pub const CHECKS: &[(&str, &str)] = &[
    ("BFD_CHECK", ""),
    ("DNS_CHECK", ""),
    ("FILE_CHECK", ""),
    ("HTTP_GET", "url"),
    ("MISC_CHECK", ""),
    ("PING_CHECK", ""),
    ("SMTP_CHECK", "host"),
    ("SSL_GET", "url"),
    ("TCP_CHECK", ""),
    ("UDP_CHECK", ""),
];
/// Words of the file itself without a block.
pub const LINES: &[&str] = &[
    "child_wait_time",
    "instance",
    "linkbeat_use_polling",
    "namespace_with_ipsets",
    "net_namespace",
    "net_namespace_ipvs",
    "use_pid_dir",
];
/// Words of a file, a server, a real and a check that prevent the start of keepalived if their value is
/// missing.
pub const VALUES_OF_FILE: &[&str] = &["virtual_server", "virtual_server_group"];
pub const VALUES_OF_SERVER: &[&str] = &[
    "connect_timeout",
    "delay_before_retry",
    "delay_loop",
    "hysteresis",
    "ip_family",
    "lb_algo",
    "lb_kind",
    "lvs_method",
    "lvs_sched",
    "persistence_engine",
    "persistence_granularity",
    "protocol",
    "quorum",
    "real_server",
    "retry",
    "sorry_server",
    "warmup",
    "weight",
];
pub const VALUES_OF_REAL: &[&str] = &[
    "connect_timeout",
    "delay_before_retry",
    "delay_loop",
    "lthreshold",
    "lvs_method",
    "retry",
    "uthreshold",
    "warmup",
    "weight",
];
pub const VALUES_OF_CHECK: &[&str] = &[
    "bind_port",
    "bindto",
    "connect_ip",
    "connect_port",
    "connect_timeout",
    "delay_before_retry",
    "delay_loop",
    "nb_get_retry",
    "retry",
    "warmup",
];

/// Returns the words of a line: between blanks, or in double quotes. An unclosed quote and its text are
/// ignored.
pub fn words(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', '\x0b', '\x0c', '\r']);
        if rest.is_empty() {
            return words;
        }
        let (word, after) = if let Some(quoted) = rest.strip_prefix('"') {
            let Some(split) = quoted.split_once('"') else { return words };
            split
        } else {
            let end = rest.find([' ', '\t', '\x0b', '\x0c', '\r', '"']).unwrap_or(rest.len());
            rest.split_at(end)
        };
        words.push(word);
        rest = after;
    }
}

/// Returns the words of a text between blanks, in which quotes of both kinds join words and a backslash begins
/// an escape, as in C; `None` if a quote is not closed, or the text ends in a backslash.
pub fn escaped(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut chars = text.chars().peekable();
    let blank = |c: &char| [' ', '\t', '\x0b', '\x0c', '\r', '\n'].contains(c);
    loop {
        while chars.next_if(blank).is_some() {}
        if chars.peek().is_none() {
            return Some(words);
        }
        let (mut word, mut quote) = (String::new(), None);
        while let Some(c) = chars.next_if(|c| quote.is_some() || !blank(c)) {
            match c {
                '\\' => word.push(escape(&mut chars)?),
                _ if quote == Some(c) => quote = None,
                '"' | '\'' if quote.is_none() => quote = Some(c),
                _ => word.push(c),
            }
        }
        if quote.is_some() {
            return None;
        }
        words.push(word);
    }
}

/// Reads an escape behind its backslash.
fn escape(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<char> {
    let c = chars.next()?;
    let mut digits = |base: u32, most: usize, first: u32| {
        let (mut value, mut count) = (first, 0);
        while count < most
            && let Some(digit) = chars.peek().and_then(|c| c.to_digit(base))
        {
            chars.next();
            // As in keepalived, the last eight bits count.
            value = (value * base + digit) & 0xff;
            count += 1;
        }
        (count, char::from(value as u8))
    };
    Some(match c {
        'x' => match digits(16, usize::MAX, 0) {
            (0, _) => 'x',
            (_, c) => c,
        },
        '0'..='7' => digits(8, 2, c.to_digit(8)?).1,
        'c' => chars.next().map_or('c', |c| char::from(c as u8 & 0x1f)),
        'a' => '\x07',
        'b' => '\x08',
        'E' => '\x1b',
        'f' => '\x0c',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\x0b',
        other => other,
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    #[rstest]
    #[case("/bin/x a  b", Some(vec!["/bin/x", "a", "b"]))]
    #[case("/bin/x 'a b' c\"d e\"", Some(vec!["/bin/x", "a b", "cd e"]))]
    #[case("a\\ b \\x41\\101\\n \\\\d \\.", Some(vec!["a b", "AA\n", "\\d", "."]))]
    #[case("", Some(vec![]))]
    #[case("'a", None)]
    #[case("a\\", None)]
    fn escapes_and_quotes_are_those_of_keepalived(#[case] text: &str, #[case] expected: Option<Vec<&str>>) {
        let words = super::escaped(text);
        assert_eq!(words, expected.map(|words| words.into_iter().map(str::to_owned).collect()));
    }
}
