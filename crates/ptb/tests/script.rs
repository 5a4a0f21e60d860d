//! Benchmarks that are programs: a folder with `evaluate.py` and `benchmark.txt`, through `ptb eval` and `ptb run`.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a step that fails fails the test"
)]
#![expect(clippy::print_stderr, reason = "a test that skips says why")]

mod support;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::processes::assert_gone;
use support::runs::{json as read, only_run, score};
use support::scripts::{HONEST, eval, expected, script};
use support::{Answer, Place, wall};

/// The folder of examples of contributed benchmarks.
const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/registry");

#[test]
fn a_folder_is_a_benchmark_and_its_program_the_evaluation() {
    if !wall() {
        return;
    }
    let place = Place::new();
    script(&place, HONEST);
    let listed = place.output(&["list", "benchmarks"]);
    assert!(listed.out.contains("Bytes of Weights (script)"), "{}", listed.out);
    let answer = eval(&place, &["--out", "out", "--json"]);
    assert_eq!(answer.code, 0, "{}", answer.shown());
    let metrics: Value = serde_json::from_str(&answer.out).unwrap();
    let accuracy = expected(&place, "base");
    assert_eq!(metrics["accuracy"], accuracy);
    assert_eq!((&metrics["n"], &metrics["complete"]), (&json!(20), &json!(true)), "{metrics}");
    let stderr = (accuracy * (1.0 - accuracy) / 20.0).sqrt();
    assert!((metrics["stderr"].as_f64().unwrap() - stderr).abs() < 1e-12, "{metrics}");
    assert!(metrics["script"]["by_theme"]["bytes"].as_u64().unwrap() > 1000, "{metrics}");
    let log = fs::read_to_string(place.path().join("out/script.log")).unwrap();
    assert_eq!(log, format!("accuracy {accuracy} limit -1\n"));
    let provenance = read(&place.path().join("out/provenance.json"));
    let engine = &provenance["engines"][0];
    assert_eq!(
        (&engine["engine"], &engine["isolation"]["wall"]),
        (&json!("script"), &json!("namespaces"))
    );
    assert!(engine["versions"]["python"].as_str().unwrap().starts_with('3'), "{provenance}");
    // For people: nothing that it does not know.
    let words = eval(&place, &["--out", "out"]);
    assert!(
        words.out.contains("measured by its own evaluate.py over 20 samples\n"),
        "{}",
        words.out
    );
    assert!(!words.out.contains("tokens"), "{}", words.out);
    assert!(words.err.contains("there from before"), "{}", words.err);
    let limited = eval(&place, &["--limit", "5"]);
    assert!(limited.out.contains("over 5 samples, a part of the benchmark"), "{}", limited.out);
}

/// A result is used again for the same model, program and limit, and for nothing else.
#[test]
fn a_result_is_kept_for_the_same_alone() {
    if !wall() {
        return;
    }
    let place = Place::new();
    let counting = format!("{HONEST}\nprint('ran')\n");
    script(&place, &counting);
    let log = place.path().join("out/script.log");
    let ran = |more: &[&str]| {
        let _ = fs::remove_file(&log);
        let answer = eval(&place, &[&["--out", "out"], more].concat());
        assert_eq!(answer.code, 0, "{}", answer.shown());
        log.is_file()
    };
    assert!(ran(&[]) && !ran(&[]));
    assert!(ran(&["--limit", "4"]) && !ran(&["--limit", "4"]));
    assert!(ran(&[]), "another limit's result is in its place");
    place.write(
        "registry/benchmarks/mine/evaluation_code/count.py",
        "def total(limit):\n    return 7\n",
    );
    assert!(ran(&[]) && !ran(&[]));
    let config = place.path().join("base/generation_config.json");
    fs::write(config, "{\"temperature\": 0.5}").unwrap();
    assert!(ran(&[]) && !ran(&[]));
    // A failure leaves nothing that could be taken for its result.
    script(&place, "sys.exit(4)");
    assert_eq!(eval(&place, &["--out", "out"]).code, 3);
    assert!(!place.path().join("out/metrics.json").exists());
}

