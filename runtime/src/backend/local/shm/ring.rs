//! One direction of the channel: frames in a ring of bytes, one writer, one reader.
//!
//! A frame consists of 8 bytes (body length and kind, `u32` each) and its body, padded to a multiple of 8 bytes. It
//! never wraps: if it does not fit before the end of the ring, a frame of kind [`PAD`] up to the end precedes it.

use std::sync::atomic::{AtomicU64, Ordering};

use super::MAX_BODY;
use super::region::{RING, Region};
use crate::platform::Word;

const PAD: u32 = 0;
/// Length of the bytes before a body.
const FRAME: usize = 8;

fn padded(body: usize) -> usize {
    FRAME + body.next_multiple_of(8)
}

/// The memory of a ring: `BYTES` bytes, a power of two, and two positions that only grow.
pub(crate) trait Memory {
    type Word: Word;
    const BYTES: usize;

    /// The position up to which the writer has published.
    fn tail(&self) -> &Self::Word;

    /// The position up to which the reader is done.
    fn head(&self) -> &Self::Word;

    /// The first byte. `BYTES` bytes from it are valid as long as `self`.
    fn base(&self) -> *mut u8;
}

/// One of the two rings of a region.
pub(crate) struct RingOf {
    region: Region,
    to_worker: bool,
}

impl Memory for RingOf {
    type Word = AtomicU64;
    const BYTES: usize = RING;

    fn tail(&self) -> &AtomicU64 {
        self.region.positions(self.to_worker).0
    }

    fn head(&self) -> &AtomicU64 {
        self.region.positions(self.to_worker).1
    }

    fn base(&self) -> *mut u8 {
        self.region.ring(self.to_worker)
    }
}

/// The writing side.
pub(crate) struct Writer<M = RingOf> {
    memory: M,
    /// The position up to which this side has published.
    tail: u64,
    /// The last known position of the reader.
    head: u64,
}

impl Writer {
    pub(crate) fn new(region: &Region, to_worker: bool) -> Self {
        Self::over(RingOf { region: region.clone(), to_worker })
    }
}

impl<M: Memory> Writer<M> {
    fn over(memory: M) -> Self {
        Self { memory, tail: 0, head: 0 }
    }

    fn has_room(&mut self, bytes: usize) -> bool {
        let free = |head: u64, tail: u64| M::BYTES - (tail - head) as usize;
        if free(self.head, self.tail) < bytes {
            self.head = self.memory.head().load(Ordering::Acquire).clamp(self.head, self.tail);
        }
        free(self.head, self.tail) >= bytes
    }

    /// Returns room for a body of `len` bytes, at most [`MAX_BODY`], or `None` while the ring is too full. The frame is
    /// not sent before [`publish`](Self::publish).
    pub(crate) fn reserve(&mut self, len: usize) -> Option<&mut [u8]> {
        debug_assert!(len <= MAX_BODY);
        let need = padded(len);
        let to_end = M::BYTES - (self.tail as usize & (M::BYTES - 1));
        if to_end < need {
            if !self.has_room(to_end + need) {
                return None;
            }
            self.header(PAD, to_end - FRAME);
            self.advance(to_end);
        } else if !self.has_room(need) {
            return None;
        }
        let offset = self.tail as usize & (M::BYTES - 1);
        let base = self.memory.base();
        // SAFETY: `offset + need <= M::BYTES` by the lines above, and `[tail, tail + need)` belongs to this writer
        // until it is published: the reader reads only below the published tail. The memory lives as long as
        // `self.memory`. miri cannot map files.
        Some(unsafe { std::slice::from_raw_parts_mut(base.add(offset + FRAME), len) })
    }

    /// Sends the reserved frame with the first `len` bytes of its body.
    pub(crate) fn publish(&mut self, kind: u32, len: usize) {
        self.header(kind, len);
        self.advance(padded(len));
    }

    fn header(&mut self, kind: u32, len: usize) {
        let offset = self.tail as usize & (M::BYTES - 1);
        let base = self.memory.base();
        let word = u64::from(kind) << 32 | len as u64;
        // SAFETY: positions are multiples of 8, so 8 bytes at `offset` are inside the ring. They belong to this writer
        // until they are published, as in `reserve`.
        unsafe { std::ptr::copy_nonoverlapping(word.to_le_bytes().as_ptr(), base.add(offset), FRAME) };
    }

