//! Whether two values are equal, and which of them comes first.

use std::cmp::Ordering;
use std::sync::Arc;

use super::budget::Meter;
use super::{Fault, Value};

/// Whether two values are equal. What they share is not looked at; all else is, each time that it stands there.
pub(super) fn equal(left: &Value, right: &Value, meter: &Meter) -> Result<bool, Fault> {
    meter.steps(1)?;
    match (left, right) {
        (Value::Null, Value::Null) => Ok(true),
        (Value::Bool(left), Value::Bool(right)) => Ok(left == right),
        (Value::Number(left), Value::Number(right)) => {
            meter.text(left.cost().max(right.cost()))?;
            Ok(left == right)
        }
        (Value::String(left), Value::String(right)) => {
            meter.text(left.len().min(right.len()))?;
            Ok(left == right)
        }
        (Value::Array(left), Value::Array(right)) => {
            if Arc::ptr_eq(left, right) || left.len() != right.len() {
                return Ok(left.len() == right.len());
            }
            for (value, other) in left.iter().zip(right.iter()) {
                if !equal(value, other, meter)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        (Value::Object(left), Value::Object(right)) => {
            if left.is_same(right) || left.len() != right.len() {
                return Ok(left.len() == right.len());
            }
            for (name, value) in left.iter() {
                meter.text(name.len())?;
                let other = right.get(name);
                if !other.map_or(Ok(false), |other| equal(value, other, meter))? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        _ => Ok(false),
    }
}

/// It takes as long as it takes, which can be very long for values that an expression has made of few parts: an expression
/// compares within its [`Budget`](super::Budget).
impl PartialEq for Value {
    fn eq(&self, other: &Value) -> bool {
        equal(self, other, &Meter::unlimited()).unwrap_or(false)
    }
}

/// The order of two numbers, or of two strings by their code points, which UTF-8 keeps.
pub(super) fn order(left: &Value, right: &Value) -> Ordering {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => left.cmp(right),
        (Value::String(left), Value::String(right)) => left.cmp(right),
        _ => Ordering::Equal,
    }
}
