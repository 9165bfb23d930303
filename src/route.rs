//! Which requests go to which service: a request's path in, its route out. Pure.

use std::sync::Arc;

use crate::config::Config;

/// All routes.
#[derive(Debug)]
pub struct Table {
    api: Option<Arc<Route>>,
}

/// Requests of one kind, and what holds for them.
#[derive(Debug)]
pub struct Route {
    /// What logs and admin call it.
    pub name: Arc<str>,
    /// The path's prefix; the next segment names the service.
    pub prefix: String,
    /// An API key is asked for.
    pub auth: bool,
}

/// A request's route, with the parts of its path.
#[derive(Debug)]
pub struct Match<'a> {
    /// The route.
    pub route: &'a Arc<Route>,
    /// The service's name, as the path says it.
    pub service: &'a str,
    /// What was taken off the path: `/api/orders`.
    pub stripped: &'a str,
    /// What is left for the instance: empty or beginning with `/`.
    pub rest: &'a str,
}

impl Table {
    /// The routes of a configuration.
    pub fn new(config: &Config) -> Table {
        let route = |api: &crate::config::Api| {
            Arc::new(Route { name: "api".into(), prefix: api.prefix.clone(), auth: api.auth })
        };
        Table { api: config.api.as_ref().map(route) }
    }

    /// The route of a canonical path.
    pub fn find<'a>(&'a self, path: &'a str) -> Option<Match<'a>> {
        let route = self.api.as_ref()?;
        let below = path.strip_prefix(route.prefix.as_str())?.strip_prefix('/')?;
        let end = below.find('/').unwrap_or(below.len());
        if end == 0 {
            return None;
        }
        let (service, rest) = below.split_at(end);
        let stripped = &path[..path.len() - rest.len()];
        Some(Match { route, service, stripped, rest })
    }

    /// The prefixes that exist, for whoever asked for something else.
    pub fn prefixes(&self) -> impl Iterator<Item = String> {
        self.api.iter().map(|route| format!("{}/{{service}}/{{path}}", route.prefix))
    }

    /// All routes that lead to a service.
    pub fn to(&self, service: &str) -> impl Iterator<Item = String> {
        self.api.iter().map(move |route| format!("{}/{service}/", route.prefix))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(path: &str) -> Option<(String, String, String)> {
        let route = Route { name: "api".into(), prefix: "/api".into(), auth: true };
        let table = Table { api: Some(Arc::new(route)) };
        let found = table.find(path)?;
        assert_eq!(format!("{}{}", found.stripped, found.rest), path);
        Some((found.service.into(), found.stripped.into(), found.rest.into()))
    }

    #[test]
    fn the_segment_after_the_prefix_names_the_service_and_the_rest_stays_as_it_is() {
        let some = |a: &str, b: &str, c: &str| Some((a.to_owned(), b.to_owned(), c.to_owned()));
        assert_eq!(find("/api/orders/1"), some("orders", "/api/orders", "/1"));
        assert_eq!(find("/api/orders"), some("orders", "/api/orders", ""));
        assert_eq!(find("/api/orders/"), some("orders", "/api/orders", "/"));
        assert_eq!(find("/api/orders//x"), some("orders", "/api/orders", "//x"));
        assert_eq!(find("/api/a%20b/x"), some("a%20b", "/api/a%20b", "/x"));
    }

    #[test]
    fn what_is_not_below_the_prefix_has_no_route() {
        for path in ["/", "/api", "/api/", "/api//x", "/apiary/orders", "/orders", "/API/orders"] {
            assert_eq!(find(path), None, "{path}");
        }
    }
}
