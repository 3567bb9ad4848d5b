//! What is to be read, and how it is split: [`Input`].

use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;

use super::dialect::Dialect;
use super::find::{Match, Search};
use super::quotes::MARK;
use super::source::heads;
use super::split::{Format, Split};
use super::{packed, plan};
use crate::error::{Error, Result};
use crate::executor::Executor;
use crate::store;

/// How long a split is, where the program does not say: 64 MiB.
const SPLIT: u64 = 64 << 20;

/// How many files are looked into at once.
const LOOKS: usize = 32;

/// Whether a file is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Packed {
    No,
    /// It is one split, whose reader will see.
    Maybe,
}

/// Files and objects to be read by many calls, a [`Split`] each.
///
/// ```
/// #[wren::remote]
/// fn lines(split: &wren::Split) -> wren::Result<usize> {
///     split.lines()?.try_fold(0, |lines, line| line.map(|_| lines + 1))
/// }
///
/// # wren::block_on(async {
/// let splits = wren::Input::glob("src/**/*.rs")?.split_size(64 << 10).splits().await?;
/// let lines: usize = wren::map(|split| lines(&split), splits).await?.iter().sum();
/// assert!(lines > 10_000);
/// # Ok::<(), wren::Error>(()) }).unwrap();
/// ```
///
/// An input is split at lines, unless one of these says otherwise:
///
/// | method | splits |
/// | --- | --- |
/// | [`csv`](Self::csv) and what says how it looks, such as [`delimiter`](Self::delimiter) | at CSV records, which may have newlines inside quotes |
/// | [`fixed`](Self::fixed) | at records of a fixed length |
/// | [`whole`](Self::whole) | not at all: each file is a split |
///
/// A file packed by gzip or zstd is always one split. Its content tells that it is packed, not its name. Files packed by
/// bzip2, xz and others are an error that names the packing; [`raw`](Self::raw) reads all files as they are.
///
/// Every byte of a file is in exactly one of its splits, in the order of the list. Files come in the
/// byte order of their names, a file that two patterns name comes once, and empty files have no
/// split.
///
/// # Links and special files
///
/// One rule holds for folders and for patterns, `**` and `*` alike:
///
/// | what | is |
/// | --- | --- |
/// | a link to a file | read as that file, under the link's name |
/// | a link to a folder | followed; a folder is read once, by its own name where it has one, so that a link back ends |
/// | a link to nothing, where its name matches | an error |
/// | a pipe, a socket, a device, where its name matches | an error: several workers cannot read it, nor twice |
/// | a file that says to be empty and is not, as in `/proc` | an error |
/// | a folder that cannot be read | an error |
///
/// A name need not be UTF-8; [`Split::path`] then shows it with a replacement character.
#[derive(Debug, Clone)]
#[must_use = "an input does nothing before `splits`"]
pub struct Input {
    wanted: Vec<Search>,
    format: Option<Format>,
    whole: bool,
    raw: bool,
    split_size: u64,
    executor: Option<Executor>,
}

impl Input {
    fn new(wanted: Vec<Search>) -> Self {
        Self { wanted, format: None, whole: false, raw: false, split_size: SPLIT, executor: None }
    }

    /// A file, all files below a folder, or those that match a pattern: local ones by their path,
    /// those of a store by its URL, such as `s3://bucket/logs/2026-*/*.csv.gz`.
    ///
    /// `*` stands for any part of a name, `?` for a character, `[a-z]` for one of several and `[!a-z]` for all others,
    /// `**` for any number of folders, and `{csv,tsv}` for either. `[[]` stands for `[`, and so on. A path may begin with
    /// `~/`, the home folder. In folders, and where a wildcard would stand for them, names that begin with `.` or `_` are
    /// skipped, such as `_SUCCESS`.
    ///
    /// Keys of a store are taken as they are: in `s3://bucket//a` the key is `/a`.
    ///
    /// ```
    /// # wren::block_on(async {
    /// let splits = wren::Input::glob("{src,tests}/**/*.rs")?.splits().await?;
    /// assert!(splits.iter().any(|split| split.path().ends_with("/src/lib.rs")));
    /// # Ok::<(), wren::Error>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// [`Error::Input`] for what is not a pattern.
    pub fn glob(pattern: impl AsRef<Path>) -> Result<Self> {
        Ok(Self::new(vec![Search::pattern(pattern.as_ref())?]))
    }

