//! Input that is wrong: one clear message each, exit code 2 (5 where something is not on this machine), and
//! nothing made.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a step that fails fails the test"
)]
#![expect(clippy::print_stderr, reason = "a test that skips says why")]

mod support;

use std::fs;
use std::os::unix::fs::symlink;

use support::runs::{json, only_run, runs};
use support::{Answer, Place};

/// Fails unless the program refused with `code` and one message that holds all `words`.
fn assert_refused(answer: &Answer, code: i32, words: &[&str]) {
    assert_eq!((answer.code, answer.out.as_str()), (code, ""), "{}", answer.shown());
    for word in words {
        assert!(answer.err.contains(word), "no `{word}` in: {}", answer.err);
    }
    assert_eq!(answer.err.matches("  x ").count(), 1, "one message: {}", answer.err);
}

#[test]
fn experiments_that_say_something_wrong() {
    let place = Place::new();
    place.experiment("e", &["base"], "");
    let good = fs::read_to_string(place.path().join("e.toml")).unwrap();
    let cases: [(&str, &str, &[&str]); 16] = [
        ("agents", "agnets", &["e.toml:2:1", "unknown field `agnets`", "did you mean `agents`?"]),
        ("\"base\"", "\"bas\"", &["unknown agent `bas`", "did you mean `base`?"]),
        ("\"mini\"", "\"mimi\"", &["unknown model `mimi`", "did you mean `mini`?"]),
        (
            "\"arithmetic\"",
            "\"arithmetics\"",
            &["unknown benchmark `arithmetics`", "did you mean `arithmetic`?"],
        ),
        ("hours = 0.02", "hours = 0", &["hours = 0 is not above 0"]),
        ("hours = 0.02", "hours = -1.5", &["hours = -1.5 is not above 0"]),
        ("hours = 0.02", "hours = [1, 0]", &["hours = 0 is not above 0"]),
        ("hours = 0.02", "hours = inf", &["hours = inf is not above 0"]),
        ("hours = 0.02", "hours = \"ten\"", &["expected a number"]),
        ("hours = 0.02", "hours = 1e9", &["hours = 1000000000 is not above 0 and at most 744"]),
        ("hours = 0.02", "repeats = 0", &["repeats is 0"]),
        ("[\"mini\"]", "[\"mini\", \"mini\"]", &["occurs twice", "`repeats` runs a cell again"]),
        ("[\"base\"]", "[]", &["agents is empty"]),
        ("limit = 8", "limit = -8", &["e.toml"]),
        ("name = \"e\"", "name = \"../e\"", &["cannot be an experiment's name"]),
        ("[evaluate]", "[evaluate", &["e.toml:7"]),
    ];
    for (from, to, words) in cases {
        assert!(good.contains(from), "{from}");
        place.write("e.toml", good.replace(from, to));
        assert_refused(&place.output(&["run", "e.toml"]), 2, words);
    }
    for (text, words) in
        [(&b"\xff\xfe"[..], &["e.toml"][..]), (b"", &["agents"]), (b"a = 1\0", &["e.toml"])]
    {
        place.write("e.toml", text);
        assert_refused(&place.output(&["run", "e.toml"]), 2, words);
    }
    assert!(!place.path().join("results").exists(), "a refused experiment left something behind");
}

/// What a line break or a byte-order mark of another system does not change.
#[test]
fn experiments_from_other_systems() {
    let place = Place::new();
    place.experiment("e", &["base"], "");
    let good = fs::read_to_string(place.path().join("e.toml")).unwrap();
    place.write("e.toml", format!("\u{feff}{}", good.replace('\n', "\r\n")));
    let answer = place.output(&["run", "e.toml"]);
    assert_eq!(answer.code, 0, "{}", answer.shown());
}

