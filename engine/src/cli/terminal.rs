//! What standard output is, for those who lay out text.

use std::io::IsTerminal;

/// How text is to be laid out.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Characters to a line; `None`: lines are as long as their texts.
    pub width: Option<usize>,
    pub colour: bool,
}

/// Nobody reads lines of fewer, or wants lines of more.
const WIDTHS: std::ops::RangeInclusive<usize> = 40..=140;

impl Look {
    /// As standard output is: the width is that of `COLUMNS`, else of the terminal; where it is none lines are whole, for programs that
    /// search them. Colours are for terminals, unless `NO_COLOR` is set.
    pub fn of_output() -> Look {
        let is_terminal = std::io::stdout().is_terminal();
        let said = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
        let width: Option<usize> = said.or_else(|| is_terminal.then(columns).flatten());
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Look {
            width: width
                .filter(|width| *width > 0)
                .map(|width| width.clamp(*WIDTHS.start(), *WIDTHS.end())),
            colour: is_terminal && !refused,
        }
    }
}

/// Columns of the terminal that standard output is.
#[allow(unsafe_code)] // the standard library does not ask, and libc alone does
fn columns() -> Option<usize> {
    let mut size = libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: the request writes one `winsize` to the place it is given, which lives until it returns.
    let asked = unsafe { libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &mut size) };
    (asked == 0).then_some(size.ws_col.into())
}