    /// Files, folders and URLs, in which no character stands for another. The splits of each come
    /// in the order given here.
    ///
    /// ```
    /// # wren::block_on(async {
    /// let splits = wren::Input::paths(["Cargo.toml", "src"])?.splits().await?;
    /// assert!(splits[0].path().ends_with("/Cargo.toml"));
    /// # Ok::<(), wren::Error>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// [`Error::Input`] for an empty path.
    pub fn paths(paths: impl IntoIterator<Item = impl AsRef<Path>>) -> Result<Self> {
        paths.into_iter().map(|path| Search::path(path.as_ref())).collect::<Result<_>>().map(Self::new)
    }

    /// How long a split is at most, in bytes; 64 MiB by default. 0 is taken for 1. The splits of a
    /// file are about equally long. A split is longer where one record is.
    pub fn split_size(mut self, bytes: u64) -> Self {
        self.split_size = bytes.max(1);
        self
    }

    /// Splits at the records of CSV as the `csv` crate reads it by default: fields separated by `,`,
    /// quoted by `"`, a quote in them doubled; the first record of each file is its header.
    ///
    /// These say what is otherwise, and each of them says that it is CSV:
    ///
    /// | method | default |
    /// | --- | --- |
    /// | [`delimiter`](Self::delimiter) | `b','` |
    /// | [`quote`](Self::quote) | `b'"'` |
    /// | [`comment`](Self::comment) | no comments |
    /// | [`headers`](Self::headers) | `true` |
    /// | [`trim`](Self::trim) | `false` |
    /// | [`flexible`](Self::flexible) | `false` |
    ///
    /// ```
    /// #[wren::remote]
    /// fn cities(split: &wren::Split) -> wren::Result<Vec<(String, u32)>> {
    ///     split.records()?.collect()
    /// }
    ///
    /// # wren::block_on(async {
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("cities.txt");
    /// std::fs::write(&path, "# name; founded\n'Ur; old' ; 3800\n Uruk ; 4000\n").unwrap();
    /// let input = wren::Input::paths([&path])?.delimiter(b';').quote(b'\'').comment(b'#').headers(false).trim(true);
    /// let cities = wren::map(|split| cities(&split), input.splits().await?).await?.concat();
    /// assert_eq!(cities, [("Ur; old".to_owned(), 3800), ("Uruk".to_owned(), 4000)]);
    /// # Ok::<(), wren::Error>(()) }).unwrap();
    /// ```
    ///
    /// Whether a newline ends a record depends on all quotes before it. So files longer than a split
    /// are read once to find out: by a job of its own, in parallel, where the calls run. Nothing is
    /// read where each file is one split.
    pub fn csv(self) -> Self {
        self.dialect(|_| ())
    }

    pub(super) fn dialect(mut self, change: impl FnOnce(&mut Dialect)) -> Self {
        let mut csv = if let Some(Format::Csv(csv)) = self.format { csv } else { Dialect::default() };
        change(&mut csv);
        self.format = Some(Format::Csv(csv));
        self
    }

    /// Splits at records of so many bytes, with nothing between them.
    pub fn fixed(mut self, bytes: u64) -> Self {
        self.format = Some(Format::Fixed(bytes));
        self
    }

    /// Splits nothing: each file is a split, also an empty one. Unless [`csv`](Self::csv) or
    /// [`fixed`](Self::fixed) say what it is made of, it is taken for bytes.
    pub fn whole(mut self) -> Self {
        self.whole = true;
        self
    }

