//! [`Split`]: one partition of an input.

use std::io::{Cursor, Read};
use std::ops::Range;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::blocks::{Blocks, Cut};
use super::dialect::Dialect;
use super::lines::Lines;
use super::packed::{self, Packing};
use super::reader::Reader;
use super::records::Records;
use super::source::{Source, Stream};
use crate::error::{Error, Result};

/// Number of bytes of a store's value to fetch after a split's end, to find the end of its last line.
const BEHIND: u64 = 64 << 10;

/// The format of an input, which determines where it can be split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Format {
    Lines,
    Csv(Dialect),
    Fixed(u64),
    Bytes,
}

/// A partition of an input: a file or an object, and a range of its bytes.
///
/// [`Input::splits`](super::Input::splits) returns splits. A split is small, and is passed like any other argument. The
/// worker that receives it opens the file and reads its part. All methods that read block the calling thread, so call
/// them in ordinary functions, not in `async` ones.
///
/// | method | returns |
/// | --- | --- |
/// | [`lines`](Self::lines) | `String`s, or each line lent in place |
/// | [`records`](Self::records) | CSV records as values of a type that derives `Deserialize` |
/// | [`blocks`](Self::blocks) | large blocks of whole records, lent in place: the fastest method |
/// | [`reader`](Self::reader) | the bytes, as a `Read` and a `BufRead` |
///
/// For a file packed with gzip or zstd, all of them return the unpacked content, unless
/// [`Input::raw`](super::Input::raw) is set.
///
/// ```
/// #[wren::remote]
/// fn words(split: &wren::Split) -> wren::Result<usize> {
///     let mut words = 0;
///     for line in split.lines()? {
///         words += line?.split_whitespace().count();
///     }
///     Ok(words)
/// }
///
/// # wren::block_on(async {
/// let splits = wren::Input::glob("src/data/*.rs")?.split_size(10_000).splits().await?;
/// let words: usize = wren::map(|split| words(&split), splits).await?.iter().sum();
/// assert!(words > 1_000);
/// # Ok::<(), wren::Error>(()) }).unwrap();
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    pub(super) source: Source,
    pub(super) format: Format,
    /// Whether this is a whole file that may be packed. The reader checks its first bytes.
    pub(super) may_be_packed: bool,
    /// Range of bytes in the file. It is exact except for lines: the split contains the lines that begin in it.
    pub(super) range: Range<u64>,
    /// Length of the file when it was split.
    pub(super) len: u64,
    /// Distinguishes the file from another with the same name and length, so that a named job does not reuse the
    /// results of one for the other.
    pub(super) version: String,
    /// Length of the file's first CSV record, including everything before it; 0 if it is not needed.
    pub(super) first_record: u64,
}

/// The shape of a split's records, for sorting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Shape {
    Lines,
    /// Records of this many bytes.
    Fixed(usize),
    Other,
}

impl Split {
    pub(crate) fn shape(&self) -> Shape {
        match self.format {
            Format::Lines => Shape::Lines,
            Format::Fixed(len) => usize::try_from(len).map_or(Shape::Other, Shape::Fixed),
            Format::Csv(_) | Format::Bytes => Shape::Other,
        }
    }

    /// Returns the same split, after checking whether it is packed.
    pub(crate) fn looked_at(&self) -> Result<Split> {
        let may_be_packed = self.may_be_packed && self.packing(&self.source.head(packed::HEAD)?)?.is_some();
        Ok(Split { may_be_packed, ..self.clone() })
    }

    fn packing(&self, head: &[u8]) -> Result<Option<Packing>> {
        let is_text = matches!(self.format, Format::Lines | Format::Csv(_));
        packed::of(head, is_text).map_err(|reason| self.source.error(reason))
    }

    /// Returns one of `parts` about equal parts, or the whole file if it may be packed.
    pub(crate) fn part(&self, part: usize, parts: usize) -> Split {
        if self.may_be_packed {
            return self.clone();
        }
        let unit = if let Format::Fixed(len) = self.format { len } else { 1 };
        let units = self.bytes() / unit;
        let border = |n: usize| self.range.start + units * n as u64 / parts as u64 * unit;
        let end = if part + 1 == parts { self.range.end } else { border(part + 1) };
        Split { range: border(part)..end, ..self.clone() }
    }

    /// Returns the absolute path of the file, or the URL of the object, such as `s3://bucket/key`. For a name that is
    /// not UTF-8, it is an approximation for display that contains `\u{fffd}`; the split opens the file by its real
    /// name.
    pub fn path(&self) -> &str {
        self.source.path()
    }

    /// Returns the range of this split's bytes in the file. If the input is split into lines, the split contains the
    /// lines that begin in its range: the first line may begin after the start of the range, and the last line may end
    /// after its end.
    pub fn range(&self) -> Range<u64> {
        self.range.clone()
    }

