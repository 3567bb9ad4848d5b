//! The reader of the reduce side: reads the segments of one partition, in the order of the map tasks.

use std::borrow::Cow;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use super::{CUT, Record, Segment, block, broken, damaged};
use crate::store::{self, Store, StoreError, StoreResult};

/// Maximum number of requests at the same time.
const PARALLEL: usize = 32;

/// Maximum size of the data that these requests fetch together, in bytes.
const WINDOW: u64 = 16 << 20;
/// Divides the memory for records, if that is small, into the size that these requests fetch together.
const PART: u64 = 8;

/// Blocks of records.
#[derive(Debug)]
pub(crate) struct RecordBlocks {
    pub(super) bytes: Vec<u8>,
    /// The ranges of `bytes` that contain records.
    pub(super) blocks: Vec<Range<usize>>,
}

impl RecordBlocks {
    pub(crate) fn one_block(bytes: Vec<u8>) -> Self {
        let all = 0..bytes.len();
        Self { bytes, blocks: vec![all] }
    }

    /// Returns the records. If a block ends inside a record, an error follows in place of it, and the block yields no
    /// more records.
    pub(crate) fn iter(&self) -> impl Iterator<Item = StoreResult<Record<'_>>> {
        self.blocks.iter().flat_map(|block| {
            let mut rest = &self.bytes[block.clone()];
            std::iter::from_fn(move || {
                if rest.is_empty() {
                    return None;
                }
                let Some((record, after)) = Record::read(rest) else {
                    rest = &[];
                    return Some(Err(broken(CUT)));
                };
                rest = after;
                Some(Ok(record))
            })
        })
    }
}

/// Fetches segments while the previous ones are used.
#[derive(Debug)]
pub(crate) struct Segments {
    store: Arc<dyn Store>,
    segments: Vec<Segment>,
    window: u64,
}

/// Pieces that were fetched together, each with its segment's number.
type Window = Vec<(usize, Vec<u8>)>;

/// A range of a segment that one request fetches.
struct Piece {
    segment: usize,
    start: u64,
    end: u64,
}

impl Segments {
    /// Creates a reader for a caller that has `memory` bytes for records. The reader uses up to two windows of memory
    /// in addition: a quarter of `memory` or less, but not less than 128 KiB.
    pub(crate) fn new(store: Arc<dyn Store>, segments: Vec<Segment>, memory: usize) -> Self {
        Self { store, segments, window: (memory as u64 / PART).clamp(64 << 10, WINDOW) }
    }

    /// Passes the records to `take`, buffer by buffer, in the order of the segments.
    pub(crate) fn read<E: From<StoreError>>(
        self,
        mut take: impl FnMut(RecordBlocks) -> Result<(), E>,
    ) -> Result<(), E> {
        // One window is fetched while another is used.
        let (send, receive) = sync_channel(0);
        thread::scope(|scope| {
            let this = &self;
            let fetch = thread::Builder::new().name("wren-shuffle".into()).spawn_scoped(scope, move || {
                this.fetch(|fetched| send.send(fetched).map_or(ControlFlow::Break(()), ControlFlow::Continue));
            });
            match fetch {
                Ok(_) => self.open(receive, &mut take),
                Err(error) => Err(broken(format!("cannot start the thread that fetches segments: {error}")).into()),
            }
        })
    }

    /// Fetches one window after the other, and passes each to `give`.
    fn fetch(&self, mut give: impl FnMut(StoreResult<Window>) -> ControlFlow<()>) {
        let mut pieces = self.pieces().peekable();
        while pieces.peek().is_some() {
            let mut window = Vec::new();
            let mut bytes = 0;
            while let Some(piece) = pieces.next_if(|piece| {
                window.is_empty() || (window.len() < PARALLEL && bytes + (piece.end - piece.start) <= self.window)
            }) {
                bytes += piece.end - piece.start;
                window.push(piece);
            }
            let requests = window.iter().map(|piece| async move {
                let key = &self.segments[piece.segment].key;
                let bytes = self.store.get_range(key, piece.start..piece.end).await?;
                if bytes.len() as u64 != piece.end - piece.start {
                    return Err(damaged(&*self.store, key, "it is shorter than its map task recorded"));
                }
                Ok((piece.segment, bytes))
            });
            let fetched = store::wait(store::all_of(requests)).into_iter().collect();
            if give(fetched).is_break() {
                return;
            }
        }
    }

    fn pieces(&self) -> impl Iterator<Item = Piece> + '_ {
        self.segments.iter().enumerate().flat_map(|(segment, Segment { start, len, .. })| {
            let end = start + len;
            // Half a window, so that two requests run at the same time.
            let piece = self.window / 2;
            let starts = (*start..end).step_by(piece as usize);
            starts.map(move |start| Piece { segment, start, end: end.min(start + piece) })
        })
    }

    /// Checks and decompresses blocks, and passes their records to `take`.
    fn open<E: From<StoreError>>(
        &self,
        fetched: Receiver<StoreResult<Window>>,
        take: &mut impl FnMut(RecordBlocks) -> Result<(), E>,
    ) -> Result<(), E> {
        // The incomplete block at the end of the last piece, with its segment.
        let mut rest: (usize, Vec<u8>) = (0, Vec::new());
        for window in fetched {
            for (segment, bytes) in window? {
                let bytes = if rest.1.is_empty() {
                    bytes
                } else if rest.0 == segment {
                    let mut whole = std::mem::take(&mut rest.1);
                    whole.extend_from_slice(&bytes);
                    whole
                } else {
                    return Err(self.cut_short(rest.0).into());
                };
                rest = (segment, self.open_blocks(segment, bytes, take)?);
            }
        }
        if rest.1.is_empty() { Ok(()) } else { Err(self.cut_short(rest.0).into()) }
    }

    /// Passes the complete blocks to `take`, and returns the rest.
    fn open_blocks<E: From<StoreError>>(
        &self,
        segment: usize,
        bytes: Vec<u8>,
        take: &mut impl FnMut(RecordBlocks) -> Result<(), E>,
    ) -> Result<Vec<u8>, E> {
        let mut at = 0;
        let mut plain = Vec::new();
        while let Some(header) = block::Header::read(&bytes[at..]) {
            let start = at + block::HEADER;
            let Some(stored) = bytes.get(start..start + header.stored) else { break };
            match header.open(stored).map_err(|reason| self.damaged(segment, &reason))? {
                Cow::Borrowed(_) => plain.push(start..start + header.stored),
                Cow::Owned(unpacked) => take(RecordBlocks::one_block(unpacked))?,
            }
            at = start + header.stored;
        }
        let rest = bytes[at..].to_vec();
        if !plain.is_empty() {
            take(RecordBlocks { bytes, blocks: plain })?;
        }
        Ok(rest)
    }

    fn damaged(&self, segment: usize, reason: &str) -> StoreError {
        damaged(&*self.store, &self.segments[segment].key, reason)
    }

    fn cut_short(&self, segment: usize) -> StoreError {
        self.damaged(segment, "a block is truncated")
    }
}
