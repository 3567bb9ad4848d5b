//! Parsers of numbers and memory sizes that options take.

use std::ops::RangeInclusive;

/// Returns a parser of whole numbers in a range. Its errors show an example, which is the usual value of the option.
pub(crate) fn whole<T: TryFrom<u64>>(
    range: RangeInclusive<u64>,
    example: u64,
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static {
    move |text| {
        let digits = text.replace('_', "");
        let number = digits.parse::<u64>().ok().filter(|number| range.contains(number));
        number.and_then(|number| T::try_from(number).ok()).ok_or_else(|| {
            let expected = match (*range.start(), *range.end()) {
                (0, u64::MAX) => "a whole number".to_owned(),
                (least, u64::MAX) => format!("a whole number of at least {least}"),
                (least, most) => format!("a whole number from {least} to {most}"),
            };
            format!("expected {expected}, such as {example}")
        })
    }
}

/// Parses a size of memory in MB, as `#[wren::remote(memory = ..)]` has it: `2048`, `512MB`, `2g` or `2GiB`. As for
/// AWS Lambda, 1 GB is 1,024 MB.
pub(crate) fn memory(text: &str, range: RangeInclusive<u32>) -> Result<u32, String> {
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len()));
    let factor = match unit.to_ascii_lowercase().as_str() {
        "" | "m" | "mb" | "mib" => 1.0,
        "g" | "gb" | "gib" => 1_024.0,
        _ => return Err(format!("unknown unit `{unit}`; expected `MB` or `GB`, as in `512MB` or `2GB`")),
    };
    let number: f64 = number.trim().parse().map_err(|_| "expected a size in MB, such as 2048, or `2GB`".to_owned())?;
    let mb = number * factor;
    let (least, most) = (f64::from(*range.start()), f64::from(*range.end()));
    match (least..=most).contains(&mb) && mb.fract() == 0.0 {
        true => Ok(mb as u32),
        false => Err(format!("expected {least} to {most} MB in whole MB, such as 2048, or `2GB`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_memory_have_units() {
        let memory = |text: &str| memory(text, 128..=10_240);
        for (text, mb) in [
            ("512", 512),
            ("512MB", 512),
            ("512 mib", 512),
            ("1g", 1_024),
            ("2GB", 2_048),
            ("2GiB", 2_048),
            ("1.5g", 1_536),
            ("10G", 10_240),
        ] {
            assert_eq!(memory(text), Ok(mb), "{text}");
        }
        for wrong in ["", "g", "1t", "512kb", "64", "11g", "1.3", "-512", "NaN", "inf", "1e9"] {
            assert!(memory(wrong).is_err_and(|error| error.contains("GB`")), "{wrong}");
        }
    }

    #[test]
    fn whole_numbers_are_in_their_range() {
        let parse = whole::<u32>(1..=1_000_000, 500);
        assert_eq!((parse("1"), parse("1_000_000")), (Ok(1), Ok(1_000_000)));
        for wrong in ["0", "1000001", "-1", "1.5", "many", "", "99999999999999999999"] {
            let error = parse(wrong).unwrap_err();
            assert_eq!(error, "expected a whole number from 1 to 1000000, such as 500", "{wrong}");
        }
        assert_eq!(whole::<usize>(0..=u64::MAX, 20)("x").unwrap_err(), "expected a whole number, such as 20");
        assert!(whole::<u8>(0..=u64::MAX, 20)("256").is_err(), "a number must fit its type");
    }
}
