// SPDX-License-Identifier: MIT OR Apache-2.0
//! Plain tables: aligned columns, colours for states, and columns that are cut on narrow terminals.
#![forbid(unsafe_code)]

use comfy_table::{Cell, CellAlignment, Color, Table, presets};

/// How tables look.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Style {
    /// Words for states have colours.
    pub has_colours: bool,
    /// Width to which columns are cut; `None` for any.
    pub width: Option<usize>,
}

/// Space between two columns.
const GAP: usize = 2;
/// Least width of a column that is cut.
const LEAST: usize = 6;

/// Returns a plain table: columns whose names begin with `>` are numbers, and right-aligned. Those whose names begin
/// with `~` may be cut on a terminal.
#[must_use]
pub fn table(columns: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    styled(columns, rows, Style::default())
}

/// Returns a table in a style.
#[must_use]
pub fn styled(columns: &[&str], rows: impl IntoIterator<Item = Vec<String>>, style: Style) -> String {
    let mut rows: Vec<Vec<String>> = rows.into_iter().collect();
    if let Some(width) = style.width {
        cut(columns, &mut rows, width);
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(columns.iter().map(|name| name.trim_start_matches(['>', '~'])));
    if style.has_colours {
        table.enforce_styling();
    }
    for row in rows {
        table.add_row(row.into_iter().map(|text| match colour(&text).filter(|_| style.has_colours) {
            Some(colour) => Cell::new(text).fg(colour),
            None => Cell::new(text),
        }));
    }
    for (column, name) in table.column_iter_mut().zip(columns) {
        column.set_padding((0, GAP as u16));
        if name.starts_with('>') {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

/// Returns the colour of a cell that is a word for a state.
fn colour(text: &str) -> Option<Color> {
    match text.split(' ').next().unwrap_or(text) {
        "up" => Some(Color::Green),
        "down" | "all-down" => Some(Color::Red),
        "draining" | "drained" | "drain" | "checking" | "unknown" | "with-backup" | "ignored" => {
            Some(Color::Yellow)
        }
        "disabled" | "standby" => Some(Color::Blue),
        _ if text == "no answer" => Some(Color::Red),
        _ if text == "weight 0" => Some(Color::Yellow),
        _ => None,
    }
}

/// Cuts the texts of the columns that may be cut, from the last column on, until rows fit.
fn cut(columns: &[&str], rows: &mut [Vec<String>], width: usize) {
    let chars = |text: &str| text.chars().count();
    let widest = |column: usize, rows: &[Vec<String>]| {
        let head = chars(columns[column].trim_start_matches(['>', '~']));
        rows.iter().filter_map(|row| row.get(column)).map(|text| chars(text)).max().unwrap_or(0).max(head)
    };
    let widths: Vec<usize> = (0..columns.len()).map(|column| widest(column, rows)).collect();
    let mut excess =
        (widths.iter().sum::<usize>() + GAP * columns.len().saturating_sub(1)).saturating_sub(width);
    for column in (0..columns.len()).rev().filter(|column| columns[*column].starts_with('~')) {
        let left = widths[column].saturating_sub(excess).max(LEAST.min(widths[column]));
        excess -= widths[column] - left;
        for text in rows.iter_mut().filter_map(|row| row.get_mut(column)) {
            if chars(text) > left {
                *text = text.chars().take(left.saturating_sub(1)).chain(['…']).collect();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn columns_that_may_be_cut_are_cut_to_the_width() {
        let rows = [row(&["10.0.0.11:80", "7", "L7STS HTTP 500 from a server with a long name"])];
        let narrow = Style { has_colours: false, width: Some(40) };
        let text = styled(&["REAL", ">WEIGHT", "~LAST"], rows.clone(), narrow);
        assert_eq!(text, "REAL          WEIGHT  LAST\n10.0.0.11:80       7  L7STS HTTP 500 fr…");
        assert!(text.lines().all(|line| line.chars().count() <= 40));
        let whole = table(&["REAL", ">WEIGHT", "~LAST"], rows);
        assert!(whole.ends_with("a long name"), "{whole}");
    }

    #[test]
    fn states_have_colours_and_other_words_have_none() {
        let style = Style { has_colours: true, width: None };
        let text = styled(&["REAL", "STATE"], [row(&["10.0.0.1:80", "down"]), row(&["upper", "7"])], style);
        assert!(text.contains("\u{1b}[") && text.contains("down"), "{text:?}");
        assert_eq!(colour("upper"), None);
        assert_eq!(colour("up 1/3"), Some(Color::Green));
        assert!(!table(&["STATE"], [row(&["down"])]).contains('\u{1b}'));
    }
}
