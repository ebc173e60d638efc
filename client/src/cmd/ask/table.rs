//! Table: rows of texts in columns as wide as they must be.

use super::name;

/// The lines of a table, without blanks at their ends; the first row is its head. Of what is empty but for its head there is no line. Numbers
/// stand below each other.
pub(super) fn lines(rows: &[Vec<String>]) -> Vec<String> {
    // A cell that was made clean with its line only would be wider than its column.
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| name(cell)).collect()).collect();
    let columns: Vec<_> =
        (0..rows.iter().map(Vec::len).max().unwrap_or_default()).map(|at| Column::of(&rows, at)).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&columns).map(|(cell, column)| column.pad(cell));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

struct Column {
    /// In characters.
    width: usize,
    is_of_numbers: bool,
}

impl Column {
    fn of(rows: &[Vec<String>], at: usize) -> Self {
        let cells = || rows.iter().filter_map(|row| row.get(at));
        let is_number = |cell: &String| !cell.is_empty() && cell.bytes().all(|byte| byte.is_ascii_digit());
        Self {
            width: cells().map(|cell| cell.chars().count()).max().unwrap_or_default(),
            is_of_numbers: rows.len() > 1 && cells().skip(1).all(is_number),
        }
    }

    fn pad(&self, cell: &str) -> String {
        let Self { width, is_of_numbers } = *self;
        if is_of_numbers { format!("{cell:>width$}") } else { format!("{cell:width$}") }
    }
}

/// A row.
pub(super) fn row<const COLUMNS: usize>(cells: [&str; COLUMNS]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [row(["DOOR", "CLIENT"]), row(["ssh", "2001:db8::/64"]), row(["accounts", ""])];
        assert_eq!(lines(&rows), ["DOOR      CLIENT", "ssh       2001:db8::/64", "accounts"]);
    }

    #[test]
    fn a_cell_is_as_wide_as_it_is_shown_and_numbers_end_below_each_other() {
        let rows = [row(["RULE", "STAGE", "LEFT"]), row(["a\u{202e}b", "2", "1 m"]), row(["c", "10", "3 s"])];
        assert_eq!(
            lines(&rows),
            ["RULE        STAGE  LEFT", "a\\u{202e}b      2  1 m", "c              10  3 s"]
        );
        assert_eq!(lines(&[row(["7", "x"])]), ["7  x"], "a head alone");
    }
}
