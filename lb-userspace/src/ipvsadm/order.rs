// SPDX-License-Identifier: MIT OR Apache-2.0
//! Parsed command lines of ipvsadm.
#![forbid(unsafe_code)]

use super::{grammar::Verb, page::Format};
use crate::api::{
    sync::{SyncRole, SyncSettings},
    types::Change,
};
use lb_control::options::{RealOptions, ServiceOptions};
use lb_model::{RealAddress, ServiceId, timeouts::TimeoutOptions};

/// Subject of a list.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum What {
    /// All services.
    All,
    /// One service.
    Service(ServiceId),
    /// Connections.
    Connections,
    /// Timeouts.
    Timeouts,
    /// Daemons that synchronise connections.
    Daemons,
}

/// A parsed command line.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Order {
    Help,
    Version,
    AddService(ServiceId, ServiceOptions),
    EditService(ServiceId, ServiceOptions),
    RemoveService(ServiceId),
    Clear,
    AddReal(ServiceId, RealAddress, RealOptions),
    EditReal(ServiceId, RealAddress, RealOptions),
    RemoveReal(ServiceId, RealAddress),
    List(What, Format),
    Save(Format),
    Restore,
    Zero(Option<ServiceId>),
    SetTimeouts(TimeoutOptions),
    StartDaemon(SyncRole, Box<SyncSettings>),
    StopDaemon(SyncRole),
}

impl Order {
    /// Returns the command in ipvsadm's words.
    #[must_use]
    pub const fn verb(&self) -> Verb {
        match self {
            Self::Help => Verb::Help,
            Self::Version => Verb::Version,
            Self::AddService(..) => Verb::Add,
            Self::EditService(..) => Verb::Edit,
            Self::RemoveService(_) => Verb::Delete,
            Self::Clear => Verb::Flush,
            Self::AddReal(..) => Verb::AddServer,
            Self::EditReal(..) => Verb::EditServer,
            Self::RemoveReal(..) => Verb::DeleteServer,
            Self::List(..) => Verb::List,
            Self::Save(_) => Verb::Save,
            Self::Restore => Verb::Restore,
            Self::Zero(_) => Verb::Zero,
            Self::SetTimeouts(_) => Verb::Set,
            Self::StartDaemon(..) => Verb::StartDaemon,
            Self::StopDaemon(_) => Verb::StopDaemon,
        }
    }
}

impl Order {
    /// Returns the change of the table, if the command makes one.
    #[must_use]
    pub fn change(&self) -> Option<Change> {
        Some(match self.clone() {
            Self::AddService(service, options) => Change::AddService { service, options, take_over: false },
            Self::EditService(service, options) => Change::EditService { service, options, force: false },
            Self::RemoveService(service) => Change::RemoveService { service },
            Self::Clear => Change::ClearServices,
            Self::AddReal(service, real, options) => Change::AddReal { service, real, options },
            Self::EditReal(service, real, options) => Change::EditReal { service, real, options },
            Self::RemoveReal(service, real) => Change::RemoveReal { service, real },
            _ => return None,
        })
    }
}