    /// Reads files as they are, also those that are packed: for a program that unpacks them itself.
    ///
    /// ```
    /// # wren::block_on(async {
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("a.bz2");
    /// std::fs::write(&path, b"BZh91AY&SY...").unwrap();
    /// let packed = wren::Input::paths([&path])?.whole().raw().splits().await?;
    /// let mut bytes = Vec::new();
    /// std::io::Read::read_to_end(&mut packed[0].reader()?, &mut bytes).unwrap();
    /// assert_eq!(bytes, b"BZh91AY&SY...");
    /// # Ok::<(), wren::Error>(()) }).unwrap();
    /// ```
    pub fn raw(mut self) -> Self {
        self.raw = true;
        self
    }

    /// Says which executor's calls are to read the splits, where that is one of one's own. It looks for
    /// newlines in quotes, see [`csv`](Self::csv).
    pub fn on(mut self, executor: &Executor) -> Self {
        self.executor = Some(executor.clone());
        self
    }

    /// Finds the files and splits them.
    ///
    /// # Errors
    /// [`Error::Input`] where a path or a pattern names nothing, or files of this machine where calls run
    /// on others, or where a file is no whole number of fixed records; [`Error::Config`] for a delimiter or
    /// a record that cannot be; [`Error::Store`]; of CSV what a job can fail by.
    pub async fn splits(self) -> Result<Vec<Split>> {
        let format = self.format()?;
        let mut known = HashSet::new();
        let mut files = Vec::new();
        for wanted in &self.wanted {
            let found = wanted.find().await?;
            files.extend(found.into_iter().filter(|file| known.insert(file.source.clone())));
        }
        self.refuse_unseen(&files)?;
        let packed = self.packed(&files, format).await?;
        let mut ranges = Vec::with_capacity(files.len());
        for (file, packed) in files.iter().zip(&packed) {
            ranges.push(self.ranges(file, format, *packed)?);
        }
        let first_records = match format {
            Format::Csv(csv) => self.at_records(&files, &mut ranges, csv).await?,
            _ => vec![0; files.len()],
        };
        let mut splits = Vec::new();
        for (((file, ranges), first_record), packed) in files.iter().zip(ranges).zip(first_records).zip(packed) {
            splits.extend(ranges.into_iter().map(|range| Split {
                source: file.source.clone(),
                format,
                may_be_packed: packed != Packed::No,
                range,
                len: file.len,
                version: file.version.clone(),
                first_record,
            }));
        }
        Ok(splits)
    }

    /// What is known of each file being packed. The first bytes are read only of those that would be split, and of those
    /// that cannot be what they are said to be unless they are packed.
    async fn packed(&self, files: &[Match], format: Format) -> Result<Vec<Packed>> {
        if self.raw {
            return Ok(vec![Packed::No; files.len()]);
        }
        let (whole, split_size) = (self.whole, self.split_size);
        let matters = move |file: &Match| match format {
            Format::Fixed(record) if !file.len.is_multiple_of(record) => true,
            _ => !whole && file.len > split_size,
        };
        if !files.iter().any(matters) {
            return Ok(vec![Packed::Maybe; files.len()]);
        }
        let is_text = matches!(format, Format::Lines | Format::Csv(_));
        let files: Vec<_> = files.iter().map(|file| (file.source.clone(), matters(file))).collect();
        let look = move || {
            let mut all = Vec::with_capacity(files.len());
            for files in files.chunks(LOOKS) {
                let looked_at = || files.iter().filter(|(_, matters)| *matters).map(|(source, _)| source);
                let mut heads = heads(looked_at(), packed::HEAD)?.into_iter();
                for (source, matters) in files {
                    let head = if *matters { heads.next() } else { None };
                    let Some(head) = head else {
                        all.push(Packed::Maybe);
                        continue;
                    };
                    let packing = packed::of(&head, is_text).map_err(|reason| source.error(reason))?;
                    all.push(if packing.is_some() { Packed::Maybe } else { Packed::No });
                }
            }
            Ok(all)
        };
        store::unblock(look).await?
    }

