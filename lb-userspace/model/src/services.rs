// SPDX-License-Identifier: MIT OR Apache-2.0
//! Services by name, which copies share: a copy costs nothing for services that stay the same, and a comparison of
//! two copies sees at once which services may differ.
#![forbid(unsafe_code)]

use std::{
    collections::{BTreeMap, BTreeSet, btree_map},
    ops::Index,
    sync::Arc,
};

use crate::{Service, ServiceId};

/// Services by name. A service is copied when it is changed, if another copy of the map has it too.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Services(BTreeMap<ServiceId, Arc<Service>>);

impl Services {
    /// Returns a service.
    #[must_use]
    pub fn get(&self, id: &ServiceId) -> Option<&Service> {
        self.0.get(id).map(Arc::as_ref)
    }

    /// Returns a service, to change it.
    pub fn get_mut(&mut self, id: &ServiceId) -> Option<&mut Service> {
        self.0.get_mut(id).map(Arc::make_mut)
    }

    /// Returns whether there is a service of that name.
    #[must_use]
    pub fn contains_key(&self, id: &ServiceId) -> bool {
        self.0.contains_key(id)
    }

    /// Returns whether two maps share a service, which is then the same; `false` says nothing.
    #[must_use]
    pub fn share(&self, other: &Self, id: &ServiceId) -> bool {
        matches!((self.0.get(id), other.0.get(id)), (Some(one), Some(two)) if Arc::ptr_eq(one, two))
    }

    /// Returns the names of the services that this map and `other` do not share: those that only one of them has,
    /// and those that may differ.
    #[must_use]
    pub fn unshared(&self, other: &Self) -> BTreeSet<ServiceId> {
        let mut others = other.0.iter().peekable();
        let mut unshared = BTreeSet::new();
        // Both are in the order of the names.
        for (id, service) in &self.0 {
            while let Some((gone, _)) = others.next_if(|(other, _)| *other < id) {
                unshared.insert(*gone);
            }
            let same = others.next_if(|(other, _)| *other == id);
            if !same.is_some_and(|(_, other)| Arc::ptr_eq(service, other)) {
                unshared.insert(*id);
            }
        }
        unshared.extend(others.map(|(gone, _)| *gone));
        unshared
    }

    /// Adds a service, or replaces it. Returns whether there was one of that name.
    pub fn insert(&mut self, id: ServiceId, service: Service) -> bool {
        self.0.insert(id, Arc::new(service)).is_some()
    }

    /// Removes a service. Returns whether it was there.
    pub fn remove(&mut self, id: &ServiceId) -> bool {
        self.0.remove(id).is_some()
    }

    /// Keeps the services for which `keeps` is true.
    pub fn retain(&mut self, mut keeps: impl FnMut(&ServiceId, &Service) -> bool) {
        self.0.retain(|id, service| keeps(id, service));
    }

    /// Removes all services.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Removes the last service, and returns its name.
    pub fn pop_last(&mut self) -> Option<ServiceId> {
        self.0.pop_last().map(|(id, _)| id)
    }

    /// Returns the first service.
    #[must_use]
    pub fn first_key_value(&self) -> Option<(&ServiceId, &Service)> {
        self.0.first_key_value().map(|(id, service)| (id, &**service))
    }

    /// Returns the number of services.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether there is no service.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the services in the order of their names.
    #[must_use]
    pub fn iter(&self) -> Iter<'_> {
        Iter(self.0.iter())
    }

    /// Returns the services in the order of their names, to change them.
    pub fn iter_mut(&mut self) -> IterMut<'_> {
        IterMut(self.0.iter_mut())
    }

    /// Returns the names in order.
    pub fn keys(&self) -> impl Iterator<Item = &ServiceId> + '_ {
        self.0.keys()
    }

    /// Returns the services in the order of their names.
    pub fn values(&self) -> impl Iterator<Item = &Service> + '_ {
        self.0.values().map(Arc::as_ref)
    }

    /// Returns the services in the order of their names, to change them.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut Service> + '_ {
        self.0.values_mut().map(Arc::make_mut)
    }
}

impl Index<&ServiceId> for Services {
    type Output = Service;

    fn index(&self, id: &ServiceId) -> &Service {
        &self.0[id]
    }
}

impl FromIterator<(ServiceId, Service)> for Services {
    fn from_iter<T: IntoIterator<Item = (ServiceId, Service)>>(services: T) -> Self {
        Self(services.into_iter().map(|(id, service)| (id, Arc::new(service))).collect())
    }
}

impl<const N: usize> From<[(ServiceId, Service); N]> for Services {
    fn from(services: [(ServiceId, Service); N]) -> Self {
        services.into_iter().collect()
    }
}

impl Extend<(ServiceId, Service)> for Services {
    fn extend<T: IntoIterator<Item = (ServiceId, Service)>>(&mut self, services: T) {
        self.0.extend(services.into_iter().map(|(id, service)| (id, Arc::new(service))));
    }
}

/// Iterator over services.
#[derive(Clone, Debug)]
pub struct Iter<'a>(btree_map::Iter<'a, ServiceId, Arc<Service>>);

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a ServiceId, &'a Service);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|(id, service)| (id, &**service))
    }
}

/// Iterator over services that are changed.
#[derive(Debug)]
pub struct IterMut<'a>(btree_map::IterMut<'a, ServiceId, Arc<Service>>);

impl<'a> Iterator for IterMut<'a> {
    type Item = (&'a ServiceId, &'a mut Service);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|(id, service)| (id, Arc::make_mut(service)))
    }
}

impl<'a> IntoIterator for &'a Services {
    type Item = (&'a ServiceId, &'a Service);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl<'a> IntoIterator for &'a mut Services {
    type Item = (&'a ServiceId, &'a mut Service);
    type IntoIter = IterMut<'a>;

    fn into_iter(self) -> IterMut<'a> {
        self.iter_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(port: u16) -> ServiceId {
        ServiceId::parse("tcp", &format!("192.0.2.1:{port}")).unwrap()
    }

    #[test]
    fn a_copy_shares_what_is_not_changed() {
        let mut one: Services = [1, 2, 3].map(|port| (id(port), Service::default())).into();
        let before = one.clone();
        assert!(one.unshared(&before).is_empty());
        one.get_mut(&id(2)).unwrap().one_packet = true;
        one.remove(&id(3));
        one.insert(id(4), Service::default());
        assert_eq!(one.unshared(&before), [id(2), id(3), id(4)].into());
        assert_eq!(before.unshared(&one), one.unshared(&before));
        assert!(!before[&id(2)].one_packet && one[&id(2)].one_packet, "the copy stays as it was");
        assert!(one.share(&before, &id(1)) && !one.share(&before, &id(2)) && !one.share(&before, &id(9)));
        assert_eq!(before.len(), 3);
    }
}
