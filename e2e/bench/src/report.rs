//! What is printed: measured values, and figures against their bounds.

use std::fmt;

/// What a figure must keep.
#[derive(Clone, Copy, Debug)]
pub enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

/// The middle one of values in any order; of an even number the upper of the two.
pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A measured value with its bound.
#[derive(Clone, Debug)]
pub struct Figure {
    pub name: String,
    pub value: f64,
    pub unit: &'static str,
    pub bound: Bound,
}

/// Prints as it goes, and keeps the figures for the summary.
#[derive(Debug, Default)]
pub struct Report {
    figures: Vec<Figure>,
}

impl Figure {
    pub fn is_reached(&self) -> bool {
        match self.bound {
            Bound::AtMost(bound) => self.value <= bound,
            Bound::AtLeast(bound) => self.value >= bound,
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (side, bound) = match self.bound {
            Bound::AtMost(bound) => ("at most", bound),
            Bound::AtLeast(bound) => ("at least", bound),
        };
        let verdict = if self.is_reached() {
            "reached"
        } else {
            "MISSED"
        };
        write!(
            f,
            "{:<60} {:>7.2} {:<4} {side:<8} {bound:<6} {verdict}",
            self.name, self.value, self.unit
        )
    }
}

impl Report {
    pub fn section(&mut self, title: &str) {
        println!("\n{title}");
    }

    pub fn line(&mut self, text: impl fmt::Display) {
        println!("  {text}");
    }

    pub fn figure(&mut self, figure: Figure) {
        self.figures.push(figure);
    }

    /// Prints all figures; whether all of them are reached.
    pub fn summary(&self) -> bool {
        println!("\nFigures");
        for figure in &self.figures {
            println!("  {figure}");
        }
        self.figures.iter().all(Figure::is_reached)
    }
}