#[test]
fn every_failure_is_the_harnesss_and_has_its_own_words() {
    if !wall() {
        return;
    }
    let place = Place::new();
    for (body, words) in [
        ("raise ValueError('no luck')", "evaluate.py ended with exit code 1: "),
        ("print('x')\nsys.exit(7)", "ended with exit code 7: x"),
        ("os.kill(os.getpid(), 11)", "was killed by signal 11"),
        ("os.kill(os.getpid(), 9)", "was killed by signal 9"),
        ("print('MemoryError')\nraise KeyError('x')", "ended with exit code 1: "),
        (
            "open(args.json_output_file, 'w').write('{\"accuracy\": 0, \"x\": ' + '[' * 60 + ']' * 60 + '}')",
            "wrote a result nested deeper than 32",
        ),
        ("raise MemoryError()", "ran out of memory (it said `MemoryError`)"),
        ("pass", "wrote no result"),
        ("write(accuracy=float('nan'))", "wrote NaN, which is no number of JSON"),
        ("write(accuracy=1.5)", "accuracy = 1.5, which is not from 0 to 1"),
        ("write(score=1)", "wrote no `accuracy`, only: score"),
        ("open(args.json_output_file, 'w').write('{\"accuracy\": 0.')", "wrote what is no JSON"),
        ("os.symlink('/etc/passwd', args.json_output_file)", "no plain file"),
        (
            "os.truncate(os.open(args.json_output_file, os.O_CREAT | os.O_RDWR), 2 << 30)",
            "2147483648 bytes",
        ),
    ] {
        script(&place, body);
        let answer = eval(&place, &["--out", "out"]);
        assert_eq!(answer.code, 3, "{body}: {}", answer.shown());
        assert!(
            answer.err.contains(words) && answer.err.contains("help: "),
            "{body}: {}",
            answer.err
        );
        assert!(!place.path().join("out/metrics.json").exists(), "{body}");
    }
    let python = place
        .ptb(&["eval", "mine", "--model", "mini", "--model-path", "base"])
        .env("PTB_SCRIPT_PYTHON", "/nowhere/python3")
        .output()
        .unwrap();
    let answer = Answer::of(&place, python);
    assert_eq!(answer.code, 5, "{}", answer.shown());
    assert!(answer.err.contains("/nowhere/python3 is no program"), "{}", answer.err);
}

#[test]
fn a_script_that_never_ends_is_ended_with_all_that_it_started() {
    if !wall() {
        return;
    }
    let place = Place::new();
    script(&place, "import subprocess\nsubprocess.Popen(['sleep', '600'])\nwhile True: pass");
    let mut command = place.ptb(&["eval", "mine", "--model", "mini", "--model-path", "base"]);
    let begin = Instant::now();
    let answer = Answer::of(&place, command.env("PTB_SCRIPT_SECONDS", "2").output().unwrap());
    assert_eq!(answer.code, 3, "{}", answer.shown());
    assert!(answer.err.contains("was ended after 2 s, its time limit"), "{}", answer.err);
    assert!(begin.elapsed() < Duration::from_secs(120));
    assert_gone(place.marker(), &[], Duration::from_secs(5));
    let answer = Answer::of(&place, command.env("PTB_SCRIPT_SECONDS", "2s").output().unwrap());
    assert_eq!(answer.code, 2, "{}", answer.shown());
    assert!(answer.err.contains("PTB_SCRIPT_SECONDS = \"2s\" is no time limit"), "{}", answer.err);
}

#[test]
fn two_gigabytes_of_output_are_bounded() {
    if !wall() {
        return;
    }
    let place = Place::new();
    let flood = "line = 'x' * 1023 + '\\n'\nfor _ in range(2 << 11): sys.stdout.write(line * 512)\nprint('the end')\nwrite(accuracy=0.5)";
    script(&place, flood);
    let answer = eval(&place, &["--out", "out"]);
    assert_eq!(answer.code, 0, "{}", answer.shown());
    let log = fs::read(place.path().join("out/script.log")).unwrap();
    assert!((1 << 20..=17 << 20).contains(&log.len()), "{}", log.len());
    assert!(log.ends_with(b"xx\nthe end\n"));
    let log = String::from_utf8(log).unwrap();
    assert!(log.contains("\n[... 21") && log.contains(" bytes are left out here ...]\n"));
}

/// What a script finds beside what it needs.
const SPY: &str = r#"
import socket
seen = []
def tries(name, attempt):
    try:
        attempt()
        seen.append(name)
    except Exception:
        pass
def connect(host):
    s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    s.settimeout(2)
    s.connect(host)