#[test]
fn base_models_that_are_missing_cut_or_lying() {
    let place = Place::new();
    place.experiment("e", &["base"], "");
    let weights = place.path().join("base/model.safetensors");
    let good = fs::read(&weights).unwrap();
    let header = u64::from_le_bytes(good[..8].try_into().unwrap()) as usize;
    let text = std::str::from_utf8(&good[8..8 + header]).unwrap();
    let lie = |from: &str, to: &str| {
        assert!(text.contains(from), "{from} is not in {text}");
        let text = text.replacen(from, to, 1);
        let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(text.as_bytes());
        bytes.extend_from_slice(&good[8 + header..]);
        bytes
    };
    let huge = [&u64::MAX.to_le_bytes()[..], &good[8..]].concat();
    let cases = [
        ("half of it", good[..good.len() / 2].to_vec()),
        ("nothing", Vec::new()),
        ("a header without end", huge),
        ("another shape", lie("[288,128]", "[144,256]")),
        ("offsets that overlap", lie("\"data_offsets\":[0,", "\"data_offsets\":[8,")),
        ("offsets beyond the end", lie("]}}", "9]}}")),
        ("another type", lie("\"F32\"", "\"F64\"")),
        ("no JSON", lie("{", "[")),
    ];
    for (what, bytes) in cases {
        fs::write(&weights, bytes).unwrap();
        let answer = place.output(&["run", "e.toml"]);
        assert_refused(
            &answer,
            2,
            &["the weights of `mini`", "model.safetensors", "fetch them again"],
        );
        eprintln!("{what}: {}", answer.err.lines().next().unwrap());
    }
    fs::write(&weights, &good).unwrap();
    let config = place.path().join("base/config.json");
    let kept = fs::read(&config).unwrap();
    for text in ["", "{", "[]", "{\"architectures\": [\"Other\"]}"] {
        fs::write(&config, text).unwrap();
        assert_refused(
            &place.output(&["run", "e.toml"]),
            2,
            &["the weights of `mini`", "config.json"],
        );
    }
    fs::write(&config, kept).unwrap();
    fs::rename(place.path().join("base"), place.path().join("away")).unwrap();
    assert_refused(&place.output(&["run", "e.toml"]), 5, &["base of ptb/mini does not exist"]);
    // Nothing of all this stands in the way of a later run.
    fs::rename(place.path().join("away"), place.path().join("base")).unwrap();
    assert_eq!(place.output(&["run", "e.toml"]).code, 0);
}

/// What only the evaluation needs is asked for before an agent has worked for hours.
#[test]
fn what_an_evaluation_lacks_is_told_before_anything_is_made() {
    let place = Place::new();
    place.experiment("engine", &["base"], "engine = \"vllm\"");
    let sample =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../../registry/benchmarks/humaneval/sample.jsonl");
    place.write(
        "code.toml",
        format!(
            "agents = [\"base\"]\nmodels = [\"mini\"]\nbenchmarks = [\"humaneval\"]\nhours = 1\n[data]\n\
             humaneval = \"{sample}\"\n"
        ),
    );
    for (name, variable, words) in [
        ("engine", "PTB_VLLM", ["the engine vllm is not installed", "PTB_VLLM"]),
        ("code", "PTB_CODE_PYTHON", ["Python", "PTB_CODE_PYTHON"]),
    ] {
        let mut command = place.run_command(name, &[]);
        let answer =
            Answer::of(&place, command.env(variable, "/nowhere/program").output().unwrap());
        assert_refused(&answer, 5, &words);
        assert!(runs(&place.path().join("results"), name).is_empty());
    }
    let eval =
        ["eval", "arithmetic", "--engine", "vllm", "--model", "mini", "--model-path", "base"];
    let mut command = place.ptb(&eval);
    let answer = Answer::of(&place, command.env("PTB_VLLM", "/nowhere/program").output().unwrap());
    assert_refused(&answer, 5, &["the engine vllm is not installed", "PTB_VLLM"]);
}

/// Models in the hub's cache are folders of links to files elsewhere.
#[test]
fn base_models_may_be_made_of_links() {
    let place = Place::new();
    fs::create_dir(place.path().join("snapshot")).unwrap();
    for entry in fs::read_dir(place.path().join("base")).unwrap() {
        let name = entry.unwrap().file_name();
        let target = format!("../base/{}", name.to_str().unwrap());
        symlink(target, place.path().join("snapshot").join(name)).unwrap();
    }
    place.model("mini", "snapshot", "instruct");
    place.experiment("e", &["base"], "");
    let answer = place.output(&["run", "e.toml"]);
    assert_eq!(answer.code, 0, "{}", answer.shown());
}

