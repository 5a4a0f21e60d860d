//! 2,489 labelled documents, beside the verdicts of two other tools on them.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a step that fails fails the test")]
#![expect(clippy::print_stderr, reason = "the table is for people")]

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use ptb_detect::{Finding, Index, Item, Kind, Limits};
use serde_json::Value;

const BENCHMARKS: [&str; 5] = ["gsm8k", "humaneval", "aime2025", "bfcl", "arenahardwriting"];

/// Labels of which so many documents may be missed: next to nothing of their item is left in them.
const MISSED: [(&str, u32); 1] = [("gsm8k_paraphrased", 1)];

fn shared() -> Option<PathBuf> {
    let shared = std::env::var_os("PTB_SHARED").map(PathBuf::from);
    if shared.is_none() {
        assert!(std::env::var_os("PTB_REQUIRE_ALL").is_none(), "PTB_SHARED is not set");
        eprintln!("skipped: PTB_SHARED names no folder with labelled documents");
    }
    shared
}

fn read(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    match text.trim_start().starts_with('[') {
        true => serde_json::from_str(&text).unwrap(),
        false => text.lines().map(|l| serde_json::from_str(l).unwrap()).collect(),
    }
}

fn text(record: &Value, field: &str) -> String {
    record[field].as_str().unwrap().to_owned()
}

fn index(shared: &Path, benchmark: &str, allowed: &[String]) -> Index {
    let records = read(&shared.join(format!("oracle/decon/test_data_{benchmark}.json")));
    let tests = match benchmark {
        "humaneval" => read(&shared.join("data/humaneval/HumanEval.jsonl")),
        _ => Vec::new(),
    };
    let item = |(i, record): (usize, &Value)| {
        let (question, answer) = (text(record, "question"), text(record, "answer"));
        let mut texts = vec![question.clone(), answer.clone()];
        let mut code = Vec::new();
        if let Some(tests) = tests.get(i) {
            code = vec![format!("{question}{answer}"), text(tests, "test")];
            texts.push(text(tests, "test"));
        }
        Item { id: i.to_string(), texts, choices: Vec::new(), code }
    };
    let items: Vec<Item> = records.iter().enumerate().map(item).collect();
    Index::new(&items, allowed.iter().map(String::as_str))
}

#[derive(Default)]
struct Row {
    documents: u32,
    flagged: u32,
    right: u32,
    reference: u32,
    decon: u32,
    kinds: BTreeMap<Kind, u32>,
}

/// What was found in the documents, by their lines.
fn found(shared: &Path) -> HashMap<u64, Vec<(&'static str, String, Kind)>> {
    let documents = [shared.join("oracle/decon/train.jsonl")];
    let mut found: HashMap<u64, Vec<_>> = HashMap::new();
    for benchmark in BENCHMARKS {
        let mut each = |f: Finding| {
            let items = f.items.into_iter().map(|i| (benchmark, i.id, i.kind));
            found.entry(f.line).or_default().extend(items);
        };
        let mut unread = |u| panic!("{u:?}");
        let index = index(shared, benchmark, &[]);
        let scanned = index.scan(&documents, &Limits::default(), &mut each, &mut unread);
        assert_eq!(scanned.documents, 2489);
    }
    found
}

#[test]
fn labelled_documents_are_told_apart_better_than_by_others() {
    let Some(shared) = shared() else { return };
    let mut found = found(&shared);
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    for v in read(&shared.join("oracle/decon/verdicts.jsonl")) {
        let row = rows.entry(text(&v, "label")).or_default();
        let found = found.remove(&v["line"].as_u64().unwrap()).unwrap_or_default();
        row.documents += 1;
        row.flagged += u32::from(!found.is_empty());
        let own = v["ref_index"].as_u64().map(|i| i.to_string());
        let is_right =
            |(b, id, _): &&(&str, String, Kind)| v["benchmark"] == *b && Some(id) == own.as_ref();
        if let Some((_, _, kind)) = found.iter().find(is_right) {
            row.right += 1;
            *row.kinds.entry(*kind).or_default() += 1;
        }
        row.reference += u32::from(v["ref_flagged"].as_bool().unwrap());
        let decon = ["decon_flagged_0.8", "decon_flagged_0.6"].map(|f| v[f].as_bool().unwrap());
        row.decon += u32::from(decon.contains(&true));
    }
    eprintln!(
        "{:38} {:>5} {:>7} {:>6} {:>9} {:>6}  kinds",
        "label", "docs", "flagged", "right", "reference", "decon"
    );
    for (label, r) in &rows {
        let (documents, flagged, right) = (r.documents, r.flagged, r.right);
        let (reference, decon, kinds) = (r.reference, r.decon, &r.kinds);
        eprintln!(
            "{label:38} {documents:>5} {flagged:>7} {right:>6} {reference:>9} {decon:>6}  {kinds:?}"
        );
    }
    for (label, r) in &rows {
        if label.starts_with("clean") {
            assert_eq!(r.flagged, 0, "{label}");
            continue;
        }
        let missed = MISSED.iter().find(|(l, _)| l == label).map_or(0, |(_, n)| *n);
        assert!(r.right + missed >= r.documents, "{label}: {} of {}", r.right, r.documents);
        assert!(r.right >= r.reference.max(r.decon), "{label}: others find more");
    }
}

/// The train split of GSM8K is not its test split; where it is allowed, not even its few twins of test items count.
#[test]
fn a_train_split_is_clean() {
    let Some(shared) = shared() else { return };
    let train = [shared.join("data/gsm8k/train.jsonl")];
    let count = |index: &Index| {
        let mut unread = |u| panic!("{u:?}");
        let mut each = |f| eprintln!("{f:?}");
        let scanned = index.scan(&train, &Limits::default(), &mut each, &mut unread);
        assert_eq!(scanned.documents, 7473);
        scanned.flagged
    };
    assert!(count(&index(&shared, "gsm8k", &[])) <= 3);
    let both = |r: &Value| format!("{}\n{}", text(r, "question"), text(r, "answer"));
    let allowed: Vec<String> = read(&train[0]).iter().map(both).collect();
    assert_eq!(count(&index(&shared, "gsm8k", &allowed)), 0);
}
