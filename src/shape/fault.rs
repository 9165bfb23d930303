//! What can be wrong with a text that should be JSON, and with an expression.

use thiserror::Error;

/// Why a text is not taken as JSON (RFC 8259, and what RFC 7493 asks of it: no member twice, Unicode only).
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NotJson {
    /// It is not JSON.
    #[error("it is not JSON at byte {at}")]
    Syntax {
        /// Up to where it was read, in bytes.
        at: usize,
    },
    /// A string is not UTF-8, or has half of a surrogate pair, which no text in UTF-8 can hold.
    #[error("the string before byte {at} is not Unicode")]
    Unicode {
        /// Up to where it was read, in bytes.
        at: usize,
    },
    /// Arrays and objects lie too deep in each other.
    #[error("its arrays and objects are nested deeper than {most}")]
    Depth {
        /// How deep they may lie.
        most: usize,
    },
    /// An object has two members of one name: readers differ in which one counts.
    #[error("the member {name:?} is there twice")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// As values it would take more memory than there is for it.
    #[error("its values would take more than {most} bytes")]
    Weight {
        /// How many they may take.
        most: usize,
    },
    /// A number's exponent has more than nine digits.
    #[error("the exponent of the number before byte {at} is out of range")]
    Exponent {
        /// Up to where it was read, in bytes.
        at: usize,
    },
}

/// Why a text is no shape, or why a shape gives no answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Fault {
    /// The text is not an expression that can be applied.
    #[error("at byte {at}: {why}")]
    Syntax {
        /// About where, in bytes.
        at: usize,
        /// What is wrong, for operators.
        why: String,
    },
    /// A function was given a value of a type that it does not take.
    #[error("{function}() takes {takes}, not {kind}")]
    Type {
        /// The function's name.
        function: &'static str,
        /// What it takes, in words.
        takes: &'static str,
        /// The type of its argument, as `type()` names it.
        kind: &'static str,
    },
    /// A function that calculates was given a number with more digits than it takes.
    #[error("{function}() takes numbers of at most {most} digits before and after the point")]
    Digits {
        /// The function's name.
        function: &'static str,
        /// How many digits it takes.
        most: usize,
    },
    /// A function would give a text that is too long.
    #[error("{function}() would give a text of more than {most} bytes")]
    Length {
        /// The function's name.
        function: &'static str,
        /// How long it may be.
        most: usize,
    },
    /// It takes longer than it may: [`Budget::steps`](super::Budget::steps).
    #[error("the expression takes more than {most} steps")]
    Steps {
        /// How many it may take.
        most: usize,
    },
    /// It makes more than it may: [`Budget::bytes`](super::Budget::bytes).
    #[error("the expression makes more than {most} bytes of values")]
    Memory {
        /// How many it may make.
        most: usize,
    },
}
