//! Tool calls as people want to see them: commands as commands, edits as diffs.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use similar::{ChangeTag, TextDiff};

use super::safe::{Limits, Short, shorten};
use crate::text::Text;

/// Most that is shown of a command, and of arguments or an edit.
const COMMAND: Limits = Limits { bytes: 8000, lines: 120 };
const EDIT: Limits = Limits { bytes: 6000, lines: 100 };
/// Largest texts that are compared line by line; beyond, the old stands before the new.
const COMPARED: usize = 64 << 10;
/// Longest list of edits that is taken apart, in bytes.
const LIST: usize = 1 << 20;
const COMPARED_LINES: usize = 2000;

/// A part of a call's picture.
#[derive(Debug, PartialEq)]
pub(crate) enum Piece {
    /// A line of words.
    Line(String),
    /// A block and its language.
    Code(&'static str, String),
}

/// How a tool's arguments are shown: by the names of its fields.
enum View {
    Command(&'static str),
    /// Path, old text, new text.
    Edit(&'static str, &'static str, &'static str),
    /// Path, a list of edits with old and new text.
    Edits(&'static str, &'static str, (&'static str, &'static str)),
    /// Path, whole content.
    Write(&'static str, &'static str),
    Patch(&'static str),
    /// A list of paths with kinds.
    Changes(&'static str),
    /// Path alone.
    Path(&'static str),
}

/// The tools of the scaffolds: Claude Code, Codex, Gemini CLI, OpenCode.
const TOOLS: &[(&str, View)] = &[
    ("Bash", View::Command("command")),
    ("Edit", View::Edit("file_path", "old_string", "new_string")),
    ("MultiEdit", View::Edits("file_path", "edits", ("old_string", "new_string"))),
    ("Write", View::Write("file_path", "content")),
    ("NotebookEdit", View::Write("notebook_path", "new_source")),
    ("Read", View::Path("file_path")),
    ("command_execution", View::Command("command")),
    ("exec_command", View::Command("cmd")),
    ("shell", View::Command("command")),
    ("file_change", View::Changes("changes")),
    ("apply_patch", View::Patch("input")),
    ("run_shell_command", View::Command("command")),
    ("replace", View::Edit("file_path", "old_string", "new_string")),
    ("write_file", View::Write("file_path", "content")),
    ("read_file", View::Path("file_path")),
    ("bash", View::Command("command")),
    ("edit", View::Edit("filePath", "oldString", "newString")),
    ("multiedit", View::Edits("filePath", "edits", ("oldString", "newString"))),
    ("write", View::Write("filePath", "content")),
    ("patch", View::Patch("patchText")),
    ("read", View::Path("filePath")),
];

/// The fields that are looked at; of one name the first.
#[derive(Default)]
struct Fields<'a>(Vec<(&'static str, &'a RawValue)>);

/// All names of fields in the table, and those of a list's elements.
const NAMES: &[&str] = &[
    "command",
    "cmd",
    "file_path",
    "old_string",
    "new_string",
    "edits",
    "content",
    "notebook_path",
    "new_source",
    "changes",
    "input",
    "filePath",
    "oldString",
    "newString",
    "patchText",
    "kind",
    "path",
];

impl<'a> Fields<'a> {
    fn get(&self, key: &str) -> Option<&'a RawValue> {
        self.0.iter().find(|(name, _)| *name == key).map(|(_, value)| *value)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Known<'a>(std::marker::PhantomData<&'a ()>);
        impl<'de: 'a, 'a> Visitor<'de> for Known<'a> {
            type Value = Fields<'a>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a tool's arguments")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'a>, A::Error> {
                let mut fields = Fields::default();
                while let Some(Key(key)) = map.next_key()? {
                    let value: &'de RawValue = map.next_value()?;
                    let known = NAMES.iter().find(|name| **name == key);
                    if let Some(name) = known.filter(|name| fields.get(name).is_none()) {
                        fields.0.push((name, value));
                    }
                }
                Ok(fields)
            }
        }
        from.deserialize_map(Known(std::marker::PhantomData))
    }
}

#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// The elements of a field that is a list, if it is not absurdly long.
fn list<'a>(fields: &Fields<'a>, key: &str) -> Option<Vec<Fields<'a>>> {
    let raw = fields.get(key)?;
    (raw.get().len() <= LIST).then(|| serde_json::from_str(raw.get()).ok()).flatten()
}

