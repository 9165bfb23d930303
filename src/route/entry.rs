//! What is kept for a route, and, where its answers are aggregates, for each call as a route of its own, for the shapes, and of how the
//! last ones went.

use std::hash::BuildHasher;
use std::sync::Arc;

use http::{HeaderName, header};

use super::journal::{Journal, Requests};
use super::order::comes_before;
use crate::config::compose::{Answer, Body, Call, Compose, Expression, Template, Value, When};
use crate::config::identity::Demanded;
use crate::config::routes::{Action, HeaderRules, PathChange, Pattern, Route, Target};
use crate::telemetry::metrics::Recorder;

/// A route, and what is kept for it.
#[derive(Debug)]
pub struct Entry {
    /// The route, as configured.
    pub route: Arc<Route>,
    /// Counts its requests; stays when the configuration is read again, for the route of the same name.
    pub recorder: Arc<Recorder>,
    /// A hash of all that decides on its answers: with another one, stored answers are another route's.
    pub form: Arc<str>,
    /// The calls that its answers are made of, where they are aggregates.
    pub composed: Option<Arc<Composed>>,
}

/// An aggregate, as a route has it.
#[derive(Clone, Debug)]
pub struct Composed {
    /// Its calls.
    pub compose: Arc<Compose>,
    /// Where each of [`Compose::parameters`] stands among the pattern's parameters.
    pub parameters: Vec<usize>,
    /// What of each call is as of any route, in the order of [`Compose::calls`].
    pub calls: Vec<Arc<Entry>>,
    /// How the requests of each call went, in the same order; those of all routes that use the compose.
    pub requests: Vec<Arc<Requests>>,
    /// The shapes of its answers, the last of which is for everybody.
    pub fronts: Vec<Front>,
    /// Clients may choose members of its answers.
    pub fields: bool,
    /// How `Via` names us in its calls: other gateways, and this one, know by that when they are asked for the same again.
    pub via: Arc<str>,
    /// The services of its calls, with a space between them.
    pub services: Arc<str>,
    /// The fields of the client's head that its calls read, or by which this route is chosen and not another one.
    pub varies: Vec<HeaderName>,
    /// Its answers depend on who asks.
    pub personal: bool,
    /// How it went so far.
    pub journal: Arc<Journal>,
}

/// A shape of an aggregate's answers, for some of its clients.
#[derive(Clone, Debug)]
pub struct Front {
    /// The plan that its clients have; without one, any.
    pub plan: Option<Arc<str>>,
    /// The claims that their tokens have.
    pub claims: Vec<Demanded>,
    /// The shape; without one, an object with a member for each call.
    pub expression: Option<Expression>,
    /// Which calls are made for it, in the order of [`Compose::calls`]: those that it reads, those that these need, and all that
    /// change something.
    pub makes: Box<[bool]>,
}

impl Entry {
    /// Of a route, of those that there are.
    pub(super) fn of(route: Arc<Route>, all: &[Arc<Route>], workers: usize) -> Entry {
        let composed = Composed::of(&route, all, workers).map(Arc::new);
        let varies = composed.as_ref().map_or(&[][..], |composed| &composed.varies);
        let form = form(&route, &[], varies);
        Entry { recorder: Arc::new(Recorder::new(workers)), form, composed, route }
    }

    /// The same, with this for its aggregates.
    pub(super) fn composed_as(&self, composed: Composed) -> Entry {
        let Entry { route, recorder, form, .. } = self;
        let composed = Some(Arc::new(composed));
        Entry { route: route.clone(), recorder: recorder.clone(), form: form.clone(), composed }
    }

    /// The same, counting on where the route of the same name stood before.
    pub(super) fn keeping(&self, before: &Entry) -> Entry {
        let Entry { route, form, composed, .. } = self;
        let recorder = before.recorder.clone();
        let composed = match (composed, &before.composed) {
            (Some(composed), Some(before)) => Some(Arc::new(composed.keeping(before))),
            (composed, _) => composed.clone(),
        };
        Entry { route: route.clone(), recorder, form: form.clone(), composed }
    }
}

impl Composed {
    /// Of a route, of those that there are, if its answers are aggregates.
    fn of(route: &Route, all: &[Arc<Route>], workers: usize) -> Option<Composed> {
        let Action::Compose { compose, parameters, answers, fields } = &route.action else { return None };
        let calls = compose.calls.iter().map(|call| entry(compose, call, route, workers)).collect();
        let requests = compose.calls.iter().map(|_| Arc::new(Requests::new(workers))).collect();
        let everybody = Answer { plan: None, claims: Vec::new(), expression: None };
        let fronts = answers.iter().chain([&everybody]).map(|answer| Front::of(compose, answer)).collect();
        let mut services: Vec<&str> = compose.calls.iter().map(|call| call.service.as_str()).collect();
        services.sort_unstable();
        services.dedup();
        let mut reads = Reads::default();
        compose.calls.iter().for_each(|call| reads.call(call));
        // What chose this route, or could have chosen another one instead, chose this shape.
        let before = all.iter().filter(|other| comes_before(other, route));
        before.flat_map(|other| &other.headers).for_each(|condition| reads.name(&condition.name));
        Some(Composed {
            calls,
            requests,
            fronts,
            fields: *fields,
            via: format!("1.1 lictor ({})", compose.name).into(),
            services: services.join(" ").into(),
            varies: reads.named,
            personal: reads.personal || answers.iter().any(|answer| answer.plan.is_some() || !answer.claims.is_empty()),
            journal: Arc::new(Journal::new(workers)),
            parameters: parameters.clone(),
            compose: compose.clone(),
        })
    }

