//! The admin pages as data: admin writes them as JSON, the terminal reads those that it shows, and both name each thing by the same field.
//!
//! One page is the doctor's: it is made by the command that shows it.
//!
//! A page's fields stand in the order in which they are written. The reader may be older or newer than the gateway that it
//! asks: it ignores fields that it does not know, and takes a default for each that is missing.

pub mod cache;
pub mod compose;
pub mod config;
pub mod doctor;
pub mod fleet;
pub mod issuers;
pub mod limits;
pub mod services;

use serde::{Deserialize, Serialize};

/// `/admin`: what there is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Index {
    /// Method and path of each page.
    pub pages: Vec<String>,
}

/// What is wrong with a request for a page.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Refusal {
    /// A sentence, in an answer of admin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// A sentence, in a problem page that the gateway made before admin was asked (RFC 9457 section 3.1.4).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

#[cfg(test)]
mod tests;
