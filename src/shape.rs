//! The values of JSON as they are written, and JMESPath on them, pure: the shape that an aggregate gives to its parts.
//!
//! A service's answer keeps what other readers lose: digits of numbers, the order of members. The crate `jmespath` reads
//! expressions (`syntax`); its values have `f64` for numbers and sort members, hence the evaluation is ours.

mod budget;
mod call;
mod check;
mod equal;
mod evaluate;
mod fault;
mod function;
mod node;
mod number;
mod object;
mod read;
mod syntax;
#[cfg(test)]
mod tests;
mod text;
mod value;
mod write;

pub use budget::Budget;
pub use check::is_value;
pub use fault::{Fault, NotJson};
pub use number::Number;
pub use object::Members;
pub use read::{read, read_within};
pub use text::Text;
pub use value::{Object, Value};
pub use write::write;

use std::borrow::Cow;
use std::collections::BTreeSet;

use budget::Meter;
use node::Node;

/// An expression of JMESPath (<https://jmespath.org/specification.html>), ready to be applied by any number of threads.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    root: Node,
}

impl Shape {
    /// Reads an expression. What can be wrong with it whatever it is applied to is found here: unknown functions, numbers of
    /// arguments, a key that is given twice, a step of zero, nesting.
    ///
    /// # Errors
    /// [`Fault::Syntax`], with the place in the text.
    pub fn parse(text: &str) -> Result<Shape, Fault> {
        syntax::parse(text).map(|root| Shape { root })
    }

    /// What the expression makes of a value. Values share their contents: what is taken over is not copied.
    ///
    /// What it makes lies no deeper than the value, or a literal, and the 256 levels that an expression may have, because
    /// no part of it puts a value into more than one list or object. A thread's stack takes that when it is written or dropped.
    ///
    /// # Errors
    /// All but [`Fault::Syntax`]: a function was given what it does not take, or it takes more than its budget.
    pub fn apply(&self, value: &Value, budget: Budget) -> Result<Value, Fault> {
        evaluate::evaluate(&self.root, value, &Meter::new(budget)).map(Cow::into_owned)
    }

    /// The members of the outermost object that the expression can read, by name: it gives the same answer when no other one
    /// is there. `None` where that cannot be told, because it takes the whole (`@`, `*`).
    #[must_use]
    pub fn needs(&self) -> Option<BTreeSet<&str>> {
        let mut names = BTreeSet::new();
        self.root.needs(&mut names).then_some(names)
    }

    /// The members of the outermost object that the expression reads by name, also where it takes the whole besides.
    #[must_use]
    pub fn names(&self) -> BTreeSet<&str> {
        let mut names = BTreeSet::new();
        self.root.needs(&mut names);
        names
    }

    /// The members that the expression reads by name of one member of the outermost object. `None` where it takes the whole of it.
    #[must_use]
    pub fn members(&self, of: &str) -> Option<BTreeSet<&str>> {
        let mut names = BTreeSet::new();
        self.root.members(of, &mut names).then_some(names)
    }
}
