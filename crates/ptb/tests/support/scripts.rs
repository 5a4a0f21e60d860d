//! Folders with `evaluate.py` and `benchmark.txt`, and their evaluation.

use std::fs;

use super::{Answer, Place};

/// What every script here begins with: the arguments, as the original harness gives them.
const HEAD: &str = r#"
import argparse, json, os, sys
p = argparse.ArgumentParser()
p.add_argument("--model-path", default="final_model")
p.add_argument("--templates-dir", default="templates/")
p.add_argument("--limit", type=int, default=3)
p.add_argument("--json-output-file", default=None)
args = p.parse_args()
def write(**metrics):
    if args.json_output_file:
        with open(args.json_output_file, "w") as f:
            json.dump(metrics, f)
"#;

/// An honest one: the first byte of the weights' end is the score, so that other weights have another one.
pub(crate) const HONEST: &str = r#"
from evaluation_code.count import total
config = json.load(open(os.path.join(args.model_path, "config.json")))
assert config["architectures"], config
for name in ["qwen3.jinja", "smollm.jinja", "gemma3.jinja", "gemma3_tool_calling.jinja"]:
    assert os.path.getsize(os.path.join(args.templates_dir, name)) > 0
weights = open(os.path.join(args.model_path, "model.safetensors"), "rb").read()
accuracy = sum(weights) % 1000 / 1000
print("accuracy", accuracy, "limit", args.limit)
write(accuracy=accuracy, n_examples=total(args.limit), by_theme={"bytes": len(weights)})
"#;

pub(crate) fn script(place: &Place, body: &str) {
    let folder = "registry/benchmarks/mine";
    place.write(&format!("{folder}/evaluate.py"), format!("{HEAD}{body}"));
    place.write(&format!("{folder}/benchmark.txt"), "Bytes of Weights\n");
    place.write(
        &format!("{folder}/evaluation_code/count.py"),
        "def total(limit):\n    return 20 if limit == -1 else limit\n",
    );
    place.write(&format!("{folder}/task_context/README.md"), "Read me first.\n");
    place.write(&format!("{folder}/evaluate_final_eval.py"), "# not for agents\n");
}

/// The score that the honest script gives a model of this place.
pub(crate) fn expected(place: &Place, model: &str) -> f64 {
    let weights = fs::read(place.path().join(model).join("model.safetensors")).unwrap();
    let sum: u64 = weights.iter().map(|b| u64::from(*b)).sum();
    (sum % 1000) as f64 / 1000.0
}

pub(crate) fn eval(place: &Place, more: &[&str]) -> Answer {
    let args = ["eval", "mine", "--model", "mini", "--model-path", "base"];
    place.output(&[&args[..], more].concat())
}
