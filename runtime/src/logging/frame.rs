//! Records inside of the text that a worker prints to standard error.
//!
//! A frame is [`MARK`], a byte that tells whether more frames of the same record follow, the length of the body in two
//! bytes, and the body. The system writes a frame to a pipe as a whole, because it is short enough, so frames do not
//! mix with output of other threads and processes.

use std::borrow::Cow;
use std::sync::OnceLock;

use super::Record;
use crate::codec;
use crate::platform::{self, Guarded};

/// The start of a frame: a control character that texts do not contain, and more bytes to tell frames from binary
/// output.
const MARK: &[u8] = b"\x1e\x02wren:";

const HEAD: usize = MARK.len() + 3;

/// Maximum length of a frame that the system writes to a pipe as a whole.
const LONGEST: usize = libc::PIPE_BUF;

/// Maximum length of an encoded record, which consists of several frames. A longer one is not from this program.
const LONGEST_RECORD: usize = 1 << 20;

/// Writes a record to the standard error of this worker.
pub(crate) fn write_to_stderr(record: &Record) {
    // A copy, because functions may close or redirect standard error.
    static STDERR: OnceLock<Option<Guarded>> = OnceLock::new();
    let stderr = STDERR.get_or_init(|| Guarded::copy(rustix::stdio::stderr()).ok());
    let Some(stderr) = stderr.as_ref().and_then(Guarded::get) else { return };
    let Ok(body) = codec::encode(record) else { return };
    // The frames of one record must follow each other. A single frame needs no lock.
    let _turn = (body.len() > LONGEST - HEAD).then(|| std::io::stderr().lock());
    for frame in frames(&body) {
        if platform::write_whole(stderr, &frame).is_err() {
            return;
        }
    }
}

fn frames(body: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let bodies = body.chunks(LONGEST - HEAD);
    let last = bodies.len().saturating_sub(1);
    bodies.enumerate().map(move |(index, body)| {
        let len = (body.len() as u16).to_le_bytes();
        [MARK, &[u8::from(index < last)], &len, body].concat()
    })
}

/// A piece of a worker's output.
#[derive(Debug, PartialEq)]
pub(crate) enum Piece<'a> {
    Text(&'a [u8]),
    Record(Box<Record>),
}

/// Separates records from text.
#[derive(Debug, Default)]
pub(crate) struct Splitter {
    /// The beginning of a frame, of which the rest has not arrived.
    held: Vec<u8>,
    /// The bodies of the first frames of a record.
    record: Vec<u8>,
}

impl Splitter {
    /// Passes the pieces of `bytes` to `take`, after those that were held back.
    pub(crate) fn split(&mut self, bytes: &[u8], mut take: impl FnMut(Piece<'_>)) {
        let bytes = match std::mem::take(&mut self.held) {
            held if held.is_empty() => Cow::Borrowed(bytes),
            held => Cow::Owned([&held, bytes].concat()),
        };
        let mut rest = &*bytes;
        while let Some(at) = start_of_frame(rest) {
            if at > 0 {
                take(Piece::Text(&rest[..at]));
            }
            rest = &rest[at..];
            let Some(frame) = first_frame(rest) else {
                self.held = rest.to_vec();
                return;
            };
            rest = frame.behind;
            if let Some(record) = self.add(&frame) {
                take(Piece::Record(record));
            }
        }
        if !rest.is_empty() {
            take(Piece::Text(rest));
        }
    }

    /// Returns the bytes that were held back, when no others follow.
    pub(crate) fn finish(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }

    /// Adds a frame. Returns the record that ends with it.
    fn add(&mut self, frame: &Frame<'_>) -> Option<Box<Record>> {
        self.record.extend_from_slice(frame.body);
        if frame.has_more && self.record.len() < LONGEST_RECORD {
            return None;
        }
        let whole = std::mem::take(&mut self.record);
        codec::decode(&whole).ok().map(Box::new)
    }
}

/// Returns where a frame starts, of which `bytes` may have only the beginning.
fn start_of_frame(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let at = from + bytes[from..].iter().position(|byte| *byte == MARK[0])?;
        let found = &bytes[at..];
        let is_long = |len: &[u8; 2]| usize::from(u16::from_le_bytes(*len)) > LONGEST - HEAD;
        let len = found.get(HEAD - 2..).and_then(|len| len.first_chunk());
        if found.iter().zip(MARK).all(|(byte, of_mark)| byte == of_mark) && !len.is_some_and(is_long) {
            return Some(at);
        }
        from = at + 1;
    }
}

