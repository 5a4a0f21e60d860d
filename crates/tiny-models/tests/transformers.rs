//! Python `transformers` loads the models of the repository and computes the same logits.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

use std::path::Path;
use std::process::Command;

use candle_core::{Device, Tensor};
use ptb_model::{Checkpoint, Config, ModelDir, Parameters, Qwen3};

const TEXTS: [&str; 4] =
    ["12+30 = ", "twelve pears 31 in 5 out: ", "<|im_start|>user\nAdd 3.<|im_end|>\n", "naïve 模"];

const SCRIPT: &str = r#"
import json, sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32)
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
for text in json.loads(sys.argv[2]):
    ids = tokenizer(text, return_tensors="pt", add_special_tokens=False)["input_ids"]
    with torch.inference_mode():
        logits = model(ids).logits[0]
    print(json.dumps([ids[0].tolist(), logits.flatten().tolist()]))
"#;

#[test]
fn the_same_logits() {
    let python = std::env::var("PTB_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let import = Command::new(&python).args(["-c", "import torch, transformers"]).output();
    if !import.is_ok_and(|o| o.status.success()) {
        assert!(std::env::var_os("PTB_REQUIRE_ALL").is_none_or(|v| v != "1"), "required: {python}");
        eprintln!("skipped: there is no Python with torch and transformers (PTB_PYTHON)");
        return;
    }
    for name in ["tiny-base", "tiny-instruct"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models").join(name);
        let dir = ModelDir::open(&path).unwrap();
        let (config, checkpoint) = (Config::read(&dir).unwrap(), Checkpoint::open(&dir).unwrap());
        let tokenizer = ptb_model::Tokenizer::read(&dir).unwrap();
        let parameters = Parameters::load(&config, &checkpoint, &Device::Cpu).unwrap();
        let model = Qwen3::new(config, parameters);
        let texts = serde_json::to_string(&TEXTS).unwrap();
        let told =
            Command::new(&python).args(["-c", SCRIPT]).arg(&path).arg(texts).output().unwrap();
        let lines = String::from_utf8(told.stdout).unwrap();
        assert_eq!(lines.lines().count(), TEXTS.len(), "{}", String::from_utf8_lossy(&told.stderr));
        for (text, line) in TEXTS.iter().zip(lines.lines()) {
            let (ids, theirs): (Vec<u32>, Vec<f32>) = serde_json::from_str(line).unwrap();
            assert_eq!(tokenizer.encode(text, false).unwrap(), ids, "{text}");
            let ids = Tensor::from_slice(&ids, (1, ids.len()), &Device::Cpu).unwrap();
            let ours =
                model.forward(&ids).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert_eq!(ours.len(), theirs.len());
            let furthest = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(furthest < 1e-3, "{name} {text}: {furthest}");
        }
    }
}
