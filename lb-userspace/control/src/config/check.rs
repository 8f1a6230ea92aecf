// SPDX-License-Identifier: MIT OR Apache-2.0
//! The `[[check]]` tables of the config file.
#![forbid(unsafe_code)]

use serde::Deserialize;
use toml::Spanned;

use crate::options::CheckOptions;
use lb_model::check::{CertificatePolicy, Check, CheckName, CheckType, DnsRecord, Period, StatusRanges, Via};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct CheckSection {
    pub(super) name: Spanned<CheckName>,
    r#type: CheckType,
    via: Option<Via>,
    interval: Option<Period>,
    fast_interval: Option<Period>,
    down_interval: Option<Period>,
    timeout: Option<Period>,
    rise: Option<u32>,
    fall: Option<u32>,
    jitter: Option<u8>,
    port: Option<u16>,
    path: Option<String>,
    host: Option<String>,
    status: Option<StatusRanges>,
    body: Option<String>,
    send: Option<String>,
    expect: Option<String>,
    dns_name: Option<String>,
    record: Option<DnsRecord>,
    certificate: Option<CertificatePolicy>,
    sni: Option<String>,
    ca_file: Option<String>,
    user: Option<String>,
    dynamic_weight: Option<bool>,
    #[serde(default)]
    command: Vec<String>,
}

impl CheckSection {
    /// Returns the definition.
    pub(super) fn check(self) -> Check {
        let options = CheckOptions {
            via: self.via,
            interval: self.interval,
            fast_interval: self.fast_interval,
            down_interval: self.down_interval,
            timeout: self.timeout,
            rise: self.rise,
            fall: self.fall,
            jitter: self.jitter,
            port: self.port,
            path: self.path,
            host: self.host,
            status: self.status,
            body: self.body,
            send: self.send,
            expect: self.expect,
            dns_name: self.dns_name,
            record: self.record,
            certificate: self.certificate,
            sni: self.sni,
            ca_file: self.ca_file,
            user: self.user,
            dynamic_weight: self.dynamic_weight,
            command: self.command,
        };
        options.new_check(self.r#type)
    }
}
