//! Script benchmarks and what would cheat or break them: files that nobody judged, programs that fail on one submission,
//! processes that outlive the program, evaluations that are stopped.

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
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::processes::assert_gone;
use support::runs::{json as read, only_run, score};
use support::scripts::{eval, script};
use support::{Answer, Place, wall};

/// What was there when the program ended counts, not what it left running writes afterwards.
#[test]
fn the_result_is_that_of_the_programs_end() {
    if !wall() {
        return;
    }
    let place = Place::new();
    let orphan = r#"
import signal, time
write(accuracy=0.25)
if os.fork() == 0:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while os.getppid() != 1: time.sleep(0.05)
    time.sleep(0.5)
    write(accuracy=1.0)
    time.sleep(60)
    os._exit(0)
"#;
    script(&place, orphan);
    let answer = eval(&place, &["--json"]);
    assert_eq!(answer.code, 0, "{}", answer.shown());
    let metrics: Value = serde_json::from_str(&answer.out).unwrap();
    assert_eq!(metrics["accuracy"], 0.25);
    assert_gone(place.marker(), &[], Duration::from_secs(5));
}

/// A submission of the base model's weights, with other sampling.
fn submission(place: &Place) -> PathBuf {
    let (base, sub) = (place.path().join("base"), place.path().join("sub"));
    fs::create_dir_all(&sub).unwrap();
    for entry in fs::read_dir(base).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), sub.join(entry.file_name())).unwrap();
    }
    place.write("sub/generation_config.json", "{\"temperature\": 0.125}");
    sub
}

fn eval_submission(place: &Place, more: &[&str]) -> Answer {
    let args = ["eval", "mine", "--model", "mini", "--model-path", "sub", "--out", "out"];
    place.output(&[&args[..], more].concat())
}

/// Files that nobody judged or hashed, and what leads to them: none is there when the score is made.
#[test]
fn a_submission_shows_what_was_judged_and_nothing_else() {
    if !wall() {
        return;
    }
    let place = Place::new();
    let body = "names = sorted(os.listdir(args.model_path))\n\
                read = lambda name: open(os.path.join(args.model_path, name)).read()\n\
                write(accuracy=0.5, names=names, config=read('config.json'), tokenizer=read('tokenizer.json'))";
    script(&place, body);
    let sub = submission(&place);
    let honest = eval_submission(&place, &["--json"]);
    assert_eq!(honest.code, 0, "{}", honest.shown());
    let mut config = read(&sub.join("config.json"));
    for key in ["transformers_weights", "auto_map", "speculators_config", "quantization_config"] {
        config[key] = json!("other.safetensors");
    }
    place.write("sub/config.json", config.to_string());
    let other = fs::read(place.path().join("instruct/model.safetensors")).unwrap();
    for name in ["other.safetensors", "zzz.safetensors", "adapter_model.safetensors"] {
        place.write(&format!("sub/{name}"), &other);
    }
    for name in ["model.safetensors.index.json", "adapter_config.json", "params.json"] {
        place.write(&format!("sub/{name}"), "{\"weight_map\": {}}");
    }
    // A broken tokenizer of its own is no veto: the base model's stands there.
    place.write("sub/tokenizer.json", "{broken");
    fs::remove_dir_all(place.path().join("out")).unwrap();
    let forged = eval_submission(&place, &["--json"]);
    assert_eq!(forged.code, 0, "{}", forged.shown());
    let [honest, forged]: [Value; 2] =
        [&honest.out, &forged.out].map(|out| serde_json::from_str(out).unwrap());
    assert_eq!(honest, forged);
    let names = forged["script"]["names"].as_array().unwrap();
    assert!(names.contains(&json!("model.safetensors")), "{names:?}");
    assert!(!names.contains(&json!("model.safetensors.index.json")), "{names:?}");
    let tokenizer = fs::read_to_string(place.path().join("base/tokenizer.json")).unwrap();
    assert_eq!(forged["script"]["tokenizer"], tokenizer);
    let engine = &read(&place.path().join("out/provenance.json"))["engines"][0];
    assert_eq!(engine["tokenizer"], "base model");
    assert_eq!(engine["shown"].as_object().unwrap().len(), names.len());
}