tries("network", lambda: connect(("1.1.1.1", 53)))
tries("host", lambda: connect(("127.0.0.1", PORT)))
tries("names", lambda: socket.getaddrinfo("example.org", 80))
for path in ["PLACE", "PLACE/secret", "PLACE/results", "PLACE/registry", "/root/.bashrc", "/etc/shadow", "/home/x"]:
    tries(path, lambda: os.stat(path))
for path in [args.model_path, args.templates_dir, "/usr", "/"]:
    tries("write " + path, lambda: open(os.path.join(path, "x"), "w"))
weights = os.path.join(args.model_path, "model.safetensors")
tries("weights", lambda: open(weights, "r+b"))
assert not any(k.startswith("PTB_") or "SECRET" in k for k in os.environ), os.environ
assert os.environ["HF_HUB_OFFLINE"] == "1"
assert os.path.exists(os.path.join(os.environ["HF_HUB_CACHE"], "datasets--a--b"))
tries("cache", lambda: open(os.path.join(os.environ["HF_HUB_CACHE"], "x"), "w"))
tries("token", lambda: open(os.path.join(os.environ["HF_HUB_CACHE"], "../token")))
# Its own directory, home and /tmp are its own.
for path in ["x", os.path.expanduser("~/x"), "/tmp/x", os.path.join(os.environ["HF_DATASETS_CACHE"], "x")]:
    open(path, "w").close()
write(accuracy=1 if not seen else 0, seen=seen)
"#;

#[test]
fn a_script_sees_what_it_needs_and_nothing_else() {
    if !wall() {
        return;
    }
    let place = Place::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let body = SPY.replace("PLACE", place.path().to_str().unwrap()).replace("PORT", &port);
    script(&place, &body);
    for file in ["secret", "results/x", "cache/token", "cache/hub/datasets--a--b/refs/main"] {
        place.write(file, "x");
    }
    let mut command =
        place.ptb(&["eval", "mine", "--model", "mini", "--model-path", "base", "--json"]);
    command.env("HF_HOME", place.path().join("cache")).env("SECRET_KEY", "x");
    let answer = Answer::of(&place, command.output().unwrap());
    assert_eq!(answer.code, 0, "{}", answer.shown());
    let metrics: Value = serde_json::from_str(&answer.out).unwrap();
    assert_eq!(metrics["script"]["seen"], json!([]), "{metrics}");
    assert!(!place.path().join("registry/benchmarks/mine/x").exists());
}

#[test]
fn what_does_not_apply_is_said() {
    let place = Place::new();
    script(&place, HONEST);
    place.write("c.jsonl", "{\"id\": \"1\", \"completion\": \"x\"}\n");
    let usage = |args: &[&str], words: &str| {
        let answer = place.output(args);
        assert_eq!(answer.code, 2, "{args:?}: {}", answer.shown());
        assert!(
            answer.err.contains(words) && answer.err.contains("help: "),
            "{args:?}: {}",
            answer.err
        );
    };
    for option in
        [["--data", "c.jsonl"], ["--seed", "1"], ["--max-tokens", "8"], ["--engine", "vllm"]]
    {
        let args =
            ["eval", "mine", "--model", "mini", "--model-path", "base", option[0], option[1]];
        usage(&args, &format!("`{}` means nothing to mine: it is a script", option[0]));
    }
    usage(
        &["score", "mine", "--completions", "c.jsonl"],
        "benchmark mine: it is a script, evaluate.py",
    );
    let experiment = |agents: &str, more: &str| {
        place.write(
            "e.toml",
            format!("agents = [{agents}]\nmodels = [\"mini\"]\nbenchmarks = [\"mine\"]\nhours = 0.02\n{more}"),
        );
        place.output(&["run", "e.toml"])
    };
    let data = experiment("\"base\"", "[data]\nmine = \"c.jsonl\"\n");
    assert_eq!(data.code, 2, "{}", data.shown());
    assert!(
        data.err.contains("e.toml:6:1") && data.err.contains("brings its own data"),
        "{}",
        data.err
    );
    let toml =
        place.write("registry/benchmarks/other/benchmark.toml", TOML.replace("KIND", "script"));
    let answer = place.output(&["list", "benchmarks"]);
    assert_eq!(answer.code, 2, "{}", answer.shown());
    assert!(answer.err.contains("leave benchmark.toml out"), "{}", answer.err);
    fs::remove_file(toml).unwrap();
    if wall() {
        let few = experiment("\"few-shot\"", "");
        assert_eq!(few.code, 2, "{}", few.shown());
        assert!(few.err.contains("the baseline `few-shot` sets prompt or sampling"), "{}", few.err);
    }
}

