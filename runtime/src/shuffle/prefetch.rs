//! Prefetches memory before it is needed.

/// Hints to the processor that a value will be read soon. If values are scattered over more memory than its caches
/// hold, the wait for a value then overlaps with other work.
#[inline]
pub(crate) fn prefetch<T>(value: &T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: the instruction has no effect that the program sees, and does not fault at any address; this address
        // is that of a reference. SSE is part of x86-64. miri has nothing to check here.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(value).cast()) };
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = value;
}
