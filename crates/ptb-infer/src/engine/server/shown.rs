//! A model's files as servers see them, for whoever runs another program on a model, behind a wall of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ptb_model::Links;
use ptb_sandbox::Identity;

use super::model::{self, GENERATION, Shown};
use crate::engine::{ServeSpec, StartError};

/// What a program is shown of a model: the weights that [`ptb_model::Checkpoint`] reads and no others, a configuration
/// that leads nowhere else, the base model's tokenizer, and sampling as far as it was checked. Never code, pickles or
/// adapters.
#[derive(Debug, Clone)]
pub struct ShownModel(Shown);

impl ShownModel {
    /// Looks through a model's directory and, where it is not the model's own, that of the tokenizer. `program` is
    /// what messages call it that shall run.
    ///
    /// # Errors
    /// As a server's that is to be started on it: [`StartError::is_model_fault`] tells whose fault it is.
    pub fn read(
        program: &'static str,
        model: &Path,
        links: Links,
        tokenizer: Option<&Path>,
    ) -> Result<Self, StartError> {
        let spec = ServeSpec {
            links,
            tokenizer_dir: tokenizer.map(Path::to_owned),
            ..ServeSpec::new(model)
        };
        let mut shown = model::collect(program, &spec)?;
        // Requests tell a server how to sample; a program of another's asks the file.
        shown.files.remove(GENERATION);
        if let Some(sampling) = &shown.sampling {
            shown.written.insert(GENERATION, sampling.to_json());
        }
        Ok(Self(shown))
    }

    /// Files of the machine by the name that the program finds them under; what is written for it is among them once
    /// [`ShownModel::make_ready`] was called.
    pub fn files(&self) -> &BTreeMap<String, PathBuf> {
        &self.0.files
    }

    /// Texts that are written for the program, by the file's name.
    pub fn written(&self) -> impl Iterator<Item = (&'static str, String)> {
        self.0.written.iter().map(|(name, value)| (*name, value.to_string()))
    }

    /// Whether the tokenizer is the model's own.
    pub fn own_tokenizer(&self) -> bool {
        self.0.own_tokenizer
    }

    /// Writes what is written for the program into `into`, and copies there what `who` may not read.
    ///
    /// # Errors
    /// A disk that fails.
    pub fn make_ready(&mut self, who: Identity, into: &Path) -> Result<(), StartError> {
        let written = model::write_own(&mut self.0, into);
        written.map_err(|e| StartError::prepare("writing the model's configuration", e))?;
        model::make_readable(&mut self.0, who, into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ptb_model::{RandomModel, random_model};

    #[test]
    fn sampling_is_shown_as_far_as_it_was_checked() {
        let (dir, into) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        random_model(dir.path(), &RandomModel::mini(1)).unwrap();
        let text =
            r#"{"temperature": 0.6, "top_k": -1, "auto_map": {"x": "y"}, "custom_generate": "z"}"#;
        std::fs::write(dir.path().join(GENERATION), text).unwrap();
        let mut shown = ShownModel::read("evaluate.py", dir.path(), Links::Inside, None).unwrap();
        shown.make_ready(Identity::for_this_process(), into.path()).unwrap();
        let read = std::fs::read_to_string(&shown.files()[GENERATION]).unwrap();
        let read: serde_json::Value = serde_json::from_str(&read).unwrap();
        assert_eq!(read, serde_json::json!({ "temperature": 0.6, "top_k": 0 }));
        assert!(shown.own_tokenizer());
        std::fs::remove_file(dir.path().join(GENERATION)).unwrap();
        let shown = ShownModel::read("evaluate.py", dir.path(), Links::Inside, None).unwrap();
        assert!(shown.written().all(|(name, _)| name != GENERATION));
    }
}
