//! CSV in every format, split anywhere.

use proptest::prelude::*;

use super::*;
use crate::data::dialect::Dialect;
use crate::data::quotes::{self, State};

type Row = std::result::Result<Vec<Vec<u8>>, String>;

/// Returns all records of a CSV text, as the `csv` crate reads it without splits.
fn rows(text: &[u8], dialect: &Dialect) -> Vec<Row> {
    // The crate treats a comment without a final newline as a record.
    let last = text.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    let may_be_comment = dialect.comment.is_some_and(|comment| last.contains(&comment));
    let ends = may_be_comment
        && quotes::scan(dialect, State::RecordStart, text.strip_prefix(MARK).unwrap_or(text), |_| ()) == State::Comment;
    let text = [text, if ends { b"\n" } else { b"" }].concat();
    let mut reader = dialect.parser().from_reader(text.as_slice());
    let mut rows = Vec::new();
    for row in reader.byte_records() {
        rows.push(match row {
            Ok(row) => Ok(row.iter().map(<[u8]>::to_vec).collect()),
            Err(error) => match error.kind() {
                ::csv::ErrorKind::UnequalLengths { expected_len, len, .. } => Err(format!("{len}, not {expected_len}")),
                other => panic!("{other:?}"),
            },
        });
    }
    rows
}

/// Returns all records of a split, in the same form.
fn rows_of(split: &Split) -> Result<Vec<Row>> {
    let row = |row: Result<Vec<serde_bytes::ByteBuf>>| match row {
        Ok(row) => Ok(row.into_iter().map(serde_bytes::ByteBuf::into_vec).collect()),
        Err(Error::Input { reason, .. }) => {
            let counts: Vec<_> = reason.split(' ').filter(|word| word.parse::<u32>().is_ok()).collect();
            Err(format!("{}, not {}", counts[1], counts[2]))
        }
        Err(other) => panic!("{other}"),
    };
    Ok(split.records::<Vec<serde_bytes::ByteBuf>>()?.map(row).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(800))]

    #[test]
    fn csv_records_match_the_whole_file(
        text in "(\u{feff})?([a;]|,|\"|\"|'|#|\n|\r|\r\n| |\"a\n\",|'a\n'',|\n#a\"\n){0,40}",
        size in 1u64..60,
        delimiter in prop::sample::select(vec![b',', b';']),
        quote in prop::sample::select(vec![Some(b'"'), Some(b'"'), Some(b'\''), None]),
        comment in prop::sample::select(vec![None, Some(b'#'), Some(b'a')]),
        (headers, trim, flexible) in any::<(bool, bool, bool)>(),
    ) {
        let content = text.as_bytes();
        let dialect = Dialect { delimiter, quote, comment, headers, trim, flexible };
        let expected = rows(content, &dialect);
        let csv = |input: Input| {
            let input = input.delimiter(delimiter).quote(quote).headers(headers).trim(trim).flexible(flexible);
            if let Some(byte) = comment { input.comment(byte) } else { input }
        };
        stored(content).check(|input| csv(input.split_size(size)), |splits| {
            assert_eq!(joined(splits, rows_of), expected, "{splits:?}");
        });
    }
}

#[test]
fn csv_blocks_hold_whole_records() {
    let record = |i: u32| format!("{i},\"{}\n\"\"{i}\"\"\",end\r\n", "x\n".repeat(i as usize % 300));
    let content: String = (0..10_000).map(record).collect();
    stored(content.as_bytes()).check(
        |input| input.csv().headers(false).split_size(700_000),
        |splits| {
            assert!(splits.len() > 3);
            for block in joined(splits, blocks_of) {
                assert!(
                    rows(&block, &Dialect { headers: false, ..Dialect::default() })
                        .iter()
                        .all(|row| row.as_ref().is_ok_and(|row| row.len() == 3))
                );
                assert!(block.ends_with(b"end\r\n"));
            }
            assert_eq!(joined(splits, rows_of).len(), 10_000);
        },
    );
}

#[test]
fn invalid_records_name_their_place_and_the_rest_follows() {
    let (_folder, path) = file("a.csv", b"n,name\n1,a\nx,b\n3,c\n");
    let splits = splits(Input::glob(&path).unwrap().csv().split_size(5)).unwrap();
    assert!(splits.len() > 2);
    let records = joined(&splits, |split| Ok(split.records::<(u8, String)>()?.collect::<Vec<_>>()));
    assert_eq!((&records[0], &records[2]), (&Ok((1, "a".to_owned())), &Ok((3, "c".to_owned()))));
    let message = records[1].as_ref().unwrap_err().to_string();
    assert!(message.contains("a.csv") && message.contains("at byte 11"), "{message}");
}

