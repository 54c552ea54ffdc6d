//! Text tables: columns as wide as their longest cell, three spaces between them.

const GAP: &str = "   ";

/// Rows below a header. No line ends with a space.
pub fn table<const N: usize>(header: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = header.map(|cell| cell.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: Vec<&str>| {
        let padded = cells
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:width$}"));
        padded.collect::<Vec<_>>().join(GAP).trim_end().to_owned() + "\n"
    };
    let head = line(header.to_vec());
    let body = rows
        .iter()
        .map(|row| line(row.iter().map(String::as_str).collect()));
    std::iter::once(head).chain(body).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align() {
        let rows = [
            ["prod".to_owned(), "1-32-0".to_owned()],
            ["canary-tag".to_owned(), String::new()],
        ];
        let expected = "TAG          REVISION\nprod         1-32-0\ncanary-tag\n";
        assert_eq!(table(["TAG", "REVISION"], &rows), expected);
    }
}