/// A program that works on the base model and fails twice on a submission has found the submission's fault.
#[test]
fn whose_fault_a_failure_is_the_base_model_tells() {
    if !wall() {
        return;
    }
    let place = Place::new();
    submission(&place);
    let mine = "path = os.path.join(args.model_path, 'generation_config.json')\n\
                mine = os.path.exists(path) and '0.125' in open(path).read()\n";
    let base_runs = |place: &Place| place.path().join("out/script-base.log").is_file();
    for (body, code, words) in [
        (
            "if mine: sys.exit('no such luck')\nwrite(accuracy=0)",
            2,
            "failed twice on this one: evaluate.py ended with exit code 1: ",
        ),
        (
            "if mine: write(accuracy=float('nan'))\nelse: write(accuracy=0)",
            2,
            "failed twice on this one: evaluate.py wrote NaN",
        ),
        ("sys.exit('broken')", 3, "evaluate.py ended with exit code 1: "),
        // Too little time for all samples is nobody's fault but the harness's; for two it is the model's.
        (
            "import time\nif args.limit == -1: time.sleep(60)\nwrite(accuracy=0)",
            3,
            "was ended after 3 s",
        ),
        (
            "import time\nif mine: time.sleep(60)\nwrite(accuracy=0)",
            2,
            "failed twice on this one: evaluate.py was ended after 3 s",
        ),
        (
            "if mine and args.limit == -1: raise MemoryError()\nwrite(accuracy=0)",
            3,
            "ran out of memory",
        ),
    ] {
        script(&place, &format!("{mine}print(args.limit)\n{body}"));
        let args = ["eval", "mine", "--model", "mini", "--model-path", "sub", "--out", "out"];
        let mut command = place.ptb(&args);
        if body.contains("time") {
            command.env("PTB_SCRIPT_SECONDS", "3");
        }
        let answer = Answer::of(&place, command.output().unwrap());
        assert_eq!(answer.code, code, "{body}: {}", answer.shown());
        assert!(answer.err.contains(words), "{body}: {}", answer.err);
        assert!(base_runs(&place), "{body}");
        let log = fs::read_to_string(place.path().join("out/script-base.log")).unwrap();
        assert!(log.lines().any(|line| line == "2"), "{log}");
        assert!(!place.path().join("out/metrics.json").exists(), "{body}");
    }
    // In a run it costs the score, with the reason.
    script(&place, &format!("{mine}if mine: sys.exit('no such luck')\nwrite(accuracy=0.5)"));
    place.agent(
        "vetoer",
        "cp -rL \"$PTB_BASE_MODEL\" final_model && chmod -R u+w final_model\n\
                           echo '{\"temperature\": 0.125}' > final_model/generation_config.json",
    );
    place.write(
        "e.toml",
        "name = \"e\"\nagents = [\"vetoer\"]\nmodels = [\"mini\"]\nbenchmarks = [\"mine\"]\nhours = 0.02\n",
    );
    let answer = place.output(&["run", "e.toml"]);
    assert_eq!(answer.code, 1, "{}", answer.shown());
    let run = only_run(&place.path().join("results"), "e");
    let score = score(&run);
    assert_eq!(score["mark"], "†", "{score}");
    let reason = score["reason"].to_string();
    assert!(reason.contains("no such luck") && !reason.contains(place.marker()), "{score}");
}

/// Without a folder of the user's, the output of a failure is where the message says; a stop promises nothing.
#[test]
fn what_a_failure_leaves_is_where_it_says() {
    if !wall() {
        return;
    }
    let place = Place::new();
    script(&place, "print('line', *range(100), sep='\\n')\nsys.exit(3)");
    let mut command = place.ptb(&["eval", "mine", "--model", "mini", "--model-path", "base"]);
    let (tmp, out) = (place.path().join("tmp"), place.path().join("out"));
    fs::create_dir(&tmp).unwrap();
    let answer = Answer::of(&place, command.env("TMPDIR", &tmp).output().unwrap());
    assert_eq!(answer.code, 3, "{}", answer.shown());
    let kept: Vec<PathBuf> = fs::read_dir(&tmp).unwrap().map(|e| e.unwrap().path()).collect();
    let [kept] = &kept[..] else { panic!("{kept:?}") };
    let log = fs::read_to_string(kept.join("script.log")).unwrap();
    assert!(log.starts_with("line\n0\n") && log.ends_with("\n99\n"), "{log}");
    let said = answer.err.split_whitespace().collect::<String>();
    assert!(said.contains(kept.file_name().unwrap().to_str().unwrap()), "{}", answer.err);
    // A success leaves nothing, and takes away what an evaluation that was killed has left.
    script(&place, "write(accuracy=0.5)");
    place.write("out/script-place-dead/work/evaluate.py", "x");
    fs::remove_dir_all(kept).unwrap();
    let mut command =
        place.ptb(&["eval", "mine", "--model", "mini", "--model-path", "base", "--out", "out"]);
    let answer = Answer::of(&place, command.env("TMPDIR", &tmp).output().unwrap());
    assert_eq!(answer.code, 0, "{}", answer.shown());
    assert_eq!(fs::read_dir(&tmp).unwrap().count(), 0);
    let left: Vec<_> = fs::read_dir(&out).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(
        left.iter().all(|name| !name.to_str().unwrap().starts_with("script-place")),
        "{left:?}"
    );
    let text = fs::read_to_string(out.join("metrics.json")).unwrap();
    assert_eq!(text.lines().count(), 1);
    // Stopped.
    script(&place, "import time\nopen('started', 'w').close()\ntime.sleep(60)");
    let mut command =
        place.ptb(&["eval", "mine", "--model", "mini", "--model-path", "base", "--out", "out"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let begin = Instant::now();
    let started =
        || fs::read_dir(&out).unwrap().any(|e| e.unwrap().path().join("work/started").exists());
    while !started() {
        assert!(begin.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(50));
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let answer = Answer::of(&place, child.wait_with_output().unwrap());
    assert_eq!(answer.code, 130, "{}", answer.shown());
    assert!(answer.err.contains("what evaluate.py had done is lost"), "{}", answer.err);
    assert!(!answer.err.contains("is kept"), "{}", answer.err);
}

/// vLLM on a processor asks `lscpu`, which reads what is not there behind a wall.
#[test]
fn the_processors_are_told_behind_the_wall() {
    if !wall() {
        return;
    }
    let place = Place::new();
    let body = "import subprocess\n\
                said = subprocess.run(['lscpu', '-J', '-e=CPU,CORE,NODE'], stdout=subprocess.PIPE, check=True).stdout\n\
                write(accuracy=1, cpus=json.loads(said)['cpus'])";
    script(&place, body);
    let answer = eval(&place, &["--json"]);
    assert_eq!(answer.code, 0, "{}", answer.shown());
    let metrics: Value = serde_json::from_str(&answer.out).unwrap();
    assert!(!metrics["script"]["cpus"].as_array().unwrap().is_empty(), "{metrics}");
}
