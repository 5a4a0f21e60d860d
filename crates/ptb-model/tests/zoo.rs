//! A zoo of broken model directories, each with the message its owner gets.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use common::{INDEX, WEIGHTS, set, shard, sound, tensors};
use ptb_model::{Checkpoint, ModelDir, Tokenizer, check_model_dir};
use serde_json::{Value, json};

fn config(key: &'static str, value: Value) -> Box<dyn Fn(&Path)> {
    Box::new(move |dir| set(dir, "config.json", key, value.clone()))
}

fn write(file: &'static str, bytes: Vec<u8>) -> Box<dyn Fn(&Path)> {
    Box::new(move |dir| fs::write(dir.join(file), &bytes).unwrap())
}

/// Applies a change to the header of the sound weights.
fn header(change: impl Fn(&mut Value) + 'static) -> Box<dyn Fn(&Path)> {
    Box::new(move |dir| {
        let bytes = fs::read(dir.join(WEIGHTS)).unwrap();
        let end = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let mut json: Value = serde_json::from_slice(&bytes[8..end]).unwrap();
        change(&mut json);
        let mut new = tensors(&json.to_string(), 0);
        new.extend(&bytes[end..]);
        fs::write(dir.join(WEIGHTS), new).unwrap();
    })
}

/// Splits the sound weights into two shards with an index, then lets it be broken.
fn sharded(change: impl Fn(&Path, &mut Value) + 'static) -> Box<dyn Fn(&Path)> {
    Box::new(move |dir| {
        let mut index = shard(dir);
        change(dir, &mut index);
        fs::write(dir.join(INDEX), index.to_string()).unwrap();
    })
}

