//! What there is to draw on: a terminal, or a stream that somebody reads later.

use std::io::{self, IsTerminal};

use super::table::Style;

/// How wide a drawing is where no terminal says how wide it is.
const WIDTH: usize = 100;

/// How a drawing looks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Canvas {
    pub(super) style: Style,
    /// Characters of a line.
    pub(super) width: usize,
    /// Lines and bars are drawn with characters that every reader has.
    pub(super) ascii: bool,
}

/// What lines and bars are drawn with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pens {
    /// From one branch down to the next.
    pub(super) down: &'static str,
    /// A branch with others below it, and the last one.
    pub(super) branch: &'static str,
    pub(super) last: &'static str,
    /// From a branch to its only leaf, and to the first of several.
    pub(super) only: &'static str,
    pub(super) fork: &'static str,
    /// Time that passed well, and time that brought nothing.
    pub(super) well: char,
    pub(super) failed: char,
    /// The sides of a bar's place.
    pub(super) side: char,
}

impl Canvas {
    /// The standard output.
    pub(super) fn of_stdout(colour: bool) -> Canvas {
        let out = io::stdout();
        let terminal = out.is_terminal();
        let size = if terminal { rustix::termios::tcgetwinsize(&out).ok() } else { None };
        let width = size.map(|size| usize::from(size.ws_col)).filter(|&columns| columns > 0).unwrap_or(WIDTH);
        Canvas { style: Style { colour: colour && terminal }, width, ascii: !terminal }
    }

    pub(super) fn pens(self) -> Pens {
        match self.ascii {
            true => Pens {
                down: "|  ",
                branch: "+- ",
                last: "+- ",
                only: "--- ",
                fork: "-+- ",
                well: '#',
                failed: 'x',
                side: '|',
            },
            false => Pens {
                down: "│  ",
                branch: "├─ ",
                last: "└─ ",
                only: "─── ",
                fork: "─┬─ ",
                well: '█',
                failed: '▒',
                side: '│',
            },
        }
    }
}
