//! No byte is lost or doubled, whatever a file holds and wherever it is split.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::{Input, Split};
use crate::error::{Error, Result};
use crate::store::{self, MemoryStore, Store};
use crate::{Executor, block_on};

fn file(name: &str, content: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, content).unwrap();
    (folder, path)
}

fn inline() -> Executor {
    static INLINE: std::sync::OnceLock<Executor> = std::sync::OnceLock::new();
    INLINE.get_or_init(|| Executor::builder().backend("inline").store("memory:").workers(2).build().unwrap()).clone()
}

fn splits(input: Input) -> Result<Vec<Split>> {
    block_on(input.on(&inline()).splits())
}

fn bytes_of(split: &Split) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match split.reader()?.read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(error) => Err(split.source.explain(error)),
    }
}

fn blocks_of(split: &Split) -> Result<Vec<Vec<u8>>> {
    let (mut blocks, mut all) = (split.blocks()?, Vec::new());
    while let Some(block) = blocks.next_block()? {
        assert!(!block.is_empty());
        all.push(block.to_vec());
    }
    Ok(all)
}

/// What a program sees of all splits, read by `read`.
fn joined<T>(splits: &[Split], read: impl Fn(&Split) -> Result<Vec<T>>) -> Vec<T> {
    splits.iter().flat_map(|split| read(split).unwrap()).collect()
}

fn lines(split: &Split) -> Result<Vec<Vec<u8>>> {
    let (mut lines, mut all) = (split.lines()?, Vec::new());
    while let Some(line) = lines.next_line()? {
        all.push(line.to_vec());
    }
    Ok(all)
}

/// The lines of a text, as `BufRead::lines` finds them.
fn lines_of(text: &[u8]) -> Vec<Vec<u8>> {
    let strip = |line: Vec<u8>| line.strip_suffix(b"\r").map_or(line.clone(), <[u8]>::to_vec);
    let mut lines: Vec<_> = text.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    // Behind the last newline there is an empty piece, and no line.
    let last = lines.pop().filter(|last| !last.is_empty());
    lines.into_iter().map(strip).chain(last).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

#[cfg(feature = "zstd")]
fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(bytes, 1).unwrap()
}

/// A name that says how a file is packed, and what packs so.
type Packed = (&'static str, fn(&[u8]) -> Vec<u8>);

const PACKED: &[Packed] = &[
    ("a.gz", gzip),
    #[cfg(feature = "zstd")]
    ("a.csv.zst", zstd),
];

/// Files of one content under several stores: a local one, and one in memory.
struct Stored {
    content: Vec<u8>,
    _folder: tempfile::TempDir,
    _store: std::sync::Arc<MemoryStore>,
    places: [String; 2],
}

fn stored(content: &[u8]) -> Stored {
    let (folder, path) = file("a.data", content);
    let store = MemoryStore::named("");
    store::wait(store.put("in/a.data", content)).unwrap();
    let places = [path.to_str().unwrap().to_owned(), format!("{}/in/*.data", store.url())];
    Stored { content: content.to_vec(), _folder: folder, _store: store, places }
}

impl Stored {
    /// Splits it in every place, checks that the splits make up the content by every way of
    /// reading, and hands them on.
    fn check(&self, input: impl Fn(Input) -> Input, mut then: impl FnMut(&[Split])) {
        for place in &self.places {
            let splits = splits(input(Input::glob(place).unwrap())).unwrap();
            // Not `assert_eq`: the content may be long.
            assert!(joined(&splits, bytes_of) == self.content, "bytes of {splits:?}");
            assert!(joined(&splits, blocks_of).concat() == self.content, "blocks of {splits:?}");
            then(&splits);
        }
    }
}

type Row = std::result::Result<Vec<Vec<u8>>, String>;

/// All records of a CSV text, as the `csv` crate reads it at once.
fn rows(text: &[u8], delimiter: u8, headers: bool) -> Vec<Row> {
    let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).has_headers(headers).from_reader(text);
    let mut rows = Vec::new();
    for row in reader.byte_records() {
        rows.push(match row {
            Ok(row) => Ok(row.iter().map(<[u8]>::to_vec).collect()),
            Err(error) => match error.kind() {
                csv::ErrorKind::UnequalLengths { expected_len, len, .. } => Err(format!("{len}, not {expected_len}")),
                other => panic!("{other:?}"),
            },
        });
    }
    rows
}