type Case = (&'static str, Box<dyn Fn(&Path)>, &'static str, &'static str);

/// What is done to a sound model, the file that is blamed, the fault.
fn zoo() -> Vec<Case> {
    const NORM: &str = "model.norm.weight";
    let case = |name, break_it, file, fault| -> Case { (name, break_it, file, fault) };
    let removed = |file: &'static str| -> Box<dyn Fn(&Path)> {
        Box::new(move |dir| fs::remove_file(dir.join(file)).unwrap())
    };
    vec![
        case("no config", removed("config.json"), "config.json", "does not exist"),
        case("empty config", write("config.json", vec![]), "config.json", "not valid JSON"),
        case(
            "config is a list",
            write("config.json", b"[]".to_vec()),
            "config.json",
            "its content is wrong: invalid",
        ),
        case(
            "binary config",
            write("config.json", vec![0xff; 99]),
            "config.json",
            "not valid JSON",
        ),
        case(
            "deep config",
            write("config.json", vec![b'['; 100_000]),
            "config.json",
            "not valid JSON",
        ),
        case(
            "huge config",
            write("config.json", vec![b' '; 2 << 20]),
            "config.json",
            "may be at most 1048576",
        ),
        case(
            "other architecture",
            config("architectures", json!(["MistralForCausalLM"])),
            "config.json",
            "`MistralForCausalLM` is not supported",
        ),
        case(
            "terminal escapes",
            config("architectures", json!(["\u{1b}[2J"])),
            "config.json",
            "`\\u{1b}[2J` is not supported",
        ),
        case(
            "zero width",
            config("hidden_size", json!(0)),
            "config.json",
            "`hidden_size` is 0, expected a whole number from 1",
        ),
        case(
            "negative width",
            config("hidden_size", json!(-1)),
            "config.json",
            "the value of `hidden_size` is wrong: invalid value: integer `-1`, expected a whole number from 0",
        ),
        case(
            "absurd width",
            config("hidden_size", json!(u64::MAX)),
            "config.json",
            "`hidden_size` is 18446744073709551615",
        ),
        case(
            "no layers given",
            config("num_hidden_layers", Value::Null),
            "config.json",
            "`num_hidden_layers` is absent",
        ),
        case(
            "odd heads",
            config("head_dim", json!(15)),
            "config.json",
            "`head_dim` is 15, expected an even number",
        ),
        case(
            "heads do not divide",
            config("num_key_value_heads", json!(3)),
            "config.json",
            "a divisor of num_attention_heads, 4",
        ),
        case("no epsilon", config("rms_norm_eps", json!(0)), "config.json", "`rms_norm_eps` is 0"),
        case(
            "two thetas",
            config("rope_parameters", json!({"rope_theta": 5.0})),
            "config.json",
            "`rope_theta` is 1000000, expected 5, as in",
        ),
        case(
            "scaled rope",
            config("rope_scaling", json!({"type": "yarn", "factor": 4})),
            "config.json",
            "`rope_type` is yarn",
        ),
        case(
            "other activation",
            config("hidden_act", json!("gelu")),
            "config.json",
            "`hidden_act` is gelu",
        ),
        case(
            "sliding window",
            config("layer_types", json!(["sliding_attention"])),
            "config.json",
            "`layer_types` is sliding_attention",
        ),
        case(
            "quantized",
            config("quantization_config", json!({"bits": 4})),
            "config.json",
            "`quantization_config`",
        ),
        case(
            "bad end token",
            config("eos_token_id", json!([-5])),
            "config.json",
            "`eos_token_id` is -5",
        ),
        case(
            "other sizes",
            config("intermediate_size", json!(96)),
            WEIGHTS,
            "has shape [80, 48], and config.json calls for [96, 48]",
        ),
        case(
            "one layer more",
            config("num_hidden_layers", json!(3)),
            "",
            "tensor `model.layers.2.input_layernorm.weight` is missing",
        ),
        case(
            "untied without head",
            config("tie_word_embeddings", json!(false)),
            "",
            "tensor `lm_head.weight` is missing",
        ),
        case(
            "temperature in words",
            Box::new(|d| set(d, "generation_config.json", "temperature", json!("hot"))),
            "generation_config.json",
            "the value of `temperature` is wrong: invalid type: string \"hot\", expected a number",
        ),
        case(
            "hot temperature",
            Box::new(|d| set(d, "generation_config.json", "temperature", json!(1e9))),
            "generation_config.json",
            "`temperature` is 1000000000",
        ),
        case(
            "impossible top_p",
            Box::new(|d| set(d, "generation_config.json", "top_p", json!(1.5))),
            "generation_config.json",
            "`top_p` is 1.5",
        ),
        case(
            "negative top_k",
            Box::new(|d| set(d, "generation_config.json", "top_k", json!(-7))),
            "generation_config.json",
            "`top_k` is -7",
        ),
        case("no weights", removed(WEIGHTS), WEIGHTS, "does not exist"),
        case(
            "pickled weights",
            Box::new(|d| fs::rename(d.join(WEIGHTS), d.join("pytorch_model.bin")).unwrap()),
            "pytorch_model.bin",
            "loading them runs code",
        ),
        case(
            "weights are a directory",
            Box::new(|d| {
                fs::remove_file(d.join(WEIGHTS)).unwrap();
                fs::create_dir(d.join(WEIGHTS)).unwrap();
            }),
            WEIGHTS,
            "not a regular file",
        ),
        case(
            "weights are a pipe",
            Box::new(|d| {
                fs::remove_file(d.join(WEIGHTS)).unwrap();
                let (fifo, mode) =
                    (rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR);
                rustix::fs::mknodat(rustix::fs::CWD, d.join(WEIGHTS), fifo, mode, 0).unwrap();
            }),
            WEIGHTS,
            "not a regular file",
        ),
        case(
            "weights are a device",
            Box::new(|d| {
                fs::remove_file(d.join(WEIGHTS)).unwrap();
                symlink("/dev/zero", d.join(WEIGHTS)).unwrap();
            }),
            WEIGHTS,
            "leads out",
        ),
        case(
            "link up and out",
            Box::new(|d| {
                fs::remove_file(d.join("config.json")).unwrap();
                symlink("../../../etc/passwd", d.join("config.json")).unwrap();
            }),
            "config.json",
            "leads out",
        ),
        case(
            "link to itself",
            Box::new(|d| {
                fs::remove_file(d.join("config.json")).unwrap();
                symlink("config.json", d.join("config.json")).unwrap();
            }),
            "config.json",
            "leads out",
        ),
        case(
            "truncated to nothing",
            write(WEIGHTS, vec![1, 2, 3]),
            WEIGHTS,
            "3 bytes, too few for a header",
        ),
        case(
            "header beyond the end",
            write(WEIGHTS, vec![0xff, 0xff, 0, 0, 0, 0, 0, 0, b'{']),
            WEIGHTS,
            "claims 65535 bytes, and the file ends after 9",
        ),
        case(
            "header of exabytes",
            write(WEIGHTS, vec![0xff; 100]),
            WEIGHTS,
            "claims 18446744073709551615 bytes",
        ),
        case(
            "header is no JSON",
            write(WEIGHTS, tensors("not json", 0)),
            WEIGHTS,
            "header is not valid",
        ),
        case(
            "header is a list",
            write(WEIGHTS, tensors("[]", 0)),
            WEIGHTS,
            "a map from tensor names",
        ),
        case(
            "no tensors",
            write(WEIGHTS, tensors("{}", 0)),
            "",
            "tensor `model.embed_tokens.weight` is missing",
        ),
        case(
            "cut off data",
            Box::new(|d| {
                let f = fs::OpenOptions::new().write(true).open(d.join(WEIGHTS)).unwrap();
                f.set_len(f.metadata().unwrap().len() - 1).unwrap();
            }),
            WEIGHTS,
            "and the file has",
        ),
        case(
            "data too long",
            Box::new(|d| {
                let f = fs::OpenOptions::new().write(true).open(d.join(WEIGHTS)).unwrap();
                f.set_len(f.metadata().unwrap().len() + 5).unwrap();
            }),
            WEIGHTS,
            "5 bytes at its end belong to no tensor",
        ),
        case(
            "tensor twice",
            write(
                WEIGHTS,
                tensors(
                    r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#,
                    8,
                ),
            ),
            WEIGHTS,
            "tensor `a` occurs twice",
        ),
        case(
            "overlap",
            write(
                WEIGHTS,
                tensors(
                    r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#,
                    8,
                ),
            ),
            WEIGHTS,
            "tensor `b` overlaps another",
        ),
        case(
            "hole",
            write(WEIGHTS, tensors(r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#, 8)),
            WEIGHTS,
            "bytes before tensor `a` belong to none",
        ),
        case(
            "offsets backwards",
            write(WEIGHTS, tensors(r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[8,4]}}"#, 8)),
            WEIGHTS,
            "lies at 8..4",
        ),
        case(
            "size overflows",
            write(
                WEIGHTS,
                tensors(
                    r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}}"#,
                    4,
                ),
            ),
            WEIGHTS,
            "cannot have 4 bytes",
        ),
        case(
            "nine dimensions",
            write(
                WEIGHTS,
                tensors(
                    r#"{"a":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,4]}}"#,
                    4,
                ),
            ),
            WEIGHTS,
            "9 dimensions",
        ),
        case(
            "unknown type",
            write(WEIGHTS, tensors(r#"{"a":{"dtype":"F4","shape":[1],"data_offsets":[0,4]}}"#, 4)),
            WEIGHTS,
            "tensor `a`: unknown variant `F4`",
        ),
        case(
            "whole numbers as weights",
            header(|h| h[NORM]["dtype"] = json!("I32")),
            WEIGHTS,
            "`dtype of model.norm.weight` is I32, expected F32, BF16 or F16",
        ),
        case(
            "shape changed",
            header(|h| h[NORM]["shape"] = json!([6, 8])),
            WEIGHTS,
            "tensor `model.norm.weight` has shape [6, 8]",
        ),
        case(
            "size lied about",
            header(|h| h[NORM]["shape"] = json!([49])),
            WEIGHTS,
            "cannot have 192 bytes",
        ),
        case(
            "index climbs out",
            sharded(|_, i| i["weight_map"][NORM] = json!("../model.safetensors")),
            "../model.safetensors",
            "leads out",
        ),
        case(
            "index is absolute",
            sharded(|_, i| i["weight_map"][NORM] = json!("/etc/passwd")),
            "/etc/passwd",
            "leads out",
        ),
        case(
            "shard missing",
            sharded(|d, _| fs::remove_file(d.join("model-00002-of-00002.safetensors")).unwrap()),
            "model-00002-of-00002.safetensors",
            "does not exist",
        ),
        case(
            "index points to the wrong shard",
            sharded(|_, i| i["weight_map"][NORM] = json!("model-00001-of-00002.safetensors")),
            INDEX,
            "is not in `model-00001-of-00002.safetensors`",
        ),
        case(
            "same tensor in two shards",
            sharded(|d, i| {
                fs::copy(
                    d.join("model-00001-of-00002.safetensors"),
                    d.join("model-00003.safetensors"),
                )
                .unwrap();
                i["weight_map"]["extra"] = json!("model-00003.safetensors");
            }),
            "model-00003.safetensors",
            "is in another shard, too",
        ),
        case(
            "index of nothing",
            sharded(|_, i| i["weight_map"] = json!({})),
            INDEX,
            "`weight_map` is 0, expected 1 to 1024 files",
        ),
        case(
            "index without a map",
            sharded(|_, i| *i = json!({})),
            INDEX,
            "missing field `weight_map`",
        ),
    ]
}

#[test]
fn every_broken_model_is_an_error_that_names_file_and_fault() {
    for (name, break_it, file, fault) in zoo() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("model");
        sound(&dir);
        check_model_dir(&dir).unwrap_or_else(|e| panic!("{name}: unbroken, {e}"));
        break_it(&dir);
        let e = check_model_dir(&dir).expect_err(name);
        let text = e.to_string();
        let first = text.lines().next().unwrap();
        assert!(
            e.file.starts_with(&dir) && e.file.ends_with(file) || e.file == Path::new(file),
            "{name}: {text}"
        );
        assert!(first.contains(fault), "{name}: {text}");
        assert!(text.contains("\nhint: "), "{name}: {text}");
        assert!(!text.contains('\u{1b}') && text.len() < 1500, "{name}: {text}");
        assert!(!e.is_io(), "{name}: the model is at fault, not the machine");
    }
}

#[test]
fn a_missing_directory_is_named() {
    let e = check_model_dir("/nonexistent/model").unwrap_err().to_string();
    assert!(e.contains("/nonexistent/model: it does not exist"), "{e}");
}

#[test]
fn broken_tokenizers_are_errors() {
    for (text, fault) in [
        ("{}", "not valid"),
        ("", "not valid"),
        (r#"{"version":"1.0","model":{"type":"Nonsense"}}"#, "not valid"),
        (
            r#"{"version":"1.0","model":{"type":"BPE","vocab":{"a":0},"merges":["a b"]}}"#,
            "not valid",
        ),
    ] {
        let home = tempfile::tempdir().unwrap();
        sound(home.path());
        fs::write(home.path().join("tokenizer.json"), text).unwrap();
        let e = Tokenizer::read(&ModelDir::open(home.path()).unwrap()).unwrap_err().to_string();
        assert!(e.contains("tokenizer.json") && e.contains(fault), "{text}: {e}");
    }
}

mod random_bytes {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Headers with flipped bytes never panic, and what they say never exceeds the file.
        #[test]
        fn never_panic(flips in prop::collection::vec((0usize..4000, any::<u8>()), 1..20)) {
            let home = tempfile::tempdir().unwrap();
            sound(home.path());
            let path = home.path().join(WEIGHTS);
            let mut bytes = fs::read(&path).unwrap();
            for (at, byte) in flips {
                bytes[at] = byte;
            }
            fs::write(&path, &bytes).unwrap();
            if let Ok(weights) = Checkpoint::open(&ModelDir::open(home.path()).unwrap()) {
                let total: u64 = weights.tensors().values().map(|t| t.bytes).sum();
                prop_assert!(total <= bytes.len() as u64);
            }
        }
    }
}
