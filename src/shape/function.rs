//! The functions of JMESPath: their names, and what each one is given.

/// A function of the language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Abs,
    Avg,
    Ceil,
    Contains,
    EndsWith,
    Floor,
    Join,
    Keys,
    Length,
    Map,
    Max,
    MaxBy,
    Merge,
    Min,
    MinBy,
    NotNull,
    Reverse,
    Sort,
    SortBy,
    StartsWith,
    Sum,
    ToArray,
    ToNumber,
    ToString,
    Type,
    Values,
}

/// What a function is given.
pub(super) struct Signature {
    /// The function.
    pub(super) function: Function,
    /// Its name in expressions.
    pub(super) name: &'static str,
    /// How many arguments it takes.
    pub(super) arguments: Arguments,
    /// Which argument, from 0, is an expression (`&`) that it applies to elements.
    pub(super) expression: Option<usize>,
}

/// How many arguments a function takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arguments {
    /// So many.
    Exactly(usize),
    /// One, or more.
    Some,
}

/// All functions (<https://jmespath.org/specification.html#built-in-functions>).
const SIGNATURES: &[Signature] = &[
    plain(Function::Abs, "abs", 1),
    plain(Function::Avg, "avg", 1),
    plain(Function::Ceil, "ceil", 1),
    plain(Function::Contains, "contains", 2),
    plain(Function::EndsWith, "ends_with", 2),
    plain(Function::Floor, "floor", 1),
    plain(Function::Join, "join", 2),
    plain(Function::Keys, "keys", 1),
    plain(Function::Length, "length", 1),
    applying(Function::Map, "map", 0),
    plain(Function::Max, "max", 1),
    applying(Function::MaxBy, "max_by", 1),
    Signature { function: Function::Merge, name: "merge", arguments: Arguments::Some, expression: None },
    plain(Function::Min, "min", 1),
    applying(Function::MinBy, "min_by", 1),
    Signature { function: Function::NotNull, name: "not_null", arguments: Arguments::Some, expression: None },
    plain(Function::Reverse, "reverse", 1),
    plain(Function::Sort, "sort", 1),
    applying(Function::SortBy, "sort_by", 1),
    plain(Function::StartsWith, "starts_with", 2),
    plain(Function::Sum, "sum", 1),
    plain(Function::ToArray, "to_array", 1),
    plain(Function::ToNumber, "to_number", 1),
    plain(Function::ToString, "to_string", 1),
    plain(Function::Type, "type", 1),
    plain(Function::Values, "values", 1),
];

const fn plain(function: Function, name: &'static str, count: usize) -> Signature {
    Signature { function, name, arguments: Arguments::Exactly(count), expression: None }
}

/// A function of an array and an expression, which stands at `place`.
const fn applying(function: Function, name: &'static str, place: usize) -> Signature {
    Signature { function, name, arguments: Arguments::Exactly(2), expression: Some(place) }
}

/// The function of this name.
pub(super) fn find(name: &str) -> Option<&'static Signature> {
    SIGNATURES.iter().find(|signature| signature.name == name)
}

impl Function {
    /// Its name in expressions.
    pub(super) fn name(self) -> &'static str {
        SIGNATURES.iter().find(|signature| signature.function == self).map_or("", |signature| signature.name)
    }
}
