//! Agents that train: the quick start's own, and trainings that do not come to their end.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a step that fails fails the test"
)]
#![expect(clippy::print_stderr, reason = "a test that skips says why")]

mod support;

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use support::runs::{json as read, runs, score};
use support::{Answer, Place, wall};

/// The repository's own tiny model and benchmark, on the first `limit` questions.
fn experiment(place: &Place, hours: f64, limit: u32, agents: &[&str]) {
    let text = format!(
        "agents = {agents:?}\nmodels = [\"tiny\"]\nbenchmarks = [\"arithmetic\"]\nhours = {hours}\n\
         [evaluate]\nlimit = {limit}\n"
    );
    place.write("e.toml", text);
}

fn run_of(place: &Place, agent: &str) -> PathBuf {
    let named = |run: &PathBuf| read(&run.join("run.json"))["spec"]["agent"]["name"] == agent;
    let runs = runs(&place.path().join("results"), "e");
    runs.into_iter().find(named).unwrap_or_else(|| panic!("no run of {agent}"))
}

fn own(run: &Path) -> f64 {
    let score = score(run);
    assert_eq!((&score["counts"], &score["mark"]), (&Value::from("own"), &Value::Null), "{score}");
    score["own_score"].as_f64().unwrap()
}

/// The quick start with fewer steps, questions and looks.
#[test]
fn agents_that_train_are_better_than_the_base() {
    if !wall() {
        return;
    }
    let place = Place::new();
    let command = |name: &str, more: &str| {
        let text = format!(
            "name = \"{name}\"\ncommand = [\"sh\", \"-c\", \"ptb-sft solve --evaluate-limit 20 {more}\"]\n"
        );
        place.write(&format!("registry/agents/{name}.toml"), text);
    };
    command("trains", "--steps 170");
    command("stays", "--steps 2 --lr 0");
    let sums = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/few-sums");
    let agents = ["base", "few-shot", "instruct", "stays", "trains", sums];
    experiment(&place, 0.1, 120, &agents);
    let ran = place.output(&["run", "e.toml"]);
    assert_eq!(ran.code, 0, "{}", ran.shown());
    let of = |agent: &str| own(&run_of(&place, agent));
    let (base, few_shot, instruct) = (of("base"), of("few-shot"), of("instruct"));
    assert!(base < 0.15 && few_shot < 0.6, "{base} {few_shot}");
    assert!(instruct > base + 0.3 && of("trains") > base + 0.3, "{}", ran.shown());
    assert!(of("few-sums") > base + 0.05, "{}", ran.shown());
    assert_eq!(of("stays"), base);
    let metrics = |agent: &str| read(&run_of(&place, agent).join("eval/final/metrics.json"));
    assert_eq!(metrics("stays")["weights_sha256"], metrics("base")["weights_sha256"]);
    assert_ne!(metrics("trains")["weights_sha256"], metrics("base")["weights_sha256"]);
    let states = |ran: &Answer| -> Vec<String> {
        let told: Value = serde_json::from_str(&ran.out).unwrap();
        let state = |run: &Value| run["state"].as_str().unwrap().to_owned();
        told["runs"].as_array().unwrap().iter().map(state).collect()
    };
    let again = place.output(&["run", "e.toml", "--json"]);
    assert_eq!((again.code, states(&again)), (0, vec!["already".to_owned(); agents.len()]));
    same_answers_in_transformers(&place, &run_of(&place, "trains").join("final_model"));
}

const TRANSFORMERS: &str = r#"
import json, sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32)
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
for prompt in json.loads(sys.argv[2]):
    ids = tokenizer(prompt, return_tensors="pt", add_special_tokens=False)["input_ids"]
    with torch.inference_mode():
        out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=64, do_sample=False, temperature=None)
    print(json.dumps(tokenizer.decode(out[0, ids.shape[1]:], skip_special_tokens=True)))
"#;