    /// The names of the calls that are not made, where these are.
    pub fn left_out(&self, makes: &[bool]) -> Vec<Arc<str>> {
        let calls = self.compose.calls.iter().zip(makes);
        calls.filter(|(_, made)| !**made).map(|(call, _)| call.name.clone()).collect()
    }

    /// The same, counting on where the aggregates of the same compose stood before, and each of its calls by its name.
    fn keeping(&self, before: &Composed) -> Composed {
        if self.compose.name != before.compose.name {
            return self.clone();
        }
        Composed { journal: before.journal.clone(), ..self.beside(before) }
    }

    /// The same, counting where another route counts that uses the same compose, or used it before; each call by its name.
    pub(super) fn beside(&self, other: &Composed) -> Composed {
        let known = |call: &Call| other.compose.calls.iter().position(|known| known.name == call.name);
        let kept = |(call, new): (&Call, &Arc<Requests>)| match known(call) {
            Some(place) => other.requests[place].clone(),
            None => new.clone(),
        };
        let requests = self.compose.calls.iter().zip(&self.requests).map(kept).collect();
        Composed { requests, journal: Arc::new(other.journal.beside()), ..self.clone() }
    }
}

impl Front {
    fn of(compose: &Compose, Answer { plan, claims, expression }: &Answer) -> Front {
        let expression = expression.clone().or_else(|| compose.answer.clone());
        let named = expression.as_ref().and_then(|expression| expression.shape.needs());
        let reads = |call: &Call| named.as_ref().is_none_or(|named| named.contains(&*call.name));
        Front { makes: makes(compose, reads), plan: plan.clone(), claims: claims.clone(), expression }
    }
}

/// Which calls are made for an answer that reads these.
pub fn makes(compose: &Compose, reads: impl Fn(&Call) -> bool) -> Box<[bool]> {
    let mut makes: Box<[bool]> = compose.calls.iter().map(|call| reads(call) || !call.is_safe()).collect();
    // Each call comes after those that it needs.
    for (place, call) in compose.calls.iter().enumerate().rev() {
        if makes[place] {
            call.needs.iter().for_each(|&needed| makes[needed] = true);
        }
    }
    makes
}

/// A call as a route of its own: what holds for requests holds for it.
fn entry(compose: &Compose, call: &Call, route: &Route, workers: usize) -> Arc<Entry> {
    let route = Route {
        name: format!("{}/{}", compose.name, call.name).into(),
        hosts: Vec::new(),
        path: Pattern { segments: Vec::new(), below: true, rest: None },
        methods: Vec::new(),
        headers: Vec::new(),
        query: Vec::new(),
        action: Action::Forward {
            service: Target::Named(call.service.clone()),
            path: PathChange::Prefix { strip: 0, add: String::new() },
        },
        policy: call.policy.clone(),
        open_to_everyone: true,
        request_headers: HeaderRules::default(),
        response_headers: HeaderRules::default(),
        cors: None,
        claimed: route.claimed.clone(),
        strips: false,
    };
    // Its fields decide on its answers, also those that are the same for every caller.
    let form = form(&route, &call.headers, &[]);
    Arc::new(Entry { form, ..Entry::of(Arc::new(route), &[], workers) })
}

/// A hash of all that decides on the answers of a route, or of a call with these fields, and of what they say that they vary by.
fn form(route: &Route, fields: &[(HeaderName, Template)], varies: &[HeaderName]) -> Arc<str> {
    let Route { headers, query, action, request_headers, policy, .. } = route;
    let whole = format!("{headers:?}{query:?}{action:?}{request_headers:?}{:?}{fields:?}{varies:?}", policy.cache);
    format!("{:x}", foldhash::fast::FixedState::default().hash_one(whole)).into()
}

/// What of a request calls read.
#[derive(Default)]
struct Reads {
    named: Vec<HeaderName>,
    personal: bool,
}

impl Reads {
    fn call(&mut self, call: &Call) {
        self.template(&call.path);
        call.query.iter().for_each(|(_, template)| self.template(template));
        call.headers.iter().for_each(|(_, template)| self.template(template));
        call.body.iter().for_each(|body| self.body(body));
        if let Some(When { expression, .. }) = &call.when {
            let fields = expression.shape.members("header").unwrap_or_default();
            fields.iter().filter_map(|name| HeaderName::try_from(*name).ok()).for_each(|name| self.field(&name));
            self.personal |= expression.shape.needs().is_none_or(|names| names.contains("claim"));
        }
    }

    fn template(&mut self, template: &Template) {
        for value in template.values() {
            match value {
                Value::Header(name) => self.field(name),
                Value::Claim(_) => self.personal = true,
                _ => {}
            }
        }
    }

    fn field(&mut self, name: &HeaderName) {
        self.personal |= [header::AUTHORIZATION, header::COOKIE].contains(name);
        self.name(name);
    }

    fn name(&mut self, name: &HeaderName) {
        if !self.named.contains(name) {
            self.named.push(name.clone());
        }
    }

    fn body(&mut self, body: &Body) {
        match body {
            Body::Fixed(_) => {}
            Body::Text(template) => self.template(template),
            Body::Array(items) => items.iter().for_each(|item| self.body(item)),
            Body::Object(members) => members.iter().for_each(|(_, member)| self.body(member)),
        }
    }
}
