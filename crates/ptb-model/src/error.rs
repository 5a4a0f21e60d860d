//! What can be wrong with a model, said so that its owner can act.

use std::path::{Path, PathBuf};

/// A model that could not be read: which file, what is wrong with it, what to do.
#[derive(Debug, thiserror::Error)]
#[error("failed to read model file {}: {fault}\nhint: {}", .file.display(), .fault.hint())]
pub struct ModelError {
    /// The file at fault, as the user named its directory.
    pub file: PathBuf,
    /// What is wrong with it.
    pub fault: Fault,
}

impl ModelError {
    pub(crate) fn new(file: impl AsRef<Path>, fault: Fault) -> Self {
        Self { file: file.as_ref().to_path_buf(), fault }
    }

    /// True when the machine failed (I/O), not the model: such an error must not cost its owner.
    pub fn is_io(&self) -> bool {
        matches!(self.fault, Fault::Io(_))
    }
}

/// The kinds of faults of a model file.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The file (or directory) is not there.
    #[error("it does not exist")]
    Missing,
    /// A directory, pipe, socket or device where a file is expected.
    #[error("it is not a regular file")]
    NotRegular,
    /// A name that is absolute, empty or leads out of the directory, or a link that does.
    #[error("it leads out of the model's directory")]
    Escapes,
    /// More bytes than such a file may have.
    #[error("it is {size} bytes long and may be at most {limit}")]
    TooLarge {
        /// Size in bytes.
        size: u64,
        /// Bound in bytes.
        limit: u64,
    },
    /// The operating system refused.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// The file is not what its format says.
    #[error("{0}")]
    Malformed(String),
    /// A well-formed value outside of what any model has.
    #[error("`{key}` is {value}, expected {expected}")]
    Value {
        /// Which key.
        key: String,
        /// What the file says, shortened.
        value: String,
        /// What is accepted.
        expected: String,
    },
    /// Valid JSON that holds something else than such a file does.
    #[error("{0}")]
    Unfit(String),
    /// An architecture that this code does not implement.
    #[error("architecture `{0}` is not supported")]
    Architecture(String),
    /// A model that can be run here, and not trained.
    #[error("the model has {0}, and training here is written for plain Qwen3ForCausalLM")]
    Untrainable(String),
    /// A tensor that the configuration calls for and no file holds.
    #[error("tensor `{0}` is missing")]
    TensorMissing(String),
    /// A tensor of another shape than the configuration calls for.
    #[error("tensor `{name}` has shape {found:?}, and config.json calls for {expected:?}")]
    TensorShape {
        /// Tensor's name.
        name: String,
        /// Shape in the file.
        found: Vec<usize>,
        /// Shape from the configuration.
        expected: Vec<usize>,
    },
}

impl Fault {
    /// What to do next.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Missing => "save the whole model with `save_pretrained` (model and tokenizer)",
            Self::NotRegular | Self::Escapes => {
                "put the files themselves into the directory, not links to other places"
            }
            Self::TooLarge { .. } => "check that the file is the one that was meant",
            Self::Io(_) => "check the disk and the file's permissions",
            Self::Malformed(_) => "save the model again, and let the writing end before it is read",
            Self::Value { .. } | Self::Unfit(_) => {
                "correct the value, or save the model's configuration again"
            }
            Self::Architecture(_) => {
                "keep the base model's architecture (known here: Qwen3ForCausalLM, LlamaForCausalLM, \
                 SmolLM3ForCausalLM, Gemma3ForCausalLM, Gemma3ForConditionalGeneration)"
            }
            Self::Untrainable(_) => "train it with other software, such as `transformers` or `trl`",
            Self::TensorMissing(_) => "save every shard together with its index",
            Self::TensorShape { .. } => "save weights and config.json from the same model",
        }
    }

    pub(crate) fn malformed(text: impl Into<String>) -> Self {
        Self::Malformed(shorten(&text.into(), 400))
    }

    /// What the JSON library says of a value, with its key and without the names of our types.
    pub(crate) fn unfit(key: Option<String>, said: &str) -> Self {
        let said = said.rsplit_once(" at line ").map_or(said, |(said, _)| said);
        let (found, expected) = said.rsplit_once(", expected ").unwrap_or((said, ""));
        let expected = match expected {
            "" => String::new(),
            "f32" | "f64" => ", expected a number".to_owned(),
            "u8" | "u16" | "u32" | "u64" | "usize" => ", expected a whole number from 0".to_owned(),
            "i8" | "i16" | "i32" | "i64" | "isize" => ", expected a whole number".to_owned(),
            of_ours if of_ours.starts_with("struct ") => ", expected an object".to_owned(),
            other => format!(", expected {other}"),
        };
        let what = key.map_or("its content".to_owned(), |key| format!("the value of `{key}`"));
        Self::Unfit(shorten(&format!("{what} is wrong: {found}{expected}"), 400))
    }

    pub(crate) fn value(key: &str, value: impl ToString, expected: impl ToString) -> Self {
        Self::Value {
            key: key.to_owned(),
            value: shorten(&value.to_string(), 80),
            expected: expected.to_string(),
        }
    }
}

/// Hostile text made fit for one line of a terminal: control characters escaped, length bounded.
pub(crate) fn shorten(text: &str, max: usize) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if out.len() >= max {
            out.push('…');
            break;
        }
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}