/// The agent's model says in Python what it says in an evaluation, the likeliest token each time. (Engines read
/// `generation_config.json` as vLLM does: `do_sample` alone does not make a model greedy, a temperature of 0 does.)
fn same_answers_in_transformers(place: &Place, model: &Path) {
    let python = std::env::var("PTB_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let import = Command::new(&python).args(["-c", "import torch, transformers"]).output();
    if !import.is_ok_and(|o| o.status.success()) {
        return support::skip("there is no Python with torch and transformers (PTB_PYTHON)");
    }
    let asked = ["What is 12 + 30?", "Add forty-one to eight.", "Which is larger, 7 or 61?"];
    let asked = asked.iter().chain(&["What is 90 - 13 + 5?", "Hello!", "Subtract 3 from twelve."]);
    let (mut rows, mut prompts) = (String::new(), Vec::new());
    for question in asked {
        rows += &format!("{}\n", json!({ "question": question, "answer": "1" }));
        place.write("m.json", json!([{ "role": "user", "content": question }]).to_string());
        let render = ["render", "--model", "tiny", "--messages", "m.json", "--kwargs"];
        let whole = [&render[..], &["{\"add_generation_prompt\": true}"]].concat();
        prompts.push(place.output(&whole).out);
    }
    place.write("registry/benchmarks/asked/test.jsonl", rows);
    let benchmark = "name = \"Asked\"\ntask = \"Reply.\"\n[data]\npath = \".\"\n[[prompt.messages]]\n\
                     role = \"user\"\ncontent = \"{{ question }}\"\n[generation]\nmax_tokens = 64\n\
                     [scorer]\nkind = \"numeric\"\n[evaluate]\nseeds = [42]\n";
    place.write("registry/benchmarks/asked/benchmark.toml", benchmark);
    let greedy = place.path().join("greedy");
    fs::create_dir(&greedy).unwrap();
    for file in fs::read_dir(model).unwrap().map(Result::unwrap) {
        fs::copy(file.path(), greedy.join(file.file_name())).unwrap();
    }
    let mut settings = read(&greedy.join("generation_config.json"));
    settings["temperature"] = json!(0.0);
    fs::write(greedy.join("generation_config.json"), settings.to_string()).unwrap();
    let model = greedy.as_path();
    let eval = ["eval", "asked", "--model", "tiny", "--out", "asked", "--model-path"];
    let evaluated = place.output(&[&eval[..], &[model.to_str().unwrap()]].concat());
    assert_eq!(evaluated.code, 0, "{}", evaluated.shown());
    let samples = fs::read_to_string(place.path().join("asked/42/samples.jsonl")).unwrap();
    let completion =
        |line: &str| serde_json::from_str::<Value>(line).unwrap()["completion"].clone();
    let ours: Vec<Value> = samples.lines().map(completion).collect();
    let mut command = Command::new(python);
    command.args(["-c", TRANSFORMERS]).arg(model).arg(json!(prompts).to_string());
    let told = command.output().unwrap();
    let theirs = String::from_utf8(told.stdout).unwrap();
    let theirs: Vec<Value> = theirs.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(ours, theirs, "{}", String::from_utf8_lossy(&told.stderr));
    assert!(ours.iter().collect::<HashSet<_>>().len() > 3, "{ours:?}");
}

/// Each agent's script, and what its score and reason must say.
#[test]
fn trainings_that_do_not_come_to_their_end() {
    if !wall() {
        return;
    }
    let place = Place::new();
    // A look at half of the way saves what is best so far.
    let train = "ptb-sft solve --examples 600 --steps 40 --evaluate-limit 2 --threads 1";
    let plain = "ptb-sft --base \"$PTB_BASE_MODEL\" --data data.jsonl --out final_model --no-door";
    let data = "echo '{\"prompt\": \"2+2\", \"completion\": \" = 4\"}' > data.jsonl\n";
    let long = "{ printf '{\"text\": \"'; printf 'ab%.0s' {1..9000}; echo '\"}'; } > data.jsonl\n";
    let killed = |when: &str| format!("{train} & pid=$!\n{when}\nkill -9 $pid; wait $pid\n");
    let agents = [
        ("killed-late", killed("until [ -f final_model/config.json ]; do sleep 0.05; done")),
        ("killed-early", killed("sleep 0.2")),
        (
            "out-of-memory",
            format!("{long}ulimit -v 250000\n{plain} --steps 2 --max-length 20000\n"),
        ),
        ("out-of-disk", format!("{data}{plain} --steps 2\nulimit -f 500\n{plain} --steps 4\n")),
        ("no-disk-at-all", format!("{data}ulimit -f 500\n{plain} --steps 2\n")),
        (
            "cut-while-saving",
            format!(
                "{data}{plain} --steps 2\nptb-door evaluate --model-path final_model --limit 2\n\
                 cp final_model/model.safetensors whole\n\
                 while :; do head -c 900000 whole > final_model/model.safetensors; done\n"
            ),
        ),
        // What is saved at the last moment is saved elsewhere.
        (
            "never-saved",
            format!("{data}{} --steps 1000000\n", plain.replace("final_model", "not_yet")),
        ),
    ];
    for (name, script) in &agents {
        place.agent(name, script);
    }
    let mut names = vec!["base"];
    names.extend(agents.iter().map(|(name, _)| *name));
    experiment(&place, 0.005, 6, &names);
    let ran = place.output(&["run", "e.toml"]);
    assert_eq!(ran.code, 1, "{}", ran.shown());
    for (agent, submission, reason) in [
        ("killed-late", "final", "no fact"),
        ("killed-early", "none", "exit code 137"),
        ("out-of-memory", "none", "exit code 3"),
        ("out-of-disk", "final", "no fact"),
        ("no-disk-at-all", "none", "exit code 3"),
        ("cut-while-saving", "snapshot", "no fact"),
        ("never-saved", "none", "deadline"),
    ] {
        let run = run_of(&place, agent);
        let score = score(&run);
        let kind = match &score["submission"] {
            Value::Object(kind) => kind.keys().next().unwrap(),
            kind => kind.as_str().unwrap(),
        };
        let told = score["reason"].as_str().unwrap();
        assert!(kind == submission && told.contains(reason), "{agent}: {score}");
        let own = submission != "none";
        assert_eq!(score["counts"], if own { "own" } else { "base" }, "{agent}");
        assert_eq!(score["mark"], if own { Value::Null } else { "*".into() }, "{agent}");
    }
    let shown = |agent: &str, how: &[&str]| {
        let run = run_of(&place, agent);
        place.output(&[&["show", run.to_str().unwrap()], how].concat()).out
    };
    for (agent, how, part) in [
        ("killed-late", &[][..], "failed with exit code 137"),
        ("out-of-disk", &[], "failed with exit code 3"),
        ("cut-while-saving", &[], "snapshot of 0:0"),
        ("out-of-memory", &["--output"], "memory"),
    ] {
        let shown = shown(agent, how);
        assert!(shown.contains(part), "{agent}: {shown}");
    }
}