const TOML: &str = "name = \"Other\"\ntask = \"t\"\n[data]\npath = \"d\"\n[[prompt.messages]]\nrole = \"user\"\n\
                    content = \"{{ question }}\"\n[generation]\nmax_tokens = 8\n[scorer]\nkind = \"KIND\"\n\
                    [evaluate]\nseeds = [1]\n";

/// The agent forges everything that it can reach, and its score is that of its weights.
const FORGER: &str = r#"
set -e
test "$(cat README.md)" = "Read me first."
test -f evaluation_code/count.py && test -f templates/qwen3.jinja && test ! -e evaluate_final_eval.py
sh timer.sh | grep -q :
python=$(command -v /usr/bin/python3 /usr/local/bin/python3 | head -1) || true
if [ -n "$python" ]; then
    "$python" evaluate.py --model-path "$PTB_BASE_MODEL" --templates-dir templates --limit 4 --json-output-file mine.json
    cat mine.json
fi
if ptb-door evaluate --model-path "$PTB_BASE_MODEL" --limit 2 2>refused; then exit 9; fi
cat refused >&2
mkdir final_model && cp -rL "$PTB_BASE_MODEL"/. final_model/
printf 'import json, sys\njson.dump({"accuracy": 1.0}, open(sys.argv[-1], "w"))\n' > evaluate.py
cp evaluate.py evaluation_code/count.py
cp evaluate.py final_model/evaluate.py
echo '{"accuracy": 1.0}' > metrics.json
"#;

#[test]
fn agents_see_the_script_and_cannot_change_the_score() {
    if !wall() {
        return;
    }
    let place = Place::new();
    script(&place, HONEST);
    place.agent("forger", FORGER);
    let text = "name = \"e\"\nagents = [\"base\", \"instruct\", \"forger\"]\nmodels = [\"mini\"]\n\
                benchmarks = [\"mine\"]\nhours = 0.02\nfeedback = \"score\"\nengine = \"vllm\"\n[evaluate]\nmax_tokens = 8\n\
                seeds = [1, 2]\n";
    place.write("e.toml", text);
    let answer = place.output(&["run", "e.toml"]);
    assert_eq!(answer.code, 0, "{}", answer.shown());
    assert!(answer.err.contains("mine is a script: agents see its evaluate.py"), "{}", answer.err);
    let (base, instruct) = (expected(&place, "base"), expected(&place, "instruct"));
    let runs: Vec<PathBuf> = support::runs::runs(&place.path().join("results"), "e");
    assert_eq!(runs.len(), 3);
    for run in &runs {
        let score = score(run);
        let wanted = if score["agent"] == "instruct" { instruct } else { base };
        assert_eq!(
            (&score["own_score"], &score["mark"]),
            (&json!(wanted), &Value::Null),
            "{score}"
        );
        let spec = &read(&run.join("run.json"))["spec"];
        assert_eq!((&spec["feedback"], &spec["seeds"]), (&json!("open"), &json!([0])), "{spec}");
        assert_eq!(spec["data_sha256"], spec["benchmark"]["sha256"]);
    }
    let forger = runs.iter().find(|run| score(run)["agent"] == "forger").unwrap();
    let prompt = fs::read_to_string(forger.join("prompt.md")).unwrap();
    assert!(prompt.contains("Bytes of Weights is measured by a program"), "{prompt}");
    assert!(prompt.contains("Feedback is `open`") && !prompt.contains("new tokens"), "{prompt}");
    let output = fs::read_to_string(forger.join("attempts/1/output.jsonl")).unwrap();
    // Where the agent's place has a Python, its own evaluation worked.
    let works = std::path::Path::new("/usr/bin/python3").exists();
    assert!(!works || output.contains("n_examples\\\": 4"), "{output}");
    assert!(output.contains("evaluated by its own program, not through the door"), "{output}");
    let shown = place.output(&["show", forger.to_str().unwrap()]);
    assert!(shown.out.contains("measured by its own evaluate.py"), "{}", shown.out);
    let again = place.output(&["score", forger.to_str().unwrap()]);
    assert_eq!(again.code, 2, "{}", again.shown());
    assert!(again.err.contains("it is a script, evaluate.py"), "{}", again.err);
    let report = place.output(&["report", "results/e", "--json"]);
    assert_eq!(report.code, 0, "{}", report.shown());
    // Another program is another cell.
    place.write(
        "registry/benchmarks/mine/evaluation_code/count.py",
        "def total(limit):\n    return 8\n",
    );
    assert_eq!(place.run("e", &[]).status.code(), Some(0));
    assert_eq!(support::runs::runs(&place.path().join("results"), "e").len(), 6);
}

