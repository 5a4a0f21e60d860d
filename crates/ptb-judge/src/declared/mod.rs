//! What a submission's files say beside its weights: the architecture's name, the chat template, the
//! tokenizer. The prompt depends on none of them (it is made with the harness's template and the base
//! model's tokenizer), so what differs from the base model is noted and carries no mark.
//!
//! Nothing is noted for files that say the same in other words, such as those that a library wrote anew;
//! `docs/submissions.md` lists what counts as the same. A file that cannot be read is a fact about the
//! submission, never a failure of the harness.

mod file;
mod json;
mod names;
mod rules;
mod settings;
mod template;
mod tokenizer;
mod vocabulary;

use ptb_model::{Links, ModelDir};

use crate::facts::Submitted;
use file::Folder;

/// What is said at the end of each note.
const NO_MATTER: &str = "the prompt does not depend on it";
/// Differences named in one fact; further ones are counted.
const NAMED: usize = 6;

/// Which check, and what it found.
pub(crate) type Note = (&'static str, String);

/// The three folders that are compared.
struct Folders {
    own: Folder,
    base: Folder,
    instruct: Option<Folder>,
}

/// Notes about an opened submission. An error is the harness's: the base or instruct model cannot be read.
pub(crate) fn notes(submitted: &Submitted<'_>, own: ModelDir) -> Result<Vec<Note>, String> {
    let open = |what: &str, path| {
        let dir = ModelDir::open_with(path, Links::Follow);
        dir.map(Folder::new).map_err(|e| format!("{what}: {e}"))
    };
    let folders = Folders {
        own: Folder::new(own),
        base: open("the base model", submitted.base)?,
        instruct: submitted.instruct.map(|dir| open("the instruct model", dir)).transpose()?,
    };
    let found = [
        ("names", names::note(&folders, submitted.architecture)?),
        ("chat-template", template::note(&folders)?),
        ("tokenizer", tokenizer::note(&folders)?),
    ];
    let noted = |(check, fact): (_, Option<String>)| {
        fact.map(|fact| (check, format!("{fact}; {NO_MATTER}")))
    };
    Ok(found.into_iter().filter_map(noted).collect())
}

/// Faults of models that are not the agent's, as errors of the harness.
fn ours<T>(what: &str, read: Result<T, String>) -> Result<T, String> {
    read.map_err(|e| format!("failed to read the {what} model's files: {e}"))
}

/// A list of differences in one line.
fn listed(mut all: Vec<String>) -> String {
    let more = all.len().saturating_sub(NAMED);
    all.truncate(NAMED);
    match more {
        0 => all.join(", "),
        more => format!("{} and {more} more", all.join(", ")),
    }
}