    /// Refuses this machine's files where the calls that would read them run on others.
    fn refuse_unseen(&self, files: &[Match]) -> Result<()> {
        let Some(local) = files.iter().find(|file| file.source.is_local()) else { return Ok(()) };
        if self.executor()?.is_local() {
            return Ok(());
        }
        let reason = "workers elsewhere do not see the files of this machine; put it to a store and name it there, as in \
                      `s3://bucket/key`, or set WREN_BACKEND=local to run here";
        Err(local.source.error(reason))
    }

    fn executor(&self) -> Result<Executor> {
        self.executor.clone().map_or_else(Executor::current, Ok)
    }

    fn format(&self) -> Result<Format> {
        let format = self.format.unwrap_or(if self.whole { Format::Bytes } else { Format::Lines });
        match format {
            Format::Fixed(0) => {
                Err(Error::Config("an input of records of 0 bytes has no end; say how long they are".to_owned()))
            }
            Format::Csv(csv) => csv.check().map(|()| format),
            format => Ok(format),
        }
    }

    /// Where a file is split, if it had no records.
    fn ranges(&self, file: &Match, format: Format, packed: Packed) -> Result<Vec<Range<u64>>> {
        if let Format::Fixed(record) = format
            && packed == Packed::No
            && !file.len.is_multiple_of(record)
        {
            let (len, left) = (file.len, file.len % record);
            let reason =
                format!("it has {len} bytes, which is no whole number of records of {record}: {left} are left");
            return Err(file.source.error(reason));
        }
        // A file that is short enough to be one split may be packed, too.
        if self.whole || (packed == Packed::Maybe && file.len > 0) {
            return Ok(std::iter::once(0..file.len).collect());
        }
        let unit = if let Format::Fixed(record) = format { record } else { 1 };
        let mut ranges = evenly(file.len / unit, (self.split_size / unit).max(1));
        for range in &mut ranges {
            *range = range.start * unit..range.end * unit;
        }
        Ok(ranges)
    }

    /// Moves the borders of CSV splits to where records begin; gives the length of each file's first
    /// record.
    async fn at_records(&self, files: &[Match], ranges: &mut [Vec<Range<u64>>], csv: Dialect) -> Result<Vec<u64>> {
        let mut chunks = Vec::new();
        for (file, ranges) in files.iter().zip(&mut *ranges) {
            // Nothing is split inside a byte order mark.
            let mark = ranges.iter().position(|range| range.end >= MARK.len() as u64).unwrap_or(0);
            ranges.drain(..mark);
            if let Some(first) = ranges.first_mut() {
                first.start = 0;
            }
            if ranges.len() > 1 {
                chunks.extend(ranges.iter().map(|range| (file, range.clone())));
            }
        }
        if chunks.is_empty() {
            return Ok(vec![0; files.len()]);
        }
        let calls = |(file, chunk): (&Match, Range<u64>)| plan::scan(&file.source, file.len, chunk, csv);
        let executor = self.executor()?;
        let scans = crate::calls::map(calls, chunks).on(&executor).quiet().await?;
        let mut scans = scans.as_slice();
        let mut first_records = Vec::with_capacity(files.len());
        for (file, ranges) in files.iter().zip(ranges) {
            let mut first_record = 0;
            if ranges.len() > 1 {
                let own;
                (own, scans) = scans.split_at(ranges.len());
                (*ranges, first_record) = plan::join(file.len, own);
            }
            first_records.push(first_record);
        }
        Ok(first_records)
    }
}

/// As few ranges of at most `most` as make up `len`, and as even as can be.
fn evenly(len: u64, most: u64) -> Vec<Range<u64>> {
    let count = len.div_ceil(most);
    let (short, longer) = (len / count.max(1), len % count.max(1));
    let begin = |number: u64| number * short + number.min(longer);
    (0..count).map(|number| begin(number)..begin(number + 1)).collect()
}
