//! The shared memory of one worker: two rings, and data that must outlive a crash.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::{MmapOptions, MmapRaw};

use super::panic_record::PanicRecord;
use crate::platform::{self, SleepFlag, Word};

/// Number of batches that a worker holds at once: one runs, the others wait.
pub(crate) const SLOTS: usize = 2;

/// Length of each ring in bytes, a power of two.
pub(crate) const RING: usize = 4 << 20;

/// Length of the header in bytes.
const HEADER: usize = 4096;

/// A number on a cache line of its own.
#[repr(C, align(128))]
#[derive(Default)]
struct Position(AtomicU64);

#[repr(C, align(128))]
#[derive(Default)]
struct Header {
    /// Tail and head of the ring to the worker.
    to_worker: [Position; 2],
    /// Tail and head of the ring to the driver.
    to_driver: [Position; 2],
    cursors: [Position; SLOTS],
    /// See [`OpenResults`].
    open: Position,
    /// 1 + the slot of the running batch; 0 if no batch runs.
    active: Position,
    /// Whether the worker sleeps until the driver writes to its socket.
    worker_asleep: Position,
    /// Whether the driver waits for room in the ring to the worker.
    driver_wants_room: Position,
    /// Whether the worker sleeps until there is room in the ring to the driver.
    worker_wants_room: Position,
    /// When the worker began to accept batches; 0 before.
    ready: Position,
    /// The memory that the worker held before its running task started, in bytes.
    baseline: Position,
    panic_record: PanicRecord,
}

const _: () = assert!(size_of::<Header>() <= HEADER);

/// The mapped region. Both sides map the same file.
#[derive(Debug, Clone)]
pub(crate) struct Region(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    map: MmapRaw,
    /// `None` in the worker, which needs only the mapping.
    file: Option<OwnedFd>,
}

impl Region {
    pub(crate) fn new() -> io::Result<Self> {
        let file = platform::shared_file((HEADER + 2 * RING) as u64)?;
        let map = MmapOptions::new().len(HEADER + 2 * RING).map_raw(&file)?;
        Ok(Self(Arc::new(Inner { map, file: Some(file) })))
    }

    /// Maps the region in the worker.
    pub(crate) fn open(file: &OwnedFd) -> io::Result<Self> {
        let map = MmapOptions::new().len(HEADER + 2 * RING).map_raw(file)?;
        Ok(Self(Arc::new(Inner { map, file: None })))
    }

    /// Returns the descriptor that the worker needs to map the region; `None` in the worker.
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.0.file.as_ref().map(AsFd::as_fd)
    }

    fn header(&self) -> &Header {
        // SAFETY: the mapping is longer than HEADER, page-aligned, zeroed at creation, and lives as long as `self`.
        // `Header` consists only of atomics, for which any bytes are valid and which other processes may change. miri
        // cannot map files.
        unsafe { &*self.0.map.as_ptr().cast::<Header>() }
    }

    /// Returns the writer's and the reader's position in one of the rings.
    pub(super) fn positions(&self, to_worker: bool) -> (&AtomicU64, &AtomicU64) {
        let header = self.header();
        let [tail, head] = if to_worker { &header.to_worker } else { &header.to_driver };
        (&tail.0, &head.0)
    }

    /// Returns the first byte of one of the rings.
    pub(super) fn ring(&self, to_worker: bool) -> *mut u8 {
        let offset = if to_worker { HEADER } else { HEADER + RING };
        // SAFETY: the offset is inside the mapping, see `open`.
        unsafe { self.0.map.as_mut_ptr().add(offset) }
    }

    pub(crate) fn cursor(&self, slot: usize) -> Cursor<'_> {
        Cursor(&self.header().cursors[slot % SLOTS].0)
    }

    pub(crate) fn open_results(&self) -> OpenResults<'_> {
        OpenResults(&self.header().open.0)
    }

    /// Returns the slot of the running batch.
    pub(crate) fn active(&self) -> Option<usize> {
        (self.header().active.0.load(Ordering::Acquire) as usize).checked_sub(1)
    }

    pub(crate) fn set_active(&self, slot: Option<usize>) {
        self.header().active.0.store(slot.map_or(0, |s| s as u64 + 1), Ordering::Release);
    }

    pub(crate) fn worker_asleep(&self) -> SleepFlag<'_> {
        SleepFlag(&self.header().worker_asleep.0)
    }

    pub(crate) fn driver_wants_room(&self) -> SleepFlag<'_> {
        SleepFlag(&self.header().driver_wants_room.0)
    }

    pub(crate) fn worker_wants_room(&self) -> SleepFlag<'_> {
        SleepFlag(&self.header().worker_wants_room.0)
    }

    /// Returns the memory that the worker held before its running task started, in bytes.
    pub(crate) fn baseline(&self) -> &AtomicU64 {
        &self.header().baseline.0
    }

    /// Returns the record of a panic that ended the worker.
    pub(crate) fn panic_record(&self) -> &PanicRecord {
        &self.header().panic_record
    }

    /// Returns the size of the region, which counts as memory of each process that maps it, in bytes.
    pub(crate) const fn size() -> u64 {
        (HEADER + 2 * RING) as u64
    }

    /// Returns when the worker began to accept batches, on the clock of [`monotonic`](platform::monotonic), if it has.
    pub(crate) fn ready_since(&self) -> Option<u64> {
        Some(self.header().ready.0.load(Ordering::Acquire)).filter(|at| *at != 0)
    }

    /// Records that the worker accepts batches since `at`, on the clock of [`monotonic`](platform::monotonic).
    pub(crate) fn set_ready(&self, at: u64) {
        self.header().ready.0.store(at.max(1), Ordering::Release);
    }
}

