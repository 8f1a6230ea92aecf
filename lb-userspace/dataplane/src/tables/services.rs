// SPDX-License-Identifier: MIT OR Apache-2.0
//! Services by endpoint.
#![forbid(unsafe_code)]

use lb_common::schema::{Service, ServiceKey};

use super::{TableError, Tables};

impl Tables {
    /// Returns every service.
    pub fn services(&self) -> Result<Vec<(ServiceKey, Service)>, TableError> {
        self.services.all()
    }

    /// Adds or replaces a service.
    pub fn put_service(&mut self, key: &ServiceKey, service: &Service) -> Result<(), TableError> {
        self.unsettle()?;
        self.services.put(key, service)
    }

    /// Removes a service. Its packets belong to no service from now on.
    pub fn remove_service(&mut self, key: &ServiceKey) -> Result<(), TableError> {
        self.unsettle()?;
        self.services.remove(key)
    }
}
