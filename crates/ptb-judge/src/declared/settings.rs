//! `tokenizer_config.json` and `special_tokens_map.json`: which tokens have a meaning.
//!
//! Compared are the tokens for begin, end and unknown, the tokens that are declared special or added, what
//! is put around texts, and the class. Other keys (padding, lengths, sides, clean-up, the library's own
//! records) have no influence on a prompt's ids.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::file::{Folder, quoted};
use super::json::{Object, TREE};
use super::rules::Rules;

/// Gemma 3's has 1.2 MB, of 6,415 added tokens.
const LIMIT: u64 = 16 << 20;
const ADDED: usize = 16 << 20;

/// Tokens with a meaning of their own.
const TOKENS: [&str; 3] = ["bos_token", "eos_token", "unk_token"];
/// Tokens that are special beside those.
const SPECIAL: [&str; 3] =
    ["additional_special_tokens", "extra_special_tokens", "model_specific_special_tokens"];
const FLAGS: [&str; 3] = ["add_eos_token", "add_prefix_space", "split_special_tokens"];
/// Classes that do what `tokenizer.json` says.
const GENERIC: [&str; 2] = ["PreTrainedTokenizer", "TokenizersBackend"];

/// What such a file says.
#[derive(Debug, Default)]
pub(super) struct Settings {
    tokens: BTreeMap<&'static str, String>,
    special: Vec<String>,
    added: BTreeMap<String, Declared>,
    flags: Vec<&'static str>,
    add_bos: Option<bool>,
    class: Option<String>,
    code: bool,
}

#[derive(Debug, Deserialize)]
struct Declared {
    content: String,
}

impl Settings {
    pub(super) fn read(folder: &Folder, file: &str) -> Result<Option<Self>, String> {
        let Some(bytes) = folder.read(file, LIMIT)? else { return Ok(None) };
        let parsed = Object::parse(&bytes).and_then(|object| Self::parse(&object));
        parsed.map(Some).map_err(|e| format!("{file} cannot be read: {e}"))
    }

    fn parse(object: &Object<'_>) -> Result<Self, String> {
        let mut found = Self::default();
        for name in TOKENS {
            let value: Option<Value> = object.get(name, TREE)?;
            found.tokens.extend(value.as_ref().and_then(text).map(|text| (name, text)));
        }
        for name in SPECIAL {
            match object.get(name, TREE)? {
                Some(Value::Array(all)) => found.special.extend(all.iter().filter_map(text)),
                Some(Value::Object(all)) => found.special.extend(all.values().filter_map(text)),
                _ => {}
            }
        }
        found.added = object.get("added_tokens_decoder", ADDED)?.unwrap_or_default();
        for name in FLAGS {
            if object.get::<Value>(name, TREE)? == Some(Value::Bool(true)) {
                found.flags.push(name);
            }
        }
        found.add_bos = object.get("add_bos_token", TREE)?;
        found.class = object.get("tokenizer_class", TREE)?;
        found.code = object.keys().any(|key| key == "auto_map");
        Ok(found)
    }

    /// What the base model's settings and rules do not say, in words.
    pub(super) fn differences(&self, base: &Self, rules: Option<&Rules>) -> Vec<String> {
        let mut found = Vec::new();
        for name in TOKENS {
            found.extend(self.token_difference(base, name));
        }
        found.extend(self.unknown_tokens(rules));
        for name in FLAGS {
            let (own, base) = (self.flags.contains(&name), base.flags.contains(&name));
            if own != base {
                found.push(format!("{name} is {own} instead of {base}"));
            }
        }
        let adds = base.add_bos.or(rules.map(Rules::adds_tokens));
        if let (Some(own), Some(base)) = (self.add_bos, adds)
            && own != base
        {
            found.push(format!("add_bos_token is {own} instead of {base}"));
        }
        found.extend(self.class_difference(base));
        if self.code {
            found.push("code of its own (auto_map), which is never run".to_owned());
        }
        found
    }

    /// Differences of a file that repeats some of the settings: what it leaves out is no difference.
    pub(super) fn repeated_differences(&self, base: &Self, rules: Option<&Rules>) -> Vec<String> {
        let said = TOKENS.iter().filter(|name| self.tokens.contains_key(*name));
        said.filter_map(|name| self.token_difference(base, name))
            .chain(self.unknown_tokens(rules))
            .collect()
    }

    fn token_difference(&self, base: &Self, name: &str) -> Option<String> {
        let (own, base) = (self.tokens.get(name), base.tokens.get(name));
        let words = |token: Option<&String>| token.map_or("none".to_owned(), |t| quoted(t));
        (own != base).then(|| format!("{name} is {} instead of {}", words(own), words(base)))
    }

    /// Tokens that are declared and that the base model's tokenizer does not have, or has elsewhere.
    fn unknown_tokens(&self, rules: Option<&Rules>) -> Option<String> {
        let rules = rules?;
        let special = self.special.iter().filter(|token| rules.id(token).is_none());
        let added = self.added.iter().filter(|(id, token)| {
            rules.id(&token.content).is_none_or(|known| known.to_string() != **id)
        });
        let mut unknown: Vec<&str> =
            special.map(String::as_str).chain(added.map(|(_, t)| t.content.as_str())).collect();
        unknown.sort_unstable();
        unknown.dedup();
        let example = unknown.first()?;
        let count = unknown.len();
        Some(format!(
            "{count} declared token(s) that the base model lacks (as {})",
            quoted(example)
        ))
    }

    fn class_difference(&self, base: &Self) -> Option<String> {
        let plain = |class: &Option<String>| {
            class.as_deref().map(|c| c.strip_suffix("Fast").unwrap_or(c).to_owned())
        };
        let (own, base) = (plain(&self.class)?, plain(&base.class)?);
        (own != base && !GENERIC.contains(&own.as_str()))
            .then(|| format!("class {} instead of {base}", quoted(&own)))
    }
}

/// A token, as its text or as an object that has it.
fn text(value: &Value) -> Option<String> {
    value.as_str().or_else(|| value.get("content")?.as_str()).map(str::to_owned)
}
