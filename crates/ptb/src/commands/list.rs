//! `ptb list`.

use ptb_core::registry::Entry;
use serde::Serialize;
use serde_json::json;

use super::registry;
use crate::args::{Kind, ListArgs};
use crate::fault::{Fault, Outcome};
use crate::print;

pub(crate) fn run(args: &ListArgs) -> Outcome {
    let registry = registry(&args.registry)?;
    match args.kind {
        Kind::Benchmarks => tell(args.json, registry.benchmarks(), |b| match b.script() {
            Some(_) => format!("{} (script)", b.name),
            None => b.name.clone(),
        }),
        Kind::Models => tell(args.json, registry.models(), |m| {
            let instruct =
                m.instruct.as_ref().map(|i| format!(" (instruct: {})", i.hub)).unwrap_or_default();
            let engine = if ptb_model::knows(&m.architecture.class) {
                ""
            } else {
                "; not on the built-in engine yet"
            };
            format!("{}{instruct}{engine}", m.base.hub)
        }),
        Kind::Agents => tell(args.json, registry.agents(), |a| {
            let line = if a.description.is_empty() { &a.name } else { &a.description };
            match a.asking().to_string() {
                asked if asked.is_empty() => line.clone(),
                asked => format!("{line} ({asked})"),
            }
        }),
        Kind::Editions => tell(args.json, registry.editions(), |e| e.description.clone()),
    }
}

fn tell<'a, T: Serialize + 'a>(
    as_json: bool,
    entries: impl Iterator<Item = &'a Entry<T>>,
    about: impl Fn(&T) -> String,
) -> Outcome {
    let entries: Vec<_> = entries.collect();
    if as_json {
        let text = serde_json::to_string_pretty(&json!({ "schema": 1, "entries": entries }))
            .map_err(Fault::harness)?;
        return print::out(&format!("{text}\n"));
    }
    let widest = entries.iter().map(|e| e.id.len()).max().unwrap_or(0);
    let lines: String =
        entries.iter().map(|e| format!("{:widest$}  {}\n", e.id, about(&e.value))).collect();
    print::out(&lines)
}
