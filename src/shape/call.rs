//! What the functions do (<https://jmespath.org/specification.html#built-in-functions>).

use std::borrow::Cow;
use std::cmp::Ordering;

use super::budget::Meter;
use super::equal::{equal, order};
use super::function::Function;
use super::number::DIGITS;
use super::read::number;
use super::write::write;
use super::{Fault, Number, Object, Value};

/// How long a text may become that a function makes of values: as long as a whole aggregate (decision 40).
const LENGTH: usize = 4 << 20;

static NULL: Value = Value::Null;

/// The expression that a function applies to elements.
type Expression<'a> = &'a dyn Fn(&Value) -> Result<Value, Fault>;

/// Calls a function. Its arguments are as many as it takes, without the expression, which is `by`.
pub(super) fn call(
    function: Function,
    arguments: &[Cow<'_, Value>],
    by: Expression<'_>,
    meter: &Meter,
) -> Result<Value, Fault> {
    let call = Call { function, arguments, meter };
    let first = call.at(0);
    match function {
        Function::Abs => call.number_or_fault(Some(call.number()?.abs())),
        Function::Ceil => call.number_or_fault(call.number()?.ceil()),
        Function::Floor => call.number_or_fault(call.number()?.floor()),
        Function::Sum => call.number_or_fault(Number::sum(call.numbers()?.iter().copied())),
        Function::Avg => match call.numbers()? {
            numbers if numbers.is_empty() => Ok(Value::Null),
            numbers => call.number_or_fault(Number::mean(numbers.iter().copied())),
        },
        Function::Contains => call.contains(),
        Function::StartsWith => Ok(call.string(0)?.starts_with(call.string(1)?).into()),
        Function::EndsWith => Ok(call.string(0)?.ends_with(call.string(1)?).into()),
        Function::Join => call.join(),
        Function::Keys => call.list(call.object(first)?.keys().map(|name| Value::String(name.clone()))),
        Function::Values => call.list(call.object(first)?.values().cloned()),
        Function::Length => call.length(),
        Function::Map => {
            meter.list(call.array()?.len())?;
            call.array()?.iter().map(by).collect()
        }
        Function::Max | Function::MaxBy => call.extreme(Ordering::Greater, by),
        Function::Min | Function::MinBy => call.extreme(Ordering::Less, by),
        Function::Sort | Function::SortBy => call.sort(by),
        Function::Merge => call.merge(),
        Function::NotNull => {
            let some = arguments.iter().find(|value| !matches!(&***value, Value::Null));
            Ok(some.map_or(Value::Null, |value| Value::clone(value)))
        }
        Function::Reverse => match first {
            Value::String(text) => {
                meter.make_text(text.len())?;
                meter.steps(text.len() / 16)?;
                Ok(text.chars().rev().collect::<String>().into())
            }
            Value::Array(elements) => call.list(elements.iter().rev().cloned()),
            other => call.wrong("a string or an array", other),
        },
        Function::ToArray => match first {
            Value::Array(_) => Ok(first.clone()),
            other => call.list(std::iter::once(other.clone())),
        },
        Function::ToNumber => Ok(match first {
            Value::Number(_) => first.clone(),
            Value::String(text) => {
                meter.text(text.len())?;
                number(text).map_or(Value::Null, Value::Number)
            }
            _ => Value::Null,
        }),
        Function::ToString => call.to_text(),
        Function::Type => Ok(first.kind().into()),
    }
}

/// A function with its arguments.
struct Call<'a> {
    function: Function,
    arguments: &'a [Cow<'a, Value>],
    meter: &'a Meter,
}

