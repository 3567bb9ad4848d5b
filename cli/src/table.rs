//! Tables for the terminal.

use std::io::{self, Write};

/// Writes rows under their header, each column as wide as its widest cell.
pub(crate) fn write<const N: usize>(out: &mut impl Write, header: [&str; N], rows: &[[String; N]]) -> io::Result<()> {
    let width = |i: usize| rows.iter().map(|row| row[i].chars().count()).chain([header[i].len()]).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    for row in std::iter::once(header).chain(rows.iter().map(|row| row.each_ref().map(String::as_str))) {
        let cells: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        writeln!(out, "{}", cells.join("  ").trim_end())?;
    }
    Ok(())
}
