//! Tree and value -> value: the semantics of JMESPath (<https://jmespath.org/specification.html>).

use std::borrow::Cow;

use super::budget::Meter;
use super::call::call;
use super::equal::equal;
use super::node::{Comparator, Node, Slice};
use super::{Fault, Object, Text, Value};

/// What a part of an expression gives: a value that was there, or one that it has made.
pub(super) type Given<'a> = Result<Cow<'a, Value>, Fault>;

static NULL: Value = Value::Null;

/// What a node makes of the current value.
pub(super) fn evaluate<'a>(node: &'a Node, current: &'a Value, meter: &Meter) -> Given<'a> {
    meter.steps(1)?;
    let made = match node {
        Node::Current => return Ok(Cow::Borrowed(current)),
        Node::Literal(value) => return Ok(Cow::Borrowed(value)),
        Node::Field(name) => return Ok(Cow::Borrowed(current.member(name).unwrap_or(&NULL))),
        Node::Index(place) => return Ok(Cow::Borrowed(element(current, *place))),
        Node::Slice(slice) => elements(current, *slice, meter)?,
        Node::Chain(first, then) => match evaluate(first, current, meter)? {
            Cow::Borrowed(value) => return evaluate(then, value, meter),
            Cow::Owned(value) => evaluate(then, &value, meter)?.into_owned(),
        },
        Node::Flatten(first) => return flatten(evaluate(first, current, meter)?, meter),
        Node::Values(first) => match &*evaluate(first, current, meter)? {
            Value::Object(members) => {
                meter.list(members.len())?;
                members.values().cloned().collect()
            }
            _ => Value::Null,
        },
        Node::Projection(first, then) => return project(evaluate(first, current, meter)?, then, meter),
        Node::Condition(first, then) if evaluate(first, current, meter)?.is_true() => {
            return evaluate(then, current, meter);
        }
        Node::Condition(..) => Value::Null,
        Node::Comparison(comparator, left, right) => {
            compare(*comparator, &*evaluate(left, current, meter)?, &*evaluate(right, current, meter)?, meter)?
        }
        Node::And(left, right) => match evaluate(left, current, meter)? {
            left if left.is_true() => return evaluate(right, current, meter),
            left => return Ok(left),
        },
        Node::Or(left, right) => match evaluate(left, current, meter)? {
            left if left.is_true() => return Ok(left),
            _ => return evaluate(right, current, meter),
        },
        Node::Not(first) => (!evaluate(first, current, meter)?.is_true()).into(),
        // Of null there is nothing to select: an object of nulls would hide that.
        Node::List(_) | Node::Hash(_) if matches!(current, Value::Null) => Value::Null,
        Node::List(nodes) => {
            meter.list(nodes.len())?;
            all(nodes, current, meter)?.into_iter().map(Cow::into_owned).collect()
        }
        Node::Hash(members) => hash(members, current, meter)?,
        Node::Call(function, arguments, expression) => {
            let by = |element: &Value| match expression {
                Some(expression) => evaluate(expression, element, meter).map(Cow::into_owned),
                None => Ok(Value::Null),
            };
            call(*function, &all(arguments, current, meter)?, &by, meter)?
        }
    };
    Ok(Cow::Owned(made))
}

/// What each node makes of the current value. A loop and no iterator: expressions nest, and a stack has an end.
fn all<'a>(nodes: &'a [Node], current: &'a Value, meter: &Meter) -> Result<Vec<Cow<'a, Value>>, Fault> {
    let mut values = Vec::with_capacity(nodes.len());
    for node in nodes {
        values.push(evaluate(node, current, meter)?);
    }
    Ok(values)
}

fn hash(nodes: &[(Text, Node)], current: &Value, meter: &Meter) -> Result<Value, Fault> {
    meter.object(nodes.len())?;
    let mut members = Vec::with_capacity(nodes.len());
    for (name, node) in nodes {
        members.push((name.clone(), evaluate(node, current, meter)?.into_owned()));
    }
    // The parser has seen to it that no name is there twice.
    Ok(Object::new(members.into()).unwrap_or_default().into())
}

