//! `tokenizer.json` behind a small face.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::dir::ModelDir;
use crate::error::{Fault, ModelError};

const FILE: &str = "tokenizer.json";
/// The largest known ones (250,000 tokens with merges) take 35 MB.
const LIMIT: u64 = 128 << 20;

/// Text to token ids and back.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
}

impl Tokenizer {
    /// Reads the file. Truncation and padding that it may ask for are switched off: a prompt is
    /// encoded whole or not at all.
    ///
    /// # Errors
    /// Missing, too large or malformed.
    pub fn read(dir: &ModelDir) -> Result<Self, ModelError> {
        let bytes = dir.read(FILE, LIMIT)?;
        // The library is not written against hostile files; a panic of it is a fault of the file.
        let parsed = catch_unwind(AssertUnwindSafe(|| tokenizers::Tokenizer::from_bytes(&bytes)));
        let fault = |e: String| dir.error(FILE, Fault::malformed(format!("it is not valid: {e}")));
        let mut inner = match parsed {
            Ok(Ok(tokenizer)) => tokenizer,
            Ok(Err(e)) => return Err(fault(e.to_string())),
            Err(_) => return Err(fault("its reader gave up".to_owned())),
        };
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|e| fault(e.to_string()))?;
        Ok(Self { inner })
    }

    /// Token ids of a text; special tokens written out in it are recognised. `add_special` adds what
    /// the tokenizer's own post-processor would (nothing, for Qwen3).
    ///
    /// # Errors
    /// The library's text, for texts that the tokenizer's rules cannot take.
    pub fn encode(&self, text: &str, add_special: bool) -> Result<Vec<u32>, String> {
        let run = || self.inner.encode_fast(text, add_special);
        match catch_unwind(AssertUnwindSafe(run)) {
            Ok(Ok(encoding)) => Ok(encoding.get_ids().to_vec()),
            Ok(Err(e)) => Err(e.to_string()),
            Err(_) => Err("the tokenizer gave up".to_owned()),
        }
    }

    /// Text of token ids. Bytes that are no UTF-8 become U+FFFD; unknown ids vanish.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> String {
        let run = || self.inner.decode(ids, skip_special);
        catch_unwind(AssertUnwindSafe(run)).ok().and_then(Result::ok).unwrap_or_default()
    }

    /// The id of one token.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// Number of tokens, added ones included.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }
}
