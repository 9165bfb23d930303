//! Draws the CPU time of a request as bars in SVG, for light and dark pages. Words stay text, so that they can be read aloud.

use std::fmt::Write as _;

use integration::measure::figures::times;

/// The two bars of a proxy, in µs of CPU a request.
pub(crate) struct Bars {
    pub(crate) name: &'static str,
    pub(crate) bare: Option<f64>,
    pub(crate) full: Option<f64>,
}

const WIDTH: f64 = 760.0;
/// Where bars begin, and how long the longest is.
const LEFT: f64 = 90.0;
const LONGEST: f64 = 500.0;
const BAR: f64 = 16.0;
const GROUP: f64 = 48.0;
const TOP: f64 = 64.0;

/// Fetches no font. The colours follow what the reader's system prefers, which is as a rule what the page follows, too.
const STYLE: &str = "text { font: 13px system-ui, sans-serif; fill: #1f2328 } .quiet { fill: #59636e } .bare { fill: \
                     #2f6fab } .full { fill: #c2762b } @media (prefers-color-scheme: dark) { text { fill: #f0f6fc } \
                     .quiet { fill: #9198a1 } .bare { fill: #5a9bd8 } .full { fill: #e09a50 } }";

/// Draws the bars, each with its multiple of the bar of `baseline`.
pub(crate) fn draw(groups: &[Bars], baseline: &str, date: &str) -> String {
    let height = TOP + GROUP * groups.len() as f64 + 8.0;
    let most = groups.iter().flat_map(|group| [group.bare, group.full]).flatten().fold(1e-9, f64::max);
    let base = groups.iter().find(|group| group.name == baseline);
    let title = "CPU time of a request in µs: less is better";
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
         height=\"{height}\" role=\"img\" aria-label=\"{title}\">\n<style>{STYLE}</style>\n\
         <text x=\"8\" y=\"20\">{title}</text>\n\
         <text x=\"8\" y=\"40\" class=\"quiet\">{}, one worker each; in brackets: multiples of {}</text>\n",
        escape(date),
        escape(baseline)
    );
    let legend = [("bare", "bare", 500.0), ("full", "full: key, limit, breaker", 550.0)];
    for (class, label, x) in legend {
        let _ = writeln!(
            text,
            "<rect class=\"{class}\" x=\"{x}\" y=\"10\" width=\"10\" height=\"10\"/>\
             <text x=\"{}\" y=\"20\">{label}</text>",
            x + 14.0
        );
    }
    for (at, group) in groups.iter().enumerate() {
        let top = TOP + GROUP * at as f64;
        let _ = writeln!(text, "<text x=\"8\" y=\"{}\">{}</text>", top + 20.0, escape(group.name));
        let both = [
            ("bare", group.bare, base.and_then(|base| base.bare)),
            ("full", group.full, base.and_then(|base| base.full)),
        ];
        for ((class, figure, base), y) in both.into_iter().zip([top, top + BAR + 2.0]) {
            let Some(figure) = figure else { continue };
            let width = figure / most * LONGEST;
            let factor = times(Some(figure), base).filter(|_| group.name != baseline);
            let factor = factor.map(|factor| format!(" ({factor:.2} x)")).unwrap_or_default();
            let _ = writeln!(
                text,
                "<rect class=\"{class}\" x=\"{LEFT}\" y=\"{y}\" width=\"{width:.1}\" height=\"{BAR}\" rx=\"2\"/>\
                 <text x=\"{:.1}\" y=\"{}\">{figure:.1}{factor}</text>",
                LEFT + width + 6.0,
                y + 13.0
            );
        }
    }
    text + "</svg>\n"
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUPS: [Bars; 3] = [
        Bars { name: "Lictor", bare: Some(20.0), full: Some(22.0) },
        Bars { name: "nginx", bare: Some(10.0), full: Some(11.0) },
        Bars { name: "Fabio", bare: Some(40.0), full: None },
    ];

    #[test]
    fn the_longest_bar_is_the_most_and_the_others_are_in_proportion() {
        let svg = draw(&GROUPS, "nginx", "2026-11-24");
        assert!(svg.contains("width=\"500.0\"") && svg.contains("width=\"250.0\""), "{svg}");
        assert_eq!(svg.matches("<rect").count(), 5 + 2, "bars that were measured, and the legend");
    }

    #[test]
    fn a_bar_says_its_figure_and_its_multiple_as_text() {
        let svg = draw(&GROUPS, "nginx", "2026-11-24");
        for words in [">20.0 (2.00 x)<", ">10.0<", ">40.0 (4.00 x)<", ">Fabio<", ">2026-11-24, one worker"] {
            assert!(svg.contains(words), "{words} in {svg}");
        }
    }

    #[test]
    fn it_is_read_on_dark_pages_and_fetches_nothing() {
        let svg = draw(&GROUPS, "nginx", "<today> & more");
        assert!(svg.contains("prefers-color-scheme: dark") && svg.contains("&lt;today&gt; &amp; more"));
        assert!(!svg.contains("url(") && !svg.contains("href") && !svg.contains("@import"));
    }
}
