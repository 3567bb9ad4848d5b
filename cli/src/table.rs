//! Tables for the terminal.

use std::io::{self, Write};

use console::Style;

use crate::screen::{Screen, length, wrap};

/// Spaces between columns.
const GAP: usize = 2;

/// Columns that are wider than this are made narrower, if the table is too wide for the terminal.
const NARROW: usize = 24;

/// Number of columns that are shown in any case.
const ALWAYS: usize = 4;

/// Writes rows under their header, each column as wide as its widest cell. In a terminal that is too narrow, the cells
/// of the widest columns wrap at words. If that is not enough, the last columns are left out, so what matters most is
/// in the first ones.
pub(crate) fn write<const N: usize>(
    out: &mut Screen<impl Write>,
    header: [&str; N],
    rows: &[[String; N]],
) -> io::Result<()> {
    let width = |i: usize| rows.iter().map(|row| length(&row[i])).chain([length(header[i])]).max().unwrap_or(0);
    let widths = fitted(std::array::from_fn::<_, N, _>(width).to_vec(), out.width());
    let lines = lines(&widths, &header);
    for line in lines {
        let line = out.styled(Style::new().bold(), &line);
        writeln!(out, "{line}")?;
    }
    for row in rows {
        for line in self::lines(&widths, &row.each_ref().map(String::as_str)) {
            writeln!(out, "{line}")?;
        }
    }
    Ok(())
}

/// Returns the widths of the columns that are shown, from those that all cells would need.
fn fitted(mut widths: Vec<usize>, most: usize) -> Vec<usize> {
    let gaps = |columns: usize| GAP * columns.saturating_sub(1);
    let narrowest = |widths: &[usize]| widths.iter().map(|width| (*width).min(NARROW)).sum::<usize>();
    while widths.len() > ALWAYS && narrowest(&widths) + gaps(widths.len()) > most {
        widths.pop();
    }
    let most = most.saturating_sub(gaps(widths.len()));
    while widths.iter().sum::<usize>() > most {
        // The first column names the row, so a narrow one stays whole as long as possible.
        let widest = widths.iter().copied().max().unwrap_or(0);
        let from = usize::from(widest <= NARROW && widths[1..].iter().any(|width| *width > 1));
        match widths[from..].iter_mut().max() {
            Some(widest) if *widest > 1 => *widest -= 1,
            _ => break,
        }
    }
    widths
}

/// Returns the lines of a row. Cells beyond the shown columns are left out.
fn lines(widths: &[usize], row: &[&str]) -> Vec<String> {
    let cells: Vec<_> = row.iter().zip(widths).map(|(cell, width)| wrap(cell, *width)).collect();
    let height = cells.iter().map(Vec::len).max().unwrap_or(0);
    let part = |line: usize, cell: &Vec<String>, width: usize| {
        let text = cell.get(line).map_or("", String::as_str);
        format!("{text}{:1$}", "", width.saturating_sub(length(text)))
    };
    (0..height)
        .map(|line| {
            let parts: Vec<_> = cells.iter().zip(widths).map(|(cell, width)| part(line, cell, *width)).collect();
            parts.join(&" ".repeat(GAP)).trim_end().to_owned()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: [&str; 5] = ["JOB", "STATE", "DONE", "FUNCTION", "TIME"];

    fn shown(width: usize, has_colors: bool) -> String {
        let row = |cells: [&str; 5]| cells.map(str::to_owned);
        let rows = [
            row(["8f0w2mxk4t1q", "running", "7/20", "simulation::weather::forecast_of_region", "1.2s"]),
            row(["sweep", "done, 3 failed", "999999/1000000", "train", "12.0s"]),
        ];
        let mut text = Vec::new();
        write(&mut Screen::new(&mut text, width, has_colors), HEADER, &rows).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn a_table_fits_any_terminal() {
        for width in 25..=140 {
            let table = shown(width, false);
            assert!(table.lines().all(|line| length(line) <= width), "{width}:\n{table}");
            assert!(table.starts_with("JOB"), "{table}");
        }
    }

    #[test]
    fn narrow_tables_wrap_at_words_and_leave_out_the_last_columns() {
        let wide = "\
JOB           STATE           DONE            FUNCTION                                 TIME
8f0w2mxk4t1q  running         7/20            simulation::weather::forecast_of_region  1.2s
sweep         done, 3 failed  999999/1000000  train                                    12.0s
";
        assert_eq!(shown(usize::MAX, false), wide);
        assert_eq!(shown(140, false), wide);
        assert_eq!(
            shown(80, false),
            "\
JOB           STATE           DONE            FUNCTION                     TIME
8f0w2mxk4t1q  running         7/20            simulation::weather::        1.2s
                                              forecast_of_region
sweep         done, 3 failed  999999/1000000  train                        12.0s
"
        );
        let narrow = shown(42, false);
        assert!(narrow.starts_with("JOB           STATE     DONE      FUNCTION\n8f0w2mxk4t1q"), "{narrow}");
        assert!(
            narrow.contains("sweep         done, 3   999999/   train\n              failed    1000000\n"),
            "{narrow}"
        );
    }

    #[test]
    fn headers_are_bold_where_colours_are_shown() {
        assert!(shown(140, true).starts_with("\u{1b}[1mJOB "));
        assert!(!shown(140, false).contains('\u{1b}'));
    }
}
