//! The few-shot baseline from outside: in an experiment beside the others, by hand, and refused where it
//! cannot be.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a step that fails fails the test"
)]
#![expect(clippy::print_stderr, reason = "a test that skips says why")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use support::runs::{json as read, runs, score};
use support::{Answer, Place};

/// A benchmark of eight questions, `few_shot` being the text of its table.
fn benchmark(place: &Place, id: &str, few_shot: &str) {
    let text = format!(
        "name = \"Sums\"\ntask = \"Add.\"\n[data]\npath = \"data\"\n{few_shot}\n\
         [[prompt.messages]]\nrole = \"user\"\ncontent = \"{{{{ question }}}}\"\n\
         [generation]\nmax_tokens = 24\n[scorer]\nkind = \"numeric\"\n[evaluate]\nseeds = [42]\n"
    );
    let folder = format!("registry/benchmarks/{id}");
    place.write(&format!("{folder}/benchmark.toml"), text);
    let line = |n: u32| format!("{}\n", json!({ "question": format!("{n}+1?"), "answer": n + 1 }));
    let lines = |from: u32| (from..from + 8).map(line).collect::<String>();
    place.write(&format!("{folder}/data/test.jsonl"), lines(1));
    place.write(&format!("{folder}/data/train.jsonl"), lines(50));
}

/// The table, with the texts that end a completion.
fn table(stop: &[&str]) -> String {
    format!(
        "[few_shot]\ntext = \"{{{{ examples }}}}\\nQ: {{{{ question }}}} A:\"\nstop = {stop:?}\n\
         [few_shot.examples]\nrows = [0, 1, 2]\nexample = \"Q: {{{{ question }}}} A: {{{{ target }}}}\"\n\
         join = \"\\n\"\n"
    )
}

fn experiment(place: &Place, name: &str, benchmark: &str, agents: &[&str], more: &str) {
    let text = format!(
        "agents = {agents:?}\nmodels = [\"mini\"]\nbenchmarks = [\"{benchmark}\"]\nhours = 1\n{more}"
    );
    place.write(&format!("{name}.toml"), text);
}

/// The run of an agent.
fn run_of(place: &Place, experiment: &str, agent: &str) -> PathBuf {
    let runs = runs(&place.path().join("results"), experiment);
    let named = |run: &&PathBuf| read(&run.join("run.json"))["spec"]["agent"]["name"] == agent;
    runs.iter().find(named).unwrap_or_else(|| panic!("no run of {agent}")).clone()
}

fn completions(eval: &Path) -> Vec<String> {
    let text = fs::read_to_string(eval.join("42/samples.jsonl")).unwrap();
    let line = |l: &str| {
        serde_json::from_str::<Value>(l).unwrap()["completion"].as_str().unwrap().to_owned()
    };
    text.lines().map(line).collect()
}

fn refused(answer: &Answer, parts: &[&str]) {
    assert_eq!((answer.code, answer.out.as_str()), (2, ""), "{}", answer.shown());
    assert!(parts.iter().all(|part| answer.err.contains(part)), "{}", answer.shown());
}

#[test]
fn an_experiment_has_it_beside_the_other_baselines() {
    let place = Place::new();
    benchmark(&place, "sums", &table(&["\nQ:"]));
    experiment(&place, "e", "sums", &["base", "few-shot", "instruct"], "");
    let ran = place.output(&["run", "e.toml"]);
    assert_eq!(ran.code, 0, "{}", ran.shown());
    let (base, few_shot) = (run_of(&place, "e", "base"), run_of(&place, "e", "few-shot"));
    assert_eq!(
        (&score(&few_shot)["counts"], &score(&few_shot)["mark"]),
        (&json!("own"), &Value::Null)
    );
    let metrics = |run: &Path| read(&run.join("eval/final/metrics.json"));
    let (zero, few) = (metrics(&base), metrics(&few_shot));
    assert_eq!(zero["weights_sha256"], few["weights_sha256"]);
    let sampling = &few["sampling"];
    assert_eq!((&sampling["temperature"], &sampling["top_p"]), (&json!(0.6), &json!(0.95)));
    assert_eq!((&sampling["prompt"], &sampling["stop"]), (&json!("few-shot"), &json!(["\nQ:"])));
    assert!(sampling.get("chat_template").is_none(), "{sampling}");
    assert!(
        zero["sampling"].get("prompt").is_none() && zero["sampling"]["chat_template"] == "qwen3"
    );
    // Three examples and a question in bytes, against a question in a chat.
    let prompt = "Q: 50+1? A: 51\nQ: 51+1? A: 52\nQ: 52+1? A: 53\nQ: 1+1? A:".len() as u64;
    let tokens = few["prompt_tokens"].as_u64().unwrap();
    assert_eq!(tokens, 8 * prompt, "the plain text, byte for byte");
    assert_ne!(completions(&base.join("eval/final")), completions(&few_shot.join("eval/final")));
    let record = read(&few_shot.join("run.json"));
    assert!(record["provenance"]["hashes"]["few-shot prompt"].is_string(), "{record}");

    let report = place.output(&["report", "results/e"]);
    let row = |name: &str| report.out.lines().any(|l| l.split_whitespace().next() == Some(name));
    assert!(row("base") && row("few-shot") && row("instruct"), "{}", report.shown());
    let shown = place.output(&["show", few_shot.to_str().unwrap()]);
    let words = "baseline base, few-shot prompt, temperature 0.6, top_p 0.95";
    assert!(shown.out.contains(words), "{}", shown.shown());
    assert!(place.output(&["list", "agents"]).out.contains("few-shot prompt, temperature 0.6"));

    // The same by hand; and the examples are in the run's name, those of others are not.
    let eval = ["eval", "sums", "--model", "mini", "--model-path", "base", "--json"];
    let by_hand = place.output(&[&eval[..], &["--few-shot"]].concat());
    let mut kept = few.clone();
    kept["schema"] = json!(1);
    assert_eq!(serde_json::from_str::<Value>(&by_hand.out).unwrap(), kept, "{}", by_hand.shown());
    let before = place.output(&["run", "e.toml", "--json"]).out;
    let path = "registry/benchmarks/sums/data/train.jsonl";
    let train = fs::read_to_string(place.path().join(path)).unwrap();
    place.write(path, train.replace("50+1?", "50 + 1?"));
    let states = |out: &str| -> Vec<(Value, Value)> {
        let told: Value = serde_json::from_str(out).unwrap();
        let run = |r: &Value| (r["score"]["agent"].clone(), r["state"].clone());
        told["runs"].as_array().unwrap().iter().map(run).collect()
    };
    assert!(states(&before).iter().all(|(_, state)| state == "already"), "{before}");
    let after = place.output(&["run", "e.toml", "--json"]).out;
    for (agent, state) in states(&after) {
        assert_eq!(state == "already", agent != "few-shot", "{agent}: {state}");
    }
}