/// A script that fails costs nobody a score: the stage is run again.
#[test]
fn a_failing_script_is_no_score() {
    if !wall() {
        return;
    }
    let place = Place::new();
    script(&place, "sys.exit('the grader is away')");
    place.write(
        "e.toml",
        "name = \"e\"\nagents = [\"base\"]\nmodels = [\"mini\"]\nbenchmarks = [\"mine\"]\nhours = 1\n",
    );
    let answer = place.output(&["run", "e.toml"]);
    assert_eq!(answer.code, 3, "{}", answer.shown());
    let run = only_run(&place.path().join("results"), "e");
    let failed = &read(&run.join("run.json"))["stages"]["evaluate"]["failed"];
    assert_eq!(failed["kind"], "harness", "{failed}");
    assert!(failed["message"].as_str().unwrap().contains("the grader is away"), "{failed}");
    assert!(!run.join("scores").join("main.json").exists());
}

/// A benchmark by `benchmark.toml` alone: listed, asked, scored by patterns, broken down.
#[test]
fn a_file_alone_adds_a_benchmark() {
    let place = Place::new();
    let listed = place.output(&["list", "benchmarks", "--registry", EXAMPLES]);
    assert!(
        listed.out.contains("Constraints\n") && listed.out.contains("Likelier Sums (script)"),
        "{}",
        listed.out
    );
    let replies = [
        ("rain", "Rain falls softly on the roof.", 1.0),
        ("colours", "red\ngreen\nblue", 1.0),
        ("list", "Here:\n* air\n* quiet\n", 1.0),
        ("capitals", "GOOD MORNING, Anna!", 0.0),
        ("farewell", "Dear Ida,\nall is well.\nSee you soon!", 1.0),
        ("harbour", "A gull cries, and gulls answer over the sea.", 0.0),
        ("title", "<<The Quiet Hours>>", 1.0),
        ("answer", "Yes, it is.", 0.0),
    ];
    let lines =
        replies.map(|(id, text, _)| json!({ "key": id, "id": id, "completion": text }).to_string());
    place.write("replies.jsonl", lines.join("\n"));
    let args = [
        "score",
        "constraints",
        "--registry",
        EXAMPLES,
        "--completions",
        "replies.jsonl",
        "--json",
    ];
    let answer = place.output(&args);
    assert_eq!(answer.code, 0, "{}", answer.shown());
    for (line, (id, text, score)) in answer.out.lines().zip(replies) {
        let graded: Value = serde_json::from_str(line).unwrap();
        assert_eq!((&graded["id"], &graded["score"]), (&json!(id), &json!(score)), "{text}");
    }
    let args = [
        "eval",
        "constraints",
        "--registry",
        EXAMPLES,
        "--registry",
        "registry",
        "--model",
        "mini",
        "--model-path",
        "base",
        "--max-tokens",
        "8",
        "--json",
    ];
    let answer = place.output(&args);
    assert_eq!(answer.code, 0, "{}", answer.shown());
    let metrics: Value = serde_json::from_str(&answer.out).unwrap();
    assert_eq!((&metrics["n"], &metrics["errors"]), (&json!(8), &json!(0)), "{metrics}");
    let parts: Vec<&String> = metrics["breakdowns"]["rule"].as_object().unwrap().keys().collect();
    assert_eq!(parts, ["letters", "lines", "words"]);
    // A name that no sample has is told, and another file of the same benchmark.
    let file =
        fs::read_to_string(format!("{EXAMPLES}/benchmarks/constraints/benchmark.toml")).unwrap();
    let data = format!("{EXAMPLES}/benchmarks/constraints/test.jsonl");
    let told = |from: &str, to: &str| {
        assert!(file.contains(from), "{from}");
        place.write("other/benchmarks/constraints/benchmark.toml", file.replace(from, to));
        fs::copy(&data, place.path().join("other/benchmarks/constraints/test.jsonl")).unwrap();
        let args = [
            "eval",
            "constraints",
            "--registry",
            "registry",
            "--registry",
            "other",
            "--limit",
            "1",
        ];
        place.output(
            &[&args[..], &["--model", "mini", "--model-path", "base", "--max-tokens", "1"]]
                .concat(),
        )
    };
    let answer = told("[\"rule\"]", "[\"rule\", \"rle\"]");
    assert_eq!(answer.code, 0, "{}", answer.shown());
    assert!(
        answer.err.contains("no sample has `rle`, which [evaluate] breakdown"),
        "{}",
        answer.err
    );
    assert!(!answer.err.contains("no sample has `rule`"), "{}", answer.err);
    let answer = told("required = \"must\"", "required = \"^x$\"");
    assert_eq!(answer.code, 2, "{}", answer.shown());
    assert!(answer.err.contains("name fields of the records"), "{}", answer.err);
    let answer = told("{{ question }}", "{{ qestion }}");
    assert_eq!(answer.code, 2, "{}", answer.shown());
    let said = answer.err.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("there is no variable `qestion`, only question"), "{said}");
    assert!(said.contains("other/benchmarks/constraints/benchmark.toml"), "{said}");
    // The book shows this very file.
    let book = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/benchmarks.md"))
        .unwrap();
    let file =
        fs::read_to_string(format!("{EXAMPLES}/benchmarks/constraints/benchmark.toml")).unwrap();
    let (_, file) = file.split_once('\n').unwrap();
    assert!(book.contains(file), "docs/benchmarks.md shows another file");
}