/// The same, of a split.
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
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_line_belongs_to_the_split_it_begins_in(text in "[ab\n\r]{0,60}", size in 1u64..70) {
        let content = text.as_bytes();
        stored(content).check(|input| input.split_size(size), |splits| {
            assert_eq!(joined(splits, lines), lines_of(content));
            for split in splits {
                assert!(split.bytes() <= size);
                let line = lines_of(content);
                let begins = lines_of_begins(content);
                assert_eq!(line.len(), begins.len());
                let own = begins.iter().filter(|begin| split.range().contains(begin)).count();
                assert_eq!(lines(split).unwrap().len(), own);
            }
        });
    }

    #[test]
    fn csv_records_are_those_of_the_whole_file(
        text in "(\u{feff})?([a;]|,|\"|\"|\n|\r|\r\n|\"a\n\",){0,40}",
        size in 1u64..60,
        headers: bool,
        semicolon: bool,
    ) {
        let (content, delimiter) = (text.as_bytes(), if semicolon { b';' } else { b',' });
        let expected = rows(content, delimiter, headers);
        stored(content).check(|input| input.split_size(size).delimiter(delimiter).headers(headers), |splits| {
            assert_eq!(joined(splits, rows_of), expected, "{splits:?}");
        });
    }

    #[test]
    fn fixed_records_stay_whole(records in 0usize..40, length in 1usize..9, size in 1u64..60) {
        let content: Vec<u8> = (0..records * length).map(|i| i as u8).collect();
        stored(&content).check(|input| input.fixed(length as u64).split_size(size), |splits| {
            for split in splits {
                assert_eq!(split.bytes() % length as u64, 0);
                assert!(blocks_of(split).unwrap().iter().all(|block| block.len() % length == 0));
            }
        });
    }

    #[test]
    fn all_members_of_a_packed_file_are_read(parts in prop::collection::vec("[ab\n]{0,50}", 1..4), size in 1u64..60) {
        let content = parts.concat();
        for (name, pack) in PACKED {
            let packed: Vec<u8> = parts.iter().flat_map(|part| pack(part.as_bytes())).collect();
            let (_folder, path) = file(name, &packed);
            let splits = splits(Input::glob(path).unwrap().split_size(size)).unwrap();
            prop_assert_eq!(splits.len(), 1);
            prop_assert_eq!(bytes_of(&splits[0]).unwrap(), content.as_bytes());
            prop_assert_eq!(lines(&splits[0]).unwrap(), lines_of(content.as_bytes()));
        }
    }
}

/// Where the lines of a text begin.
fn lines_of_begins(text: &[u8]) -> Vec<u64> {
    let behind = text.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at as u64 + 1);
    std::iter::once(0).chain(behind).filter(|begin| *begin < text.len() as u64).collect()
}

#[test]
fn long_files_and_long_lines_cross_every_buffer() {
    let mut content = Vec::new();
    for line in 0..40_000u32 {
        let length = if line % 9_000 == 5_000 { 1_500_000 } else { line % 91 };
        content.extend(std::iter::repeat_n(b'a' + (line % 26) as u8, length as usize));
        content.extend_from_slice(if line % 3 == 0 { b"\r\n" } else { b"\n" });
    }
    let stored = stored(&content);
    for size in [300_000, 1 << 20, 5_000_000, 1 << 40] {
        stored.check(
            |input| input.split_size(size),
            |splits| {
                assert_eq!(joined(splits, lines), lines_of(&content));
                let whole_lines = |block: &Vec<u8>| block.ends_with(b"\n");
                assert!(splits.iter().all(|split| blocks_of(split).unwrap().iter().all(whole_lines)));
            },
        );
    }
}

#[test]
fn a_store_is_read_ahead_in_parts() {
    let content: Vec<u8> =
        (0..5_000_000u32).flat_map(|i| if i % 11 == 0 { *b"ab,c\n" } else { *b"\"\n\"\"," }).collect();
    let stored = stored(&content);
    stored.check(|input| input.split_size(20 << 20), |_| {});
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
                assert!(rows(&block, b',', false).iter().all(|row| row.as_ref().is_ok_and(|row| row.len() == 3)));
                assert!(block.ends_with(b"end\r\n"));
            }
            assert_eq!(joined(splits, rows_of).len(), 10_000);
        },
    );
}

fn reason(result: Result<impl std::fmt::Debug>) -> String {
    let error = result.unwrap_err();
    assert!(matches!(&error, Error::Input { .. } | Error::Config(_)), "{error}");
    error.to_string()
}

