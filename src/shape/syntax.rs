//! Text -> tree: the parser of the crate `jmespath`, and what it leaves to be checked.
//!
//! Its literals have `f64` for numbers and sorted members, of which the last one of a name counts; it says where each one
//! stands, and they are read again from there.

use std::collections::BTreeSet;

use jmespath::ErrorReason;
use jmespath::ast::{self, Ast, KeyValuePair};

use super::function::{Arguments, Signature, find};
use super::node::{Comparator, Node, Slice};
use super::read::read;
use super::{Fault, Text, Value};

/// How deep the parts of an expression may lie in each other. Parser and evaluation call themselves for each, and a thread's
/// stack has an end.
const NESTING: usize = 256;

/// The tree of an expression.
pub(super) fn parse(text: &str) -> Result<Node, Fault> {
    if let Some(at) = too_deep(text) {
        return fault(at, format!("its parts are nested deeper than {NESTING}"));
    }
    let tree = jmespath::parse(text).map_err(|error| Fault::Syntax {
        at: error.offset,
        why: match error.reason {
            ErrorReason::Parse(why) => why,
            ErrorReason::Runtime(why) => why.to_string(),
        },
    })?;
    node(&tree, text)
}

fn fault<T>(at: usize, why: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::Syntax { at, why: why.into() })
}

/// The bytes of an expression with their places, but of quoted texts the first quote only.
fn signs(text: &str) -> impl Iterator<Item = (usize, u8)> {
    let mut rest = text.bytes().enumerate();
    std::iter::from_fn(move || {
        let (at, sign) = rest.next()?;
        if matches!(sign, b'\'' | b'"' | b'`') {
            while let Some((_, inside)) = rest.next().filter(|(_, inside)| *inside != sign) {
                if inside == b'\\' {
                    rest.next();
                }
            }
        }
        Some((at, sign))
    })
}

/// Where the parts of a text may be nested too deep for a parser that calls itself. Each sign counts as a level, up to the
/// comma after which its neighbour begins anew: that is no less than any tree of it has.
fn too_deep(text: &str) -> Option<usize> {
    let (mut outer, mut begin, mut depth) = (Vec::new(), 0, 0);
    for (at, sign) in signs(text) {
        match sign {
            b'(' | b'[' | b'{' => {
                outer.push((begin, depth + 1));
                depth += 1;
                begin = depth;
            }
            b')' | b']' | b'}' => (begin, depth) = outer.pop().unwrap_or((begin, depth)),
            b',' => depth = begin,
            b'.' | b'|' | b'&' | b'!' | b'*' | b'?' | b'<' | b'>' | b'=' => depth += 1,
            _ => {}
        }
        if depth > NESTING {
            return Some(at);
        }
    }
    None
}

