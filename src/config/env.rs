//! The process environment, as data.
/// The variables.
#[derive(Debug, Clone, Default)]
pub struct Environment;
