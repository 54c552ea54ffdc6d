//! Small line plots as SVG: both axes logarithmic, every point labelled, no legend needed.

use std::fmt::Write;

const WIDTH: f64 = 360.0;
const HEIGHT: f64 = 240.0;
/// Space around the drawing area: left, top, right, bottom.
const MARGIN: [f64; 4] = [24.0, 46.0, 64.0, 34.0];
/// Colours that differ for everybody, and on light and dark pages.
const COLOURS: [&str; 3] = ["#1f77b4", "#e06c00", "#2a9d4a"];

/// One line: its name, the unit of its values, and points of size and value.
pub struct Series {
    pub name: &'static str,
    pub unit: &'static str,
    pub points: Vec<(f64, f64)>,
}

/// One plot of several lines, each scaled to its own range, because only their slopes are compared.
pub struct Plot {
    pub title: String,
    pub axis: &'static str,
    pub series: Vec<Series>,
}

/// Plots side by side.
pub fn svg(plots: &[Plot]) -> String {
    let width = WIDTH * plots.len() as f64;
    let mut out = format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {HEIGHT}" font-family="sans-serif" font-size="11">"#
    );
    out.push_str("\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n");
    for (number, plot) in plots.iter().enumerate() {
        plot.draw(WIDTH * number as f64, &mut out);
    }
    out.push_str("</svg>\n");
    out
}

impl Plot {
    fn draw(&self, left: f64, out: &mut String) {
        text(out, left + MARGIN[0], 16.0, "#222222", "start", &self.title);
        let (x0, x1) = (left + MARGIN[0], left + WIDTH - MARGIN[2]);
        let (y0, y1) = (HEIGHT - MARGIN[3], MARGIN[1]);
        let _ = writeln!(
            out,
            r##"<path d="M{x0} {y1}V{y0}H{x1}" fill="none" stroke="#888888"/>"##
        );
        text(
            out,
            f64::midpoint(x0, x1),
            HEIGHT - 4.0,
            "#222222",
            "middle",
            self.axis,
        );
        let across = Scale::new(
            self.series
                .iter()
                .flat_map(|series| &series.points)
                .map(|point| point.0),
            (x0 + 16.0, x1),
        );
        let up = Scale {
            // One decade of any series is as high as one of another.
            decades: self.series.iter().map(Series::decades).fold(0.1, f64::max),
            ..Scale::new([1.0, 10.0].into_iter(), (y0 - 14.0, y1 + 8.0))
        };
        for (x, _) in self.series.first().map_or(&[][..], |series| &series.points) {
            text(
                out,
                across.at(*x),
                y0 + 14.0,
                "#222222",
                "middle",
                &x.to_string(),
            );
        }
        for (number, series) in self.series.iter().enumerate() {
            series.draw(&across, &up, COLOURS[number % COLOURS.len()], number, out);
        }
    }
}

impl Series {
    fn least(&self) -> f64 {
        self.points
            .iter()
            .map(|point| point.1)
            .fold(f64::INFINITY, f64::min)
    }

    fn decades(&self) -> f64 {
        let most = self.points.iter().map(|point| point.1).fold(0.0, f64::max);
        (most / self.least()).log10()
    }

    fn draw(&self, across: &Scale, up: &Scale, colour: &str, number: usize, out: &mut String) {
        let places: Vec<(f64, f64)> = self
            .points
            .iter()
            .map(|(x, y)| (across.at(*x), up.at(y / self.least())))
            .collect();
        let line: Vec<String> = places
            .iter()
            .map(|(x, y)| format!("{x:.1},{y:.1}"))
            .collect();
        let _ = writeln!(
            out,
            r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="2"/>"#,
            line.join(" ")
        );
        // Labels of lines that begin together stand above each other.
        let rise = 6.0 + 12.0 * number as f64;
        for ((x, y), (_, value)) in places.iter().zip(&self.points) {
            let _ = writeln!(
                out,
                r#"<circle cx="{x:.1}" cy="{y:.1}" r="3" fill="{colour}"/>"#
            );
            let label = format!("{} {}", short(*value), self.unit);
            let is_last = Some(value) == self.points.last().map(|point| &point.1);
            match is_last {
                true => text(out, x + 6.0, y + 4.0, colour, "start", &label),
                false => text(out, *x, y - rise, colour, "middle", &label),
            }
        }
        let x = across.from - 16.0 + 130.0 * number as f64;
        text(out, x, 32.0, colour, "start", self.name);
    }
}

/// Three digits at most.
fn short(value: f64) -> String {
    match value {
        value if value >= 10.0 => format!("{value:.0}"),
        value if value >= 1.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

struct Scale {
    least: f64,
    decades: f64,
    from: f64,
    to: f64,
}

impl Scale {
    fn new(values: impl Iterator<Item = f64>, (from, to): (f64, f64)) -> Self {
        let (least, most) = values.fold((f64::INFINITY, 0.0_f64), |(least, most), value| {
            (least.min(value), most.max(value))
        });
        Self {
            least,
            decades: (most / least).log10(),
            from,
            to,
        }
    }

    fn at(&self, value: f64) -> f64 {
        self.from + (self.to - self.from) * (value / self.least).log10() / self.decades
    }
}

fn text(out: &mut String, x: f64, y: f64, colour: &str, anchor: &str, words: &str) {
    let _ = writeln!(
        out,
        r#"<text x="{x:.1}" y="{y:.1}" fill="{colour}" text-anchor="{anchor}">{words}</text>"#
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_slopes_are_parallel() {
        let series = |name, factor: f64| Series {
            name,
            unit: "s",
            points: vec![
                (10.0, factor),
                (100.0, 10.0 * factor),
                (1000.0, 100.0 * factor),
            ],
        };
        let plot = Plot {
            title: "growth".to_owned(),
            axis: "size",
            series: vec![series("a", 1.0), series("b", 7.0)],
        };
        let drawn = svg(&[plot]);
        let lines: Vec<&str> = drawn
            .lines()
            .filter(|line| line.starts_with("<polyline"))
            .collect();
        let points = |line: &str| line.split('"').nth(1).map(str::to_owned);
        assert_eq!(points(lines[0]), points(lines[1]));
        assert!(drawn.contains("700 s"));
    }
}
