//! Secrets never reach the disk: what is written passes through a [`Mask`], which puts `[masked:NAME]` in the place of
//! each secret.
//!
//! A mask knows given secrets (in plain and in the forms that programs give a text) and what keys of common
//! services look like. It works on bytes, whole or as a stream; a secret that is cut anywhere over the
//! pieces of a stream is found all the same, and what holds no secret comes out as it went in.
//!
//! It does not undo what somebody does to hide a secret: compression, encryption, other encodings, base64 that is
//! broken into lines inside the secret.

mod forms;
mod search;
mod shapes;
mod stream;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

pub use stream::MaskStream;

use search::{Found, Search, Window};

/// Shorter secrets would mask ordinary text.
const SHORTEST: usize = 8;
/// Longer ones are no keys, and a stream might have to hold back as much.
const LONGEST: usize = 16 << 10;

/// Why there is no mask.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MaskError {
    /// A secret is too short.
    #[error(
        "cannot mask the secret {name}: it has {length} characters, and so few may stand in ordinary text\n\
         hint: give a key of at least 8 characters, or none where the server asks for none"
    )]
    Short {
        /// The secret's name.
        name: String,
        /// Its length in characters.
        length: usize,
    },
    /// A secret is too long.
    #[error(
        "cannot mask the secret {name}: it has {length} bytes\n\
         hint: a key has at most 16384; was a file of something else given?"
    )]
    Long {
        /// The secret's name.
        name: String,
        /// Its length in bytes.
        length: usize,
    },
    /// A name cannot stand in the place of a secret.
    #[error(
        "cannot mask a secret under the name {name:?}\n\
         hint: names have letters, digits, '-', '_' and '.', so that they may stand in any format"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// The searcher cannot be built.
    #[error(
        "cannot build the search for {secrets} secrets: {why}\nhint: give fewer or shorter ones"
    )]
    Build {
        /// How many secrets there are.
        secrets: usize,
        /// What the library says.
        why: String,
    },
}

/// What hides secrets. Cheap to clone.
#[derive(Clone)]
pub struct Mask(Option<Arc<Search>>);

impl Mask {
    /// Hides these secrets, given as names and values, and all that looks like a key of a common service. White space
    /// around a value does not belong to it.
    ///
    /// # Errors
    /// When a value is shorter than 8 characters or longer than 16 KiB, or a name has characters that may not stand
    /// everywhere.
    pub fn new<N, V>(secrets: impl IntoIterator<Item = (N, V)>) -> Result<Self, MaskError>
    where
        N: Into<String>,
        V: AsRef<str>,
    {
        let mut literals = Vec::new();
        let mut count = 0;
        for (name, value) in secrets {
            let (name, value) = (name.into(), value.as_ref().trim());
            check(&name, value)?;
            let replacement: Arc<[u8]> = replacement(&name).into();
            literals
                .extend(forms::of(value).into_iter().map(|form| (form, Arc::clone(&replacement))));
            count += 1;
        }
        let search = Search::new(literals)
            .map_err(|e| MaskError::Build { secrets: count, why: e.to_string() })?;
        Ok(Self(Some(Arc::new(search))))
    }

    /// Hides these keys, given with their names; see [`Mask::new`].
    ///
    /// # Errors
    /// As [`Mask::new`].
    pub fn of_keys<'a>(
        keys: impl IntoIterator<Item = (&'a str, &'a crate::Key)>,
    ) -> Result<Self, MaskError> {
        Self::new(keys.into_iter().map(|(name, key)| (name, key.secret())))
    }

    /// Hides nothing: for a trial that shows that the search for secrets finds them.
    pub fn off() -> Self {
        Self(None)
    }

    /// Hides what is in a whole text.
    pub fn whole<'a>(&self, text: &'a [u8]) -> Cow<'a, [u8]> {
        let Some(search) = &self.0 else { return Cow::Borrowed(text) };
        let window = Window { before: &[], data: text, whole: true };
        let mut masked: Option<Vec<u8>> = None;
        let mut from = 0;
        while let Found::Secret { start, end, replacement } = search.next(&window, from, text.len())
        {
            let masked = masked.get_or_insert_with(|| Vec::with_capacity(text.len()));
            masked.extend_from_slice(text.get(from..start).unwrap_or_default());
            masked.extend_from_slice(replacement);
            from = end;
        }
        match masked {
            None => Cow::Borrowed(text),
            Some(mut masked) => {
                masked.extend_from_slice(text.get(from..).unwrap_or_default());
                Cow::Owned(masked)
            }
        }
    }

    /// Hides what is in a text; what is no UTF-8 is replaced.
    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match self.whole(text.as_bytes()) {
            Cow::Borrowed(_) => Cow::Borrowed(text),
            Cow::Owned(masked) => Cow::Owned(String::from_utf8_lossy(&masked).into_owned()),
        }
    }

    /// Hides what is in a text that comes in pieces.
    pub fn stream(&self) -> MaskStream {
        MaskStream::new(self.0.clone())
    }
}

impl fmt::Debug for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Mask(on)" } else { "Mask(off)" })
    }
}

fn check(name: &str, value: &str) -> Result<(), MaskError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || !name.chars().all(fits) {
        return Err(MaskError::Name { name: name.to_owned() });
    }
    let length = value.chars().count();
    if length < SHORTEST {
        return Err(MaskError::Short { name: name.to_owned(), length });
    }
    if value.len() > LONGEST {
        return Err(MaskError::Long { name: name.to_owned(), length: value.len() });
    }
    Ok(())
}

/// What stands in the place of a secret.
fn replacement(name: &str) -> Vec<u8> {
    format!("[masked:{name}]").into_bytes()
}