fn project<'a>(list: Cow<'a, Value>, then: &Node, meter: &Meter) -> Given<'a> {
    let Value::Array(elements) = &*list else {
        return Ok(Cow::Borrowed(&NULL));
    };
    // Without anything to do for each, a list without nulls stays the one that it is.
    if matches!(then, Node::Current) {
        meter.text(elements.len())?;
        if !elements.iter().any(|element| matches!(element, Value::Null)) {
            return Ok(list);
        }
    }
    meter.list(elements.len())?;
    let mut some = Vec::with_capacity(elements.len());
    for element in elements.iter() {
        match evaluate(then, element, meter)? {
            value if matches!(*value, Value::Null) => {}
            value => some.push(value.into_owned()),
        }
    }
    Ok(Cow::Owned(some.into()))
}

fn flatten<'a>(list: Cow<'a, Value>, meter: &Meter) -> Given<'a> {
    let Value::Array(elements) = &*list else {
        return Ok(Cow::Borrowed(&NULL));
    };
    meter.text(elements.len())?;
    let length = |element: &Value| if let Value::Array(inner) = element { inner.len() } else { 1 };
    if !elements.iter().any(|element| matches!(element, Value::Array(_))) {
        return Ok(list);
    }
    let length = elements.iter().map(length).fold(0, usize::saturating_add);
    meter.list(length)?;
    let mut flat = Vec::with_capacity(length);
    for element in elements.iter() {
        match element {
            Value::Array(inner) => flat.extend(inner.iter().cloned()),
            other => flat.push(other.clone()),
        }
    }
    Ok(Cow::Owned(flat.into()))
}

fn element(list: &Value, place: i32) -> &Value {
    let Value::Array(elements) = list else {
        return &NULL;
    };
    let (distance, negative) = (place.unsigned_abs() as usize, place < 0);
    let place = if negative { elements.len().checked_sub(distance) } else { Some(distance) };
    place.and_then(|place| elements.get(place)).unwrap_or(&NULL)
}

fn elements(list: &Value, Slice { start, stop, step }: Slice, meter: &Meter) -> Result<Value, Fault> {
    let Value::Array(elements) = list else {
        return Ok(Value::Null);
    };
    meter.list(elements.len())?;
    let length = i64::try_from(elements.len()).unwrap_or(i64::MAX);
    let step = i64::from(step);
    // Backwards, the place before the first element is -1, which no bound that is written can mean.
    let (low, high) = if step < 0 { (-1, length - 1) } else { (0, length) };
    let bound = |written: Option<i32>, unless: i64| match written.map(i64::from) {
        Some(place) if place < 0 => (place + length).clamp(low, high),
        Some(place) => place.clamp(low, high),
        None => unless,
    };
    let (first, last) = if step < 0 { (high, low) } else { (low, high) };
    let (mut at, stop) = (bound(start, first), bound(stop, last));
    let mut slice = Vec::new();
    while if step < 0 { at > stop } else { at < stop } {
        slice.extend(usize::try_from(at).ok().and_then(|at| elements.get(at)).cloned());
        at += step;
    }
    Ok(slice.into())
}

/// Only numbers have an order: of others, the answer is null.
fn compare(comparator: Comparator, left: &Value, right: &Value, meter: &Meter) -> Result<Value, Fault> {
    let order = match (left, right) {
        (Value::Number(left), Value::Number(right)) => {
            meter.text(left.cost().max(right.cost()))?;
            Some(left.cmp(right))
        }
        _ => None,
    };
    let result = match comparator {
        Comparator::Equal => Some(equal(left, right, meter)?),
        Comparator::NotEqual => Some(!equal(left, right, meter)?),
        Comparator::Less => order.map(|order| order.is_lt()),
        Comparator::LessOrEqual => order.map(|order| order.is_le()),
        Comparator::Greater => order.map(|order| order.is_gt()),
        Comparator::GreaterOrEqual => order.map(|order| order.is_ge()),
    };
    Ok(result.map_or(Value::Null, Value::Bool))
}
