//! Small files of a model's folder, read within bounds.

use ptb_model::{Fault, ModelDir};

/// A model's folder. Errors of its methods are one line each, without the host's paths.
pub(super) struct Folder {
    dir: ModelDir,
}

impl Folder {
    pub(super) fn new(dir: ModelDir) -> Self {
        Self { dir }
    }

    /// A whole file, or none where there is no such file.
    pub(super) fn read(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>, String> {
        match self.dir.read(name, limit) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if matches!(e.fault, Fault::Missing) => Ok(None),
            Err(e) => Err(format!("{name} cannot be read: {}", e.fault)),
        }
    }

    /// A whole text.
    pub(super) fn text(&self, name: &str, limit: u64) -> Result<Option<String>, String> {
        let text = |bytes| String::from_utf8(bytes).map_err(|_| format!("{name} is no UTF-8"));
        self.read(name, limit)?.map(text).transpose()
    }

    /// Whether something of this name is there, of whatever kind.
    pub(super) fn has(&self, name: &str) -> bool {
        self.dir.has(name)
    }
}

/// An agent's text, short enough to be quoted.
pub(super) fn quoted(text: &str) -> String {
    const LONGEST: usize = 60;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("`{}…`", text.get(..end).unwrap_or_default()),
        None => format!("`{text}`"),
    }
}
