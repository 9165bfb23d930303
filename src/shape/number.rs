//! A number as it is written, compared and calculated with exactly.

use std::cmp::Ordering;

use num_bigint::{BigInt, Sign};

use super::Text;

/// How many digits a number may have before and after the point that is calculated with: sums of ids, money and doubles (which
/// have 309 and 1,074) are exact, and `1e999999999` does not become a gigabyte.
pub(super) const DIGITS: usize = 1_100;

/// How many digits a quotient has at least when it does not end before: as many as decimal128 (IEEE 754).
const QUOTIENT: u32 = 34;

/// The largest exponent in a text. Numbers beyond it mean nothing to anybody, and places can be counted without overflow.
const EXPONENT: i64 = 999_999_999;

/// A number of JSON. It keeps its digits: `1.10` stays what it is, and equals `1.1`.
#[derive(Clone, Debug)]
pub struct Number(Text);

impl Number {
    /// A number of this text, which is one by JSON's grammar and whose exponent is in range.
    pub(super) fn new(text: Text) -> Number {
        Number(text)
    }

    /// Whether the exponent of a number of this text is in range.
    pub(super) fn is_in_range(text: &str) -> bool {
        Form::of(text).is_some()
    }

    /// The text that was read.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As many bytes of text as can be compared in the time that this number takes.
    pub(super) fn cost(&self) -> usize {
        self.0.len().saturating_mul(4)
    }

    /// As many bytes of text as can be compared in the time that calculating with this number takes: those with an exponent can
    /// have all the digits that a number may have.
    pub(super) fn cost_of_calculating(&self) -> usize {
        let digits = if self.0.contains(['e', 'E']) { DIGITS } else { 0 };
        (self.0.len() + digits).saturating_mul(16)
    }

    /// Without its sign.
    pub(super) fn abs(&self) -> Number {
        self.0.strip_prefix('-').map_or_else(|| self.clone(), |text| Number(text.into()))
    }

    /// The integer that is not above it and next to it. `None` if it has too many digits.
    pub(super) fn floor(&self) -> Option<Number> {
        self.whole(Sign::Minus)
    }

    /// The integer that is not below it and next to it. `None` if it has too many digits.
    pub(super) fn ceil(&self) -> Option<Number> {
        self.whole(Sign::Plus)
    }

    /// The next integer, in the direction of `sign` from zero or else towards zero.
    fn whole(&self, sign: Sign) -> Option<Number> {
        let decimal = Decimal::of(self)?;
        let Some(places) = u32::try_from(-decimal.exponent).ok().filter(|places| *places > 0) else {
            return Some(self.clone());
        };
        // Its normal form has no zero at its end: there is a fraction.
        let away = if decimal.digits.sign() == sign { BigInt::from_biguint(sign, 1_u8.into()) } else { BigInt::ZERO };
        let digits = decimal.digits / BigInt::from(10).pow(places) + away;
        Some(Decimal { digits, exponent: 0 }.number())
    }

    /// What numbers add up to. `None` if one of them has too many digits.
    pub(super) fn sum<'a>(numbers: impl Iterator<Item = &'a Number>) -> Option<Number> {
        Decimal::sum(numbers).map(Decimal::number)
    }

    /// What numbers add up to, divided by how many they are: exact, or else 34 digits, the last one rounded half to even.
    /// `None` if there is none, or one of them has too many digits.
    pub(super) fn mean<'a>(numbers: impl ExactSizeIterator<Item = &'a Number>) -> Option<Number> {
        let count = BigInt::from(numbers.len());
        if count == BigInt::ZERO {
            return None;
        }
        let sum = Decimal::sum(numbers)?;
        // A quotient has at least as many digits as are added here: the divisor's are made up for.
        let places = QUOTIENT + u32::try_from(count.to_string().len()).ok()?;
        let dividend = sum.digits * BigInt::from(10).pow(places);
        let (mut digits, rest) = (&dividend / &count, &dividend % &count);
        let twice = BigInt::from_biguint(Sign::Plus, rest.magnitude() * 2_u8);
        let odd = digits.bit(0);
        if twice > count || (twice == count && odd) {
            digits += BigInt::from_biguint(dividend.sign(), 1_u8.into());
        }
        Some(Decimal { digits, exponent: sum.exponent - i64::from(places) }.number())
    }
}

impl From<u64> for Number {
    fn from(number: u64) -> Number {
        Number(number.to_string().into())
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Number) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Number {}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Number) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Number) -> Ordering {
        if self.0 == other.0 {
            return Ordering::Equal;
        }
        // Every text that became a number has a form.
        Form::of(&self.0).cmp(&Form::of(&other.0))
    }
}

