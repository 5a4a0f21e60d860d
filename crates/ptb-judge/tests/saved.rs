//! Tokenizers that Python `transformers` wrote anew are no other tokenizers.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "helpers of tests fail by panicking, and a test that skips says why"
)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ptb_core::run::Submission;
use ptb_judge::{Submitted, gather};
use ptb_model::{RandomModel, random_model};

const SCRIPT: &str = "
import sys
from transformers import AutoTokenizer
for path in sys.argv[1:]:
    tokenizer = AutoTokenizer.from_pretrained(path)
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = 'left'
    tokenizer(['a', 'b b'], padding=True, truncation=True, max_length=4)
    tokenizer.save_pretrained(path + '-saved')
";

fn skip(why: &str) {
    assert!(std::env::var_os("PTB_REQUIRE_ALL").is_none_or(|v| v != "1"), "required: {why}");
    eprintln!("skipped: {why}");
}

/// The small model with the tokenizer's files of a folder.
fn with_tokenizer(model: &Path, tokenizer: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for from in [model, tokenizer] {
        for entry in fs::read_dir(from).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
        }
    }
}

fn notes(dir: &Path, base: &Path) -> Vec<String> {
    let architecture = common::architecture(&RandomModel::mini(1));
    let (end, submission) = ("finished", &Submission::Final);
    let submitted =
        Submitted { end, submission, dir, base, instruct: None, architecture: &architecture };
    let evidence = gather(&submitted).unwrap().into_iter();
    let noted = evidence.filter(|e| ["names", "chat-template", "tokenizer"].contains(&&*e.check));
    noted.map(|e| e.fact).collect()
}

#[test]
fn what_transformers_writes_anew_is_the_same() {
    let python = std::env::var("PTB_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let import = Command::new(&python).args(["-c", "import jinja2, transformers"]).output();
    if !import.is_ok_and(|o| o.status.success()) {
        return skip("there is no Python with transformers (PTB_PYTHON)");
    }
    let home = tempfile::tempdir().unwrap();
    let model = home.path().join("model");
    random_model(&model, &RandomModel::mini(1)).unwrap();
    let mut sources: Vec<(&str, PathBuf)> = vec![("small", model.clone())];
    match std::env::var_os("PTB_TOKENIZERS").map(PathBuf::from) {
        Some(real) => sources.extend(["qwen3", "gemma3", "llama3_1"].map(|n| (n, real.join(n)))),
        None => skip("PTB_TOKENIZERS names no folder of real tokenizers"),
    }
    let bases: Vec<PathBuf> = sources
        .iter()
        .map(|(name, tokenizer)| {
            let base = home.path().join(name);
            with_tokenizer(&model, tokenizer, &base);
            base
        })
        .collect();
    let saved = Command::new(&python).args(["-c", SCRIPT]).args(&bases).output().unwrap();
    assert!(saved.status.success(), "{}", String::from_utf8_lossy(&saved.stderr));
    for base in &bases {
        let name = base.file_name().unwrap().to_str().unwrap();
        let (written, own) = (
            base.with_file_name(format!("{name}-saved")),
            base.with_file_name(format!("{name}-own")),
        );
        assert_ne!(
            fs::read(written.join("tokenizer.json")).unwrap(),
            fs::read(base.join("tokenizer.json")).unwrap(),
            "{name}: the files differ"
        );
        with_tokenizer(&model, &written, &own);
        assert_eq!(notes(&own, base), [""; 0], "{name}");
    }
}
