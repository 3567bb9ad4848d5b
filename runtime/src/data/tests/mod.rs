//! No byte is lost or duplicated, whatever a file contains and wherever it is split.

mod csv;
mod files;
mod keys;
mod packed;

use std::fs;
use std::io::Read;
use std::path::PathBuf;

use proptest::prelude::*;

use super::quotes::MARK;
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

/// Returns the items of all splits, in order, as `read` reads them.
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

/// Returns the lines of a text, as `BufRead::lines` finds them.
fn lines_of(text: &[u8]) -> Vec<Vec<u8>> {
    let strip = |line: Vec<u8>| line.strip_suffix(b"\r").map_or(line.clone(), <[u8]>::to_vec);
    let text = text.strip_prefix(MARK).unwrap_or(text);
    let mut lines: Vec<_> = text.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    // The piece after a final newline is empty, and is not a line.
    let last = lines.pop().filter(|last| !last.is_empty());
    lines.into_iter().map(strip).chain(last).collect()
}

/// The same content in two places: in a local file, and in a store in memory.
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
    /// Splits it in every place, checks that the splits add up to the content with every way of reading, and passes
    /// them to `then`.
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_line_belongs_to_the_split_it_begins_in(text in "(\u{feff})?[ab\n\r]{0,60}", size in 1u64..70) {
        let content = text.as_bytes();
        stored(content).check(|input| input.split_size(size), |splits| {
            assert_eq!(joined(splits, lines), lines_of(content));
            for split in splits {
                assert!(split.bytes() <= size);
                let line = lines_of(content);
                let mut begins = lines_of_begins(content);
                // A byte order mark without text is not a line.
                begins.truncate(line.len());
                let own = begins.iter().filter(|begin| split.range().contains(begin)).count();
                assert_eq!(lines(split).unwrap().len(), own);
            }
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

}

/// Returns the offsets at which the lines of a text begin.
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

fn reason(result: Result<impl std::fmt::Debug>) -> String {
    let error = result.unwrap_err();
    assert!(matches!(&error, Error::Input { .. } | Error::Config(_)), "{error}");
    error.to_string()
}

#[test]
fn a_shrunken_file_is_an_error_naming_it() {
    let (_folder, path) = file("log.txt", "a line\n".repeat(100).as_bytes());
    let splits = splits(Input::glob(&path).unwrap().split_size(300)).unwrap();
    fs::write(&path, "a line\n".repeat(50)).unwrap();
    for split in &splits {
        let message = reason(split.lines().map(drop));
        assert!(message.contains("log.txt") && message.contains("350 bytes now, but had 700"), "{message}");
    }
    // The file shrinks while it is read.
    let whole = "a line\n".repeat(400_000);
    fs::write(&path, &whole).unwrap();
    let splits = self::splits(Input::glob(&path).unwrap()).unwrap();
    let mut lines = splits[0].lines().unwrap();
    assert_eq!(lines.next_line(), Ok(Some(&b"a line"[..])));
    fs::write(&path, "a line\n".repeat(200_000)).unwrap();
    let last = lines.by_ref().last().unwrap();
    assert!(reason(last).contains("1400000 bytes now, but had 2800000"));

    let store = MemoryStore::named("");
    store::wait(store.put("a", &[b'a'; 100])).unwrap();
    let splits = block_on(Input::glob(format!("{}/a", store.url())).unwrap().whole().splits()).unwrap();
    store::wait(store.put("a", &[b'a'; 50])).unwrap();
    let message = reason(bytes_of(&splits[0]));
    assert!(message.contains("50 bytes now, but had 100"), "{message}");
}

#[test]
fn appended_data_is_not_read() {
    let (_folder, path) = file("log.txt", b"one\ntwo\n");
    let splits = splits(Input::glob(&path).unwrap().split_size(4)).unwrap();
    fs::write(&path, b"one\ntwo\nthree\n").unwrap();
    assert_eq!(joined(&splits, lines), [b"one", b"two"]);
}

#[test]
fn invalid_utf_8_is_an_error_and_the_rest_follows() {
    let (_folder, path) = file("a.txt", b"one\ntw\xff\nthree");
    let splits = splits(Input::glob(&path).unwrap()).unwrap();
    let mut lines = splits[0].lines().unwrap();
    assert_eq!(lines.next(), Some(Ok("one".to_owned())));
    let message = lines.next().unwrap().unwrap_err().to_string();
    assert!(message.contains("a.txt") && message.contains("not UTF-8 at byte 6"), "{message}");
    assert_eq!((lines.next(), lines.next()), (Some(Ok("three".to_owned())), None));
}

#[test]
fn invalid_settings_are_refused_with_a_fix() {
    let (_folder, path) = file("a.bin", b"12345");
    let input = || Input::glob(&path).unwrap();
    assert!(reason(splits(input().fixed(2))).contains("not a multiple of the record length 2: 1 are left"));
    assert!(reason(splits(input().fixed(0))).contains("0 bytes"));
    assert!(reason(splits(input().delimiter(b'\n'))).contains("`\\n` cannot separate fields"));
    assert!(reason(splits(input().quote(b'\r'))).contains("`\\r` cannot quote fields"));
    let same = reason(splits(input().delimiter(b';').comment(b';')));
    assert!(same.contains("`;` cannot both separate fields and start comments"), "{same}");
    assert!(splits(input().quote(None).delimiter(b'"')).is_ok());
    assert!(reason(splits(input().fixed(5)).unwrap()[0].lines()).contains("read its `blocks`"));
    assert!(reason(splits(input()).unwrap()[0].records::<String>()).contains("call `.csv()`"));
    assert!(reason(Input::glob("a/[b")).contains("invalid pattern"));
    assert!(reason(Input::glob("")).contains("the path is empty"));
    assert!(reason(splits(Input::glob("nowhere://a/b").unwrap())).contains("unknown store"));
}

#[test]
fn too_long_lines_are_errors_naming_their_place() {
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