#[test]
fn sampling_and_ends_are_in_effect() {
    let place = Place::new();
    let letters: Vec<String> = ('a'..='p').map(String::from).collect();
    let letters: Vec<&str> = letters.iter().map(String::as_str).collect();
    benchmark(&place, "free", &table(&["\t\n\t"]));
    benchmark(&place, "stopped", &table(&letters));
    let agent = |name: &str, sampling: &str| {
        let text =
            format!("name = \"{name}\"\nsubmit = \"base\"\nprompt = \"few-shot\"\n{sampling}");
        place.write(&format!("registry/agents/{name}.toml"), text);
    };
    agent("greedy", "[sampling]\ntemperature = 0.0\n");
    agent("greedy-too", "[sampling]\ntemperature = 0.0\ntop_p = 0.5\n");
    agent("hot", "[sampling]\ntemperature = 1.5\n");
    for id in ["free", "stopped"] {
        experiment(&place, id, id, &["few-shot", "greedy", "greedy-too", "hot"], "");
        let ran = place.output(&["run", &format!("{id}.toml")]);
        assert_eq!(ran.code, 0, "{}", ran.shown());
    }
    let of = |id: &str, agent: &str| completions(&run_of(&place, id, agent).join("eval/final"));
    assert_eq!(of("free", "greedy"), of("free", "greedy-too"));
    assert_ne!(of("free", "greedy"), of("free", "few-shot"));
    assert_ne!(of("free", "hot"), of("free", "few-shot"));
    // A random model says any letter sooner or later: the same completions, ended before the first of them.
    let ended: Vec<String> = of("free", "hot")
        .iter()
        .map(|c| c.split(|x| ('a'..='p').contains(&x)).next().unwrap().to_owned())
        .collect();
    assert_ne!(ended, of("free", "hot"));
    assert_eq!(of("stopped", "hot"), ended);
}

#[test]
fn where_it_cannot_be_it_is_refused_before_anything_is_made() {
    let place = Place::new();
    benchmark(&place, "bare", "");
    benchmark(&place, "sums", &table(&["\nQ:"]));
    experiment(&place, "bare", "bare", &["base", "few-shot"], "");
    let file = "registry/benchmarks/bare/benchmark.toml";
    refused(
        &place.output(&["run", "bare.toml"]),
        &["bare", "[few_shot]", file, "leave few-shot baselines out"],
    );
    experiment(&place, "chat", "sums", &["few-shot"], "engine = \"http://127.0.0.1:9/v1?chat\"\n");
    refused(&place.output(&["run", "chat.toml"]), &["only chats", "without `?chat`"]);
    for name in ["bare", "chat"] {
        assert_eq!(runs(&place.path().join("results"), name), [] as [PathBuf; 0]);
    }

    let eval = |id: &str, more: &[&str]| {
        let args = ["eval", id, "--model", "mini", "--model-path", "base", "--few-shot"];
        place.output(&[&args, more].concat())
    };
    refused(&eval("bare", &[]), &["[few_shot]", file]);
    refused(
        &eval("sums", &["--engine", "http://127.0.0.1:9/v1?chat"]),
        &["only chats", "`builtin`"],
    );
    place.write("registry/agents/few-shot.toml", "name = \"x\"\nsubmit = \"base\"\n");
    refused(&eval("sums", &[]), &["registry/agents/few-shot.toml", "prompt = \"few-shot\""]);
}
