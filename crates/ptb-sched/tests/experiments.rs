//! Experiment files: what a good one becomes, and what a bad one is told.

#![expect(clippy::unwrap_used, reason = "a step that fails fails the test")]

use std::fs;

use ptb_core::registry::Registry;
use ptb_sched::Experiment;

const GOOD: &str =
    "agents = [\"base\"]\nmodels = [\"tiny\"]\nbenchmarks = [\"gsm8k\"]\nhours = 1\n";

fn read(text: &str) -> Result<Experiment, String> {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("copy")).unwrap();
    fs::write(dir.path().join("copy/solve.sh"), "true\n").unwrap();
    fs::create_dir(dir.path().join("empty")).unwrap();
    let path = dir.path().join("e.toml");
    fs::write(&path, text).unwrap();
    Experiment::read(&path, &Registry::load(&[]).unwrap()).map_err(|e| {
        let help = miette::Diagnostic::help(&e).map(|h| format!(" | {h}")).unwrap_or_default();
        format!("{e}{help}").replace(&format!("{}/", dir.path().display()), "")
    })
}

#[test]
fn axes_multiply_and_ids_are_stable() {
    let text = "name = \"grid\"\nagents = [\"base\", \"copy\"]\nmodels = [\"tiny\", \"qwen3-4b\"]\n\
                benchmarks = [\"gsm8k\", \"arithmetic\"]\nhours = [0.5, 1]\nrepeats = 3\n\
                [data]\ngsm8k = \"d\"\n[evaluate]\nlimit = 7\n";
    let experiment = read(text).unwrap();
    assert_eq!(experiment.runs.len(), 2 * 2 * 2 * 2 * 3);
    let first = &experiment.runs[0];
    assert_eq!(first.slug(), "base-tiny-gsm8k-0.5h-r1");
    assert_eq!(first.limit, Some(7));
    assert!(first.data.as_ref().unwrap().ends_with("d"));
    let copies: Vec<_> = experiment.runs.iter().filter(|r| r.agent.name == "copy").collect();
    assert_eq!(copies.len(), 24);
    // Another agent is another cell; a repeat of a cell is another run.
    assert_ne!(copies[0].id(), first.id());
    assert_eq!(first.cell_key(), experiment.runs[1].cell_key());
    assert_ne!(first.id(), experiment.runs[1].id());
}

#[test]
fn bad_files_are_told_with_line_and_hint() {
    let cases = [
        ("agents", "agnets", "e.toml:1:1: unknown field `agnets`", "did you mean `agents`?"),
        ("hours = 1", "hours = 0", "e.toml:4:1: hours = 0 is not above 0", "fractions are fine"),
        ("hours = 1", "hours = -2", "hours = -2 is not above 0", "fractions"),
        ("hours = 1", "hours = nan", "hours = NaN is not above 0", "fractions"),
        (
            "hours = 1",
            "hours = \"ten\"",
            "e.toml:4:9: invalid type: string \"ten\", expected a number",
            "",
        ),
        ("\"gsm8k\"", "\"gsm8\"", "e.toml:3:15: unknown benchmark `gsm8`", "did you mean `gsm8k`?"),
        ("\"tiny\"", "\"tini\"", "e.toml:2:11: unknown model `tini`", "did you mean `tiny`?"),
        ("\"base\"", "\"bass\"", "e.toml:1:11: unknown agent `bass`", "did you mean `base`?"),
        ("\"base\"", "\"empty\"", "has no solve.sh", ""),
        (
            "\"base\"",
            "\"base\", \"base\"",
            "the cell base x tiny x gsm8k x 1 h occurs twice",
            "repeats",
        ),
        ("\"base\"", "", "agents is empty", "at least one"),
        ("\"base\"", "{ scafold = \"x\" }", "unknown field `scafold`", "did you mean `scaffold`?"),
        (
            "\"base\"",
            "{ scaffold = \"claude\", modle = \"m\" }",
            "this agent has no option `modle`",
            "did you mean `model`?",
        ),
        (
            "\"base\"",
            "{ scaffold = \"claude\", model = \"m\", efort = \"low\" }",
            "this agent has no option `efort`",
            "did you mean `effort`?",
        ),
        (
            "\"base\"",
            "{ scaffold = \"claude\", model = \"m\", effort = \"hihg\" }",
            "`effort` cannot be `hihg`",
            "low, medium, high",
        ),
        ("\"base\"", "\"claude\"", "`claude` needs a model", "claude/MODEL"),
        ("\"base\"", "3", "invalid type: integer `3`", ""),
        ("hours = 1", "repeats = 0", "repeats is 0", "above 0"),
        (
            "hours = 1",
            "sandbox = \"docker\"",
            "unknown sandbox `docker`",
            "known: namespaces, none",
        ),
        ("hours = 1", "engine = \"vlm\"", "unknown engine `vlm`", "builtin"),
        ("hours = 1", "feedback = \"opne\"", "unknown variant `opne`", "did you mean `open`?"),
        ("hours = 1", "edition = \"mian\"", "unknown edition `mian`", "did you mean `main`?"),
        ("hours = 1", "name = \"A b\"", "`A b` cannot be an experiment's name", "use `a-b`"),
        ("hours = 1", "[evaluate]\nseeds = [1, 1]", "a seed occurs twice", ""),
        ("hours = 1", "[data]\ngsm = \"x\"", "unknown benchmark `gsm`", "gsm8k"),
        ("hours = 1", "[scheduler]\nslots = 0", "slots is 0", "above 0"),
        (
            "hours = 1",
            "[[binds]]\nhost = \"nowhere\"\ninside = \"/x\"",
            "does not exist",
            "existing",
        ),
        ("hours = 1", "[[binds]]\nhost = \"copy\"\ninside = \"x\"", "is not absolute", "from /"),
        ("hours = 1", "hours = [[[", "e.toml:4:", ""),
        (
            "hours = 1",
            "[evaluate]\nengine = \"vllm\"",
            "e.toml:5:1: unknown field `engine`",
            "`engine` belongs at the top, above the tables",
        ),
        ("hours = 1", "limit = 3", "unknown field `limit`", "`limit` belongs under [evaluate]"),
        ("hours = 1", "slots = 3", "unknown field `slots`", "`slots` belongs under [scheduler]"),
        (
            "hours = 1",
            "[data]\ngsm8k = \"d\"\nengine = \"vllm\"",
            "e.toml:6:1: `engine` is no benchmark",
            "`engine` belongs at the top, above the tables",
        ),
        (
            "hours = 1",
            "[data]\ngsm8k = \"d\"\nrepeats = 3",
            "e.toml:6:11: `repeats` is no benchmark",
            "`repeats` belongs at the top, above the tables",
        ),
        ("hours = 1", "[data]\ngsm8k = 3", "e.toml:5:9: invalid type: integer `3`", ""),
    ];
    read(GOOD).unwrap();
    for (from, to, message, hint) in cases {
        let text = GOOD.replace(from, to);
        let told = read(&text).expect_err(&text);
        assert!(told.contains(message) && told.contains(hint), "{to:?} is told as: {told}");
    }
}
