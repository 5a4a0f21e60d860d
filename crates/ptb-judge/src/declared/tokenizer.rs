//! The tokenizer that a submission brings, beside the base model's, which is the one that is used.

use super::file::Folder;
use super::rules::Rules;
use super::settings::Settings;
use super::vocabulary::{Ids, Merges, Vocabulary};
use super::{Folders, listed, ours};

const RULES: &str = "tokenizer.json";
const SETTINGS: &str = "tokenizer_config.json";
/// As [`ptb_model::Tokenizer`] has it.
const LIMIT: u64 = 128 << 20;

/// Older forms of a tokenizer that are compared as they are.
const BINARY: [&str; 5] =
    ["tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "vocab.txt", "tekken.json"];

pub(super) fn note(folders: &Folders) -> Result<Option<String>, String> {
    let base = ours("base", Reference::read(&folders.base))?;
    let found = base.differences(&folders.own);
    if found.is_empty() {
        return Ok(None);
    }
    if let Some(instruct) = &folders.instruct {
        let instruct = ours("instruct", Reference::read(instruct))?;
        if instruct.differences(&folders.own).is_empty() {
            return Ok(Some(format!(
                "its tokenizer is the official instruct model's, as is usual after fine-tuning ({})",
                found.join("; ")
            )));
        }
    }
    Ok(Some(format!("its tokenizer differs from the base model's ({})", found.join("; "))))
}

/// A tokenizer of ours to compare with.
struct Reference<'a> {
    folder: &'a Folder,
    bytes: Option<Vec<u8>>,
    rules: Option<Rules>,
    settings: Option<Settings>,
}

impl<'a> Reference<'a> {
    fn read(folder: &'a Folder) -> Result<Self, String> {
        let bytes = folder.read(RULES, LIMIT)?;
        let rules = bytes.as_deref().map(Rules::parse).transpose();
        let rules = rules.map_err(|e| format!("{RULES} cannot be read: {e}"))?;
        Ok(Self { folder, bytes, rules, settings: Settings::read(folder, SETTINGS)? })
    }

    /// What is other in a folder. What cannot be read is a difference too.
    fn differences(&self, own: &Folder) -> Vec<String> {
        let named = |file: &'static str, found: Result<Vec<String>, String>| match found {
            Ok(found) if found.is_empty() => None,
            Ok(found) => Some(format!("{file}: {}", listed(found))),
            Err(fault) => Some(fault),
        };
        let found = [
            named(RULES, self.rules(own)),
            named(SETTINGS, self.settings(own)),
            named("special_tokens_map.json", self.special_map(own)),
            named("vocab.json", self.vocabulary(own)),
            named("merges.txt", self.merges(own)),
            named("added_tokens.json", self.added(own)),
        ];
        let binary = BINARY.iter().map(|file| named(file, self.binary(own, file)));
        found.into_iter().chain(binary).flatten().collect()
    }

    fn rules(&self, own: &Folder) -> Result<Vec<String>, String> {
        let base = self.bytes.as_deref().unwrap_or_default();
        // Layout alone may make a file several times as long.
        let limit = LIMIT.min(4 * base.len() as u64 + (1 << 20));
        let Some(bytes) = own.read(RULES, limit)? else {
            return Ok(self.rules.iter().map(|_| "there is none".to_owned()).collect());
        };
        if bytes == base {
            return Ok(Vec::new());
        }
        let rules = Rules::parse(&bytes).map_err(|e| format!("{RULES} cannot be read: {e}"))?;
        Ok(match &self.rules {
            Some(base) => rules.differences(base),
            None => vec!["there is none in the base model".to_owned()],
        })
    }

    fn settings(&self, own: &Folder) -> Result<Vec<String>, String> {
        let nothing = Settings::default();
        let base = self.settings.as_ref();
        Ok(match Settings::read(own, SETTINGS)? {
            Some(own) => own.differences(base.unwrap_or(&nothing), self.rules.as_ref()),
            None => base.iter().map(|_| "there is none".to_owned()).collect(),
        })
    }

    fn special_map(&self, own: &Folder) -> Result<Vec<String>, String> {
        let nothing = Settings::default();
        let base = self.settings.as_ref().unwrap_or(&nothing);
        let own = Settings::read(own, "special_tokens_map.json")?;
        Ok(own.map(|own| own.repeated_differences(base, self.rules.as_ref())).unwrap_or_default())
    }

    /// `vocab.json` repeats the tokens of `tokenizer.json`.
    fn vocabulary(&self, own: &Folder) -> Result<Vec<String>, String> {
        let file = "vocab.json";
        let Some(rules) = &self.rules else { return self.binary(own, file) };
        let Some(bytes) = own.read(file, LIMIT)? else { return Ok(Vec::new()) };
        let own: Vocabulary = parsed(file, &bytes)?;
        Ok(own.difference(&rules.vocabulary).into_iter().collect())
    }

    /// `merges.txt` repeats the merges.
    fn merges(&self, own: &Folder) -> Result<Vec<String>, String> {
        let file = "merges.txt";
        let Some(rules) = &self.rules else { return self.binary(own, file) };
        let Some(text) = own.text(file, LIMIT)? else { return Ok(Vec::new()) };
        let own = Merges::from_lines(&text).map_err(|e| format!("{file} cannot be read: {e}"))?;
        Ok((own != rules.merges).then(|| "other merges".to_owned()).into_iter().collect())
    }

    /// `added_tokens.json` repeats ids of added tokens.
    fn added(&self, own: &Folder) -> Result<Vec<String>, String> {
        let file = "added_tokens.json";
        let Some(rules) = &self.rules else { return self.binary(own, file) };
        let Some(bytes) = own.read(file, LIMIT)? else { return Ok(Vec::new()) };
        let own: Ids = match parsed(file, &bytes)? {
            Vocabulary::Ids(ids) => ids,
            Vocabulary::Scored(_) => return Err(format!("{file} cannot be read: it is a list")),
        };
        let other = own.iter().filter(|(token, id)| rules.id(token) != Some(**id)).count();
        Ok((other > 0).then(|| format!("{other} other token(s)")).into_iter().collect())
    }

    fn binary(&self, own: &Folder, file: &str) -> Result<Vec<String>, String> {
        let Some(base) = self.folder.read(file, LIMIT).ok().flatten() else {
            let there = own.has(file).then(|| "there is none in the base model".to_owned());
            return Ok(there.into_iter().collect());
        };
        // A longer file is another one.
        let bytes = own.read(file, base.len() as u64)?;
        let other = bytes.is_some_and(|bytes| bytes != base);
        Ok(other.then(|| "another file".to_owned()).into_iter().collect())
    }
}

fn parsed(file: &str, bytes: &[u8]) -> Result<Vocabulary, String> {
    serde_json::from_slice(bytes).map_err(|e| {
        let told: String = e.to_string().chars().take(160).collect();
        format!("{file} cannot be read: {told}")
    })
}
