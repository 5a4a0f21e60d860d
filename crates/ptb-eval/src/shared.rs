//! Sequences that begin alike, held once where they do: few-shot prompts differ in their last lines alone.

use std::sync::Arc;

/// A sequence as so much of the beginning of another one, and the rest.
#[derive(Debug)]
pub(crate) struct Shared<T> {
    base: Arc<[T]>,
    common: usize,
    own: Box<[T]>,
}

impl<T: Copy + PartialEq> Shared<T> {
    /// `items`, as far as they are those of `base` without a copy.
    pub(crate) fn new(items: &[T], base: &Arc<[T]>) -> Self {
        let common = items.iter().zip(base.iter()).take_while(|(a, b)| a == b).count();
        Self { base: Arc::clone(base), common, own: items[common..].into() }
    }

    /// Its length.
    pub(crate) fn len(&self) -> usize {
        self.common + self.own.len()
    }

    /// All of it.
    pub(crate) fn to_vec(&self) -> Vec<T> {
        [&self.base[..self.common], &self.own[..]].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost() {
        let base: Arc<[u8]> = Arc::from(&b"shots and question"[..]);
        for text in ["", "shots and others", "shots and question", "shots and question?", "else"] {
            let shared = Shared::new(text.as_bytes(), &base);
            assert_eq!((shared.to_vec(), shared.len()), (text.as_bytes().to_vec(), text.len()));
        }
    }
}
