// SPDX-License-Identifier: MIT OR Apache-2.0
//! Selection of tracked connections.
#![forbid(unsafe_code)]

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{request::Ask, types::Connection};
use lb_model::{RealAddress, ServiceId, failure::Failure};

/// Body of `POST /v1/connections/cut`: a connection is selected if each given field selects it.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Selection {
    /// Connections of this service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceId>,
    /// Connections of clients in this network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub client: Option<IpNet>,
    /// Connections to this real; without a port, to all its ports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub real: Option<RealAddress>,
}

impl Ask for Selection {}

/// Query of `GET /v1/connections`: a [`Selection`] as texts.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SelectionQuery {
    /// Protocol and endpoint of a service, or its group.
    service: Option<String>,
    /// An address or a network.
    client: Option<String>,
    /// An address, perhaps with a port.
    real: Option<String>,
}

impl SelectionQuery {
    /// Parses the texts.
    ///
    /// # Errors
    /// Wrong input if a text is none of what it should be.
    pub fn parse(&self) -> Result<Selection, Failure> {
        let service = |text: &String| {
            let (kind, name) = text.split_once(' ').unwrap_or((text, ""));
            ServiceId::parse(kind, name)
        };
        let client = |text: &String| network(text);
        let real = |text: &String| text.parse::<RealAddress>();
        Ok(Selection {
            service: self.service.as_ref().map(service).transpose().map_err(Failure::wrong_input)?,
            client: self.client.as_ref().map(client).transpose().map_err(Failure::wrong_input)?,
            real: self.real.as_ref().map(real).transpose().map_err(Failure::wrong_input)?,
        })
    }
}

impl Selection {
    /// Returns whether the selection selects every connection.
    #[must_use]
    pub fn is_all(&self) -> bool {
        *self == Self::default()
    }

    /// Returns whether client and real are selected. The service is not compared: an endpoint may belong to a group.
    #[must_use]
    pub fn has_ends_of(&self, connection: &Connection) -> bool {
        let real = connection.real;
        self.client.is_none_or(|network| network.contains(&connection.client.ip()))
            && self.real.is_none_or(|wanted| {
                wanted.ip == real.ip() && wanted.port.is_none_or(|port| port == real.port())
            })
    }
}

/// Parses a network; an address alone is a network of one.
///
/// # Errors
/// If the text is neither.
pub fn network(text: &str) -> Result<IpNet, String> {
    text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).map_err(|_| {
        format!("'{text}' is not an address or a network; write 198.51.100.0/24 or 2001:db8::/64")
    })
}
