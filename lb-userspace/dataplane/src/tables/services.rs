// SPDX-License-Identifier: MIT OR Apache-2.0
//! Services by endpoint.
#![forbid(unsafe_code)]

use lb_common::schema::{Service, ServiceKey};

use super::{TableError, Tables};

impl Tables {
    /// Returns every service.
    pub fn services(&self) -> Result<Vec<(ServiceKey, Service)>, TableError> {
        let mut services = self.services.all()?;
        // The number concerns the flow table only.
        for (_, service) in &mut services {
            service.number = 0;
        }
        Ok(services)
    }

    /// Adds or replaces a service.
    pub fn put_service(&mut self, key: &ServiceKey, service: &Service) -> Result<(), TableError> {
        self.unsettle()?;
        let service = self.flows.numbered(key, service)?;
        self.services.put(key, &service)
    }

    /// Removes a service. Its packets belong to no service from now on.
    pub fn remove_service(&mut self, key: &ServiceKey) -> Result<(), TableError> {
        self.unsettle()?;
        self.services.remove(key)?;
        self.flows.release(key);
        Ok(())
    }
}
