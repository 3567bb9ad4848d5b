//! The atomic word that protocols between threads and processes are generic over: an [`AtomicU64`] in programs, and
//! loom's type in the tests that run the protocols in every order of their steps.

use std::sync::atomic::{AtomicU64, Ordering, fence};

/// A 64-bit atomic integer.
pub(crate) trait Word {
    fn load(&self, order: Ordering) -> u64;
    fn store(&self, value: u64, order: Ordering);
    fn swap(&self, value: u64, order: Ordering) -> u64;
    fn fetch_add(&self, value: u64, order: Ordering) -> u64;
    fn fetch_sub(&self, value: u64, order: Ordering) -> u64;
    fn compare_exchange(&self, old: u64, new: u64, success: Ordering, failure: Ordering) -> Result<u64, u64>;
    /// A sequentially consistent fence.
    fn fence();
}

macro_rules! word {
    ($word:ty, $fence:path) => {
        impl Word for $word {
            fn load(&self, order: Ordering) -> u64 {
                self.load(order)
            }

            fn store(&self, value: u64, order: Ordering) {
                self.store(value, order);
            }

            fn swap(&self, value: u64, order: Ordering) -> u64 {
                self.swap(value, order)
            }

            fn fetch_add(&self, value: u64, order: Ordering) -> u64 {
                self.fetch_add(value, order)
            }

            fn fetch_sub(&self, value: u64, order: Ordering) -> u64 {
                self.fetch_sub(value, order)
            }

            fn compare_exchange(&self, old: u64, new: u64, success: Ordering, failure: Ordering) -> Result<u64, u64> {
                self.compare_exchange(old, new, success, failure)
            }

            fn fence() {
                $fence(Ordering::SeqCst);
            }
        }
    };
}

word!(AtomicU64, fence);
#[cfg(test)]
word!(loom::sync::atomic::AtomicU64, loom::sync::atomic::fence);
