//! The end of memory, told in this program's words.
//!
//! The library's own report cannot be changed, and where backtraces are wanted it draws one of every thread.
#![expect(unsafe_code, reason = "an allocator is the one place that sees memory end")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{Cursor, Write};

/// The system's allocator; what it refuses ends the program.
struct Told;

#[global_allocator]
static ALLOCATOR: Told = Told;

// SAFETY: every call is handed on as it came, and what comes back is given back unless it is null.
unsafe impl GlobalAlloc for Told {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        given(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        given(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        given(unsafe { System.realloc(place, layout, size) }, size)
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(place, layout) }
    }
}

fn given(place: *mut u8, size: usize) -> *mut u8 {
    if place.is_null() {
        ran_out(size);
    }
    place
}

/// Says so without any memory, and ends at once: threads are in the middle of their work.
#[cold]
fn ran_out(size: usize) -> ! {
    let mut text = Cursor::new([0; 256]);
    let _ = writeln!(
        text,
        "error: memory ran out: {size} bytes more cannot be had\n\
         hint: give a smaller --batch-tokens or --max-length, fewer --threads, or more memory"
    );
    let end = usize::try_from(text.position()).unwrap_or(0);
    let _ = rustix::io::write(rustix::stdio::stderr(), text.get_ref().get(..end).unwrap_or(&[]));
    signal_hook::low_level::exit(3)
}
