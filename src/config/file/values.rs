//! Values in words: sizes, and how near a misspelt key is to a known one.

/// How a size is written.
pub(super) const SIZES: &str = "write e.g. \"64MiB\", \"8KiB\" or a number of bytes";

/// A size with or without its unit, within bounds.
pub(super) fn bytes(text: &str, bounds: &std::ops::RangeInclusive<u64>) -> Result<u64, String> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let unit = match text[end..].trim() {
        "" | "B" => Some(1),
        "KiB" => Some(1 << 10),
        "MiB" => Some(1 << 20),
        "GiB" => Some(1 << 30),
        _ => None,
    };
    let number = text[..end].parse::<u64>().ok();
    match number.zip(unit).and_then(|(number, unit)| number.checked_mul(unit)) {
        None => Err(format!("`{text}` is not a size: {SIZES}")),
        Some(bytes) if !bounds.contains(&bytes) => {
            Err(format!("is out of bounds: {} to {} bytes", bounds.start(), bounds.end()))
        }
        Some(bytes) => Ok(bytes),
    }
}

/// How many letters must change (Levenshtein).
pub(super) fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let change = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
