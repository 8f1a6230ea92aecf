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