/// Distributes the tasks of one batch: the worker claims tasks from the front, one by one; the driver takes back
/// unclaimed tasks from the end. The word is `end << 32 | next`, relative to the batch.
pub(crate) struct Cursor<'a, W = AtomicU64>(&'a W);

impl<W: Word> Cursor<'_, W> {
    /// Driver: starts a batch of `count` tasks.
    pub(crate) fn reset(&self, count: u32) {
        self.0.store(u64::from(count) << 32, Ordering::Release);
    }

    /// Worker: claims the next task. Returns `None` if all tasks are claimed or taken back.
    pub(crate) fn claim(&self) -> Option<u32> {
        let old = self.0.fetch_add(1, Ordering::AcqRel);
        let (next, end) = (old as u32, (old >> 32) as u32);
        if next < end {
            return Some(next);
        }
        self.0.fetch_sub(1, Ordering::AcqRel);
        None
    }

    /// Returns `(next, end)`. The running task, if there is one, is `next - 1`.
    pub(crate) fn read(&self) -> (u32, u32) {
        let now = self.0.load(Ordering::Acquire);
        let (next, end) = (now as u32, (now >> 32) as u32);
        (next.min(end), end)
    }

    /// Driver: takes back unclaimed tasks, all of them or the later half. Returns the tasks: from the new end to the
    /// old end.
    pub(crate) fn take_back(&self, half: bool) -> std::ops::Range<u32> {
        let mut now = self.0.load(Ordering::Acquire);
        loop {
            let (next, end) = (now as u32, (now >> 32) as u32);
            let left = end.saturating_sub(next);
            let keep = if half { left / 2 } else { 0 };
            let new_end = end - (left - keep);
            let new = u64::from(new_end) << 32 | u64::from(next);
            match self.0.compare_exchange(now, new, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return new_end..end,
                Err(changed) => now = changed,
            }
        }
    }
}

/// The number and the length of the complete results in the run that the worker is writing, so that the driver can read
/// them after a crash: `count << 32 | bytes`.
pub(crate) struct OpenResults<'a>(&'a AtomicU64);

impl OpenResults<'_> {
    pub(crate) fn set(&self, count: u32, bytes: u32) {
        self.0.store(u64::from(count) << 32 | u64::from(bytes), Ordering::Release);
    }

    pub(crate) fn get(&self) -> (u32, u32) {
        let now = self.0.load(Ordering::Acquire);
        ((now >> 32) as u32, now as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_task_is_claimed_or_taken_back_but_never_both() {
        for half in [true, false] {
            let cell = AtomicU64::new(0);
            Cursor(&cell).reset(100_000);
            let (claimed, taken) = std::thread::scope(|scope| {
                let worker = scope.spawn(|| {
                    let mut claimed = Vec::new();
                    while let Some(task) = Cursor(&cell).claim() {
                        claimed.push(task);
                    }
                    claimed
                });
                let mut taken = Vec::new();
                for _ in 0..50 {
                    taken.extend(Cursor(&cell).take_back(half));
                    std::thread::yield_now();
                }
                (worker.join().unwrap(), taken)
            });
            let mut all = [claimed, taken].concat();
            all.sort_unstable();
            assert!(all.iter().copied().eq(0..100_000));
        }
    }

    #[test]
    fn a_cursor_at_its_end_stays_there() {
        let cell = AtomicU64::new(0);
        let cursor = Cursor(&cell);
        cursor.reset(1);
        assert_eq!(cursor.claim(), Some(0));
        assert_eq!(cursor.claim(), None);
        assert_eq!(cursor.claim(), None);
        assert_eq!(cursor.read(), (1, 1));
        assert_eq!(cursor.take_back(false), 1..1);
    }

    #[test]
    fn each_task_is_taken_once_in_any_order() {
        loom::model(|| {
            let cell = loom::sync::Arc::new(loom::sync::atomic::AtomicU64::new(0));
            Cursor(&*cell).reset(3);
            let worker = {
                let cell = cell.clone();
                loom::thread::spawn(move || std::iter::from_fn(|| Cursor(&*cell).claim()).collect::<Vec<_>>())
            };
            let mut taken: Vec<u32> = Cursor(&*cell).take_back(true).collect();
            let (next, end) = Cursor(&*cell).read();
            assert!(next <= end && end <= 3, "{next}, {end}");
            taken.extend(Cursor(&*cell).take_back(false));
            let mut all = [worker.join().unwrap(), taken].concat();
            all.sort_unstable();
            assert_eq!(all, [0, 1, 2]);
        });
    }
}
