// SPDX-License-Identifier: MIT OR Apache-2.0
//! A plot of a few lines, as SVG.

use std::fmt::Write as _;

/// One line of a plot.
#[derive(Clone, Debug)]
pub struct Line {
    /// Name of the line.
    pub name: String,
    /// Colour of the line, as in SVG.
    pub colour: &'static str,
    /// Points of the line.
    pub points: Vec<(f64, f64)>,
}

/// Title, labels and marks of the axes.
#[derive(Clone, Copy, Debug)]
pub struct Axes<'a> {
    /// Title above the plot.
    pub title: &'a str,
    /// Label of the x axis, below the plot.
    pub x: &'a str,
    /// Label of the y axis, at the left.
    pub y: &'a str,
    /// Positions of the marks on the x axis.
    pub x_marks: &'a [f64],
    /// Positions of the marks on the y axis.
    pub y_marks: &'a [f64],
}

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 440.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 70.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 60.0;

/// Draws the plot; both axes begin at 0 and end at their last mark.
#[must_use]
pub fn svg(axes: &Axes<'_>, lines: &[Line]) -> String {
    let last = |marks: &[f64]| marks.last().copied().unwrap_or(1.0);
    let (most_x, most_y) = (last(axes.x_marks), last(axes.y_marks));
    let x = |value: f64| LEFT + value / most_x * (WIDTH - LEFT - RIGHT);
    let y = |value: f64| HEIGHT - BOTTOM - value / most_y * (HEIGHT - TOP - BOTTOM);
    let (left, right, top, bottom) = (LEFT, WIDTH - RIGHT, TOP, HEIGHT - BOTTOM);
    let mut page = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"13\">\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n"
    );
    let text = |page: &mut String, x: f64, y: f64, anchor: &str, text: &str| {
        let text = text.replace('&', "&amp;").replace('<', "&lt;");
        // Writing to a string cannot fail, here and below.
        let _infallible =
            writeln!(page, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>");
    };
    text(&mut page, WIDTH / 2.0, 22.0, "middle", axes.title);
    text(&mut page, f64::midpoint(left, right), HEIGHT - 16.0, "middle", axes.x);
    text(&mut page, 8.0, top - 10.0, "start", axes.y);
    for &mark in axes.y_marks {
        let at = y(mark);
        let _infallible = writeln!(page, "<path d=\"M{left} {at:.1}H{right}\" stroke=\"#ddd\"/>");
        text(&mut page, left - 8.0, at + 4.0, "end", &mark.to_string());
    }
    for &mark in axes.x_marks {
        let at = x(mark);
        let _infallible = writeln!(page, "<path d=\"M{at:.1} {bottom}v5\" stroke=\"black\"/>");
        text(&mut page, at, bottom + 20.0, "middle", &mark.to_string());
    }
    let _infallible =
        writeln!(page, "<path d=\"M{left} {top}V{bottom}H{right}\" fill=\"none\" stroke=\"black\"/>");
    for Line { colour, points, .. } in lines {
        let path: Vec<String> = points.iter().map(|(a, b)| format!("{:.1},{:.1}", x(*a), y(*b))).collect();
        let _infallible = writeln!(
            page,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            path.join(" ")
        );
        for (a, b) in points {
            let _infallible =
                writeln!(page, "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{colour}\"/>", x(*a), y(*b));
        }
    }
    for (n, line) in (0_u8..).zip(lines) {
        let at = top + 14.0 + 20.0 * f64::from(n);
        let _infallible = writeln!(
            page,
            "<path d=\"M{} {at}h24\" stroke=\"{}\" stroke-width=\"2\"/>",
            left + 16.0,
            line.colour
        );
        text(&mut page, left + 46.0, at + 4.0, "start", &line.name);
    }
    page + "</svg>\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_marks_are_at_the_corner() {
        let axes = Axes { title: "a < b", x: "x", y: "y", x_marks: &[10.0], y_marks: &[5.0] };
        let line = Line { name: "l".into(), colour: "red", points: vec![(0.0, 0.0), (10.0, 5.0)] };
        let page = svg(&axes, &[line]);
        assert!(page.contains("points=\"70.0,380.0 650.0,40.0\"") && page.contains("a &lt; b"), "{page}");
    }
}