    fn advance(&mut self, bytes: usize) {
        self.tail += bytes as u64;
        self.memory.tail().store(self.tail, Ordering::Release);
    }

    /// Copies one whole frame into the ring and sends it. Returns false while the ring is too full.
    pub(crate) fn send(&mut self, kind: u32, parts: &[&[u8]]) -> bool {
        let len = parts.iter().map(|p| p.len()).sum();
        let Some(mut to) = self.reserve(len) else { return false };
        for part in parts {
            let (now, rest) = to.split_at_mut(part.len());
            now.copy_from_slice(part);
            to = rest;
        }
        self.publish(kind, len);
        true
    }
}

/// A frame in the ring.
pub(crate) struct Frame<'a> {
    pub(crate) kind: u32,
    pub(crate) body: &'a [u8],
}

/// The reading side.
pub(crate) struct Reader<M = RingOf> {
    memory: M,
    head: u64,
    tail: u64,
    is_broken: bool,
}

/// The kind of a frame that wren's writer cannot have published.
const GARBAGE: u32 = u32::MAX;

impl Reader {
    pub(crate) fn new(region: &Region, to_worker: bool) -> Self {
        Self::over(RingOf { region: region.clone(), to_worker })
    }
}

impl<M: Memory> Reader<M> {
    fn over(memory: M) -> Self {
        Self { memory, head: 0, tail: 0, is_broken: false }
    }

    /// Whether the position of the writer is invalid, so other code has overwritten it.
    pub(crate) fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// Whether a frame is available.
    pub(crate) fn has_frame(&mut self) -> bool {
        if self.tail == self.head {
            // A remote function may have overwritten the position. A position that a writer cannot have published is
            // ignored.
            let tail = self.memory.tail().load(Ordering::Acquire);
            let is_sound = tail >= self.head && tail - self.head <= M::BYTES as u64 && tail.is_multiple_of(8);
            if is_sound {
                self.tail = tail;
            }
            self.is_broken = !is_sound;
        }
        self.tail != self.head
    }

