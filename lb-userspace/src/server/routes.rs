// SPDX-License-Identifier: MIT OR Apache-2.0
//! A router that knows its routes, so that a test can compare them with the document of the API.
#![forbid(unsafe_code)]

use axum::{
    Router,
    handler::Handler,
    http::Method,
    routing::{MethodRouter, get, post, put},
};

/// Routes of the API.
pub struct Routes<S> {
    router: Router<S>,
    listed: Vec<(Method, &'static str)>,
}

impl<S: Clone + Send + Sync + 'static> Routes<S> {
    /// Creates an empty list.
    #[must_use]
    pub fn new() -> Self {
        Self { router: Router::new(), listed: Vec::new() }
    }

    /// Adds a route for GET.
    #[must_use]
    pub fn get<T: 'static>(self, path: &'static str, handler: impl Handler<T, S>) -> Self {
        self.add(Method::GET, path, get(handler))
    }

    /// Adds a route for POST.
    #[must_use]
    pub fn post<T: 'static>(self, path: &'static str, handler: impl Handler<T, S>) -> Self {
        self.add(Method::POST, path, post(handler))
    }

    /// Adds a route for PUT.
    #[must_use]
    pub fn put<T: 'static>(self, path: &'static str, handler: impl Handler<T, S>) -> Self {
        self.add(Method::PUT, path, put(handler))
    }

    fn add(mut self, method: Method, path: &'static str, handler: MethodRouter<S>) -> Self {
        self.listed.push((method, path));
        Self { router: self.router.route(path, handler), listed: self.listed }
    }

    /// Returns the router.
    pub fn router(self) -> Router<S> {
        self.router
    }

    /// Returns the method and the path of each route.
    #[must_use]
    pub fn listed(&self) -> &[(Method, &'static str)] {
        &self.listed
    }
}

impl<S: Clone + Send + Sync + 'static> Default for Routes<S> {
    fn default() -> Self {
        Self::new()
    }
}
