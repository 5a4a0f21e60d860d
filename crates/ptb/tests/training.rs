//! Agents that train: the quick start's own, and trainings that do not come to their end.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a step that fails fails the test"
)]
#![expect(clippy::print_stderr, reason = "a test that skips says why")]

mod support;

use std::path::{Path, PathBuf};

use serde_json::Value;
use support::runs::{json, runs, score};
use support::{Place, wall};

/// The repository's own tiny model and benchmark, on the first `limit` questions.
fn experiment(place: &Place, hours: f64, limit: u32, agents: &[&str]) {
    let text = format!(
        "agents = {agents:?}\nmodels = [\"tiny\"]\nbenchmarks = [\"arithmetic\"]\nhours = {hours}\n\
         [evaluate]\nlimit = {limit}\n"
    );
    place.write("e.toml", text);
}

fn run_of(place: &Place, agent: &str) -> PathBuf {
    let named = |run: &PathBuf| json(&run.join("run.json"))["spec"]["agent"]["name"] == agent;
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
    command("trains", "--steps 120");
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
    assert!(of("few-sums") > base + 0.1, "{}", ran.shown());
    assert_eq!(of("stays"), base);
    let metrics = |agent: &str| json(&run_of(&place, agent).join("eval/final/metrics.json"));
    assert_eq!(metrics("stays")["weights_sha256"], metrics("base")["weights_sha256"]);
    assert_ne!(metrics("trains")["weights_sha256"], metrics("base")["weights_sha256"]);
    let again = place.output(&["run", "e.toml"]);
    assert_eq!(again.code, 0, "{}", again.shown());
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
        ("never-saved", format!("{data}{plain} --steps 1000000\n")),
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
        ("out-of-memory", "none", "exit code 134"),
        ("out-of-disk", "final", "no fact"),
        ("no-disk-at-all", "none", "exit code 153"),
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
        ("out-of-disk", &[], "failed with exit code 153"),
        ("cut-while-saving", &[], "snapshot of 0:0"),
        ("out-of-memory", &["--output"], "memory"),
    ] {
        let shown = shown(agent, how);
        assert!(shown.contains(part), "{agent}: {shown}");
    }
}
