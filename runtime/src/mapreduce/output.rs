//! The outputs of `reduce`: collected for the driver, or written to one file per reduce task.

use std::fmt;
use std::fs::{File, Permissions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::outputs::check_mark;
use super::{BoxError, Shuffle};
use crate::error::{Error, Result};
use crate::platform;
use crate::store::{self, StoreError};

/// The format of written outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Format {
    /// One line of JSON for each output ([jsonlines.org](https://jsonlines.org)).
    JsonLines,
    /// One line for each output, with its parts separated by tabs: strings and numbers, or tuples and structures of
    /// them. Tabs, line ends and backslashes in strings are written as `\t`, `\n`, `\r` and `\\`.
    Tsv,
}

impl Format {
    fn extension(self) -> &'static str {
        match self {
            Format::JsonLines => "jsonl",
            Format::Tsv => "tsv",
        }
    }
}

/// Receives the outputs of [`MapReduce::reduce`](super::MapReduce::reduce).
pub struct Output<T> {
    kind: Kind<T>,
    records: u64,
}

enum Kind<T> {
    Collected(Vec<T>),
    Written { sink: FileSink, format: Format },
}

impl<T> fmt::Debug for Output<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Output({} records)", self.records)
    }
}

/// The result of a reduce task.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ReduceResult<T> {
    pub(crate) collected: Vec<T>,
    /// Number of outputs, collected or written.
    pub(crate) records: u64,
    /// The written file, and its length in bytes.
    pub(crate) file: Option<(String, u64)>,
}

/// The destination of a reduce task's outputs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Target {
    /// The result of the task.
    Result,
    /// A file in this folder, which is a local folder or a store's URL.
    Folder { url: String, format: Format },
}

impl<T: Serialize> Output<T> {
    pub(crate) fn new(target: &Target, shuffle: &Shuffle, partition: usize) -> Result<Self> {
        let kind = match target {
            Target::Result => Kind::Collected(Vec::new()),
            Target::Folder { url, format } => {
                let name = format!("part-{partition:05}.{}", format.extension());
                Kind::Written { sink: FileSink::create(url, &name, shuffle)?, format: *format }
            }
        };
        Ok(Self { kind, records: 0 })
    }

    /// Adds one output.
    ///
    /// # Errors
    /// An error if the disk fails, or if the output cannot be written in the chosen format.
    pub fn push(&mut self, output: T) -> Result<(), BoxError> {
        self.records += 1;
        match &mut self.kind {
            Kind::Collected(all) => all.push(output),
            Kind::Written { sink, format: Format::JsonLines } => {
                serde_json::to_writer(&mut *sink, &output)?;
                sink.write_all(b"\n")?;
            }
            Kind::Written { sink, format: Format::Tsv } => write_tsv(&serde_json::to_value(&output)?, sink)?,
        }
        Ok(())
    }

    pub(crate) fn finish(self) -> Result<ReduceResult<T>> {
        Ok(match self.kind {
            Kind::Collected(collected) => ReduceResult { collected, records: self.records, file: None },
            Kind::Written { sink, .. } => {
                ReduceResult { collected: Vec::new(), records: self.records, file: Some(sink.finish()?) }
            }
        })
    }
}

fn write_tsv(value: &serde_json::Value, to: &mut impl Write) -> Result<(), BoxError> {
    use serde_json::Value;
    let mut parts = Vec::new();
    flatten(value, &mut parts);
    for (i, part) in parts.iter().enumerate() {
        if i > 0 {
            to.write_all(b"\t")?;
        }
        match part {
            Value::String(text) if text.contains(['\t', '\n', '\r', '\\']) => {
                let text = text.replace('\\', "\\\\").replace('\t', "\\t").replace('\n', "\\n").replace('\r', "\\r");
                to.write_all(text.as_bytes())?;
            }
            Value::String(text) => to.write_all(text.as_bytes())?,
            Value::Null => {}
            other => write!(to, "{other}")?,
        }
    }
    Ok(to.write_all(b"\n")?)
}

fn flatten<'a>(value: &'a serde_json::Value, parts: &mut Vec<&'a serde_json::Value>) {
    match value {
        serde_json::Value::Array(values) => values.iter().for_each(|value| flatten(value, parts)),
        serde_json::Value::Object(fields) => fields.values().for_each(|value| flatten(value, parts)),
        other => parts.push(other),
    }
}