/// Holds a list that opens at a place to having a comma before each element but the first: the crate's parser takes `[a b]`.
fn separate(elements: &[Ast], offset: usize, text: &str) -> Result<(), Fault> {
    let (mut depth, mut commas) = (0_usize, 0);
    for (_, sign) in signs(text.get(offset..).unwrap_or_default()) {
        match sign {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            b',' if depth == 1 => commas += 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    if commas + 1 < elements.len() { fault(offset, "a comma is missing in the list that begins here") } else { Ok(()) }
}

/// The node for a part of the crate's tree; `text` is the whole expression.
fn node(tree: &Ast, text: &str) -> Result<Node, Fault> {
    let inner = |tree: &Ast| node(tree, text).map(Box::new);
    Ok(match tree {
        Ast::Identity { .. } => Node::Current,
        Ast::Literal { offset, .. } => Node::Literal(literal(text, *offset)?),
        Ast::Field { name, .. } => Node::Field(name.as_str().into()),
        Ast::Index { idx, .. } => Node::Index(*idx),
        Ast::Slice { offset, step: 0, .. } => return fault(*offset, "the step of a slice is not 0"),
        Ast::Slice { start, stop, step, .. } => Node::Slice(Slice { start: *start, stop: *stop, step: *step }),
        Ast::Subexpr { lhs, rhs, .. } => Node::Chain(inner(lhs)?, inner(rhs)?),
        Ast::Flatten { node, .. } => Node::Flatten(inner(node)?),
        Ast::ObjectValues { node, .. } => Node::Values(inner(node)?),
        Ast::Projection { lhs, rhs, .. } => Node::Projection(inner(lhs)?, inner(rhs)?),
        Ast::Condition { predicate, then, .. } => Node::Condition(inner(predicate)?, inner(then)?),
        Ast::Comparison { comparator, lhs, rhs, .. } => Node::Comparison(compare(comparator), inner(lhs)?, inner(rhs)?),
        Ast::And { lhs, rhs, .. } => Node::And(inner(lhs)?, inner(rhs)?),
        Ast::Or { lhs, rhs, .. } => Node::Or(inner(lhs)?, inner(rhs)?),
        Ast::Not { node, .. } => Node::Not(inner(node)?),
        Ast::MultiList { offset, elements } => {
            separate(elements, *offset, text)?;
            Node::List(nodes(elements, text)?)
        }
        Ast::MultiHash { offset, elements } => hash(elements, *offset, text)?,
        Ast::Function { offset, name, args } => match find(name) {
            Some(signature) => call(signature, args, *offset, text)?,
            None => return fault(*offset, format!("there is no function {name}()")),
        },
        Ast::Expref { offset, .. } => return fault(*offset, "an expression (&) is only for functions that apply one"),
    })
}

fn nodes<'a>(trees: impl IntoIterator<Item = &'a Ast>, text: &str) -> Result<Vec<Node>, Fault> {
    trees.into_iter().map(|tree| node(tree, text)).collect()
}

fn compare(comparator: &ast::Comparator) -> Comparator {
    match comparator {
        ast::Comparator::Equal => Comparator::Equal,
        ast::Comparator::NotEqual => Comparator::NotEqual,
        ast::Comparator::LessThan => Comparator::Less,
        ast::Comparator::LessThanEqual => Comparator::LessOrEqual,
        ast::Comparator::GreaterThan => Comparator::Greater,
        ast::Comparator::GreaterThanEqual => Comparator::GreaterOrEqual,
    }
}

fn hash(pairs: &[KeyValuePair], offset: usize, text: &str) -> Result<Node, Fault> {
    let mut keys = BTreeSet::new();
    let member = |KeyValuePair { key, value }: &KeyValuePair| Ok((Text::from(key.as_str()), node(value, text)?));
    match pairs.iter().find(|pair| !keys.insert(pair.key.as_str())) {
        Some(pair) => fault(offset, format!("the key {:?} is given twice", pair.key)),
        None => pairs.iter().map(member).collect::<Result<_, _>>().map(Node::Hash),
    }
}

fn call(signature: &Signature, trees: &[Ast], offset: usize, text: &str) -> Result<Node, Fault> {
    separate(trees, offset, text)?;
    let (name, count) = (signature.name, trees.len());
    match signature.arguments {
        Arguments::Exactly(most) if count != most => {
            return fault(offset, format!("{name}() takes {most} argument(s), and has {count}"));
        }
        Arguments::Some if count == 0 => return fault(offset, format!("{name}() takes at least one argument")),
        _ => {}
    }
    let Some(place) = signature.expression else {
        return Ok(Node::Call(signature.function, nodes(trees, text)?, None));
    };
    let Some(Ast::Expref { ast, .. }) = trees.get(place) else {
        return fault(offset, format!("argument {} of {name}() is an expression: write &name", place + 1));
    };
    let others = trees.iter().enumerate().filter(|(at, _)| *at != place).map(|(_, tree)| tree);
    Ok(Node::Call(signature.function, nodes(others, text)?, Some(Box::new(node(ast, text)?))))
}

/// The literal that stands in a text at a place.
fn literal(text: &str, at: usize) -> Result<Value, Fault> {
    let mut rest = text.get(at..).unwrap_or_default().char_indices();
    let quote = rest.next().map_or('`', |(_, quote)| quote);
    let end = loop {
        match rest.next() {
            Some((_, '\\')) => _ = rest.next(),
            Some((end, other)) if other == quote => break at + end,
            Some(_) => {}
            None => return fault(at, "the literal has no end"),
        }
    };
    let inside = &text[at + 1..end];
    if quote == '\'' {
        return Ok(inside.replace("\\'", "'").into());
    }
    read(inside.replace("\\`", "`").as_bytes()).or_else(|why| fault(at, format!("in the literal: {why}")))
}
