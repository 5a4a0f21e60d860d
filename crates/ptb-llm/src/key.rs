//! Keys that open servers: sent, and shown to nobody.

use std::fmt;

use reqwest::header::HeaderValue;

use crate::LlmError;

/// What opens a server (`Authorization: Bearer KEY`). Neither `Debug` nor `Display` nor any message shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(String);

impl Key {
    /// Keys that are shorter are words such as `EMPTY`, for servers that look at none: they are not worth hiding in
    /// texts, where they may stand by chance.
    const SHORTEST_SECRET: usize = 8;

    /// A key; white space around it (the line's end of the file that it was read from) does not belong to it.
    ///
    /// # Errors
    /// [`LlmError::Key`] when it is empty or has a character that no HTTP header may have.
    pub fn new(key: impl Into<String>) -> Result<Self, LlmError> {
        let key = key.into();
        let key = key.trim();
        if key.is_empty() {
            return Err(LlmError::Key { why: "it is empty".to_owned() });
        }
        match key.chars().position(|c| !c.is_ascii_graphic()) {
            None => Ok(Self(key.to_owned())),
            Some(at) => {
                let why = format!(
                    "its character {} is white space or not ASCII, which no HTTP header may have",
                    at + 1
                );
                Err(LlmError::Key { why })
            }
        }
    }

    /// The key itself, for the header.
    pub(crate) fn secret(&self) -> &str {
        &self.0
    }

    /// The header's value that carries the key: `prefix` (`Bearer `, or nothing) and the key, marked as sensitive, so
    /// that no `Debug` of it shows it. `None` where `prefix` has a character that no header may have.
    pub fn header(&self, prefix: &str) -> Option<HeaderValue> {
        let mut value = HeaderValue::from_str(&format!("{prefix}{}", self.0)).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// Whether the key stands in a text.
    pub fn is_in(&self, text: &[u8]) -> bool {
        self.is_secret() && memchr::memmem::find(text, self.0.as_bytes()).is_some()
    }

    /// Puts stars over the key's places in a text, whose length stays.
    pub fn cover(&self, text: &mut [u8]) {
        if !self.is_secret() {
            return;
        }
        let mut from = 0;
        while let Some(at) = memchr::memmem::find(&text[from..], self.0.as_bytes()) {
            let (start, end) = (from + at, from + at + self.0.len());
            text[start..end].fill(b'*');
            from = end;
        }
    }

    /// What is to be looked for in a text that must not have the key; none for words that are no secret.
    pub fn to_find(&self) -> Option<&[u8]> {
        self.is_secret().then_some(self.0.as_bytes())
    }

    fn is_secret(&self) -> bool {
        self.0.len() >= Self::SHORTEST_SECRET
    }

    /// Blots out the key's places in what a server said.
    pub(crate) fn blot(&self, text: &mut Vec<u8>) {
        let key = self.0.as_bytes();
        if key.len() < Self::SHORTEST_SECRET || !text.windows(key.len()).any(|w| w == key) {
            return;
        }
        *text = String::from_utf8_lossy(text).replace(&self.0, "***").into_bytes();
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_shows_itself_to_nobody() {
        let key = Key::new(" sk-0123456789\n").unwrap();
        assert_eq!(key.secret(), "sk-0123456789");
        assert_eq!(format!("{key} {key:?}"), "*** ***");
        let mut said = b"wrong key sk-0123456789!".to_vec();
        key.blot(&mut said);
        assert_eq!(said, b"wrong key ***!");
        let mut said = b"an EMPTY key".to_vec();
        Key::new("EMPTY").unwrap().blot(&mut said);
        assert_eq!(said, b"an EMPTY key");
    }

    #[test]
    fn a_key_is_covered_without_changing_a_texts_length() {
        let key = Key::new("sk-0123456789").unwrap();
        let header = key.header("Bearer ").unwrap();
        assert_eq!(header.as_bytes(), b"Bearer sk-0123456789");
        assert!(header.is_sensitive() && !format!("{header:?}").contains("0123"));
        let mut said = *b"a sk-0123456789sk-0123456789 b";
        assert!(key.is_in(&said));
        key.cover(&mut said);
        assert_eq!(&said, b"a ************************** b");
        assert!(!key.is_in(&said) && !Key::new("EMPTY").unwrap().is_in(b"an EMPTY key"));
    }

    #[test]
    fn what_no_header_may_have_is_told_without_the_key() {
        for (key, why) in [
            ("", "it is empty"),
            ("  \n", "it is empty"),
            ("sk-01\r\nx: y", "its character 6 "),
            ("sk-0123456\u{e9}", "its character 11 "),
            ("sk 0123456", "its character 3 "),
        ] {
            let e = Key::new(key).unwrap_err().to_string();
            assert!(e.contains(why) && e.contains("hint: "), "{e}");
            assert!(key.trim().is_empty() || !e.contains(key.trim()), "{e}");
            assert!(!e.contains("0123"), "{e}");
        }
    }
}