/// A frame at the start of bytes.
struct Frame<'a> {
    /// Whether more frames of the same record follow.
    has_more: bool,
    body: &'a [u8],
    /// The bytes behind the frame.
    behind: &'a [u8],
}

/// Returns the frame at the start of `bytes`, if it is complete.
fn first_frame(bytes: &[u8]) -> Option<Frame<'_>> {
    let (head, rest) = bytes.split_at_checked(HEAD)?;
    let (start, len) = head.split_last_chunk()?;
    let (body, behind) = rest.split_at_checked(u16::from_le_bytes(*len).into())?;
    Some(Frame { has_more: start.last() == Some(&1), body, behind })
}

#[cfg(test)]
mod tests {
    use super::super::record::{Source, Value};
    use super::*;

    fn record(message: &str) -> Record {
        Record {
            source: Source::Log,
            level: 3,
            target: "a::b".to_owned(),
            message: message.to_owned(),
            module: None,
            file: Some("src/main.rs".to_owned()),
            line: Some(7),
            fields: vec![("x".to_owned(), Value::Float(1.5)), ("y".to_owned(), Value::Text("z".to_owned()))],
        }
    }

    fn frames_of(record: &Record) -> Vec<u8> {
        frames(&codec::encode(record).unwrap()).collect::<Vec<_>>().concat()
    }

    /// Returns the text and the records of bytes that arrive in pieces of this length.
    fn split(bytes: &[u8], length: usize) -> (Vec<u8>, Vec<Record>) {
        let (mut text, mut records) = (Vec::new(), Vec::new());
        let mut splitter = Splitter::default();
        for bytes in bytes.chunks(length) {
            splitter.split(bytes, |piece| match piece {
                Piece::Text(bytes) => text.extend_from_slice(bytes),
                Piece::Record(record) => records.push(*record),
            });
        }
        text.extend(splitter.finish());
        (text, records)
    }

    #[test]
    fn records_are_found_wherever_the_output_is_cut() {
        let (short, long) = (record("short"), record(&"long\n\x1e".repeat(4_000)));
        let all = [b"a line\npart", &*frames_of(&short), b" of a line\n", &frames_of(&long), b"end"].concat();
        for length in [1, 2, 7, 100, 4_095, 16 << 10, all.len()] {
            let (text, records) = split(&all, length);
            assert_eq!(text, b"a line\npart of a line\nend", "{length}");
            assert_eq!(records, [short.clone(), long.clone()], "{length}");
        }
    }

    #[test]
    fn frames_are_short_enough_to_be_written_as_a_whole() {
        let body = codec::encode(&record(&"x".repeat(10_000))).unwrap();
        assert!(frames(&body).all(|frame| frame.len() <= libc::PIPE_BUF));
        assert!(frames(&body).count() > 2);
    }

    #[test]
    fn other_bytes_stay_text() {
        let no_frames: [&[u8]; 6] = [
            b"\x1e",
            b"\x1e\x1e\x02wren",
            b"\x1e\x02wren:",
            b"\x1e\x02wren:\x00\xff\xff a length that no frame has",
            b"\x1e\x02wren:\x00\x09\x00cut",
            b"\xff\x00\x1e\x02other",
        ];
        for bytes in no_frames {
            for length in [1, 3, 1_000] {
                assert_eq!(split(bytes, length), (bytes.to_vec(), vec![]), "{bytes:?}");
            }
        }
        // A frame whose body is not a record is dropped, and what follows is read.
        let (text, records) = split(&[b"\x1e\x02wren:\x00\x03\x00bad", &*frames_of(&record("good"))].concat(), 5);
        assert_eq!((text.as_slice(), records.len()), (&b""[..], 1));
    }
}
