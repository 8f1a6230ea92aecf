// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tests that the tables of docs/arp.md agree with the captures.

const DOC: &str = include_str!("../../../docs/arp.md");

/// A row of a table in docs/arp.md.
pub struct Row {
    table: String,
    name: String,
    cells: Vec<String>,
}

/// Returns the row called `name` of the table after `<!-- table: TABLE -->`.
#[track_caller]
pub fn row(table: &str, name: &str) -> Row {
    let mark = format!("<!-- table: {table} -->\n");
    let (_, text) = DOC.split_once(&mark).unwrap_or_else(|| panic!("docs/arp.md has no {mark}"));
    let mut rows = text.lines().take_while(|line| line.starts_with('|')).map(|line| {
        let cells = line.trim_matches('|').split('|').map(|cell| cell.trim().replace("**", ""));
        cells.collect::<Vec<_>>()
    });
    let cells = rows.find(|cells| cells[0] == name);
    let cells = cells.unwrap_or_else(|| panic!("docs/arp.md has no row {name:?} in the table {table}"));
    Row { table: table.to_owned(), name: name.to_owned(), cells }
}

impl Row {
    /// Asserts that the last cells of the row are what was captured.
    #[track_caller]
    pub fn captured(&self, seen: &[&str]) {
        let first = self.cells.len().saturating_sub(seen.len());
        let Self { table, name, cells } = self;
        assert_eq!(
            cells[first..],
            *seen,
            "docs/arp.md, table {table}, row {name} (left) against the capture"
        );
    }
}
