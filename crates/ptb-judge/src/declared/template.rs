//! Chat templates: `chat_template.jinja`, `chat_template.json`, `chat_template` in `tokenizer_config.json`.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::file::Folder;
use super::json::{Object, TREE};
use super::{Folders, ours};

const LIMIT: u64 = 1 << 20;
/// Holds further templates of other names.
const MORE: &str = "additional_chat_templates";
/// `tokenizer_config.json` may list thousands of tokens beside its template.
const CONFIG_LIMIT: u64 = 16 << 20;
const KEY: &str = "chat_template";

#[derive(Deserialize)]
struct Named {
    name: String,
    template: String,
}

/// What is written, by template's name and text, with the files it is in.
#[derive(Default)]
struct Templates {
    all: BTreeMap<(String, String), BTreeSet<&'static str>>,
}

impl Templates {
    fn read(folder: &Folder) -> Result<Self, String> {
        let mut found = Self::default();
        if let Some(text) = folder.text("chat_template.jinja", LIMIT)? {
            found.add("chat_template.jinja", "default", &text);
        }
        for (file, limit) in
            [("chat_template.json", LIMIT), ("tokenizer_config.json", CONFIG_LIMIT)]
        {
            let Some(bytes) = folder.read(file, limit)? else { continue };
            found.add_json(file, &bytes).map_err(|e| format!("{file} cannot be read: {e}"))?;
        }
        if folder.has(MORE) {
            found.add(MORE, MORE, "");
        }
        Ok(found)
    }

    fn add(&mut self, file: &'static str, name: &str, text: &str) {
        // A template's last line feed is left out when it is rendered.
        let text = text.strip_suffix('\n').unwrap_or(text);
        self.all.entry((name.to_owned(), text.to_owned())).or_default().insert(file);
    }

    /// A text, or a list of named texts.
    fn add_json(&mut self, file: &'static str, bytes: &[u8]) -> Result<(), String> {
        let config = Object::parse(bytes)?;
        match config.get::<&RawValue>(KEY, TREE)?.map(RawValue::get) {
            None | Some("null") => {}
            Some(list) if list.starts_with('[') => {
                for named in config.get::<Vec<Named>>(KEY, TREE)?.unwrap_or_default() {
                    self.add(file, &named.name, &named.template);
                }
            }
            Some(_) => {
                let text = config.get::<String>(KEY, TREE)?.unwrap_or_default();
                self.add(file, "default", &text);
            }
        }
        Ok(())
    }

    fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    fn within(&self, other: &Self) -> bool {
        self.all.keys().all(|template| other.all.contains_key(template))
    }

    /// `file, file: so many characters`.
    fn place(&self) -> String {
        let files: BTreeSet<&str> = self.all.values().flatten().copied().collect();
        let characters: usize = self.all.keys().map(|(_, text)| text.chars().count()).sum();
        let files: Vec<&str> = files.into_iter().collect();
        format!("{}: {characters} characters", files.join(", "))
    }
}

pub(super) fn note(folders: &Folders) -> Result<Option<String>, String> {
    let base = ours("base", Templates::read(&folders.base))?;
    let instruct = folders.instruct.as_ref().map(Templates::read).transpose();
    let instruct = ours("instruct", instruct)?.unwrap_or_default();
    let own = match Templates::read(&folders.own) {
        Ok(own) => own,
        Err(fault) => return Ok(Some(format!("its chat template is unknown: {fault}"))),
    };
    Ok(match (own.is_empty(), base.is_empty()) {
        (true, true) => None,
        (true, false) => Some("it has no chat template, and the base model has one".to_owned()),
        _ if own.within(&base) => None,
        _ if own.within(&instruct) => {
            let place = own.place();
            Some(format!(
                "its chat template ({place}) is the official instruct model's, as is usual after fine-tuning"
            ))
        }
        (_, true) => {
            Some(format!("its chat template ({}) is its own, the base model has none", own.place()))
        }
        _ => Some(format!("its chat template ({}) is another than the base model's", own.place())),
    })
}
