//! Figures by name, of every round, and the tables that show them.

use std::collections::BTreeMap;

/// The figures of one round of one proxy.
pub type Figures = BTreeMap<&'static str, f64>;

/// All rounds of a row.
pub struct Row {
    /// What stands in its first cell.
    pub name: String,
    /// The figures of each round.
    pub rounds: Vec<Figures>,
}

/// How a cell shows the rounds' figures.
#[derive(Clone, Copy)]
pub enum Show {
    /// The median, with so many decimals.
    Median(usize),
    /// From the smallest to the largest.
    Range(usize),
    /// The median as a multiple of the median of the first row with this name.
    Times(&'static str),
    /// The same for the row whose name is this row's up to its comma, followed by this text.
    TimesOwn(&'static str),
    /// The largest of all rounds.
    Most(usize),
    /// The sum of all rounds.
    Sum,
}

/// A column of a table.
pub struct Column {
    /// Its title.
    pub title: &'static str,
    /// The name of the figure that it shows.
    pub key: &'static str,
    /// How it shows the figures of all rounds.
    pub show: Show,
}

impl Row {
    fn all(&self, key: &str) -> Vec<f64> {
        self.rounds.iter().filter_map(|figures| figures.get(key).copied()).collect()
    }

    /// The median of a figure over all rounds.
    pub fn median(&self, key: &str) -> Option<f64> {
        median(self.all(key))
    }
}

/// The figure in the middle, or the mean of the two in the middle.
pub fn median(mut all: Vec<f64>) -> Option<f64> {
    all.sort_by(f64::total_cmp);
    let middle = all.len() / 2;
    let upper = *all.get(middle)?;
    Some(if all.len() % 2 == 1 { upper } else { (all[middle - 1] + upper) / 2.0 })
}

/// A figure as a multiple of another one.
pub fn times(figure: Option<f64>, other: Option<f64>) -> Option<f64> {
    Some(figure? / other.filter(|other| *other > 0.0)?)
}

/// A table in Markdown. Where a row has no figure, the cell is a dash.
pub fn table(rows: &[Row], columns: &[Column]) -> String {
    let titles: Vec<&str> = columns.iter().map(|column| column.title).collect();
    let mut text = format!("| | {} |\n| --- |{}\n", titles.join(" | "), " ---: |".repeat(columns.len()));
    for row in rows {
        let cells: Vec<String> = columns.iter().map(|column| cell(rows, row, column)).collect();
        text += &format!("| {} | {} |\n", row.name, cells.join(" | "));
    }
    text
}

fn cell(rows: &[Row], row: &Row, column: &Column) -> String {
    let all = row.all(column.key);
    let least = all.iter().copied().reduce(f64::min);
    let most = all.iter().copied().reduce(f64::max);
    let text = match column.show {
        Show::Median(decimals) => median(all).map(|figure| number(figure, decimals)),
        Show::Range(decimals) => {
            least.zip(most).map(|(least, most)| format!("{}..{}", number(least, decimals), number(most, decimals)))
        }
        Show::Times(whose) => multiple(rows, row, whose, column.key),
        Show::TimesOwn(rest) => {
            let own = row.name.split(',').next().unwrap_or_default();
            multiple(rows, row, &format!("{own}{rest}"), column.key)
        }
        Show::Most(decimals) => most.map(|figure| number(figure, decimals)),
        Show::Sum => most.map(|_| number(all.iter().sum(), 0)),
    };
    text.unwrap_or_else(|| "-".into())
}

fn multiple(rows: &[Row], row: &Row, whose: &str, key: &str) -> Option<String> {
    let other = rows.iter().find(|row| row.name == whose).and_then(|row| row.median(key));
    times(row.median(key), other).map(|times| format!("{times:.2}"))
}

/// A figure as text, with commas between thousands.
pub fn number(figure: f64, decimals: usize) -> String {
    let text = format!("{figure:.decimals$}");
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let digits = whole.trim_start_matches('-').len();
    let mut grouped = String::new();
    for (at, digit) in whole.trim_start_matches('-').chars().enumerate() {
        if at > 0 && (digits - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    format!("{}{grouped}{rest}", if whole.starts_with('-') { "-" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, figures: &[f64]) -> Row {
        let rounds = figures.iter().map(|figure| Figures::from([("cpu", *figure)])).collect();
        Row { name: name.into(), rounds }
    }

    #[test]
    fn a_median_is_not_moved_by_one_bad_round() {
        assert_eq!(median(vec![3.0, 1.0, 900.0]), Some(3.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 900.0]), Some(3.0));
        assert_eq!(median(vec![]), None);
    }

    #[test]
    fn nothing_is_a_multiple_of_what_was_not_measured() {
        assert_eq!(times(Some(3.0), Some(2.0)), Some(1.5));
        assert_eq!(times(Some(3.0), None), None);
        assert_eq!(times(Some(3.0), Some(0.0)), None);
    }

    #[test]
    fn a_table_has_a_dash_for_what_a_row_has_not() {
        let rows = [row("nginx", &[20.0, 10.0, 40.0]), row("Lictor", &[30.0]), row("none", &[])];
        let columns = [
            Column { title: "CPU", key: "cpu", show: Show::Median(1) },
            Column { title: "from..to", key: "cpu", show: Show::Range(0) },
            Column { title: "times", key: "cpu", show: Show::Times("nginx") },
            Column { title: "sum", key: "cpu", show: Show::Sum },
        ];
        let expected = "| | CPU | from..to | times | sum |\n| --- | ---: | ---: | ---: | ---: |\n\
                        | nginx | 20.0 | 10..40 | 1.00 | 70 |\n| Lictor | 30.0 | 30..30 | 1.50 | 30 |\n\
                        | none | - | - | - | - |\n";
        assert_eq!(table(&rows, &columns), expected);
    }

    #[test]
    fn a_row_may_be_a_multiple_of_its_own_other_row() {
        let rows = [row("a, one", &[2.0]), row("a, many", &[3.0]), row("b, one", &[9.0]), row("b, many", &[9.0])];
        let column = Column { title: "", key: "cpu", show: Show::TimesOwn(", one") };
        assert_eq!(rows.each_ref().map(|row| cell(&rows, row, &column)), ["1.00", "1.50", "1.00", "1.00"]);
    }

    #[test]
    fn thousands_have_commas() {
        assert_eq!(number(1_234_567.891, 1), "1,234,567.9");
        assert_eq!(number(-1_234.0, 0), "-1,234");
        assert_eq!(number(999.0, 0), "999");
    }
}