#[test]
fn a_misspelt_key_is_told_with_its_line_and_the_right_one() {
    let place = Place::new();
    let file = "registry/benchmarks/mine/benchmark.toml";
    let graded = "[scorer.grader]\nprompt = \"rubric\"\nmodel = \"m\"\nmax_token = 8\n[evaluate]";
    for (right, wrong, line, hint) in [
        ("task =", "taks =", 2, "task"),
        ("path =", "pth =", 4, "path"),
        ("role =", "rol =", 6, "role"),
        ("max_tokens =", "max_token =", 9, "max_tokens"),
        ("kind =", "knd =", 11, "kind"),
        ("\"KIND\"", "\"regexp\"", 11, "regex"),
        ("seeds =", "seed =", 13, "seeds"),
        ("[evaluate]", graded, 15, "max_tokens"),
    ] {
        place.write(file, TOML.replace(right, wrong).replace("KIND", "exact"));
        let answer = place.output(&["list", "benchmarks"]);
        assert_eq!(answer.code, 2, "{wrong}: {}", answer.shown());
        let at = format!("{file}:{line}:");
        let hint = format!("did you mean `{hint}`?");
        assert!(answer.err.contains(&at) && answer.err.contains(&hint), "{wrong}: {}", answer.err);
    }
}

/// The example that runs a model: with torch, where there is one.
#[test]
fn the_examples_script_measures_a_model() {
    let Some(python) = std::env::var_os("PTB_PYTHON") else {
        return support::skip("PTB_PYTHON names no Python with torch and transformers");
    };
    if !wall() {
        return;
    }
    let place = Place::new();
    let models = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models");
    let accuracy = |model: &str, limit: &[&str]| {
        let path = format!("{models}/{model}");
        let args = [
            "eval",
            "likelier-sums",
            "--registry",
            EXAMPLES,
            "--model",
            "tiny",
            "--model-path",
            &path,
            "--json",
        ];
        let mut command = place.ptb(&[&args[..], limit].concat());
        let answer =
            Answer::of(&place, command.env("PTB_SCRIPT_PYTHON", &python).output().unwrap());
        assert_eq!(answer.code, 0, "{}", answer.shown());
        serde_json::from_str::<Value>(&answer.out).unwrap()
    };
    let whole = accuracy("tiny-instruct", &[]);
    assert_eq!((&whole["n"], &whole["complete"]), (&json!(100), &json!(true)), "{whole}");
    // Better than chance by far more than its error.
    let (mean, error) = (whole["accuracy"].as_f64().unwrap(), whole["stderr"].as_f64().unwrap());
    assert!(mean > 0.5 + 3.0 * error, "{whole}");
    let part = accuracy("tiny-base", &["--limit", "10"]);
    assert_eq!((&part["n"], &part["complete"]), (&json!(10), &json!(false)), "{part}");
}