#[test]
fn a_file_that_shrank_is_an_error_that_names_it() {
    let (_folder, path) = file("log.txt", "a line\n".repeat(100).as_bytes());
    let splits = splits(Input::glob(&path).unwrap().split_size(300)).unwrap();
    fs::write(&path, "a line\n".repeat(50)).unwrap();
    for split in &splits {
        let message = reason(split.lines().map(drop));
        assert!(message.contains("log.txt") && message.contains("350 bytes now, and had 700"), "{message}");
    }
    // It shrinks while it is read.
    let whole = "a line\n".repeat(400_000);
    fs::write(&path, &whole).unwrap();
    let splits = self::splits(Input::glob(&path).unwrap()).unwrap();
    let mut lines = splits[0].lines().unwrap();
    assert_eq!(lines.next_line(), Ok(Some(&b"a line"[..])));
    fs::write(&path, "a line\n".repeat(200_000)).unwrap();
    let last = lines.by_ref().last().unwrap();
    assert!(reason(last).contains("1400000 bytes now, and had 2800000"));

    let store = MemoryStore::named("");
    store::wait(store.put("a", &[b'a'; 100])).unwrap();
    let splits = block_on(Input::glob(format!("{}/a", store.url())).unwrap().whole().splits()).unwrap();
    store::wait(store.put("a", &[b'a'; 50])).unwrap();
    let message = reason(bytes_of(&splits[0]));
    assert!(message.contains("50 bytes now, and had 100"), "{message}");
}

#[test]
fn what_was_appended_is_not_read() {
    let (_folder, path) = file("log.txt", b"one\ntwo\n");
    let splits = splits(Input::glob(&path).unwrap().split_size(4)).unwrap();
    fs::write(&path, b"one\ntwo\nthree\n").unwrap();
    assert_eq!(joined(&splits, lines), [b"one", b"two"]);
}

#[test]
fn what_is_not_utf_8_is_an_error_and_the_rest_follows() {
    let (_folder, path) = file("a.txt", b"one\ntw\xff\nthree");
    let splits = splits(Input::glob(&path).unwrap()).unwrap();
    let mut lines = splits[0].lines().unwrap();
    assert_eq!(lines.next(), Some(Ok("one".to_owned())));
    let message = lines.next().unwrap().unwrap_err().to_string();
    assert!(message.contains("a.txt") && message.contains("not UTF-8 at byte 6"), "{message}");
    assert_eq!((lines.next(), lines.next()), (Some(Ok("three".to_owned())), None));
}

#[test]
fn a_record_that_does_not_fit_names_its_place_and_the_rest_follows() {
    let (_folder, path) = file("a.csv", b"n,name\n1,a\nx,b\n3,c\n");
    let splits = splits(Input::glob(&path).unwrap().csv().split_size(5)).unwrap();
    assert!(splits.len() > 2);
    let records = joined(&splits, |split| Ok(split.records::<(u8, String)>()?.collect::<Vec<_>>()));
    assert_eq!((&records[0], &records[2]), (&Ok((1, "a".to_owned())), &Ok((3, "c".to_owned()))));
    let message = records[1].as_ref().unwrap_err().to_string();
    assert!(message.contains("a.csv") && message.contains("at byte 11"), "{message}");
}

#[test]
fn packed_data_that_is_none_or_is_cut_off_is_an_error() {
    let text = "some text, more or less\n".repeat(1_000);
    for (name, pack) in PACKED {
        let packed = pack(text.as_bytes());
        let (_folder, path) = file(name, &packed[..packed.len() - 5]);
        let message = reason(bytes_of(&splits(Input::glob(&path).unwrap()).unwrap()[0]));
        assert!(message.contains(name) && message.contains("damaged or cut off"), "{message}");
        fs::write(&path, &text).unwrap();
        let message = reason(splits(Input::glob(&path).unwrap()).unwrap()[0].lines().map(drop));
        assert!(message.contains(name) && message.contains("rename it"), "{message}");
        fs::write(&path, &packed).unwrap();
        let splits = splits(Input::glob(&path).unwrap()).unwrap();
        fs::write(&path, &packed[..10]).unwrap();
        let message = reason(bytes_of(&splits[0]));
        assert!(message.contains("10 bytes now"), "{message}");
    }
}

fn names(input: Result<Input>) -> Vec<String> {
    let splits = splits(input.unwrap()).unwrap();
    splits.iter().map(|split| split.path().rsplit_once("/in/").unwrap().1.to_owned()).collect()
}

