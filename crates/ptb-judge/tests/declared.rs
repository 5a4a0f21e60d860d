//! Chat templates, tokenizers and names that submissions bring: what is noted of them, and what is the same
//! in other words.

#![expect(clippy::unwrap_used, reason = "a step that fails fails the test")]

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use ptb_core::run::Submission;
use ptb_judge::{Submitted, gather};
use ptb_model::{RandomModel, random_model};
use serde_json::{Value, json};

const TEMPLATE: &str = "{% for m in messages %}{{ m.content }}{% endfor %}";
/// The checks that this is about.
const CHECKS: [&str; 3] = ["names", "chat-template", "tokenizer"];

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

fn read(dir: &Path, file: &str) -> Value {
    serde_json::from_slice(&fs::read(dir.join(file)).unwrap()).unwrap()
}

/// Changes a JSON file.
fn edit(dir: &Path, file: &str, change: impl FnOnce(&mut Value)) {
    let mut json = read(dir, file);
    change(&mut json);
    fs::write(dir.join(file), json.to_string()).unwrap();
}

/// A base model whose tokenizer has every part, and its instruct model with a template and another end.
struct Models {
    dir: tempfile::TempDir,
}

impl Models {
    fn new() -> Self {
        let models = Self { dir: tempfile::tempdir().unwrap() };
        random_model(models.at("base"), &RandomModel::mini(1)).unwrap();
        edit(&models.at("base"), "tokenizer.json", |t| {
            t["normalizer"] = json!({ "type": "NFC" });
            t["model"]["vocab"]["ab"] = json!(282);
            t["model"]["vocab"]["abc"] = json!(283);
            t["model"]["merges"] = json!([["a", "b"], ["ab", "c"]]);
        });
        edit(&models.at("base"), "tokenizer_config.json", |c| {
            c["eos_token"] = json!("<|endoftext|>");
        });
        copy(&models.at("base"), &models.at("instruct"));
        edit(&models.at("instruct"), "tokenizer_config.json", |c| {
            c["eos_token"] = json!("<|im_end|>");
            c["chat_template"] = json!(TEMPLATE);
        });
        models
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What is noted of a folder, a line each; all of it without a mark.
    fn notes(&self, dir: &Path) -> String {
        let architecture = common::architecture(&RandomModel::mini(1));
        let evidence = gather(&Submitted {
            end: "finished",
            submission: &Submission::Final,
            dir,
            base: &self.at("base"),
            instruct: Some(&self.at("instruct")),
            architecture: &architecture,
        });
        let mut told = String::new();
        for fact in evidence.unwrap() {
            if CHECKS.contains(&fact.check.as_str()) {
                assert_eq!(fact.mark, None, "{fact:?}");
                assert!(fact.fact.chars().count() < 1200, "{fact:?}");
                told += &format!("{}: {}\n", fact.check, fact.fact);
            }
        }
        told
    }
}

type Edit = (&'static str, Box<dyn Fn(&Path)>);

fn file(name: &'static str, bytes: impl Into<Vec<u8>>) -> Box<dyn Fn(&Path)> {
    let bytes = bytes.into();
    Box::new(move |dir| fs::write(dir.join(name), &bytes).unwrap())
}

fn tokenizer(change: fn(&mut Value)) -> Box<dyn Fn(&Path)> {
    Box::new(move |dir| edit(dir, "tokenizer.json", change))
}

fn settings(change: fn(&mut Value)) -> Box<dyn Fn(&Path)> {
    Box::new(move |dir| edit(dir, "tokenizer_config.json", change))
}

fn config(change: fn(&mut Value)) -> Box<dyn Fn(&Path)> {
    Box::new(move |dir| edit(dir, "config.json", change))
}

fn added(id: u64, content: &str) -> Value {
    json!({
        "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": true,
    })
}

/// Other words for the same.
fn same() -> Vec<Edit> {
    vec![
        ("nothing", Box::new(|_| {})),
        ("layout", tokenizer(|_| {})),
        ("merges in one text each", tokenizer(|t| t["model"]["merges"] = json!(["a b", "ab c"]))),
        (
            "other order of added tokens and keys",
            tokenizer(|t| {
                t["added_tokens"].as_array_mut().unwrap().reverse();
                let model = t["model"].take();
                let mut keys: Vec<_> = model.as_object().unwrap().clone().into_iter().collect();
                keys.reverse();
                t["model"] = Value::Object(keys.into_iter().collect());
            }),
        ),
        (
            "padding and truncation",
            tokenizer(|t| {
                t["padding"] = json!({ "strategy": "BatchLongest", "pad_id": 256 });
                t["truncation"] = json!({ "max_length": 8, "strategy": "LongestFirst" });
            }),
        ),
        (
            "options of byte-level steps that change no ids",
            tokenizer(|t| {
                t["pre_tokenizer"]["trim_offsets"] = json!(true);
                t["decoder"]["use_regex"] = json!(true);
                t["decoder"]["add_prefix_space"] = json!(true);
                t["post_processor"] = json!({ "type": "ByteLevel", "trim_offsets": true });
                t["normalizer"] = json!({ "type": "Sequence", "normalizers": [{ "type": "NFC" }] });
                t["added_tokens"][0]["special"] = json!(false);
            }),
        ),
        (
            "a template of the text alone",
            tokenizer(|t| {
                t["post_processor"] = json!({
                    "type": "TemplateProcessing", "single": [{ "Sequence": { "id": "A", "type_id": 0 } }],
                    "pair": [], "special_tokens": {},
                });
            }),
        ),
        (
            "another padding, class of the library's, lengths",
            settings(|c| {
                c["pad_token"] = json!("<|im_end|>");
                c["tokenizer_class"] = json!("TokenizersBackend");
                c["backend"] = json!("tokenizers");
                c["model_max_length"] = json!(1);
                c["padding_side"] = json!("left");
                c["eos_token"] = added(256, "<|endoftext|>");
                c["added_tokens_decoder"] = json!({ "256": added(256, "<|endoftext|>") });
                c["extra_special_tokens"] = json!(["<|im_start|>"]);
            }),
        ),
        (
            "the older files beside",
            Box::new(|dir| {
                let vocab = read(dir, "tokenizer.json")["model"]["vocab"].clone();
                fs::write(dir.join("vocab.json"), vocab.to_string()).unwrap();
                fs::write(dir.join("merges.txt"), "#version: 0.2\na b\nab c\n").unwrap();
                fs::write(dir.join("added_tokens.json"), "{\"<|im_end|>\": 258}").unwrap();
                let map = json!({ "eos_token": added(256, "<|endoftext|>") });
                fs::write(dir.join("special_tokens_map.json"), map.to_string()).unwrap();
            }),
        ),
        (
            "no name but the type",
            config(|c| drop(c.as_object_mut().unwrap().remove("architectures"))),
        ),
    ]
}

fn other() -> Vec<Edit> {
    let deep = || "[".repeat(200_000) + &"]".repeat(200_000);
    vec![
        ("template: the instruct model's", file("chat_template.jinja", format!("{TEMPLATE}\n"))),
        ("template: its own", file("chat_template.jinja", "{{ 'think hard' }}")),
        ("template: its own, as JSON", file("chat_template.json", "{\"chat_template\": \"x\"}")),
        ("template: its own, in the settings", settings(|c| c["chat_template"] = json!("x"))),
        (
            "template: two of them, one the instruct model's",
            settings(|c| {
                c["chat_template"] = json!([
                    { "name": "default", "template": TEMPLATE }, { "name": "tool_use", "template": "y" },
                ]);
            }),
        ),
        (
            "template: a folder of more",
            Box::new(|d| fs::create_dir(d.join("additional_chat_templates")).unwrap()),
        ),
        ("template: no UTF-8", file("chat_template.jinja", b"\xff\xfe".to_vec())),
        ("template: endless", file("chat_template.jinja", vec![b'x'; 2 << 20])),
        (
            "template: deep",
            file("chat_template.json", format!("{{\"chat_template\": {}}}", deep())),
        ),
        ("template: a number", settings(|c| c["chat_template"] = json!(7))),
        (
            "template: a folder",
            Box::new(|d| fs::create_dir(d.join("chat_template.jinja")).unwrap()),
        ),
        (
            "template: a link out",
            Box::new(|d| symlink("/etc/hostname", d.join("chat_template.jinja")).unwrap()),
        ),
        ("tokenizer: none", Box::new(|d| fs::remove_file(d.join("tokenizer.json")).unwrap())),
        (
            "tokenizer: no settings",
            Box::new(|d| fs::remove_file(d.join("tokenizer_config.json")).unwrap()),
        ),
        (
            "tokenizer: one token more",
            tokenizer(|t| t["added_tokens"].as_array_mut().unwrap().push(added(290, "[PAD]"))),
        ),
        (
            "tokenizer: other ids, with hostile texts",
            tokenizer(|t| {
                let all = t["added_tokens"].as_array_mut().unwrap();
                all.remove(0);
                all[0]["id"] = json!(7);
                all.push(added(300, "\u{1b}[2J\n\u{202e}"));
                all.push(added(301, &"z".repeat(100_000)));
            }),
        ),
        (
            "tokenizer: other vocabulary and merges",
            tokenizer(|t| {
                t["model"]["vocab"]["abc"] = json!(284);
                t["model"]["vocab"]["abd"] = json!(285);
                t["model"]["merges"] = json!([["ab", "c"], ["a", "b"]]);
            }),
        ),
        (
            "tokenizer: every rule",
            tokenizer(|t| {
                t["normalizer"] = json!({ "type": "Lowercase" });
                t["pre_tokenizer"] = json!({ "type": "Whitespace" });
                t["decoder"] = json!({ "type": "Fuse" });
                t["post_processor"] = json!({
                    "type": "TemplateProcessing", "pair": [],
                    "single": [{ "SpecialToken": { "id": "x", "type_id": 0 } }, { "Sequence": { "id": "A", "type_id": 0 } }],
                    "special_tokens": { "x": { "id": "x", "ids": [256], "tokens": ["x"] } },
                });
                t["model"]["ignore_merges"] = json!(true);
                t["model"]["merges"] = json!([]);
            }),
        ),
        (
            "tokenizer: words instead of bytes",
            tokenizer(|t| {
                t["model"] = json!({ "type": "WordLevel", "vocab": { "a": 0 }, "unk_token": "a" })
            }),
        ),
        ("tokenizer: empty", file("tokenizer.json", "")),
        ("tokenizer: a list", file("tokenizer.json", "[]")),
        ("tokenizer: no model", file("tokenizer.json", "{}")),
        (
            "tokenizer: deep",
            file("tokenizer.json", format!("{{\"model\": {{\"vocab\": {}}}}}", deep())),
        ),
        (
            "tokenizer: deep rule",
            Box::new(move |d| {
                let text = fs::read_to_string(d.join("tokenizer.json")).unwrap();
                fs::write(
                    d.join("tokenizer.json"),
                    text.replace("{\"type\":\"NFC\"}", &deep()[199_000..201_000]),
                )
                .unwrap();
            }),
        ),
        ("tokenizer: twice said", file("tokenizer.json", "{\"model\": 1, \"model\": 2}")),
        ("tokenizer: endless", file("tokenizer.json", vec![b' '; 3 << 20])),
        (
            "tokenizer: a pipe",
            Box::new(|d| {
                fs::remove_file(d.join("tokenizer.json")).unwrap();
                assert!(
                    Command::new("mkfifo")
                        .arg(d.join("tokenizer.json"))
                        .status()
                        .unwrap()
                        .success()
                );
            }),
        ),
        ("settings: the instruct model's end", settings(|c| c["eos_token"] = json!("<|im_end|>"))),
        (
            "settings: other tokens",
            settings(|c| {
                c["bos_token"] = json!("<|im_start|>");
                c["eos_token"] = json!({ "content": "\u{7}" });
                c["unk_token"] = json!("<|endoftext|>");
                c["additional_special_tokens"] = json!(["<|new|>", "<|im_end|>"]);
                c["added_tokens_decoder"] = json!({ "3": added(3, "<|im_end|>") });
                c["add_bos_token"] = json!(true);
                c["add_prefix_space"] = json!(true);
                c["tokenizer_class"] = json!("GPT2TokenizerFast");
                c["auto_map"] = json!({ "AutoTokenizer": "evil.py" });
            }),
        ),
        ("settings: wrong kinds", settings(|c| c["added_tokens_decoder"] = json!([1]))),
        (
            "older files: others",
            Box::new(|dir| {
                fs::write(dir.join("vocab.json"), "{\"a\": 1}").unwrap();
                fs::write(dir.join("merges.txt"), "a b\n").unwrap();
                fs::write(dir.join("added_tokens.json"), "{\"<|im_end|>\": 3}").unwrap();
                fs::write(dir.join("special_tokens_map.json"), "{\"eos_token\": \"x\"}").unwrap();
                fs::write(dir.join("tokenizer.model"), [0xff; 100]).unwrap();
            }),
        ),
        (
            "older files: broken",
            Box::new(|dir| {
                fs::write(dir.join("vocab.json"), "{\"a\": -1}").unwrap();
                fs::write(dir.join("merges.txt"), "a b c\n").unwrap();
                fs::write(dir.join("added_tokens.json"), "[]").unwrap();
                fs::write(dir.join("special_tokens_map.json"), "7").unwrap();
            }),
        ),
        ("name: another type", config(|c| c["model_type"] = json!("llama"))),
        (
            "name: another class",
            config(|c| {
                c["architectures"] = json!(["LlamaForCausalLM"]);
                c["model_type"] = json!("llama\u{1b}[2J");
                c["auto_map"] = json!({});
            }),
        ),
        (
            "name: a second class and code",
            config(|c| {
                c["architectures"] = json!(["Qwen3ForCausalLM", "Other"]);
                c["auto_map"] = json!({ "AutoModel": "model.py" });
            }),
        ),
        ("name: of another kind", config(|c| c["architectures"] = json!({}))),
    ]
}

#[test]
fn what_says_the_same_is_not_noted() {
    let models = Models::new();
    for (n, (what, change)) in same().into_iter().enumerate() {
        let dir = models.at(&format!("same{n}"));
        copy(&models.at("base"), &dir);
        change(&dir);
        assert_eq!(models.notes(&dir), "", "{what}");
    }
    assert_eq!(models.notes(&models.at("base")), "");
}

#[test]
fn what_differs_is_noted_in_words_of_ours() {
    let models = Models::new();
    let mut told = String::new();
    for (n, (what, change)) in other().into_iter().enumerate() {
        let dir = models.at(&format!("other{n}"));
        copy(&models.at("base"), &dir);
        change(&dir);
        let notes = models.notes(&dir);
        assert!(!notes.is_empty(), "{what}");
        told += &format!("# {what}\n{notes}\n");
    }
    assert!(!told.chars().any(|c| c.is_control() && c != '\n'), "{told:?}");
    insta::assert_snapshot!(told);
}
