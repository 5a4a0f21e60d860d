//! Where each key of an experiment file belongs, for keys that stand in another table: in TOML, what follows a
//! table's head is the table's.

use ptb_core::userfile::UserFileError;

const TOP: &str = "at the top, above the tables";

/// Keys by the place where they belong. Every key has one place.
const HOMES: [(&str, &[&str]); 6] = [
    (
        TOP,
        &[
            "name",
            "agents",
            "models",
            "benchmarks",
            "hours",
            "gpus",
            "repeats",
            "feedback",
            "sandbox",
            "engine",
            "edition",
            "prompt",
        ],
    ),
    ("under [evaluate]", &["seeds", "limit", "max_tokens", "gpu_share"]),
    ("under [scheduler]", &["slots"]),
    ("under [[binds]]", &["host", "inside", "writable"]),
    ("in an agent's table, as in { scaffold = \"NAME\", model = \"ID\" }", &["scaffold", "model"]),
    // `model` is a key of it too; alone it is rather an agent's.
    ("under [grader]", &["url", "prompt_file", "spend_limit"]),
];

/// What a key that stands where it has no meaning is told.
pub(crate) fn hint_for(key: &str) -> Option<String> {
    let (home, _) = HOMES.iter().find(|(_, keys)| keys.contains(&key))?;
    Some(format!("`{key}` belongs {home}"))
}

/// An error of parsing, with the place of its key where that is another one.
pub(crate) fn pointed(mut e: UserFileError) -> UserFileError {
    let UserFileError::Invalid { message, hint, text, line, .. } = &mut e else { return e };
    if let Some(rest) = message.strip_prefix("unknown field `") {
        let key = rest.split('`').next().unwrap_or_default();
        *hint = hint_for(key).or(hint.take());
    } else if message.starts_with("invalid type") {
        // Under [data] any key may be a benchmark, and only the value shows that it is none.
        let before: Vec<&str> = text.inner().lines().take(*line).collect();
        let table = before.iter().rev().map(|l| l.trim()).find(|l| l.starts_with('['));
        let key = before.last().and_then(|l| l.split_once('=')).map_or("", |(key, _)| key.trim());
        if let (Some("[data]"), Some(home)) = (table, hint_for(key)) {
            *message = format!("`{key}` is no benchmark");
            *hint = Some(home);
        }
    }
    e
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use ptb_core::userfile::UserFile;

    use super::*;
    use crate::file::ExperimentFile;

    /// The keys that the file's own types name where one is unknown.
    fn named(text: &str) -> BTreeSet<String> {
        let good = "agents = [\"a\"]\nmodels = [\"m\"]\nbenchmarks = [\"b\"]\n";
        let e = UserFile::new("e.toml", format!("{good}{text}")).parse::<ExperimentFile>();
        let told = e.unwrap_err().to_string();
        told.split('`').skip(3).step_by(2).map(str::to_owned).collect()
    }

    #[test]
    fn every_key_has_its_place() {
        let of = |place: usize| -> BTreeSet<String> {
            HOMES[place].1.iter().map(|key| (*key).to_owned()).collect()
        };
        let tables = ["evaluate", "data", "grader", "scheduler", "binds"].map(str::to_owned);
        assert_eq!(named("no_key = 1\n"), of(0).into_iter().chain(tables).collect());
        assert_eq!(named("[evaluate]\nno_key = 1\n"), of(1));
        assert_eq!(named("[scheduler]\nno_key = 1\n"), of(2));
        assert_eq!(named("[[binds]]\nno_key = 1\n"), of(3));
        let model = std::iter::once("model".to_owned());
        assert_eq!(named("[grader]\nno_key = 1\n"), of(5).into_iter().chain(model).collect());
        let docs = include_str!("../../../docs/experiments.md");
        for key in HOMES.iter().flat_map(|(_, keys)| keys.iter()) {
            assert!(docs.contains(&format!("| `{key}` | ")), "docs/experiments.md without `{key}`");
        }
        let all: Vec<&str> = HOMES.iter().flat_map(|(_, keys)| keys.iter().copied()).collect();
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "a key has two places");
    }
}
