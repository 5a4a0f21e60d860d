//! Python `transformers` loads what training leaves and answers with the same tokens.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests"
)]

mod common;

use std::process::Command;

use candle_core::Device;
use common::{Home, chats, skipped};
use ptb_model::{
    Checkpoint, Config, ModelDir, Parameters, Qwen3, RandomModel, argmax_continuation,
};
use ptb_sft::{Length, Method, Optimiser};

const SCRIPT: &str = r#"
import json, sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
path = sys.argv[1]
model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
tokenizer = AutoTokenizer.from_pretrained(path)
answers = []
for text in json.loads(sys.argv[2]):
    ids = tokenizer(text, return_tensors="pt", add_special_tokens=False)["input_ids"]
    with torch.inference_mode():
        out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False,
                             temperature=None, top_p=None, top_k=None, pad_token_id=256)
    answers.append([ids[0].tolist(), out[0, ids.shape[1]:].tolist()])
print(json.dumps({"answers": answers, "eos": model.generation_config.eos_token_id}))
"#;

fn python() -> Option<String> {
    let python = std::env::var("PTB_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let mut probe = Command::new(&python);
    let found = probe.args(["-c", "import torch, transformers"]).output();
    found.is_ok_and(|o| o.status.success()).then_some(python)
}

#[test]
fn the_same_greedy_answers() {
    let Some(python) = python() else {
        return skipped("there is no Python with torch and transformers (PTB_PYTHON)");
    };
    for (method, bf16, tied) in [
        (Method::Full, false, true),
        (Method::Lora { rank: 4, alpha: 8.0 }, false, false),
        (Method::Full, true, true),
    ] {
        let home =
            Home::with(&RandomModel { bf16, tie_word_embeddings: tied, ..RandomModel::mini(4) });
        let mut settings = home.settings();
        settings.method = method;
        settings.length = Length::Steps(60);
        settings.batch_tokens = 800;
        settings.optimiser = Optimiser { lr: 4e-3, ..Optimiser::default() };
        home.train(&settings, &chats(90)).unwrap();
        let asked: Vec<String> = (0..6)
            .map(|i| format!("<|im_start|>user\nsay {i} xxx<|im_end|>\n<|im_start|>assistant\n"))
            .collect();
        let mut command = Command::new(&python);
        command.args(["-c", SCRIPT]).arg(home.path("out"));
        command.arg(serde_json::to_string(&asked).unwrap());
        let output = command.output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{error}");
        let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(told["eos"], serde_json::json!([258, 256]));
        let dir = ModelDir::open(home.path("out")).unwrap();
        let config = Config::read(&dir).unwrap();
        let checkpoint = Checkpoint::open(&dir).unwrap();
        let parameters = Parameters::load(&config, &checkpoint, &Device::Cpu).unwrap();
        let model = Qwen3::new(config, parameters);
        let mut distinct = std::collections::HashSet::new();
        for answer in told["answers"].as_array().unwrap() {
            let ids =
                |part: usize| -> Vec<u32> { serde_json::from_value(answer[part].clone()).unwrap() };
            let mut ours = argmax_continuation(&model, &ids(0), 12).unwrap();
            if let Some(end) = ours.iter().position(|id| [256, 258].contains(id)) {
                ours.truncate(end + 1);
            }
            assert_eq!(ours, ids(1), "{method:?} {bf16}");
            distinct.insert(ours);
        }
        assert!(distinct.len() > 1, "every answer is the same: {distinct:?}");
    }
}
