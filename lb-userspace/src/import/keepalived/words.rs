// SPDX-License-Identifier: MIT OR Apache-2.0
//! The words of a line, and those that keepalived knows.
#![forbid(unsafe_code)]

/// Blocks that are skipped by their braces: keepalived's process for services does not read them.
pub const VRRP: &[&str] = &[
    "garp_group",
    "linkbeat_interfaces",
    "static_ipaddress",
    "static_routes",
    "static_rules",
    "track_group",
    "vrrp_instance",
    "vrrp_script",
    "vrrp_sync_group",
    "vrrp_track_process",
];
/// Checks, and the name of the blocks that they have inside.
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
/// Words without whose value keepalived does not start.
pub const WITH_VALUE: &[&str] = &[
    "bind_port",
    "bindto",
    "connect_ip",
    "connect_port",
    "connect_timeout",
    "delay_before_retry",
    "delay_loop",
    "hysteresis",
    "ip_family",
    "lb_algo",
    "lb_kind",
    "lthreshold",
    "lvs_method",
    "lvs_sched",
    "nb_get_retry",
    "persistence_engine",
    "persistence_granularity",
    "protocol",
    "quorum",
    "real_server",
    "retry",
    "sorry_server",
    "uthreshold",
    "virtual_server",
    "virtual_server_group",
    "warmup",
    "weight",
];

/// The words of a line: between blanks, or in double quotes. Of a quote that is not closed, nothing is taken.
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