/// The normal form of a number: its sign, and 0.d1d2d3… times a power of ten, where neither the first nor the last digit is
/// zero. It borrows from the text, so that comparing costs no memory.
#[derive(PartialEq, Eq)]
struct Form<'a> {
    sign: Sign,
    /// The exponent of ten; 0 for zero.
    scale: i64,
    /// The digits before the point that count; the first one of all is not zero.
    before: &'a [u8],
    /// Those after it; the last one of all is not zero.
    after: &'a [u8],
}

impl<'a> Form<'a> {
    /// `None` if the exponent is out of range.
    fn of(text: &'a str) -> Option<Form<'a>> {
        let (negative, text) = text.strip_prefix('-').map_or((false, text), |text| (true, text));
        let (digits, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (before, after) = digits.split_once('.').unwrap_or((digits, ""));
        let exponent = exponent.parse::<i64>().ok().filter(|exponent| exponent.abs() <= EXPONENT)?;
        let before = before.trim_start_matches('0');
        let after = after.trim_end_matches('0');
        // Where one side has no digit that counts, the zeros of the other one stand at the edge.
        let significant = if before.is_empty() { after.trim_start_matches('0') } else { after };
        let shift = if before.is_empty() {
            -i64::try_from(after.len() - significant.len()).ok()?
        } else {
            i64::try_from(before.len()).ok()?
        };
        let before = if significant.is_empty() { before.trim_end_matches('0') } else { before };
        if before.is_empty() && significant.is_empty() {
            return Some(Form { sign: Sign::NoSign, scale: 0, before: b"", after: b"" });
        }
        let sign = if negative { Sign::Minus } else { Sign::Plus };
        Some(Form { sign, scale: exponent + shift, before: before.as_bytes(), after: significant.as_bytes() })
    }

    fn digits(&self) -> impl Iterator<Item = &u8> {
        self.before.iter().chain(self.after)
    }
}

impl PartialOrd for Form<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Form<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        // No digits end in zero, hence those that go on are more.
        let size = || self.scale.cmp(&other.scale).then_with(|| self.digits().cmp(other.digits()));
        self.sign.cmp(&other.sign).then_with(|| match self.sign {
            Sign::Plus => size(),
            Sign::Minus => size().reverse(),
            Sign::NoSign => Ordering::Equal,
        })
    }
}

/// A number to calculate with: digits times a power of ten.
struct Decimal {
    digits: BigInt,
    exponent: i64,
}

impl Decimal {
    /// Without zeros at its end. `None` if it has too many digits before or after its point.
    fn of(number: &Number) -> Option<Decimal> {
        let form = Form::of(&number.0)?;
        let count = i64::try_from(form.before.len() + form.after.len()).ok()?;
        let (exponent, most) = (form.scale - count, i64::try_from(DIGITS).ok()?);
        if form.scale > most || exponent < -most {
            return None;
        }
        let text: Vec<u8> = form.digits().copied().collect();
        let magnitude = BigInt::parse_bytes(&text, 10).unwrap_or(BigInt::ZERO);
        let digits = if form.sign == Sign::Minus { -magnitude } else { magnitude };
        Some(Decimal { digits, exponent })
    }

    fn sum<'a>(mut numbers: impl Iterator<Item = &'a Number>) -> Option<Decimal> {
        let zero = Decimal { digits: BigInt::ZERO, exponent: 0 };
        numbers.try_fold(zero, |sum, number| Some(sum.plus(Decimal::of(number)?)))
    }

    fn plus(self, other: Decimal) -> Decimal {
        let exponent = self.exponent.min(other.exponent);
        // Exponents lie within the bound of digits, and below the largest u32.
        let at = |decimal: Decimal| match u32::try_from(decimal.exponent - exponent) {
            Ok(0) | Err(_) => decimal.digits,
            Ok(places) => decimal.digits * BigInt::from(10).pow(places),
        };
        Decimal { digits: at(self) + at(other), exponent }
    }

    /// Its text, laid out as ECMAScript does (ECMA-262, `Number::toString`), with all of its digits.
    fn number(self) -> Number {
        let sign = if self.digits.sign() == Sign::Minus { "-" } else { "" };
        let all = self.digits.magnitude().to_string();
        let digits = all.trim_end_matches('0');
        if digits.is_empty() {
            return Number("0".into());
        }
        let count = digits.len();
        let point = self.exponent + i64::try_from(all.len()).unwrap_or(i64::MAX);
        let text = match usize::try_from(point) {
            Ok(point) if point >= count && point <= 21 => format!("{sign}{digits}{}", "0".repeat(point - count)),
            Ok(point) if point > 0 && point < count => format!("{sign}{}.{}", &digits[..point], &digits[point..]),
            _ if point <= 0 && point > -6 => {
                let zeros = usize::try_from(-point).unwrap_or(0);
                format!("{sign}0.{}{digits}", "0".repeat(zeros))
            }
            _ if count == 1 => format!("{sign}{digits}e{}", point - 1),
            _ => format!("{sign}{}.{}e{}", &digits[..1], &digits[1..], point - 1),
        };
        Number(text.into())
    }
}
