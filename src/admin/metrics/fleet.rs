//! The figures of the fleet, where there is one.

use super::super::sources::Sources;
use crate::telemetry::exposition::{Exposition, Kind};

pub(super) fn describe(page: &mut Exposition, sources: &Sources) {
    let Some(fleet) = &sources.fleet else { return };
    let help = "Gateways of the fleet whose checks pass, by Consul's last answer; at least this one.";
    page.single("lictor_fleet_gateways", Kind::Gauge, help, fleet.living.count());
    let registered = u8::from(fleet.members.borrow().registration.registered);
    page.single("lictor_fleet_registered", Kind::Gauge, "1 while Consul's agent has this gateway.", registered);
}
