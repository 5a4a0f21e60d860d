//! A submission that brings another chat template, tokenizer or name is asked the same, scores the same, and what
//! it brought is noted.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a step that fails fails the test")]
#![expect(clippy::panic, reason = "helpers of tests fail by panicking")]
#![expect(clippy::print_stderr, reason = "a test that skips says why")]

mod support;

use std::fs;
use std::path::Path;

use serde_json::Value;
use support::runs::{json, results_of, runs, score};
use support::{Place, wall};

const COPY: &str = "mkdir final_model && cp -rL \"$PTB_BASE_MODEL\"/. final_model/ && chmod -R u+w final_model && cd final_model\n";

/// Agents, what they do to a copy of the base model, and what is noted of it.
const AGENTS: [(&str, &str, &[&str]); 5] = [
    ("plain", "", &[]),
    (
        "template",
        "printf '{{ \"answer 42 to everything\" }}' > chat_template.jinja\n\
         sed -i 's/\"bos_token\": null/\"bos_token\": null, \"chat_template\": \"other\"/' tokenizer_config.json",
        &[
            "chat-template: its chat template (chat_template.jinja, tokenizer_config.json: 36 characters) is its own, \
             the base model has none; the prompt does not depend on it",
        ],
    ),
    (
        "tokenizer",
        "sed -i 's/<|im_start|>/<|IM_START|>/; s/\"normalizer\": null/\"normalizer\": {\"type\": \"Lowercase\"}/' tokenizer.json\n\
         sed -i 's/\"eos_token\": \"[^\"]*\"/\"eos_token\": \"<think>\"/' tokenizer_config.json",
        &[
            "tokenizer: its tokenizer differs from the base model's (tokenizer.json: another normalizer, added tokens: \
             1 more (as `<|IM_START|>`) and 1 missing (as `<|im_start|>`); tokenizer_config.json: eos_token is `<think>` \
             instead of `<|im_end|>`); the prompt does not depend on it",
        ],
    ),
    (
        "broken",
        "printf '\\377' > chat_template.jinja; printf '{' > tokenizer_config.json\n\
         head -c 300000 /dev/zero | tr '\\0' '[' > tokenizer.json",
        &[
            "chat-template: its chat template is unknown: chat_template.jinja is no UTF-8; \
             the prompt does not depend on it",
            "tokenizer: its tokenizer differs from the base model's (tokenizer.json cannot be read: invalid type: \
             sequence, expected an object at line 1 column 0; tokenizer_config.json cannot be read: EOF while parsing an \
             object at line 1 column 1); the prompt does not depend on it",
        ],
    ),
    (
        "names",
        "sed -i 's/\"Qwen3ForCausalLM\"/\"Qwen3ForCausalLM\", \"LlamaForCausalLM\"/' config.json",
        &["names: config.json names 2 classes instead of one; the prompt does not depend on it"],
    ),
];

fn noted(facts: impl Iterator<Item = Value>) -> Vec<String> {
    let mut found = Vec::new();
    for fact in facts {
        let check = fact["check"].as_str().unwrap();
        if ["names", "chat-template", "tokenizer"].contains(&check) {
            assert_eq!(fact["mark"], Value::Null, "{fact}");
            found.push(format!("{check}: {}", fact["fact"].as_str().unwrap()));
        }
    }
    found
}

fn evidence(run: &Path) -> Vec<String> {
    let mut files: Vec<_> =
        fs::read_dir(run.join("evidence")).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    noted(files.iter().map(|file| json(file)))
}

#[test]
fn what_a_submission_brings_changes_no_prompt_and_is_noted() {
    if !wall() {
        return;
    }
    let place = Place::new();
    for (name, script, _) in AGENTS {
        place.agent(name, &format!("set -e\n{COPY}{script}"));
    }
    place.experiment("e", &AGENTS.map(|(name, ..)| name), "");
    let ran = place.output(&["run", "e.toml"]);
    assert_eq!(ran.code, 0, "{}", ran.shown());
    let runs = runs(&place.path().join("results"), "e");
    let of = |name: &str| {
        let starts = |run: &&std::path::PathBuf| {
            run.file_name().unwrap().to_str().unwrap().starts_with(&format!("{name}-"))
        };
        runs.iter().find(starts).unwrap_or_else(|| panic!("no run of {name}"))
    };
    let plain = of("plain");
    let samples = fs::read(plain.join("eval/final/42/samples.jsonl")).unwrap();
    for (name, _, expected) in AGENTS {
        let run = of(name);
        assert_eq!(score(run)["mark"], Value::Null, "{name}");
        assert_eq!(score(run)["score"], score(plain)["score"], "{name}");
        let own = fs::read(run.join("eval/final/42/samples.jsonl")).unwrap();
        assert!(own == samples, "{name}: other prompts or completions");
        let metrics =
            |run: &Path| results_of(run).into_iter().find(|(f, _)| f.ends_with("metrics.json"));
        assert_eq!(metrics(run), metrics(plain), "{name}");
        assert_eq!(evidence(run), expected, "{name}");
        let shown = place.output(&["show", run.to_str().unwrap(), "--json"]);
        let shown: Value = serde_json::from_str(&shown.out).expect("stdout is JSON alone");
        let facts = shown["evidence"].as_array().unwrap();
        assert_eq!(noted(facts.iter().cloned()), expected, "{name}");
        // As text, which has room for three facts.
        let text = place.output(&["show", run.to_str().unwrap()]).out;
        let check = expected.first().and_then(|fact| fact.split_once(':'));
        assert!(check.is_none_or(|(check, _)| text.contains(&format!("{check}: "))), "{text}");
    }
}