impl<'a> Call<'a> {
    /// An argument. The parser has counted them.
    fn at(&self, place: usize) -> &'a Value {
        self.arguments.get(place).map_or(&NULL, |argument| argument)
    }

    fn wrong<T>(&self, takes: &'static str, argument: &Value) -> Result<T, Fault> {
        Err(Fault::Type { function: self.function.name(), takes, kind: argument.kind() })
    }

    fn string(&self, place: usize) -> Result<&'a str, Fault> {
        match self.at(place) {
            Value::String(text) => Ok(text),
            other => self.wrong("strings", other),
        }
    }

    fn number(&self) -> Result<&'a Number, Fault> {
        match self.at(0) {
            Value::Number(number) => {
                self.meter.text(number.cost_of_calculating())?;
                Ok(number)
            }
            other => self.wrong("a number", other),
        }
    }

    fn array(&self) -> Result<&'a [Value], Fault> {
        match self.at(0) {
            Value::Array(elements) => Ok(elements),
            other => self.wrong("an array", other),
        }
    }

    fn object(&self, value: &'a Value) -> Result<&'a Object, Fault> {
        match value {
            Value::Object(members) => Ok(members),
            other => self.wrong("an object", other),
        }
    }

    fn numbers(&self) -> Result<Vec<&'a Number>, Fault> {
        let number = |element: &'a Value| match element {
            Value::Number(number) => {
                self.meter.text(number.cost_of_calculating())?;
                Ok(number)
            }
            other => self.wrong("an array of numbers", other),
        };
        self.array()?.iter().map(number).collect()
    }

    /// A list of what there is.
    fn list(&self, elements: impl ExactSizeIterator<Item = Value>) -> Result<Value, Fault> {
        self.meter.list(elements.len())?;
        Ok(elements.collect())
    }

    /// A result, which there is unless numbers were too long.
    fn number_or_fault(&self, result: Option<Number>) -> Result<Value, Fault> {
        let number = result.ok_or(Fault::Digits { function: self.function.name(), most: DIGITS })?;
        self.meter.make_text(number.as_str().len())?;
        Ok(number.into())
    }

    fn contains(&self) -> Result<Value, Fault> {
        match (self.at(0), self.at(1)) {
            (Value::String(text), Value::String(part)) => {
                self.meter.text(text.len().saturating_mul(4))?;
                Ok(text.contains(&**part).into())
            }
            (Value::String(_), _) => Ok(false.into()),
            (Value::Array(elements), part) => {
                for element in elements.iter() {
                    if equal(element, part, self.meter)? {
                        return Ok(true.into());
                    }
                }
                Ok(false.into())
            }
            (other, _) => self.wrong("a string or an array", other),
        }
    }

    fn length(&self) -> Result<Value, Fault> {
        let length = match self.at(0) {
            Value::String(text) => {
                self.meter.text(text.len())?;
                text.chars().count()
            }
            Value::Array(elements) => elements.len(),
            Value::Object(members) => members.len(),
            other => return self.wrong("a string, an array or an object", other),
        };
        Ok(Number::from(length as u64).into())
    }

    fn join(&self) -> Result<Value, Fault> {
        let glue = self.string(0)?;
        let Value::Array(parts) = self.at(1) else {
            return self.wrong("a string and an array of strings", self.at(1));
        };
        let mut length = glue.len().saturating_mul(parts.len().saturating_sub(1));
        let mut texts = Vec::with_capacity(parts.len());
        self.meter.list(parts.len())?;
        for part in parts.iter() {
            let Value::String(part) = part else {
                return self.wrong("a string and an array of strings", part);
            };
            length = length.saturating_add(part.len());
            texts.push(part.as_str());
        }
        if length > LENGTH {
            return Err(self.too_long());
        }
        self.meter.make_text(length)?;
        Ok(texts.join(glue).into())
    }

    fn to_text(&self) -> Result<Value, Fault> {
        if let text @ Value::String(_) = self.at(0) {
            return Ok(text.clone());
        }
        let most = self.meter.left().min(LENGTH);
        let Some(text) = write(self.at(0), most).and_then(|text| String::from_utf8(text).ok()) else {
            return Err(if most < LENGTH { self.meter.too_much() } else { self.too_long() });
        };
        // Writing takes longer than copying: its values are small.
        self.meter.make_text(text.len())?;
        self.meter.steps(text.len() / 4)?;
        Ok(text.into())
    }

    fn too_long(&self) -> Fault {
        Fault::Length { function: self.function.name(), most: LENGTH }
    }

    /// A member keeps the place of its first object and has the value of its last.
    fn merge(&self) -> Result<Value, Fault> {
        let mut objects = Vec::with_capacity(self.arguments.len());
        for place in 0..self.arguments.len() {
            objects.push(self.object(self.at(place))?);
        }
        self.meter.object(objects.iter().map(|members| members.len()).fold(0, usize::saturating_add))?;
        let members = objects.iter().flat_map(|members| members.iter());
        Ok(members.map(|(name, value)| (name.clone(), value.clone())).collect::<Object>().into())
    }

    /// The elements with what they are sorted by, which are all numbers or all strings.
    fn keys(&self, by: Expression<'_>) -> Result<Vec<(Value, &'a Value)>, Fault> {
        let applies = matches!(self.function, Function::MaxBy | Function::MinBy | Function::SortBy);
        self.meter.list(self.array()?.len().saturating_mul(2))?;
        let key = |element: &'a Value| Ok((if applies { by(element)? } else { element.clone() }, element));
        let keys: Vec<(Value, &Value)> = self.array()?.iter().map(key).collect::<Result<_, Fault>>()?;
        let numbers = matches!(keys.first(), Some((Value::Number(_), _)));
        let odd = keys.iter().find(|(key, _)| match key {
            Value::Number(_) => !numbers,
            Value::String(_) => numbers,
            _ => true,
        });
        match odd {
            Some((key, _)) => self.wrong("numbers only, or strings only, to compare", key),
            None => Ok(keys),
        }
    }

    /// Takes the steps for comparing each key so many times with another one.
    fn comparisons(&self, keys: &[(Value, &Value)], times: usize) -> Result<(), Fault> {
        let text = |key: &Value| match key {
            Value::Number(number) => number.cost(),
            Value::String(text) => text.len(),
            _ => 0,
        };
        keys.iter().try_for_each(|(key, _)| self.meter.text(text(key).saturating_mul(times)))?;
        self.meter.steps(keys.len().saturating_mul(times))
    }

    /// Those that are equal stay in their order.
    fn sort(&self, by: Expression<'_>) -> Result<Value, Fault> {
        let mut keys = self.keys(by)?;
        self.meter.list(keys.len())?;
        // Merging takes as many rounds as the number has binary digits.
        self.comparisons(&keys, keys.len().checked_ilog2().map_or(0, |rounds| rounds as usize + 1))?;
        keys.sort_by(|(left, _), (right, _)| order(left, right));
        Ok(keys.into_iter().map(|(_, element)| element.clone()).collect())
    }

    /// The first element whose key is ordered so to all others, or null if there is none.
    fn extreme(&self, wanted: Ordering, by: Expression<'_>) -> Result<Value, Fault> {
        let keys = self.keys(by)?;
        self.comparisons(&keys, 1)?;
        let best = keys.into_iter().reduce(|best, next| if order(&next.0, &best.0) == wanted { next } else { best });
        Ok(best.map_or(Value::Null, |(_, element)| element.clone()))
    }
}