fn errors<T: serde::de::DeserializeOwned + std::fmt::Debug>(text: &[u8], csv: impl Fn(Input) -> Input) -> Vec<String> {
    let (_folder, path) = file("a.csv", text);
    let splits = splits(csv(Input::glob(&path).unwrap().csv())).unwrap();
    let records = joined(&splits, |split| Ok(split.records::<T>()?.collect::<Vec<_>>()));
    records.into_iter().filter_map(|record| record.err().map(|error| error.to_string())).collect()
}

#[derive(Debug, serde::Deserialize)]
#[expect(dead_code, reason = "read by serde")]
struct Named {
    name: String,
    n: i64,
}

#[test]
fn errors_name_the_column_and_count_from_one() {
    let same = |input: Input| input;
    for split_size in [1 << 20, 6] {
        let wrong = errors::<Named>(b"name,n\nx,1\ny,1.0\nz,\n", |input| input.split_size(split_size));
        assert_eq!(wrong.len(), 2);
        let column =
            "the record at byte 11 does not match the type: column 2 (`n`) is `1.0`: invalid digit found in string";
        assert!(wrong[0].ends_with(column), "{wrong:?}");
        assert!(wrong[1].contains("column 2 (`n`) is ``: "), "{wrong:?}");
    }
    let unnamed = errors::<(String, i64)>(b"x,1\ny,z\n", |input| input.headers(false));
    assert!(unnamed[0].contains("column 2 is `z`"), "{unnamed:?}");
    let missing = errors::<Named>(b"NAME,n\nx,1\n", same);
    assert!(missing[0].contains("missing field `name`; the columns are `NAME`, `n`"), "{missing:?}");
    let short = errors::<(String, i64, i64)>(b"a,b\nx,1\n", same);
    assert!(short[0].contains("invalid length 2, expected a tuple of size 3; the columns are `a`, `b`"), "{short:?}");
    let ragged = errors::<Vec<String>>(b"a,b\nx\n", same);
    assert!(ragged[0].contains("has 1 fields") && ragged[0].contains("`.flexible(true)`"), "{ragged:?}");
    let latin = errors::<Vec<String>>(b"a,b\nx,caf\xe9\n", same);
    assert!(latin[0].contains("not UTF-8 in column 2 (`b`), after 3 valid bytes"), "{latin:?}");
}

fn read(text: &str, size: u64, csv: impl Fn(Input) -> Input) -> Vec<Vec<String>> {
    let (_folder, path) = file("a.csv", text.as_bytes());
    let splits = splits(csv(Input::glob(&path).unwrap().csv()).split_size(size)).unwrap();
    joined(&splits, |split| split.records::<Vec<String>>()?.collect())
}

#[test]
fn settings_hold_in_every_split() {
    for size in 1..40 {
        let text = "# made by\n#\"\na;b\n1;'x\ny;z'\n#2;3\n\"4;5\r\n# end";
        let rows = read(text, size, |input| input.delimiter(b';').quote(b'\'').comment(b'#'));
        assert_eq!(rows, [["1", "x\ny;z"], ["\"4", "5"]], "{size}");
        let unquoted = read("a,b\n\"1,2\n3\",4\n", size, |input| input.quote(None));
        assert_eq!(unquoted, [["\"1", "2"], ["3\"", "4"]], "{size}");
        let headless = read("1,2\r3,4\r5,6", size, |input| input.headers(false));
        assert_eq!(headless, [["1", "2"], ["3", "4"], ["5", "6"]], "{size}");
        let ragged = read("a,b\n 1 ,\t2\n3\n4,5,6\n", size, |input| input.trim(true).flexible(true));
        assert_eq!(ragged, [vec!["1", "2"], vec!["3"], vec!["4", "5", "6"]], "{size}");
    }
}

#[test]
fn headers_are_trimmed_with_fields() {
    #[derive(serde::Deserialize)]
    struct Both {
        a: u8,
        b: u8,
    }
    let (_folder, path) = file("a.csv", b"\xef\xbb\xbf a , b\n 1 , 2\n");
    let splits = splits(Input::glob(&path).unwrap().trim(true)).unwrap();
    let both: Vec<Both> = joined(&splits, |split| split.records()?.collect());
    assert_eq!((both[0].a, both[0].b), (1, 2));
}