    /// Returns the next frame, which stays in the ring until [`advance`](Self::advance).
    pub(crate) fn peek(&mut self) -> Option<Frame<'_>> {
        while self.has_frame() {
            let (kind, len) = self.header();
            if kind == PAD && FRAME + len != M::BYTES - (self.head as usize & (M::BYTES - 1)) {
                // A valid pad reaches to the end of the ring.
                return Some(Frame { kind: GARBAGE, body: &[] });
            }
            if kind != PAD {
                // SAFETY: `header` limits `len` to published bytes inside the ring. The writer does not touch these
                // bytes before `advance` returns them.
                let body = unsafe { std::slice::from_raw_parts(self.at(FRAME), len) };
                return Some(Frame { kind, body });
            }
            self.advance();
        }
        None
    }

    /// Returns the frame's room to the writer.
    pub(crate) fn advance(&mut self) {
        let (_, len) = self.header();
        self.head = (self.head + padded(len) as u64).min(self.tail);
        self.memory.head().store(self.head, Ordering::Release);
    }

    fn at(&self, plus: usize) -> *const u8 {
        let base = self.memory.base();
        // SAFETY: `head` is a multiple of 8 and masked by the ring's length; `plus` is at most 8.
        unsafe { base.add((self.head as usize & (M::BYTES - 1)) + plus) }
    }

    fn header(&self) -> (u32, usize) {
        let mut word = [0; FRAME];
        // SAFETY: 8 bytes at a multiple of 8 are inside the ring, and published.
        unsafe { std::ptr::copy_nonoverlapping(self.at(0), word.as_mut_ptr(), FRAME) };
        let word = u64::from_le_bytes(word);
        let to_end = M::BYTES - (self.head as usize & (M::BYTES - 1));
        let limit = to_end.min((self.tail - self.head) as usize) - FRAME;
        ((word >> 32) as u32, (word as u32 as usize).min(limit))
    }

    /// Returns up to `len` bytes of the body of a frame that a writer had not published when it died.
    pub(crate) fn unpublished(&mut self, len: usize) -> &[u8] {
        debug_assert!(!self.has_frame());
        let limit = M::BYTES - (self.head as usize & (M::BYTES - 1)) - FRAME;
        // SAFETY: the bytes are inside the ring by the line above. The writer is dead, so no process writes to them.
        unsafe { std::slice::from_raw_parts(self.at(FRAME), len.min(limit)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_all_lengths_arrive_in_order() {
        let region = Region::new().unwrap();
        let mut random = fastrand::Rng::with_seed(1);
        let lengths: Vec<usize> =
            (0..3000).map(|i| if i % 10 == 0 { random.usize(..=MAX_BODY) } else { random.usize(..200) }).collect();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut writer = Writer::new(&region, true);
                for (i, &len) in lengths.iter().enumerate() {
                    let body = vec![i as u8; len];
                    while !writer.send(7 + i as u32, &[&body[..len / 2], &body[len / 2..]]) {
                        std::thread::yield_now();
                    }
                }
            });
            let mut reader = Reader::new(&region, true);
            for (i, &len) in lengths.iter().enumerate() {
                while !reader.has_frame() || reader.peek().is_none() {
                    std::thread::yield_now();
                }
                let frame = reader.peek().unwrap();
                assert_eq!((frame.kind, frame.body.len()), (7 + i as u32, len));
                assert!(frame.body.iter().all(|&b| b == i as u8));
                reader.advance();
            }
        });
    }

    #[test]
    fn a_damaged_header_stays_inside_the_ring() {
        let region = Region::new().unwrap();
        let mut writer = Writer::new(&region, false);
        writer.reserve(8).unwrap();
        writer.publish(9, u32::MAX as usize - 64);
        let mut reader = Reader::new(&region, false);
        // Such a tail lies beyond the ring, so nothing is read.
        assert!(reader.peek().is_none());
    }

    /// A ring of 32 bytes, for loom.
    struct Small {
        tail: loom::sync::atomic::AtomicU64,
        head: loom::sync::atomic::AtomicU64,
        bytes: std::cell::UnsafeCell<[u64; 4]>,
        /// One cell for each word of `bytes`: loom fails if one side accesses a word while the other side may access
        /// it.
        words: [loom::cell::UnsafeCell<()>; 4],
    }

    // SAFETY: loom runs one thread at a time, and `words` checks the accesses.
    unsafe impl Sync for Small {}
    // SAFETY: as above.
    unsafe impl Send for Small {}

    impl Memory for loom::sync::Arc<Small> {
        type Word = loom::sync::atomic::AtomicU64;
        const BYTES: usize = 32;

        fn tail(&self) -> &Self::Word {
            &self.tail
        }

        fn head(&self) -> &Self::Word {
            &self.head
        }

        fn base(&self) -> *mut u8 {
            self.bytes.get().cast()
        }
    }

    impl Small {
        /// Returns the words of a frame with a body of 16 bytes at this position.
        fn frame(&self, position: u64) -> impl Iterator<Item = &loom::cell::UnsafeCell<()>> {
            let first = position as usize % 32 / 8;
            assert!(first + 3 <= 4, "a frame does not wrap");
            self.words[first..first + 3].iter()
        }
    }

    /// The frames have 24 bytes: of any two, the second needs the room of the first, and a pad before it.
    #[test]
    fn each_end_leaves_the_others_bytes_alone_in_any_order() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(|| {
            let position = || loom::sync::atomic::AtomicU64::new(0);
            let words = std::array::from_fn(|_| loom::cell::UnsafeCell::new(()));
            let memory = Small { tail: position(), head: position(), bytes: [0; 4].into(), words };
            let memory = loom::sync::Arc::new(memory);
            let writing = memory.clone();
            let writer = loom::thread::spawn(move || {
                let mut writer = Writer::over(writing.clone());
                for number in [7_u8, 8] {
                    while writer.reserve(16).is_none() {
                        loom::thread::yield_now();
                    }
                    writing.frame(writer.tail).for_each(|word| word.with_mut(|_| ()));
                    writer.reserve(16).unwrap().fill(number);
                    writer.publish(number.into(), 16);
                }
            });
            let mut reader = Reader::over(memory.clone());
            for number in [7_u8, 8] {
                while reader.peek().is_none() {
                    loom::thread::yield_now();
                }
                memory.frame(reader.head).for_each(|word| word.with(|_| ()));
                let frame = reader.peek().unwrap();
                assert_eq!((frame.kind, frame.body), (number.into(), &[number; 16][..]));
                reader.advance();
            }
            assert!(!reader.has_frame() && !reader.is_broken());
            writer.join().unwrap();
        });
    }
}
