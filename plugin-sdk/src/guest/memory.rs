//! What every guest does all the time with memory: comparing texts, and asking for a little of it. What comes with the target is made to
//! be small: it compares byte by byte, and each turn of a loop also looks whether the call has run too long.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::arch::wasm32::{u64x2_splat, v128};
use std::array::from_fn;
use std::cell::UnsafeCell;
use std::ptr::{null_mut, read_unaligned, write_unaligned};

/// What comparing slices is compiled to.
///
/// # Safety
/// As C's `memcmp`: both must have `len` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, len: usize) -> i32 {
    // SAFETY: every read below lies within the first `len` bytes.
    unsafe {
        let word = |from: *const u8, at: usize| u64::from_be(read_unaligned(from.add(at).cast()));
        let half = |from: *const u8, at: usize| u64::from(u32::from_be(read_unaligned(from.add(at).cast())));
        let byte = |from: *const u8, at: usize| u64::from(*from.add(at));
        let mut at = 0;
        while at + 8 < len {
            let (x, y) = (word(a, at), word(b, at));
            if x != y {
                return order(x, y);
            }
            at += 8;
        }
        // The rest overlaps what is known to be equal, so that there is no loop for it.
        let (x, y) = match len {
            0 => return 0,
            1..=3 => {
                let all = |from| byte(from, 0) << 16 | byte(from, len / 2) << 8 | byte(from, len - 1);
                (all(a), all(b))
            }
            4..=7 => {
                let all = |from| half(from, 0) << 32 | half(from, len - 4);
                (all(a), all(b))
            }
            _ => (word(a, len - 8), word(b, len - 8)),
        };
        order(x, y)
    }
}

fn order(a: u64, b: u64) -> i32 {
    i32::from(a > b) - i32::from(a < b)
}

/// What copies of unknown length call, once `cargo xtask plugins` has put it in their place: the host, whom larger ones are left to, is too far
/// away for a word. All is read before anything is written, so the two may overlap.
///
/// # Safety
/// As C's `memmove`: both must have `len` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn sentrail_copy(to: *mut u8, from: *const u8, len: usize) {
    // SAFETY: every access below lies within the first `len` bytes.
    unsafe {
        match len {
            0 => {}
            1..=3 => {
                let (first, middle, last) = (*from, *from.add(len / 2), *from.add(len - 1));
                *to = first;
                *to.add(len / 2) = middle;
                *to.add(len - 1) = last;
            }
            4..=7 => copy_ends::<u32, 1>(to, from, len),
            8..=15 => copy_ends::<u64, 1>(to, from, len),
            16..=32 => copy_ends::<v128, 1>(to, from, len),
            33..=64 => copy_ends::<v128, 2>(to, from, len),
            65..=128 => copy_ends::<v128, 4>(to, from, len),
            _ => std::ptr::copy(from, to, len),
        }
    }
}

/// Copies the first and the last `N` words, which overlap unless there are twice as many.
///
/// # Safety
/// There must be at least `N` words of bytes at both places.
#[inline(always)]
unsafe fn copy_ends<T: Copy, const N: usize>(to: *mut u8, from: *const u8, len: usize) {
    // SAFETY: the caller says so, and no access asks for alignment.
    unsafe {
        let behind = len - N * size_of::<T>();
        let head: [T; N] = from_fn(|at| read_unaligned(from.cast::<T>().add(at)));
        let tail: [T; N] = from_fn(|at| read_unaligned(from.add(behind).cast::<T>().add(at)));
        for at in 0..N {
            write_unaligned(to.cast::<T>().add(at), head[at]);
        }
        for at in 0..N {
            write_unaligned(to.add(behind).cast::<T>().add(at), tail[at]);
        }
    }
}

/// As [`sentrail_copy`], for filling with one byte.
///
/// # Safety
/// As C's `memset`: there must be `len` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn sentrail_fill(to: *mut u8, byte: u32, len: usize) {
    let word = u64::from(byte & 0xff) * 0x0101_0101_0101_0101;
    // SAFETY: every access below lies within the first `len` bytes.
    unsafe {
        match len {
            0 => {}
            1..=3 => {
                *to = byte as u8;
                *to.add(len / 2) = byte as u8;
                *to.add(len - 1) = byte as u8;
            }
            4..=7 => fill_ends::<u32, 1>(to, word as u32, len),
            8..=15 => fill_ends::<u64, 1>(to, word, len),
            16..=32 => fill_ends::<v128, 1>(to, u64x2_splat(word), len),
            33..=64 => fill_ends::<v128, 2>(to, u64x2_splat(word), len),
            65..=128 => fill_ends::<v128, 4>(to, u64x2_splat(word), len),
            _ => std::ptr::write_bytes(to, byte as u8, len),
        }
    }
}

