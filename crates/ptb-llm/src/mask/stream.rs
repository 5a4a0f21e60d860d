//! A mask over a text that comes in pieces.

use std::sync::Arc;

use super::search::{CONTEXT, Found, Search, Window};

/// Hides secrets in a text that comes in pieces. It holds back what may be the beginning of a secret, and no more: at
/// most the longest form of a secret, or a key of the longest shape (16 KiB).
pub struct MaskStream {
    search: Option<Arc<Search>>,
    /// What may be the beginning of a secret.
    held: Vec<u8>,
    /// The last bytes before it.
    before: Vec<u8>,
}

impl MaskStream {
    pub(super) fn new(search: Option<Arc<Search>>) -> Self {
        Self { search, held: Vec::new(), before: Vec::new() }
    }

    /// Takes a piece, and puts what is known to be no beginning of a secret at the end of `out`.
    pub fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        self.take(piece, false, out);
    }

    /// Puts the rest at the end of `out`. A new text may begin afterwards.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        self.take(&[], true, out);
        self.before.clear();
    }

    /// Bytes that are held back.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    fn take(&mut self, piece: &[u8], whole: bool, out: &mut Vec<u8>) {
        let Some(search) = self.search.clone() else { return out.extend_from_slice(piece) };
        if self.held.is_empty() {
            self.pass(&search, piece, whole, out);
        } else {
            let mut data = std::mem::take(&mut self.held);
            data.extend_from_slice(piece);
            self.pass(&search, &data, whole, out);
        }
    }

    /// Lets all through that is known, and holds the rest.
    fn pass(&mut self, search: &Search, data: &[u8], whole: bool, out: &mut Vec<u8>) {
        let (window, mut from) = (Window { before: &self.before, data, whole }, 0);
        let mut known = search.known(&window, from);
        loop {
            match search.next(&window, from, known) {
                Found::Secret { start, end, replacement } => {
                    out.extend_from_slice(data.get(from..start).unwrap_or_default());
                    out.extend_from_slice(replacement);
                    from = end;
                    if from > known {
                        known = search.known(&window, from);
                    }
                }
                Found::None { until } => {
                    out.extend_from_slice(data.get(from..until).unwrap_or_default());
                    let before = window.context(until);
                    self.before = before;
                    self.held = data.get(until..).unwrap_or_default().to_vec();
                    return;
                }
            }
        }
    }
}

impl std::fmt::Debug for MaskStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MaskStream").field("held", &self.held.len()).finish_non_exhaustive()
    }
}

const _: () = assert!(CONTEXT >= 6, "an escape of six bytes may stand before a key");
