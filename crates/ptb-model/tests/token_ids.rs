//! Token ids equal those of Python `transformers` for the same text, on tokenizers of several kinds.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "helpers of tests fail by panicking, and a test that skips says why"
)]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ptb_model::{ModelDir, RandomModel, Tokenizer, random_model};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// Added to each tokenizer that is made here, with the ids after its vocabulary's. The last three are text to the
/// decoder, and are looked for in other ways.
const ADDED: [&str; 8] = [
    "<bos>",
    "<|im_start|>",
    "<|im_end|>",
    "<start_of_turn>",
    "<end_of_turn>",
    "<think>",
    "</think>",
    "word",
];

fn skip(why: &str) {
    assert!(std::env::var_os("PTB_REQUIRE_ALL").is_none_or(|v| v != "1"), "required: {why}");
    eprintln!("skipped: {why}");
}

fn folder(variable: &str, what: &str) -> Option<PathBuf> {
    let dir = std::env::var_os(variable).map(PathBuf::from);
    if dir.is_none() {
        skip(&format!("{variable} names no {what}"));
    }
    dir
}

/// Adds tokens to a tokenizer, and `<bos>` before each text where `first` says so.
fn with_added(mut made: Value, first: bool) -> Value {
    // The library counts on from the vocabulary, whatever a file says.
    let start = made["model"]["vocab"].as_object().unwrap().len();
    let token = |(n, content): (usize, &&str)| {
        let special = n < 5;
        json!({
            "id": start + n, "content": content, "special": special, "normalized": !special,
            "lstrip": *content == "<think>", "rstrip": *content == "</think>",
            "single_word": *content == "word",
        })
    };
    made["added_tokens"] = ADDED.iter().enumerate().map(token).collect();
    if first {
        made["post_processor"] = bos_first(start);
    }
    made
}

/// `<bos>` before each text.
fn bos_first(id: usize) -> Value {
    json!({
        "type": "TemplateProcessing",
        "single": [{ "SpecialToken": { "id": "<bos>", "type_id": 0 } }, { "Sequence": { "id": "A", "type_id": 0 } }],
        "pair": [{ "Sequence": { "id": "A", "type_id": 0 } }, { "Sequence": { "id": "B", "type_id": 1 } }],
        "special_tokens": { "<bos>": { "id": "<bos>", "ids": [id], "tokens": ["<bos>"] } },
    })
}

fn numbered(tokens: impl Iterator<Item = String>) -> Map<String, Value> {
    let mut all = Map::new();
    for token in tokens {
        let id = all.len();
        all.entry(token).or_insert(json!(id));
    }
    all
}

/// Byte-pair encoding over bytes, as Qwen3 and Llama 3 have it: the alphabet of a random model, and merges.
fn byte_level() -> Value {
    let dir = tempfile::tempdir().unwrap();
    random_model(dir.path(), &RandomModel::mini(1)).unwrap();
    let mut made: Value =
        serde_json::from_slice(&fs::read(dir.path().join("tokenizer.json")).unwrap()).unwrap();
    let merges =
        [("t", "h"), ("th", "e"), ("Ġ", "the"), ("Ċ", "Ċ"), ("Ã", "¤"), ("1", "2"), ("i", "n")];
    for (n, (a, b)) in merges.iter().enumerate() {
        made["model"]["vocab"][format!("{a}{b}")] = json!(256 + n);
    }
    made["model"]["merges"] = json!(merges);
    made["normalizer"] = json!({ "type": "NFC" });
    let pattern = r"'s|'t|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    made["pre_tokenizer"] = json!({
        "type": "Sequence",
        "pretokenizers": [
            { "type": "Split", "pattern": { "Regex": pattern }, "behavior": "Isolated", "invert": false },
            made["pre_tokenizer"],
        ],
    });
    made
}

