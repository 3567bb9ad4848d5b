//! JSON for scripts.

use std::io;

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, Serializer};

/// Formats a value as JSON in one line. Numbers are rounded: a sum of seconds is `0.3`, not `0.30000000000000004`.
pub(crate) fn line(value: &impl Serialize) -> serde_json::Result<String> {
    let mut json = Vec::new();
    value.serialize(&mut Serializer::with_formatter(&mut json, Rounding))?;
    Ok(String::from_utf8_lossy(&json).into_owned())
}

/// Writes numbers with at most twelve digits, fewer than sums of rounded numbers get wrong.
struct Rounding;

impl Formatter for Rounding {
    fn write_f64<W: io::Write + ?Sized>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        let rounded = format!("{value:.11e}").parse().unwrap_or(value);
        CompactFormatter.write_f64(writer, rounded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_rounded_and_fields_keep_their_order() {
        #[derive(Serialize)]
        struct Sums {
            b: f64,
            a: [f64; 4],
            n: u64,
        }
        let sums = Sums { b: 0.1 + 0.2, a: [1.0, -1e-9 / 3.0, 1.5e300, f64::NAN], n: u64::MAX };
        let expected = r#"{"b":0.3,"a":[1.0,-3.33333333333e-10,1.5e+300,null],"n":18446744073709551615}"#;
        assert_eq!(line(&sums).unwrap(), expected);
    }
}
