//! Facts about a submission: is it there, can it be loaded, what do its files say, is it the right
//! network, whose is it.

use std::collections::BTreeSet;
use std::path::Path;

use ptb_core::registry::Architecture;
use ptb_core::run::{Evidence, Mark, Submission};
use ptb_model::{
    Checkpoint, Config, Links, ModelDir, ModelError, ModelFacts, check_opened, expected_tensors,
};

use crate::declared::notes;
use crate::identity::{Compared, Identity};
use crate::text::plain;

/// What is judged.
#[derive(Debug)]
pub struct Submitted<'a> {
    /// How the agent ended, in words.
    pub end: &'a str,
    /// Which files count.
    pub submission: &'a Submission,
    /// Where they lie.
    pub dir: &'a Path,
    /// The base model.
    pub base: &'a Path,
    /// The official instruct counterpart, where it is at hand.
    pub instruct: Option<&'a Path>,
    /// What config.json must say.
    pub architecture: &'a Architecture,
}

/// Gathers the facts. An error is the harness's: the base or instruct model cannot be read.
pub fn gather(submitted: &Submitted<'_>) -> Result<Vec<Evidence>, String> {
    let mut found = Vec::new();
    let mut add = |check: &str, fact: String, mark: Option<Mark>| {
        let place = "final_model".to_owned();
        // Messages about an agent's files quote them.
        found.push(Evidence { check: check.to_owned(), fact: plain(&fact), mark, place });
    };
    match submitted.submission {
        Submission::None => {
            let fact = format!("there is no final_model; the agent's end: {}", submitted.end);
            add("submission", fact, Some(Mark::NotSubmitted));
            return Ok(found);
        }
        Submission::Refused { fault } => {
            let fact = format!("final_model was refused: {fault}");
            add("submission", fact, Some(Mark::EvaluationFailed));
            return Ok(found);
        }
        Submission::Snapshot { seconds, fault } => add(
            "submission",
            format!(
                "final_model is not whole ({fault}); the last whole snapshot, taken after {seconds} s, counts"
            ),
            None,
        ),
        Submission::Final | Submission::Known(_) => {
            add("submission", "final_model is there and whole".into(), None);
        }
    }
    // Models of ours may lie in the hub's cache, which is made of links; an agent's may not lead out.
    let links = match submitted.submission {
        Submission::Known(_) => Links::Follow,
        _ => Links::Inside,
    };
    let (checked, notes) = match ModelDir::open_with(submitted.dir, links) {
        Ok(dir) => (check_opened(&dir), notes(submitted, dir)?),
        Err(e) => (Err(e), Vec::new()),
    };
    match &checked {
        Ok(facts) => {
            let fact = format!("{} parameters in {} file(s)", facts.parameters, facts.shards);
            add("loadable", fact, None);
        }
        Err(e) if e.is_io() => return Err(e.to_string()),
        Err(e) => {
            let fact = format!("the model cannot be loaded: {e}");
            add("loadable", fact, Some(Mark::EvaluationFailed));
        }
    }
    for (check, fact) in notes {
        add(check, fact, None);
    }
    let Ok(facts) = checked else { return Ok(found) };
    let faults = architecture_faults(&facts.config, submitted.architecture);
    match faults.is_empty() {
        true => add(
            "architecture",
            format!("as the base model: {}", submitted.architecture.class),
            None,
        ),
        false => add(
            "architecture",
            format!("it is another network than the base model: {}", faults.join(", ")),
            Some(Mark::Judged),
        ),
    }
    let identity = identity(submitted, links, &facts)?;
    let Identity { base, like_base, changed, like_instruct } = identity;
    add("identity", format!("{like_base} of {base} tensors equal the base model's"), None);
    if submitted.instruct.is_some() {
        let fact = format!(
            "{like_instruct} of {changed} tensors that the official instruct model changed are as it has them"
        );
        add("identity", fact, identity.is_instruct().then_some(Mark::Judged));
    }
    Ok(found)
}

fn identity(
    submitted: &Submitted<'_>,
    links: Links,
    facts: &ModelFacts,
) -> Result<Identity, String> {
    let ours = |what: &'static str| move |e: ModelError| format!("{what}: {e}");
    let own = open(submitted.dir, links).map_err(|e| e.to_string())?;
    let base = open(submitted.base, Links::Follow).map_err(ours("the base model"))?;
    let instruct = submitted.instruct.map(|dir| open(dir, Links::Follow)).transpose();
    let instruct = instruct.map_err(ours("the instruct model"))?;
    let used: BTreeSet<String> =
        expected_tensors(&facts.config).into_iter().map(|(_, name, _)| name).collect();
    Compared { own: &own, base: &base, instruct: instruct.as_ref(), used: &used }
        .identity()
        .map_err(ours("comparing tensors"))
}

fn open(dir: &Path, links: Links) -> Result<Checkpoint, ModelError> {
    Checkpoint::open(&ModelDir::open_with(dir, links)?)
}

/// In what a model's config.json says another network than a base model's registry file.
pub fn architecture_faults(config: &Config, expected: &Architecture) -> Vec<String> {
    let mut faults = Vec::new();
    let class = config.architecture.class();
    if class != expected.class && !expected.aliases.iter().any(|a| a == class) {
        faults.push(format!("class {class} instead of {}", expected.class));
    }
    let sizes = [
        ("layers", config.num_layers, expected.layers),
        ("hidden size", config.hidden_size, expected.hidden),
        ("inner size", config.intermediate_size, expected.intermediate),
        ("heads", config.num_heads, expected.heads),
        ("key-value heads", config.num_kv_heads, expected.kv_heads),
        ("head size", config.head_dim, expected.head_dim),
    ];
    for (name, found, wanted) in sizes {
        if found != wanted {
            faults.push(format!("{found} {name} instead of {wanted}"));
        }
    }
    // Embeddings may be padded or shrunk to a tokenizer's size by common tools, but not to another one's.
    if config.vocab_size.abs_diff(expected.vocab) > expected.vocab / 50 {
        faults.push(format!("vocabulary {} instead of {}", config.vocab_size, expected.vocab));
    }
    faults
}
