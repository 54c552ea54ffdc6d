//! Colour and marks: only where a person looks at a terminal.

use std::io::IsTerminal as _;

/// How lines for people are set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    pub colour: bool,
}

/// Colours, by what they mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    Good,
    Bad,
    Changed,
}

impl Style {
    /// Colour on a terminal, unless `NO_COLOR` is set: <https://no-color.org>.
    pub fn of_stdout() -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self {
            colour: wanted && std::io::stdout().is_terminal(),
        }
    }

    /// The text in a colour, or as it is.
    pub fn paint(self, paint: Paint, text: &str) -> String {
        let code = match paint {
            Paint::Good => 32,
            Paint::Bad => 31,
            Paint::Changed => 33,
        };
        match self.colour {
            true => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
            false => text.to_owned(),
        }
    }

    /// `✔ text`.
    pub fn good(self, text: &str) -> String {
        format!("{} {text}", self.paint(Paint::Good, "✔"))
    }

    /// `✘ text`.
    pub fn bad(self, text: &str) -> String {
        format!("{} {text}", self.paint(Paint::Bad, "✘"))
    }
}
