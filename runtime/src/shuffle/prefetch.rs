//! Asks for memory before it is needed.

/// Tells the processor that a value will be looked at soon. Where values lie at random in more memory
/// than its caches hold, the wait for one then goes on beside other work.
#[inline]
pub(crate) fn prefetch<T>(value: &T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: the instruction reads nothing that the program sees and faults at no address; this
        // one is a reference's. SSE is part of x86-64. There is nothing in it for miri to check.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(value).cast()) };
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = value;
}
