//! The scorer `regex`: what must and must not be in a reply, and what is told of fields and patterns that are wrong.

#![allow(clippy::unwrap_used, reason = "a test panics")]

use ptb_core::registry::{Benchmark, Entry, Registry};
use ptb_tasks::data::{Sample, load};
use ptb_tasks::score::{Outcome, Reply, score};

/// A benchmark with this scorer, and its samples from these lines.
fn loaded(scorer: &str, lines: &str) -> Result<(Entry<Benchmark>, Vec<Sample>), String> {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("benchmarks/rules");
    std::fs::create_dir_all(&folder).unwrap();
    let text = format!(
        "name = \"Rules\"\ntask = \"\"\n[data]\npath = \".\"\nquestion = \"q\"\n[[prompt.messages]]\nrole = \"user\"\n\
         content = \"{{{{ question }}}}\"\n[generation]\nmax_tokens = 8\n[scorer]\nkind = \"regex\"\n{scorer}\n\
         [evaluate]\nseeds = [1]\n"
    );
    std::fs::write(folder.join("benchmark.toml"), text).unwrap();
    std::fs::write(folder.join("test.jsonl"), lines).unwrap();
    let registry = Registry::load(&[dir.path().to_owned()]).map_err(|e| e.to_string())?;
    let entry = registry.benchmark("rules").unwrap().clone();
    let samples = load(&entry, None).map_err(|e| e.to_string())?.samples.to_vec();
    Ok((entry, samples))
}

const BOTH: &str = "required = \"must\"\nforbidden = \"must_not\"";

#[test]
fn replies_keep_all_rules_or_none() {
    let lines = r#"{"q": "a", "must": ["(?m)^- ", "(?i)rain"], "must_not": ","}
{"q": "b", "must": "\\A[^.]*\\.\\s*\\z"}
{"q": "c", "must_not": ["(?i)the"]}"#;
    let (entry, samples) = loaded(BOTH, lines).unwrap();
    let cases = [
        (0, "- Rain falls", 1.0, Some("3 of 3 instructions kept")),
        (0, "- Rain, again", 0.0, Some("2 of 3 instructions kept")),
        (0, "Rain falls", 0.0, Some("2 of 3 instructions kept")),
        (0, "<think>a, b</think>- rain", 1.0, Some("3 of 3 instructions kept")),
        (0, "a - rain", 0.0, Some("2 of 3 instructions kept")),
        (1, "One sentence.", 1.0, Some("1 of 1 instructions kept")),
        (1, "One. Two.", 0.0, Some("0 of 1 instructions kept")),
        (2, "A cat", 1.0, Some("1 of 1 instructions kept")),
        (2, "Other", 0.0, Some("0 of 1 instructions kept")),
        // Nothing said keeps no rule, though nothing forbidden is in it.
        (2, "", 0.0, None),
        (2, " \n", 0.0, None),
    ];
    for (i, text, expected, answer) in cases {
        let Outcome::Graded(graded) =
            score(&entry.value.scorer, &Reply::text(text), &samples[i]).unwrap()
        else {
            panic!("nothing is run")
        };
        assert_eq!((graded.score, graded.answer.as_deref()), (expected, answer), "{i}: {text:?}");
    }
}

#[test]
fn what_is_wrong_is_told() {
    let cases = [
        (
            "required = \"mst\"\nforbidden = \"must_not\"",
            r#"{"q": "a", "must": "x", "must_not": "y"}"#,
            "no record has the field `mst`",
        ),
        (
            BOTH,
            r#"{"q": "a", "must": "(", "must_not": "y"}"#,
            "the pattern `(` in the field `must`",
        ),
        (BOTH, r#"{"q": "a", "must": 5, "must_not": "y"}"#, "the field `must` holds a number"),
        (
            BOTH,
            "{\"q\": \"a\", \"must\": \"x\", \"must_not\": \"y\"}\n{\"q\": \"b\"}",
            "the record has no pattern",
        ),
        ("", r#"{"q": "a"}"#, "`required` and `forbidden` are for the scorer `regex`"),
    ];
    for (scorer, lines, message) in cases {
        let told = loaded(scorer, lines).unwrap_err();
        assert!(told.contains(message), "{told}");
    }
}
