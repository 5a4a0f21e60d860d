//! The architecture's name in `config.json`.

use ptb_core::registry::Architecture;

use super::file::{Folder, quoted};
use super::json::{Object, TREE};
use super::{Folders, listed, ours};

const FILE: &str = "config.json";
const LIMIT: u64 = 1 << 20;

/// What `model_type` a class goes with, for classes that are known forms of a base model.
const FORMS: &[(&str, &str)] = &[
    ("Qwen3ForCausalLM", "qwen3"),
    ("LlamaForCausalLM", "llama"),
    ("SmolLM3ForCausalLM", "smollm3"),
    ("Gemma3ForConditionalGeneration", "gemma3"),
    // The text part of the above, saved alone.
    ("Gemma3ForCausalLM", "gemma3_text"),
];

#[derive(Debug, Default)]
struct Names {
    classes: Vec<String>,
    model_type: Option<String>,
    code: bool,
}

impl Names {
    fn read(folder: &Folder) -> Result<Self, String> {
        let Some(bytes) = folder.read(FILE, LIMIT)? else { return Ok(Self::default()) };
        let read = || {
            let config = Object::parse(&bytes)?;
            Ok(Self {
                classes: config.get("architectures", TREE)?.unwrap_or_default(),
                model_type: config.get("model_type", TREE)?,
                code: config.keys().any(|key| key == "auto_map"),
            })
        };
        read().map_err(|e: String| format!("{FILE} cannot be read: {e}"))
    }
}

pub(super) fn note(folders: &Folders, expected: &Architecture) -> Result<Option<String>, String> {
    let base = ours("base", Names::read(&folders.base))?;
    Ok(match Names::read(&folders.own) {
        Ok(own) => compare(&own, &base, expected),
        // Whoever loads it says so too; here it is the names that are unknown.
        Err(fault) => Some(fault),
    })
}

fn compare(own: &Names, base: &Names, expected: &Architecture) -> Option<String> {
    let class = own.classes.first().map(String::as_str);
    let alias = class.filter(|class| expected.aliases.iter().any(|a| a == class));
    let mut faults = Vec::new();
    match class {
        Some(class) if alias.is_none() && class != expected.class => {
            faults.push(format!("class {} instead of {}", quoted(class), expected.class));
        }
        _ => {}
    }
    if own.classes.len() > 1 {
        faults.push(format!("{} classes instead of one", own.classes.len()));
    }
    let form = FORMS.iter().find(|(name, _)| *name == alias.unwrap_or(&expected.class));
    let wanted = form.map(|(_, kind)| *kind).or(base.model_type.as_deref());
    if own.model_type.as_deref() != wanted {
        let found = own.model_type.as_deref().map_or("none".to_owned(), quoted);
        faults.push(format!("model_type {found} instead of {}", wanted.unwrap_or("none")));
    }
    if own.code {
        faults.push("code of its own (auto_map), which is never run".to_owned());
    }
    match (faults.is_empty(), alias) {
        (true, None) => None,
        (true, Some(alias)) => {
            Some(format!("{FILE} names {alias}, a known form of {}", expected.class))
        }
        (false, _) => Some(format!("{FILE} names {}", listed(faults))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(classes: &[&str], model_type: &str) -> Names {
        Names {
            classes: classes.iter().map(|c| (*c).to_owned()).collect(),
            model_type: (!model_type.is_empty()).then(|| model_type.to_owned()),
            code: false,
        }
    }

    fn architecture(class: &str, aliases: &[&str]) -> Architecture {
        Architecture {
            class: class.into(),
            aliases: aliases.iter().map(|a| (*a).to_owned()).collect(),
            layers: 1,
            hidden: 1,
            intermediate: 1,
            heads: 1,
            kv_heads: 1,
            head_dim: 1,
            vocab: 1,
            tied: true,
            context: 1,
            parameters: 1,
        }
    }

    #[test]
    fn known_forms_are_told_apart_from_other_names() {
        let gemma = architecture("Gemma3ForConditionalGeneration", &["Gemma3ForCausalLM"]);
        let other = architecture("OurOwnForCausalLM", &[]);
        let known =
            "config.json names Gemma3ForCausalLM, a known form of Gemma3ForConditionalGeneration";
        let cases = [
            (names(&["Gemma3ForConditionalGeneration"], "gemma3"), &gemma, "gemma3", None),
            (names(&["Gemma3ForCausalLM"], "gemma3_text"), &gemma, "gemma3", Some(known)),
            (
                names(&["Gemma3ForCausalLM"], "gemma3"),
                &gemma,
                "gemma3",
                Some("config.json names model_type `gemma3` instead of gemma3_text"),
            ),
            (names(&[], "gemma3"), &gemma, "gemma3", None),
            (
                names(&["LlamaForCausalLM", "X"], ""),
                &gemma,
                "gemma3",
                Some(
                    "config.json names class `LlamaForCausalLM` instead of \
                     Gemma3ForConditionalGeneration, 2 classes instead of one, \
                     model_type none instead of gemma3",
                ),
            ),
            // A base model of the user's own: its own config says what its type is.
            (names(&["OurOwnForCausalLM"], "our_own"), &other, "our_own", None),
            (
                names(&["OurOwnForCausalLM"], "x"),
                &other,
                "our_own",
                Some("config.json names model_type `x` instead of our_own"),
            ),
        ];
        for (own, expected, base_type, told) in cases {
            let base = names(&[&expected.class], base_type);
            assert_eq!(compare(&own, &base, expected).as_deref(), told, "{own:?}");
        }
    }
}
