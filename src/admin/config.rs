//! `/admin/config`: where the configuration comes from, and whether all that the file says now holds.

use std::path::Path;
use std::time::Duration;

use super::sources::Sources;
use crate::config::identity::{self, Condition, Demanded, Method, Methods};
use crate::config::{self, Expose, routes};
use crate::pages::config::{Claim, Consul, Demand, Page, Route, Snapshot};
use crate::telemetry::access::rfc3339;

/// How the configuration fares.
pub(super) fn page(sources: &Sources) -> Page {
    let status = sources.config.borrow();
    let snapshot = sources.current.load();
    Page {
        source: status.source.clone(),
        loaded: rfc3339(status.loaded).to_string(),
        reloads: status.reloads,
        failed_reloads: status.failures,
        errors: status.errors.clone(),
        needs_restart: status.needs_restart.iter().map(|&section| section.to_owned()).collect(),
        warnings: snapshot.config.warnings.clone(),
        routes: snapshot.routes.all().iter().map(|entry| route(&entry.route)).collect(),
        consul: snapshot.config.consul.as_ref().map(consul),
    }
}

fn consul(consul: &config::Consul) -> Consul {
    let path = |path: &Path| path.display().to_string();
    let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    Consul {
        addresses: consul.addresses.clone(),
        token: consul.token.is_some(),
        http_auth: consul.http_auth.is_some(),
        tag: match &consul.expose {
            Expose::Tagged(tag) => Some(tag.clone()),
            Expose::All => None,
        },
        connections: consul.connections as u64,
        allow_loopback: consul.allow_loopback,
        namespace: consul.namespace.clone(),
        partition: consul.partition.clone(),
        ca_file: consul.ca_file.as_deref().map(path),
        ca_path: consul.ca_path.as_deref().map(path),
        client_cert: consul.client_cert.as_ref().map(|(cert, _)| path(cert)),
        tls_server_name: consul.tls_server_name.clone(),
        verify: consul.verify,
        datacenters: consul.datacenters.clone(),
        hold_ms: ms(consul.hold),
        canary: consul.canary.clone(),
        snapshot: consul
            .saved
            .as_ref()
            .map(|saved| Snapshot { file: path(&saved.file), max_age_ms: ms(saved.max_age) }),
    }
}

fn route(route: &routes::Route) -> Route {
    Route {
        name: route.name.to_string(),
        hosts: route.hosts.iter().map(ToString::to_string).collect(),
        path: route.path.to_string(),
        methods: route.methods.iter().map(ToString::to_string).collect(),
        conditions: (route.headers.len() + route.query.len()) as u64,
        auth: route.policy.auth.as_deref().map(demand),
        cached: route.policy.cache.enabled,
        limits: route.policy.limits.as_ref().map(|set| set.name.to_string()),
    }
}

fn demand(demand: &identity::Demand) -> Demand {
    let name = |method: &Method| match method {
        Method::Key => "key".to_owned(),
        Method::Basic => "basic".to_owned(),
        Method::Issuer(name) => name.to_string(),
    };
    let (any, all): (&[Method], &[Method]) = match &demand.methods {
        Methods::Any(methods) => (methods, &[]),
        Methods::All(methods) => (&[], methods),
    };
    Demand {
        any: any.iter().map(name).collect(),
        all: all.iter().map(name).collect(),
        optional: demand.optional,
        scopes: demand.scopes.clone(),
        audience: demand.audience.iter().map(ToString::to_string).collect(),
        claims: demand.claims.iter().map(claim).collect(),
        cookie: demand.cookie.as_ref().map(|cookie| cookie.name.clone()),
        origins: demand.cookie.as_ref().map(|cookie| cookie.origins.clone()).unwrap_or_default(),
        pass: demand.pass,
    }
}

/// A demand on a claim.
pub(super) fn claim(Demanded { claim, condition }: &Demanded) -> Claim {
    let (is, has) = match condition {
        Condition::OneOf(values) => (values.clone(), None),
        Condition::Has(member) => (Vec::new(), Some(member.clone())),
    };
    Claim { claim: claim.0.iter().map(ToString::to_string).collect(), is, has }
}
