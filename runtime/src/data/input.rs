//! [`Input`]: the files and objects to read, and how they are split.

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

/// Default maximum length of a split, in bytes: 64 MiB.
const SPLIT: u64 = 64 << 20;

/// Number of files whose first bytes are read at once.
const LOOKS: usize = 32;

/// Whether a file is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Packed {
    No,
    /// The file is one split. Its reader checks whether it is packed.
    Maybe,
}

/// Files and objects to be read by many calls, one [`Split`] per call.
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
/// An input is split at lines, unless one of these methods is called:
///
/// | method | splits |
/// | --- | --- |
/// | [`csv`](Self::csv) and its settings, such as [`delimiter`](Self::delimiter) | at CSV records, which may contain newlines inside quotes |
/// | [`fixed`](Self::fixed) | at records of a fixed length |
/// | [`whole`](Self::whole) | not at all: each file is a split |
///
/// A file packed with gzip or zstd is always one split. Packed files are recognized by their content, not by their
/// name. A file packed with bzip2, xz and others is an error that names the packing; [`raw`](Self::raw) reads all files
/// as they are.
///
/// Every byte of a file is in exactly one of its splits, and the splits are listed in order. Files come in the byte
/// order of their names. A file that two patterns match comes once. An empty file has no split, except with
/// [`whole`](Self::whole).
///
/// # Links and special files
///
/// The same rules apply to folders and to patterns, with `**` and with `*`:
///
/// | entry | treatment |
/// | --- | --- |
/// | a link to a file | read as that file, under the link's name |
/// | a link to a folder | followed; a folder is read once, under its own name if it has one, so a cycle of links ends |
/// | a broken link whose name matches | an error |
/// | a pipe, a socket or a device whose name matches | an error: several workers cannot read it, and it cannot be read twice |
/// | a file that reports a length of 0 but has content, as in `/proc` | an error |
/// | a folder that cannot be read | an error |
///
/// A name need not be UTF-8; [`Split::path`] then shows it with a replacement character.
#[derive(Debug, Clone)]
#[must_use = "an input does nothing until `splits` is called"]
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

    /// Reads a file, all files below a folder, or all files that match a pattern: local files by path, objects in a
    /// store by URL, such as `s3://bucket/logs/2026-*/*.csv.gz`.
    ///
    /// `*` stands for any part of a name, `?` for one character, `[a-z]` for one of several characters, `[!a-z]` for
    /// any other character, `**` for any number of folders, and `{csv,tsv}` for either alternative. `[[]` stands for
    /// `[`, and so on. A path may begin with `~/`, the home folder. Names that begin with `.` or `_`, such as
    /// `_SUCCESS`, are skipped in folders and are not matched by a leading wildcard.
    ///
    /// Keys of a store are taken literally: in `s3://bucket//a`, the key is `/a`.
    ///
    /// ```
    /// # wren::block_on(async {
    /// let splits = wren::Input::glob("{src,tests}/**/*.rs")?.splits().await?;
    /// assert!(splits.iter().any(|split| split.path().ends_with("/src/lib.rs")));
    /// # Ok::<(), wren::Error>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// [`Error::Input`] for an empty path or an invalid pattern.
    pub fn glob(pattern: impl AsRef<Path>) -> Result<Self> {
        Ok(Self::new(vec![Search::pattern(pattern.as_ref())?]))
    }

    /// Reads files, folders and URLs, without wildcards. Their splits come in the order of `paths`.
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

    /// Sets the maximum length of a split, in bytes; 64 MiB by default. 0 is treated as 1. The splits of a file have
    /// about equal lengths. A split is longer if a single record is longer.
    pub fn split_size(mut self, bytes: u64) -> Self {
        self.split_size = bytes.max(1);
        self
    }

    /// Splits at the records of CSV in the default format of the `csv` crate: fields are separated by `,` and quoted by
    /// `"`, a quote inside quotes is doubled, and the first record of each file is its header.
    ///
    /// These methods change the format, and each of them implies `csv`:
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
    /// Whether a newline ends a record depends on all quotes before it. Therefore, files longer than a split are read
    /// once to find the records: in parallel, by a separate job on the same executor as the calls. Nothing is read if
    /// each file is one split.
    pub fn csv(self) -> Self {
        self.dialect(|_| ())
    }

    pub(super) fn dialect(mut self, change: impl FnOnce(&mut Dialect)) -> Self {
        let mut csv = if let Some(Format::Csv(csv)) = self.format { csv } else { Dialect::default() };
        change(&mut csv);
        self.format = Some(Format::Csv(csv));
        self
    }

    /// Splits at records of `bytes` bytes each, with nothing between them.
    pub fn fixed(mut self, bytes: u64) -> Self {
        self.format = Some(Format::Fixed(bytes));
        self
    }

    /// Makes each file one split, even an empty file. Unless [`csv`](Self::csv) or [`fixed`](Self::fixed) sets the
    /// format, the content is treated as plain bytes.
    pub fn whole(mut self) -> Self {
        self.whole = true;
        self
    }

    /// Reads files as they are, even packed files: for programs that unpack them themselves.
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

    /// Sets the executor whose calls will read the splits, if it is not the default one. It also runs the search for
    /// CSV records, see [`csv`](Self::csv).
    pub fn on(mut self, executor: &Executor) -> Self {
        self.executor = Some(executor.clone());
        self
    }

    /// Finds the files and splits them.
    ///
    /// # Errors
    /// [`Error::Input`] if a path or a pattern matches nothing, if it names local files but calls run on other
    /// machines, or if the length of a file is not a multiple of the record length; [`Error::Config`] for an invalid
    /// delimiter or record length; [`Error::Store`] if the store fails; for CSV, also the errors of a job.
    pub async fn splits(self) -> Result<Vec<Split>> {
        let format = self.format()?;
        let mut known = HashSet::new();
        let mut files = Vec::new();
        for wanted in &self.wanted {
            let found = wanted.find().await?;
            files.extend(found.into_iter().filter(|file| known.insert(file.source.clone())));
        }
        self.refuse_local_files(&files)?;
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

    /// Returns for each file whether it may be packed. Reads the first bytes only of files that would be split, and of
    /// files whose length is valid only if they are packed.
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

    /// Rejects local files if the calls that would read them run on other machines.
    fn refuse_local_files(&self, files: &[Match]) -> Result<()> {
        let Some(local) = files.iter().find(|file| file.source.is_local()) else { return Ok(()) };
        if self.executor()?.is_local() {
            return Ok(());
        }
        let reason = "workers on other machines cannot read local files; copy it to a store and use its URL, such as \
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
                Err(Error::Config("records of 0 bytes are invalid; pass the record length to `fixed`".to_owned()))
            }
            Format::Csv(csv) => csv.check().map(|()| format),
            format => Ok(format),
        }
    }

    /// Returns the ranges of a file's splits, before those of CSV are moved to the starts of records.
    fn ranges(&self, file: &Match, format: Format, packed: Packed) -> Result<Vec<Range<u64>>> {
        if let Format::Fixed(record) = format
            && packed == Packed::No
            && !file.len.is_multiple_of(record)
        {
            let (len, left) = (file.len, file.len % record);
            let reason = format!(
                "its {len} bytes are not a multiple of the record length {record}: {left} are left; correct the length \
                 in `fixed` or the file"
            );
            return Err(file.source.error(reason));
        }
        // A file that fits in one split may also be packed.
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

    /// Moves the boundaries of CSV splits to the starts of records. Returns the length of each file's first record.
    async fn at_records(&self, files: &[Match], ranges: &mut [Vec<Range<u64>>], csv: Dialect) -> Result<Vec<u64>> {
        let mut chunks = Vec::new();
        for (file, ranges) in files.iter().zip(&mut *ranges) {
            // A byte order mark is not split.
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

/// Divides `len` into as few ranges as possible, each of at most `most` and all as even as possible.
fn evenly(len: u64, most: u64) -> Vec<Range<u64>> {
    let count = len.div_ceil(most);
    let (short, longer) = (len / count.max(1), len % count.max(1));
    let begin = |number: u64| number * short + number.min(longer);
    (0..count).map(|number| begin(number)..begin(number + 1)).collect()
}
