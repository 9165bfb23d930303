//! An expression as a tree, and what it can read.

use std::collections::BTreeSet;

use super::function::Function;
use super::{Text, Value};

/// A part of an expression, which makes a value of the current one. "First" is applied to the current value, "then" to what
/// the first makes of it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    /// `@`.
    Current,
    /// A value that stands in the expression.
    Literal(Value),
    /// A member by its name.
    Field(Text),
    /// An element by its place, from the end if negative.
    Index(i32),
    /// Some elements.
    Slice(Slice),
    /// First, then.
    Chain(Box<Node>, Box<Node>),
    /// `[]`: arrays in an array become one.
    Flatten(Box<Node>),
    /// `*`: an object's values.
    Values(Box<Node>),
    /// First, then for each element; what becomes null is left away.
    Projection(Box<Node>, Box<Node>),
    /// The second of the current value if the first is true, else null.
    Condition(Box<Node>, Box<Node>),
    /// `==` and the like.
    Comparison(Comparator, Box<Node>, Box<Node>),
    /// `&&`.
    And(Box<Node>, Box<Node>),
    /// `||`.
    Or(Box<Node>, Box<Node>),
    /// `!`.
    Not(Box<Node>),
    /// `[a, b]`.
    List(Vec<Node>),
    /// `{a: b}`, in the order written.
    Hash(Vec<(Text, Node)>),
    /// A function, its arguments, and the expression that it applies to elements.
    Call(Function, Vec<Node>, Option<Box<Node>>),
}

/// `[start:stop:step]`, as Python has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slice {
    pub(super) start: Option<i32>,
    pub(super) stop: Option<i32>,
    /// It is not zero.
    pub(super) step: i32,
}

/// How two values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Node {
    /// Adds the members of the current value, an object, that it reads by name; says whether it reads no others. What stands on the
    /// right of a chain or projection sees what the left has made, and nothing of the current value.
    pub(super) fn needs<'a>(&'a self, names: &mut BTreeSet<&'a str>) -> bool {
        match self {
            Node::Field(name) => {
                names.insert(name);
                true
            }
            Node::Literal(_) => true,
            Node::Current | Node::Index(_) | Node::Slice(_) => false,
            other => {
                let mut all = true;
                other.parts(&mut |node| all &= node.needs(names));
                all
            }
        }
    }

    /// Adds the members that it reads by name of one member of the current value, an object; says whether it reads no others.
    pub(super) fn members<'a>(&'a self, of: &str, names: &mut BTreeSet<&'a str>) -> bool {
        match self {
            Node::Chain(first, then) if first.is_member(of) => then.needs(names),
            Node::Field(name) => **name != *of,
            Node::Current | Node::Index(_) | Node::Slice(_) => false,
            other => {
                let mut all = true;
                other.parts(&mut |node| all &= node.members(of, names));
                all
            }
        }
    }

    /// Whether it is this member of the current value.
    fn is_member(&self, of: &str) -> bool {
        match self {
            Node::Field(name) => **name == *of,
            Node::Chain(first, then) => matches!(**first, Node::Current) && then.is_member(of),
            _ => false,
        }
    }

    /// Visits the parts of it that are applied to the current value.
    fn parts<'a>(&'a self, visit: &mut dyn FnMut(&'a Node)) {
        match self {
            Node::Current | Node::Literal(_) | Node::Field(_) | Node::Index(_) | Node::Slice(_) => {}
            Node::Chain(first, then) if matches!(**first, Node::Current) => visit(then),
            Node::Chain(first, _)
            | Node::Flatten(first)
            | Node::Values(first)
            | Node::Projection(first, _)
            | Node::Not(first) => visit(first),
            Node::Condition(first, second)
            | Node::Comparison(_, first, second)
            | Node::And(first, second)
            | Node::Or(first, second) => {
                visit(first);
                visit(second);
            }
            Node::List(nodes) | Node::Call(_, nodes, _) => nodes.iter().for_each(visit),
            Node::Hash(members) => members.iter().for_each(|(_, node)| visit(node)),
        }
    }
}