/// Fills the first and the last `N` words.
///
/// # Safety
/// There must be at least `N` words of bytes.
#[inline(always)]
unsafe fn fill_ends<T: Copy, const N: usize>(to: *mut u8, word: T, len: usize) {
    // SAFETY: the caller says so, and no access asks for alignment.
    unsafe {
        let behind = len - N * size_of::<T>();
        for at in 0..N {
            write_unaligned(to.cast::<T>().add(at), word);
            write_unaligned(to.add(behind).cast::<T>().add(at), word);
        }
    }
}

/// Blocks of at most this many bytes are kept for the next that asks for as many, instead of going back where they came from.
const SMALL_MAX: usize = 1024;
/// Sizes of small blocks are multiples of this, which is also their alignment.
const STEP: usize = 16;
/// Small blocks are cut from pieces of so many bytes.
const PIECE: usize = 32 << 10;

/// Small blocks by size over the target's own allocator, which has all others.
pub struct Allocator(UnsafeCell<Small>);

struct Small {
    /// Of each size the first free block, which holds where the next one is.
    free: [*mut Free; SMALL_MAX / STEP],
    /// What is left of the newest piece.
    at: *mut u8,
    left: usize,
}

struct Free {
    next: *mut Free,
}

// SAFETY: a guest has one thread.
unsafe impl Sync for Allocator {}

impl Allocator {
    pub const fn new() -> Self {
        Self(UnsafeCell::new(Small {
            free: [null_mut(); SMALL_MAX / STEP],
            at: null_mut(),
            left: 0,
        }))
    }
}

/// The place of a block's size among the small ones; `None` for others.
#[inline]
fn class(layout: &Layout) -> Option<usize> {
    (layout.size() <= SMALL_MAX && layout.size() > 0 && layout.align() <= STEP).then(|| (layout.size() - 1) / STEP)
}

// SAFETY: a block comes from the free blocks of its size, each of which stands there once, or from the part of a piece that nobody had.
unsafe impl GlobalAlloc for Allocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: one thread, and nothing below comes back here. Free blocks are large enough for a pointer.
        unsafe {
            let Some(class) = class(&layout) else {
                return System.alloc(layout);
            };
            let small = &mut *self.0.get();
            let first = small.free[class];
            if first.is_null() {
                return small.cut((class + 1) * STEP);
            }
            small.free[class] = (*first).next;
            first.cast()
        }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above, and the caller gives the layout that it asked with.
        unsafe {
            let Some(class) = class(&layout) else {
                return System.dealloc(block, layout);
            };
            let small = &mut *self.0.get();
            let block: *mut Free = block.cast();
            (*block).next = small.free[class];
            small.free[class] = block;
        }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller keeps the law of `GlobalAlloc`.
        unsafe {
            let new = Layout::from_size_align_unchecked(size, layout.align());
            match (class(&layout), class(&new)) {
                (None, None) => System.realloc(block, layout, size),
                (Some(had), Some(wanted)) if had == wanted => block,
                _ => {
                    let moved = self.alloc(new);
                    if !moved.is_null() {
                        std::ptr::copy_nonoverlapping(block, moved, layout.size().min(size));
                        self.dealloc(block, layout);
                    }
                    moved
                }
            }
        }
    }
}

impl Small {
    /// A block of a new or the newest piece.
    #[cold]
    fn cut(&mut self, size: usize) -> *mut u8 {
        if self.left < size {
            // SAFETY: neither size nor alignment is zero. What is left of the piece before, less than a small block, is given up.
            let piece = unsafe { System.alloc(Layout::from_size_align_unchecked(PIECE, STEP)) };
            if piece.is_null() {
                return piece;
            }
            (self.at, self.left) = (piece, PIECE);
        }
        let block = self.at;
        // SAFETY: `size` bytes are left.
        self.at = unsafe { block.add(size) };
        self.left -= size;
        block
    }
}
