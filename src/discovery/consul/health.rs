//! What follows from a registration's checks: its health, and the weight that holds in it.

use super::model::{HealthCheck, Weights};
use crate::catalog::Health;

/// The worst of all checks; none at all is passing.
pub(crate) fn of(checks: &[HealthCheck]) -> Health {
    checks.iter().map(of_check).max().unwrap_or(Health::Passing)
}

fn of_check(check: &HealthCheck) -> Health {
    match check.status.as_str() {
        "passing" => Health::Passing,
        // Consul spells maintenance as a critical check with a reserved id.
        _ if check.id == "_node_maintenance" || check.id.starts_with("_service_maintenance:") => Health::Maintenance,
        "warning" => Health::Warning,
        // A status that is not known here does not say that the instance works.
        _ => Health::Critical,
    }
}

/// The weight in a state of health. A missing one is 1, a negative one 0; the highest is 65,535, as in Consul, which takes
/// it from DNS.
///
/// An instance that neither passes nor warns gets no requests: its weight is shown as it will be when it passes again.
pub(crate) fn weight(weights: &Weights, health: Health) -> u32 {
    let written = if health == Health::Warning { weights.warning } else { weights.passing };
    let clamped = written.unwrap_or(1).clamp(0, 65_535);
    u32::try_from(clamped).expect("clamped to what fits")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(id: &str, status: &str) -> HealthCheck {
        HealthCheck { id: id.into(), status: status.into(), service_id: String::new() }
    }

    #[test]
    fn the_worst_check_decides() {
        let table: &[(&[(&str, &str)], Health)] = &[
            (&[], Health::Passing),
            (&[("serfHealth", "passing")], Health::Passing),
            (&[("serfHealth", "passing"), ("web", "warning")], Health::Warning),
            (&[("web", "warning"), ("serfHealth", "critical")], Health::Critical),
            (&[("web", "unknown")], Health::Critical),
            (&[("web", "")], Health::Critical),
            (&[("_service_maintenance:web-1", "critical"), ("web", "passing")], Health::Maintenance),
            (&[("_node_maintenance", "critical"), ("web", "critical")], Health::Maintenance),
            (&[("_node_maintenance_of_mine", "critical")], Health::Critical),
        ];
        for (checks, expected) in table {
            let checks: Vec<_> = checks.iter().map(|(id, status)| check(id, status)).collect();
            assert_eq!(of(&checks), *expected, "{checks:?}");
        }
    }

    #[test]
    fn the_weight_is_the_one_of_the_state() {
        let table = [
            (None, None, Health::Passing, 1),
            (None, None, Health::Warning, 1),
            (Some(7), Some(2), Health::Passing, 7),
            (Some(7), Some(2), Health::Warning, 2),
            (Some(7), Some(0), Health::Warning, 0),
            (Some(-3), None, Health::Passing, 0),
            (Some(i64::MAX), None, Health::Passing, 65_535),
        ];
        for (passing, warning, health, expected) in table {
            assert_eq!(weight(&Weights { passing, warning }, health), expected, "{passing:?} {warning:?} {health:?}");
        }
    }
}
