//! Where providers report: the last report of each is kept, and all of them together make the catalog and the status that
//! everything else sees.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::catalog::{Catalog, DiffItem, DiscoveryStatus, Hidden, ProviderStatus, ServiceName, Services};

/// What a provider reported last.
struct Report {
    catalog: Arc<Catalog>,
    status: ProviderStatus,
}

struct Shared {
    /// One per provider, in order of precedence.
    reports: Mutex<Vec<Report>>,
    catalog: watch::Sender<Arc<Catalog>>,
    status: watch::Sender<Arc<DiscoveryStatus>>,
}

/// Where one provider reports.
pub struct Outlet {
    /// Its place in the order of precedence.
    index: usize,
    shared: Arc<Shared>,
}

impl fmt::Debug for Outlet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outlet").field("index", &self.index).finish_non_exhaustive()
    }
}

/// An outlet for each provider, given by name and source in order of precedence, and what all of them together report.
pub(super) fn outlets(
    providers: impl Iterator<Item = (&'static str, String)>,
) -> (Vec<Outlet>, watch::Receiver<Arc<Catalog>>, watch::Receiver<Arc<DiscoveryStatus>>) {
    let nothing = Arc::new(Catalog::default());
    let reports: Vec<_> = providers
        .map(|(name, source)| Report { catalog: nothing.clone(), status: ProviderStatus::starting(name, source) })
        .collect();
    let (catalog, catalog_receiver) = watch::channel(Arc::new(merge(&reports)));
    let (status, status_receiver) = watch::channel(Arc::new(overall(&reports)));
    let count = reports.len();
    let shared = Arc::new(Shared { reports: Mutex::new(reports), catalog, status });
    let outlets = (0..count).map(|index| Outlet { index, shared: shared.clone() }).collect();
    (outlets, catalog_receiver, status_receiver)
}

impl Outlet {
    /// The status that this provider reported last.
    pub fn status(&self) -> ProviderStatus {
        self.shared.reports.lock()[self.index].status.clone()
    }

    /// Reports how this provider fares; its catalog stays as it is.
    pub fn report_status(&self, status: ProviderStatus) {
        let mut reports = self.shared.reports.lock();
        reports[self.index].status = status;
        self.shared.status.send_replace(Arc::new(overall(&reports)));
    }

    /// Reports all that exists by this provider, and how it fares. A catalog equal to the last one wakes nobody. A provider that was
    /// begun again knows little at first: until it knows all, what it reported before holds.
    ///
    /// Returns the services as they are kept, which are equal to the reported ones, unless these were not taken. A provider that goes on
    /// from them, instead of from its own, has only its changes looked at the next time: maps with a common history share what is equal.
    pub fn publish(&self, mut catalog: Catalog, status: ProviderStatus) -> Option<Services> {
        let mut reports = self.shared.reports.lock();
        let report = &mut reports[self.index];
        report.status = status;
        let partial = report.catalog.complete && !catalog.complete;
        let changes = share_unchanged(&mut catalog, &report.catalog);
        if (!changes.is_empty() || !equal_beside_services(&report.catalog, &catalog)) && !partial {
            report.catalog = Arc::new(catalog);
            let merged = merge(&reports);
            self.shared.catalog.send_if_modified(|current| {
                // What changed may be hidden behind a provider that comes first.
                let seen = |name| current.services.get(name) != merged.services.get(name);
                let changed = changes.iter().any(seen) || !equal_beside_services(current, &merged);
                if changed {
                    *current = Arc::new(merged);
                }
                changed
            });
        }
        self.shared.status.send_replace(Arc::new(overall(&reports)));
        (!partial).then(|| reports[self.index].catalog.services.clone())
    }
}

/// Equal services stay the same `Arc`, so that whoever compares two catalogs can compare pointers first. Says which are not equal.
fn share_unchanged(new: &mut Catalog, old: &Catalog) -> Vec<ServiceName> {
    let (mut shared, mut changes) = (old.services.clone(), Vec::new());
    for difference in old.services.diff(&new.services) {
        let name = match difference {
            DiffItem::Add(name, service) | DiffItem::Update { new: (name, service), .. } => {
                shared.insert(name.clone(), service.clone());
                name
            }
            DiffItem::Remove(name, _) => {
                shared.remove(name);
                name
            }
        };
        changes.push(name.clone());
    }
    new.services = shared;
    changes
}

/// Whether two catalogs say the same, but for their services.
fn equal_beside_services(one: &Catalog, other: &Catalog) -> bool {
    let Catalog { services: _, hidden, config_version, complete } = one;
    (hidden, config_version, complete) == (&other.hidden, &other.config_version, &other.complete)
}

/// One catalog of all. A service that two providers have is taken from the first; that of the other is listed as hidden.
fn merge(reports: &[Report]) -> Catalog {
    let complete = reports.iter().all(|report| report.catalog.complete);
    let config_version = reports.iter().map(|report| report.catalog.config_version).max().unwrap_or_default();
    let mut merged = Catalog { complete, config_version, ..Catalog::default() };
    // From the last to the first: the last is the largest, and its map is shared as it is.
    for (index, Report { catalog, status }) in reports.iter().enumerate().rev() {
        merged.hidden.extend_from_slice(&catalog.hidden);
        if merged.services.is_empty() {
            merged.services = catalog.services.clone();
            continue;
        }
        for (name, service) in &catalog.services {
            if merged.services.insert(name.clone(), service.clone()).is_some() {
                let beaten = reports[index + 1..].iter().find(|report| report.catalog.services.contains_key(name));
                let beaten = beaten.map_or("another", |report| report.status.name);
                let reason = format!("{} has a service of this name, which beats {beaten}'s", status.name);
                merged.hidden.push(Hidden { name: name.to_string(), reason });
            }
        }
    }
    merged
}

fn overall(reports: &[Report]) -> DiscoveryStatus {
    DiscoveryStatus { providers: reports.iter().map(|report| report.status.clone()).collect() }
}