    /// Returns the number of bytes to read. It is exact, except that it may be off by one line for lines, and that it
    /// is the packed size for packed files.
    pub fn bytes(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// Returns the split's content in large blocks of whole lines, whole CSV records or whole records of fixed length.
    /// For an input of whole files, the blocks end anywhere.
    ///
    /// # Errors
    /// [`Error::Input`] if the file does not exist, has shrunk since it was split, or is packed in a way that wren does
    /// not unpack. The blocks return other read errors.
    pub fn blocks(&self) -> Result<Blocks> {
        self.cut(match self.format {
            Format::Lines => Cut::Lines,
            Format::Csv(csv) => Cut::Csv(csv),
            Format::Fixed(record) => Cut::Fixed(record),
            Format::Bytes => Cut::Anywhere,
        })
    }

    /// Returns the split's lines.
    ///
    /// # Errors
    /// The errors of [`blocks`](Self::blocks), and [`Error::Input`] for records of fixed length, whose boundaries are
    /// unrelated to lines.
    pub fn lines(&self) -> Result<Lines> {
        if let Format::Fixed(_) = self.format {
            let reason = "it was split into records of fixed length, not into lines; read its `blocks`";
            return Err(self.source.error(reason));
        }
        self.cut(Cut::Lines).map(Lines::new)
    }

    /// Returns the split's bytes.
    ///
    /// # Errors
    /// The errors of [`blocks`](Self::blocks).
    pub fn reader(&self) -> Result<Reader> {
        self.cut(Cut::Anywhere).map(Reader::new)
    }

    /// Returns the split's CSV records, each as a `T`: a struct whose fields are named like the columns or, with or
    /// without headers, a tuple or a `Vec`. The header is not a record, and is available in every split.
    ///
    /// ```
    /// #[derive(serde::Deserialize)]
    /// struct Sale {
    ///     city: String,
    ///     amount: f64,
    /// }
    ///
    /// #[wren::remote]
    /// fn total(split: &wren::Split) -> wren::Result<f64> {
    ///     let mut total = 0.0;
    ///     for sale in split.records::<Sale>()? {
    ///         let sale = sale?;
    ///         total += if sale.city == "Ur" { sale.amount } else { 0.0 };
    ///     }
    ///     Ok(total)
    /// }
    ///
    /// # wren::block_on(async {
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("sales.csv");
    /// # let path = path.to_str().unwrap();
    /// std::fs::write(path, "city,amount\nUr,1.5\n\"Uruk\n(old)\",7\nUr,2.5\n").unwrap();
    /// let splits = wren::Input::glob(path)?.csv().split_size(8).splits().await?;
    /// let totals = wren::map(|split| total(&split), splits).await?;
    /// assert_eq!(totals.iter().sum::<f64>(), 4.0);
    /// # Ok::<(), wren::Error>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// The errors of [`blocks`](Self::blocks), and [`Error::Config`] if the input was not declared to be CSV.
    pub fn records<T: DeserializeOwned>(&self) -> Result<Records<T>> {
        let Format::Csv(csv) = self.format else {
            let path = self.path();
            return Err(Error::Config(format!("{path} was not split as CSV; call `.csv()` before `.splits()`")));
        };
        Records::new(self.source.clone(), self.first_record()?, self.reader()?, self.range.start, &csv)
    }

    /// Returns the first record of the file, or nothing if it is in this split.
    fn first_record(&self) -> Result<Vec<u8>> {
        let mut first = Vec::new();
        if self.range.start > 0 {
            let stream = Stream::open(&self.source, 0..self.first_record, self.len)?;
            stream.take(self.first_record).read_to_end(&mut first).map_err(|e| self.source.explain(e))?;
        }
        Ok(first)
    }

    fn cut(&self, cut: Cut) -> Result<Blocks> {
        let Range { start, end } = self.range;
        if self.may_be_packed {
            let mut file = Stream::open(&self.source, 0..self.len, self.len)?;
            let mut head = Vec::new();
            (&mut file).take(packed::HEAD as u64).read_to_end(&mut head).map_err(|e| self.source.explain(e))?;
            let packing = self.packing(&head)?;
            let file = Cursor::new(head).chain(file);
            return Ok(match packing {
                Some(packing) => {
                    let input = packing.unpack(file).map_err(|e| self.source.explain(e))?;
                    Blocks::new(&self.source, input, cut, 0, u64::MAX)
                }
                None => Blocks::new(&self.source, Box::new(file), cut, 0, self.len),
            });
        }
        if self.format == Format::Lines && end > start {
            let from = start.saturating_sub(1);
            let stream = Stream::open(&self.source, from..end.saturating_add(BEHIND), self.len)?;
            return Blocks::new(&self.source, Box::new(stream), cut, from, end - from).only_lines_of(&self.range);
        }
        let stream = Stream::open(&self.source, start..end, self.len)?;
        Ok(Blocks::new(&self.source, Box::new(stream.take(end - start)), cut, start, end - start))
    }
}