/// Byte-pair encoding over characters with bytes for unknown ones, as Gemma and Llama 2 have it.
fn byte_fallback(normalizer: Value, pre_tokenizer: Value) -> Value {
    let merges = [("t", "h"), ("th", "e"), ("▁", "the"), ("▁", "▁"), ("i", "n"), ("\n", "\n")];
    let letters = ('!'..='~').chain("▁\näöü模型".chars()).map(|c| c.to_string());
    let tokens = ["<unk>".to_owned()]
        .into_iter()
        .chain((0..256).map(|byte| format!("<0x{byte:02X}>")))
        .chain(letters)
        .chain(merges.iter().map(|(a, b)| format!("{a}{b}")));
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
        "normalizer": normalizer, "pre_tokenizer": pre_tokenizer, "post_processor": null,
        "decoder": { "type": "Sequence", "decoders": [{ "type": "ByteFallback" }, { "type": "Fuse" }] },
        "model": {
            "type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
            "vocab": numbered(tokens), "merges": merges,
        },
    })
}

fn words() -> Value {
    let tokens = ["<unk>", "hi", "is", "What", "2", "assistant", "user", ".", "?"];
    json!({
        "version": "1.0", "truncation": { "max_length": 3, "strategy": "LongestFirst", "stride": 0, "direction": "Right" },
        "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": { "type": "Whitespace" }, "post_processor": null, "decoder": null,
        "model": {
            "type": "WordLevel", "unk_token": "<unk>", "vocab": numbered(tokens.iter().map(|t| (*t).to_owned())),
        },
    })
}

/// Tokenizers of several kinds, each in a folder of its name.
fn make_all(home: &Path) -> Vec<PathBuf> {
    let space = json!({ "type": "Replace", "pattern": { "String": " " }, "content": "▁" });
    let split = json!({
        "type": "Split", "pattern": { "String": " " }, "behavior": "MergedWithPrevious", "invert": false,
    });
    let prepend = json!({
        "type": "Sequence", "normalizers": [{ "type": "Prepend", "prepend": "▁" }, space],
    });
    let kinds = [
        ("byte-level", byte_level(), false),
        ("byte-level-bos", byte_level(), true),
        ("gemma", byte_fallback(space, split), true),
        ("llama", byte_fallback(prepend, Value::Null), true),
        ("words", words(), false),
    ];
    kinds.map(|(name, made, first)| write(&home.join(name), &with_added(made, first))).into()
}