#[test]
fn patterns_mean_the_same_for_files_and_for_stores() {
    let folder = tempfile::tempdir().unwrap();
    let store = MemoryStore::named("");
    let all = ["b.txt", "a.txt", "_SUCCESS", "sub/c.txt", "sub/deep/d.txt", "sub/_e.txt", "[1].txt", "sub.txt"];
    for name in all {
        let path = folder.path().join("in").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
        store::wait(store.put(&format!("in/{name}"), b"x")).unwrap();
    }
    fs::write(folder.path().join("in/.hidden.txt"), "x").unwrap();
    fs::write(folder.path().join("in/empty.txt"), "").unwrap();
    store::wait(store.put("in/empty.txt", b"")).unwrap();
    let local = folder.path().to_str().unwrap().to_owned();
    for root in [local.clone(), format!("file://{local}"), store.url()] {
        let glob = |pattern: &str| names(Input::glob(format!("{root}/in/{pattern}")));
        assert_eq!(glob("*.txt"), ["[1].txt", "a.txt", "b.txt", "sub.txt"], "{root}");
        assert_eq!(glob("?.txt"), ["a.txt", "b.txt"]);
        assert_eq!(glob("[ab].txt"), ["a.txt", "b.txt"]);
        assert_eq!(glob("**/?.txt"), ["a.txt", "b.txt", "sub/c.txt", "sub/deep/d.txt"]);
        assert_eq!(glob("sub/_*"), ["sub/_e.txt"]);
        assert_eq!(glob("_SUCCESS"), ["_SUCCESS"]);
        assert_eq!(glob("sub"), ["sub/c.txt", "sub/deep/d.txt"]);
        assert_eq!(glob(""), ["[1].txt", "a.txt", "b.txt", "sub.txt", "sub/c.txt", "sub/deep/d.txt"]);
        let paths = |paths: &[&str]| names(Input::paths(paths.iter().map(|path| format!("{root}/in/{path}"))));
        assert_eq!(
            paths(&["[1].txt", "sub", "a.txt", "sub/c.txt"]),
            ["[1].txt", "sub/c.txt", "sub/deep/d.txt", "a.txt"]
        );
        let whole = splits(Input::glob(format!("{root}/in/empty.txt")).unwrap().whole()).unwrap();
        assert_eq!((whole.len(), bytes_of(&whole[0]).unwrap()), (1, vec![]));
        let missing = reason(splits(Input::glob(format!("{root}/in/*.csv")).unwrap()));
        assert!(missing.contains("/in/*.csv: nothing matches it"), "{missing}");
        let missing = reason(splits(Input::glob(format!("{root}/in/z.csv")).unwrap()));
        assert!(missing.contains("/in/z.csv"), "{missing}");
    }
    let folders = reason(splits(Input::glob(format!("{local}/i*")).unwrap()));
    assert!(folders.contains("it matches folders and no file; add `/*`"), "{folders}");
}

#[test]
fn relative_paths_are_found_by_workers_that_stand_elsewhere() {
    let splits = splits(Input::glob("src/data/*.rs").unwrap()).unwrap();
    assert!(splits.iter().all(|split| Path::new(split.path()).is_absolute()));
}

#[test]
fn what_cannot_be_is_refused_with_a_mend() {
    let (_folder, path) = file("a.bin", b"12345");
    let input = || Input::glob(&path).unwrap();
    assert!(reason(splits(input().fixed(2))).contains("no whole number of records of 2: 1 are left"));
    assert!(reason(splits(input().fixed(0))).contains("0 bytes"));
    assert!(reason(splits(input().delimiter(b'\n'))).contains("`\\n` cannot separate fields"));
    assert!(reason(splits(input().fixed(5)).unwrap()[0].lines()).contains("read its `blocks`"));
    assert!(reason(splits(input()).unwrap()[0].records::<String>()).contains("say `.csv()`"));
    assert!(reason(Input::glob("a/[b")).contains("it is no pattern"));
    assert!(reason(Input::glob("")).contains("is needed"));
    assert!(reason(splits(Input::glob("nowhere://a/b").unwrap())).contains("no store is known"));
}

#[test]
fn a_line_that_is_too_long_is_an_error_that_says_where() {
    let long = "x".repeat(3 << 20);
    let (_folder, path) = file("long.txt", format!("short\n{long}\nshort\n").as_bytes());
    let split = splits(Input::glob(path).unwrap()).unwrap().remove(0);
    let mut blocks = split.blocks().unwrap().with_longest(2 << 20);
    assert_eq!(blocks.next_block().unwrap(), Some(&b"short\n"[..]));
    let error = blocks.next_block().unwrap_err().to_string();
    assert!(error.contains("at byte 6 is longer than 2 MB"), "{error}");
    let mut blocks = split.blocks().unwrap().with_longest(4 << 20);
    let lengths: Vec<usize> = std::iter::from_fn(|| blocks.next_block().unwrap().map(<[u8]>::len)).collect();
    assert_eq!(lengths.iter().sum::<usize>(), (3 << 20) + 13);
}
