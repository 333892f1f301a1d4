//! A hint to the processor: this will be read soon.
//!
//! With many sensors nothing of one is in a cache when its turn comes, and most of the time goes into waiting for memory. What
//! is asked for while others are worked on arrives meanwhile. Invariant: it changes nothing but speed. Other processors than
//! x86-64 are not told; they find their way alone.

/// Bytes that come from memory at once.
const LINE: usize = 64;

/// Begins to fetch all of `value` into the caches.
#[inline(always)]
pub fn prefetch<T: ?Sized>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let start = std::ptr::from_ref(value).cast::<i8>();
        let before = start.addr() % LINE;
        for at in (0..before + size_of_val(value)).step_by(LINE) {
            // SAFETY: a prefetch reads nothing that the program could see, and an address that is not there does not fault.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(at).wrapping_sub(before)) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}