#[test]
fn data_with_a_bad_line_is_named_and_foreign_line_ends_are_read() {
    let place = Place::new();
    let line =
        |n: u32| format!("{{\"question\": \"{n}+1?\", \"answer\": \"so\\n#### {}\"}}", n + 1);
    let lines = |count: u32| (1..=count).map(line).collect::<Vec<_>>();
    // The few-shot examples are rows of a train split of this size.
    place.write("data/train.jsonl", lines(7473).join("\n") + "\n");
    place.experiment("e", &["base"], "");
    let text = fs::read_to_string(place.path().join("e.toml")).unwrap();
    let text = text.replace("\"arithmetic\"", "\"gsm8k\"").replace("limit = 8", "limit = 3");
    place.write("e.toml", format!("{text}[data]\ngsm8k = \"data\"\n"));

    for bad in [
        "{\"question\": \"?\"}",
        "{\"question\": \"?\", \"answer\": \"no mark\"}",
        "{",
        "[1]",
        "\u{0}",
    ] {
        let mut data = lines(4);
        data.insert(2, bad.to_owned());
        place.write("data/test.jsonl", data.join("\n"));
        assert_refused(&place.output(&["run", "e.toml"]), 2, &["data/test.jsonl:3"]);
        let score = ["score", "gsm8k", "--data", "data", "--completions", "data/train.jsonl"];
        assert_refused(&place.output(&score), 2, &["data/test.jsonl:3"]);
    }
    place.write("data/test.jsonl", "");
    assert_refused(&place.output(&["run", "e.toml"]), 2, &["data/test.jsonl"]);
    fs::remove_file(place.path().join("data/test.jsonl")).unwrap();
    assert_refused(&place.output(&["run", "e.toml"]), 2, &["test.jsonl"]);

    let mut metrics = Vec::new();
    for (i, text) in [
        lines(3).join("\n") + "\n",
        lines(3).join("\r\n"),
        format!("\u{feff}{}\r\n\r\n", lines(3).join("\r\n")),
    ]
    .into_iter()
    .enumerate()
    {
        place.write("data/test.jsonl", text);
        let results = format!("results-{i}");
        let answer = place.output(&["run", "e.toml", "--results", &results]);
        assert_eq!(answer.code, 0, "{}", answer.shown());
        let run = only_run(&place.path().join(&results), "e");
        let mut found = json(&run.join("eval/final/metrics.json"));
        found["data_sha256"].take();
        metrics.push(found);
    }
    assert_eq!(metrics[0], metrics[1]);
    assert_eq!(metrics[0], metrics[2]);
}

#[test]
fn results_of_a_newer_version_are_left_alone() {
    let place = Place::new();
    place.experiment("e", &["base"], "");
    assert_eq!(place.output(&["run", "e.toml"]).code, 0);
    let run = only_run(&place.path().join("results"), "e");
    let record = run.join("run.json");
    let text = fs::read_to_string(&record).unwrap();
    let newer =
        text.replacen("\"schema\": ", "\"schema\": 99", 1).replace("\"stages\"", "\"steps\"");
    fs::write(&record, &newer).unwrap();
    let words = ["run.json has schema 99", "newer ptb"];
    assert_refused(&place.output(&["run", "e.toml"]), 2, &words);
    assert_refused(&place.output(&["show", run.to_str().unwrap()]), 2, &words);
    assert_refused(&place.output(&["score", run.to_str().unwrap()]), 2, &words);
    let report = place.output(&["report", "results"]);
    assert_eq!(report.code, 2, "{}", report.shown());
    assert_eq!(fs::read_to_string(&record).unwrap(), newer);
}

/// Files of a run that are broken: said, with the file's name, and not run over.
#[test]
fn results_that_are_broken_are_left_alone() {
    let place = Place::new();
    place.experiment("e", &["base"], "");
    assert_eq!(place.output(&["run", "e.toml"]).code, 0);
    let record = runs(&place.path().join("results"), "e")[0].join("run.json");
    for text in ["", "{\"schema\": 1", "{\"schema\": 1}", "null"] {
        fs::write(&record, text).unwrap();
        let answer = place.output(&["run", "e.toml"]);
        assert_eq!(answer.code, 3, "{}", answer.shown());
        assert!(answer.err.contains("run.json is not a valid run record"), "{}", answer.err);
        assert_eq!(fs::read_to_string(&record).unwrap(), text);
    }
}