/// Returns the job whose shuffle objects have this prefix.
fn job_of(prefix: &str) -> &str {
    prefix.split('/').next().unwrap_or_default()
}

/// A file that gets its name when it is complete, so that only one of several attempts is visible.
#[derive(Debug)]
pub(crate) struct FileSink {
    to: Destination,
    file: BufWriter<File>,
    name: Unfinished,
    bytes: u64,
}

/// The name of a file that is being written.
#[derive(Debug)]
enum Unfinished {
    /// No name yet, so that a worker that is killed leaves nothing; later a name in this folder, with this prefix.
    Unnamed { folder: PathBuf, prefix: String },
    /// A temporary name, if the file system has no unnamed files.
    Named(tempfile::TempPath),
}

impl Unfinished {
    /// Gives a complete file a temporary name, if it has none, and returns that name.
    fn name(self, file: &File) -> std::io::Result<tempfile::TempPath> {
        match self {
            Self::Named(path) => Ok(path),
            Self::Unnamed { folder, prefix } => {
                let path = folder.join(format!("{prefix}{:016x}", platform::random()));
                platform::name_file(file, &path)?;
                tempfile::TempPath::try_from_path(path)
            }
        }
    }
}

#[derive(Debug)]
enum Destination {
    Path(PathBuf),
    Store { url: String, key: String, job: String },
}

/// Whether outputs go to a local folder of this name: anything except a store's URL.
pub(crate) fn is_local(url: &str) -> bool {
    !url.split_once(':').is_some_and(|(scheme, _)| store::is_known(scheme))
}

impl FileSink {
    /// Creates a file of this name in a folder. A local folder already exists: see
    /// [`Outputs`](super::outputs::Outputs).
    pub(crate) fn create(url: &str, name: &str, shuffle: &Shuffle) -> Result<Self> {
        let failed = |folder: &Path, error: std::io::Error| failed(folder, name, &error);
        let (to, folder) = if is_local(url) {
            let folder = PathBuf::from(url);
            (Destination::Path(folder.join(name)), folder)
        } else {
            let (key, job) = (name.to_owned(), job_of(&shuffle.prefix).to_owned());
            (Destination::Store { url: url.to_owned(), key, job }, store::open(url)?.scratch())
        };
        // Readers of the folder skip names that begin with a dot.
        let prefix = format!(".{}-", job_of(&shuffle.prefix));
        let (file, name) = match platform::unnamed_file(&folder) {
            Ok(file) => (file, Unfinished::Unnamed { folder, prefix }),
            Err(_) => {
                let mut builder = tempfile::Builder::new();
                builder.prefix(&prefix).permissions(Permissions::from_mode(0o666));
                let file = builder.tempfile_in(&folder).map_err(|e| failed(&folder, e))?;
                let (file, path) = file.into_parts();
                (file, Unfinished::Named(path))
            }
        };
        Ok(Self { to, file: BufWriter::with_capacity(256 << 10, file), name, bytes: 0 })
    }

    /// Gives the file its final name. Returns its path or URL, and its length in bytes.
    pub(crate) fn finish(self) -> Result<(String, u64)> {
        let Self { to, file, name, bytes } = self;
        let written = file.into_inner().map_err(std::io::IntoInnerError::into_error);
        let named = written.and_then(|file| name.name(&file));
        match to {
            Destination::Path(to) => {
                let path = named.map_err(|e| failed(&to, "", &e))?;
                path.persist(&to).map_err(|e| failed(&to, "", &e.error))?;
                Ok((to.display().to_string(), bytes))
            }
            Destination::Store { url, key, job } => {
                let store = store::open(&url)?;
                let path = named.map_err(|e| store.unreadable(&key, Path::new("(temporary)"), &e))?;
                check_mark(&*store, &job)?;
                store::wait(store.put_file(&key, &path))?;
                Ok((format!("{}/{key}", url.trim_end_matches('/')), bytes))
            }
        }
    }
}

fn failed(folder: &Path, name: &str, error: &std::io::Error) -> Error {
    StoreError::of_disk(format!("file:{}", folder.display()), "write", name, error).into()
}

impl Write for FileSink {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.write_all(bytes)?;
        Ok(bytes.len())
    }

    #[inline]
    fn write_all(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.bytes += bytes.len() as u64;
        self.file.write_all(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}