/// A call in pieces. Arguments that a tool of this name does not have are shown as they came.
pub(crate) fn shown(name: &str, arguments: &str) -> Vec<Piece> {
    let fields: Fields<'_> = serde_json::from_str(arguments).unwrap_or_default();
    let view = TOOLS.iter().find(|(tool, _)| *tool == name).map(|(_, view)| view);
    view.and_then(|view| viewed(view, &fields)).unwrap_or_else(|| raw(arguments))
}

/// A string field.
fn text<'a>(fields: &Fields<'a>, key: &str) -> Option<Text<'a>> {
    let raw = fields.get(key)?;
    raw.get().starts_with('"').then(|| Text::of(raw))
}

fn line(fields: &Fields<'_>, key: &str) -> Option<Piece> {
    Some(Piece::Line(text(fields, key)?.ends(300, 100).head.into_owned()))
}

fn viewed(view: &View, fields: &Fields<'_>) -> Option<Vec<Piece>> {
    match view {
        View::Command(key) => Some(vec![Piece::Code("sh", cut(&text(fields, key)?, COMMAND))]),
        View::Path(path) => Some(vec![line(fields, path)?]),
        View::Write(path, content) => {
            let added = with_sign('+', &text(fields, content)?);
            Some(vec![line(fields, path)?, Piece::Code("diff", added)])
        }
        View::Edit(path, old, new) => {
            let edit = diff(&text(fields, old)?, &text(fields, new)?);
            Some(vec![line(fields, path)?, Piece::Code("diff", edit)])
        }
        View::Edits(path, edits, (old, new)) => {
            let mut pieces = vec![line(fields, path)?];
            let edits = list(fields, edits)?;
            let most = edits.iter().take(20);
            for edit in most {
                let edit = diff(&text(edit, old)?, &text(edit, new)?);
                pieces.push(Piece::Code("diff", edit));
            }
            if edits.len() > 20 {
                pieces.push(Piece::Line(format!("and {} edits more", edits.len() - 20)));
            }
            Some(pieces)
        }
        View::Patch(key) => Some(vec![Piece::Code("diff", cut(&text(fields, key)?, EDIT))]),
        View::Changes(key) => {
            let changes = list(fields, key)?;
            let word =
                |c: &Fields<'_>, key| text(c, key).map(|t| t.ends(300, 100).head.into_owned());
            let told = changes.iter().take(50).filter_map(|c| {
                Some(Piece::Line(format!("{} {}", word(c, "kind")?, word(c, "path")?)))
            });
            Some(told.collect())
        }
    }
}

fn raw(arguments: &str) -> Vec<Piece> {
    match arguments {
        "{}" => Vec::new(),
        _ => vec![Piece::Code("json", cut(&Text::Plain(arguments), EDIT))],
    }
}

/// A text with its middle left out, and told.
fn cut(text: &Text<'_>, limits: Limits) -> String {
    let Short { head, left_out, tail } = shorten(text, limits);
    match left_out {
        0 => head,
        n => format!("{head}\n… {n} bytes left out …\n{tail}"),
    }
}

fn with_sign(sign: char, text: &Text<'_>) -> String {
    let Short { head, left_out, tail } = shorten(text, EDIT);
    let signed = |part: &str| part.lines().map(|l| format!("{sign}{l}\n")).collect::<String>();
    match left_out {
        0 => signed(&head),
        n => format!("{}… {n} bytes left out …\n{}", signed(&head), signed(&tail)),
    }
}

fn diff(old: &Text<'_>, new: &Text<'_>) -> String {
    if old.size() + new.size() > COMPARED {
        return format!("{}{}", with_sign('-', old), with_sign('+', new));
    }
    let (from, to) = (old.decode(), new.decode());
    // The time of a comparison grows with the product of the lines.
    if from.lines().count() + to.lines().count() > COMPARED_LINES {
        return format!("{}{}", with_sign('-', old), with_sign('+', new));
    }
    let compared = TextDiff::configure().diff_lines(&*from, &*to);
    let mut made = String::new();
    for (n, group) in compared.grouped_ops(3).iter().enumerate() {
        if n > 0 {
            made.push_str("@@\n");
        }
        for change in group.iter().flat_map(|op| compared.iter_changes(op)) {
            made.push(match change.tag() {
                ChangeTag::Delete => '-',
                ChangeTag::Insert => '+',
                ChangeTag::Equal => ' ',
            });
            made.push_str(change.value().trim_end_matches('\n'));
            made.push('\n');
        }
    }
    cut(&Text::Plain(&made), EDIT)
}