fn write(dir: &Path, tokenizer: &Value) -> PathBuf {
    fs::create_dir(dir).unwrap();
    fs::write(dir.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    let config = json!({ "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<bos>" });
    fs::write(dir.join("tokenizer_config.json"), config.to_string()).unwrap();
    dir.to_owned()
}

/// Every conversation that the reference files render, and texts that tokenizers have trouble with.
fn texts() -> Vec<String> {
    let mut all: Vec<String> = [
        "",
        " ",
        "\n",
        "hi",
        " What is  2+2?\t\n\n\n the end ",
        "naïve e\u{301} \u{301}x İ ﬀ ① ｈｉ",
        "模型 😀👩‍👩‍👧 \u{1f1e9}\u{1f1ea} \u{10ffff}\u{e000}",
        "\0\u{1}\u{7f}\u{200b}\u{feff}\u{202e}",
        "▁the▁ Ġthe Ċ <0x0A> <unk>",
        "it's don't 123456789 1,234.5",
        "<bos><bos>two",
        "user wrote <|im_end|>\n<|im_start|>assistant <|im_start|> <|im_end|",
        "<start_of_turn>  <end_of_turn>\n\n<start_of_turn>model\n",
        "  <think>  \n </think>  word wordy word",
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nhi<|eot_id|><|endoftext|><pad>",
        "crlf\r\nand\rcr\u{85}\u{2028}",
    ]
    .map(str::to_owned)
    .into();
    all.push("The quick brown fox, 12 times. ".repeat(300));
    all.push("a".repeat(3000) + &" ".repeat(3000));
    if let Some(shared) = folder("PTB_SHARED", "folder of reference files") {
        let lines = fs::read_to_string(shared.join("oracle/chat_render.jsonl")).unwrap();
        let before = all.len();
        for line in lines.lines() {
            let record: Value = serde_json::from_str(line).unwrap();
            all.extend(record["rendered"].as_str().map(str::to_owned));
        }
        assert!(all.len() > before + 100, "{} conversations", all.len() - before);
    }
    all.sort_unstable();
    all.dedup();
    all
}

#[derive(Deserialize)]
struct Told {
    class: String,
    bos: Option<String>,
    texts: Vec<Ids>,
}

#[derive(Deserialize)]
struct Ids {
    alone: Vec<u32>,
    around: Vec<u32>,
    rendered: String,
    chat: Vec<u32>,
}

/// What `transformers` says of each folder; none where there is no Python with it.
fn told(dirs: &[PathBuf], texts: &[String]) -> Option<Vec<Told>> {
    let python = std::env::var("PTB_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let import = Command::new(&python).args(["-c", "import jinja2, transformers"]).output();
    if !import.is_ok_and(|o| o.status.success()) {
        skip("there is no Python with transformers (PTB_PYTHON)");
        return None;
    }
    let mut child = Command::new(&python)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/token_ids.py"))
        .envs([("HF_HUB_OFFLINE", "1"), ("TRANSFORMERS_VERBOSITY", "error")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let asked = json!({ "dirs": dirs, "texts": texts }).to_string();
    child.stdin.take().unwrap().write_all(asked.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "token_ids.py failed");
    let lines = String::from_utf8(output.stdout).unwrap();
    let all: Vec<Told> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(all.len(), dirs.len());
    Some(all)
}

/// Compares our ids with theirs; gives the class that `transformers` took, and whether the tokenizer itself puts
/// the first token before a text.
fn compare(dir: &Path, texts: &[String], told: &Told) -> (String, bool) {
    let tokenizer = Tokenizer::read(&ModelDir::open(dir).unwrap()).unwrap();
    let name = dir.file_name().unwrap().to_string_lossy();
    let bos = told.bos.as_deref().map(|bos| tokenizer.id(bos).unwrap());
    let mut first = false;
    assert_eq!(texts.len(), told.texts.len());
    for (text, theirs) in texts.iter().zip(&told.texts) {
        let shown: String = text.chars().take(120).collect();
        let ids = |text, around| tokenizer.encode(text, around).unwrap();
        assert_eq!(ids(text, false), theirs.alone, "{name}: {shown:?}");
        assert_eq!(ids(text, true), theirs.around, "{name}, with tokens around it: {shown:?}");
        // What the harness sends: the rendered text, nothing around it.
        let sent = ids(&theirs.rendered, false);
        assert_eq!(sent, theirs.chat, "{name}, as a chat: {shown:?}");
        if let Some(bos) = bos {
            let written = told.bos.as_deref().map_or(0, |b| text.matches(b).count());
            let count = sent.iter().filter(|id| **id == bos).count();
            assert_eq!((sent.first(), count), (Some(&bos), 1 + written), "{name}: {shown:?}");
            // A tokenizer that adds the token would have doubled it.
            if theirs.around.len() > theirs.alone.len() {
                first = true;
                assert_eq!(ids(&theirs.rendered, true)[..2], [bos, bos], "{name}: {shown:?}");
            }
        }
    }
    (told.class.clone(), first)
}

#[test]
fn small_tokenizers_of_several_kinds() {
    let home = tempfile::tempdir().unwrap();
    let (dirs, texts) = (make_all(home.path()), texts());
    let Some(all) = told(&dirs, &texts) else { return };
    let adds: Vec<bool> =
        dirs.iter().zip(&all).map(|(dir, told)| compare(dir, &texts, told).1).collect();
    assert_eq!(adds, [false, true, true, true, false]);
}

/// The files of Qwen3, Gemma 3 and Llama 3.1 (`.ci/tokenizers.sh`): there `transformers` takes classes of its own.
#[test]
fn tokenizers_of_real_models() {
    let Some(home) = folder("PTB_TOKENIZERS", "folder of real tokenizers") else { return };
    let dirs = ["qwen3", "gemma3", "llama3_1"].map(|name| home.join(name));
    let texts = texts();
    let Some(all) = told(&dirs, &texts) else { return };
    let found: Vec<(String, bool)> =
        dirs.iter().zip(&all).map(|(dir, told)| compare(dir, &texts, told)).collect();
    let adds: Vec<bool> = found.iter().map(|(_, adds)| *adds).collect();
    assert_eq!(adds, [false, true, true], "{found:?}");
}
