//! Transactions of an embedded storage, which run again after the map has grown.

use std::sync::PoisonError;

use heed::{MdbError, RoTxn, RwTxn};

use super::{Embedded, size, turns};
use crate::kv::{KeyValue, KvError, KvResult};

impl Embedded {
    pub(super) fn read<T>(&self, operation: &str, key: &str, act: impl Fn(&RoTxn) -> heed::Result<T>) -> KvResult<T> {
        self.retried(operation, key, 0, || Ok(Ok(act(&*self.env.read_txn()?)?)))
    }

    /// Runs a change, and commits it if it returns `Ok`. `room` is the space that it may need, in bytes.
    pub(super) fn write<T>(
        &self,
        operation: &str,
        key: &str,
        room: usize,
        mut act: impl FnMut(&mut RwTxn) -> heed::Result<KvResult<T>>,
    ) -> KvResult<T> {
        self.retried(operation, key, room, || {
            let _turn = match self.turns.take(turns::PATIENCE) {
                Ok(turn) => turn,
                Err(reason) => return Ok(Err(reason)),
            };
            let mut change = self.env.write_txn()?;
            let outcome = act(&mut change)?;
            if outcome.is_ok() {
                change.commit()?;
            }
            Ok(Ok(outcome))
        })?
    }

    /// Runs a transaction, and runs it again after fixing a full map, an outdated map size or a full table of readers.
    /// The inner `Err` is the reason for a failure that is not retried.
    fn retried<T>(
        &self,
        operation: &str,
        key: &str,
        room: usize,
        mut transaction: impl FnMut() -> heed::Result<std::result::Result<T, String>>,
    ) -> KvResult<T> {
        let failed = |reason: String| KvError::Failed {
            kv: self.url(),
            operation: operation.to_owned(),
            key: key.to_owned(),
            reason,
        };
        if std::process::id() != self.process {
            return Err(failed(
                "this process was forked from the one that opened it; start the child with exec".to_owned(),
            ));
        }
        let mut cleared = false;
        loop {
            let guard = self.map.read().unwrap_or_else(PoisonError::into_inner);
            let size = self.env.info().map_size;
            let error = match transaction() {
                Ok(outcome) => return outcome.map_err(failed),
                Err(error) => error,
            };
            drop(guard);
            let fixed = match error {
                heed::Error::Mdb(MdbError::MapFull) => self.grow(size, room),
                heed::Error::Mdb(MdbError::MapResized) => self.follow(),
                heed::Error::Mdb(MdbError::ReadersFull) if !cleared => {
                    cleared = true;
                    self.env.clear_stale_readers().map(drop)
                }
                heed::Error::Mdb(MdbError::Corrupted | MdbError::PageNotFound | MdbError::Invalid) => {
                    return Err(failed(format!(
                        "{error}: its files are damaged, as after a power failure; delete them"
                    )));
                }
                other => Err(other),
            };
            fixed.map_err(|e| failed(e.to_string()))?;
        }
    }

    /// Makes the map larger than `size`, unless another thread already did.
    fn grow(&self, size: usize, room: usize) -> heed::Result<()> {
        let _alone = self.map.write().unwrap_or_else(PoisonError::into_inner);
        if self.env.info().map_size > size {
            return Ok(());
        }
        self.env.clear_stale_readers()?;
        let page = 1 << 16;
        let larger = (size.saturating_mul(2)).max(size.saturating_add(room.saturating_mul(2))).next_multiple_of(page);
        size::extend(&self.options.folder, larger)?;
        // SAFETY: no transaction of this process is open: each holds the lock for reading, and here it is held for
        // writing.
        unsafe { self.env.resize(larger) }
    }

    /// Adopts the map size that another process has set.
    fn follow(&self) -> heed::Result<()> {
        let _alone = self.map.write().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: as in `grow`. 0 means the size recorded in the file.
        unsafe { self.env.resize(0) }
    }
}
