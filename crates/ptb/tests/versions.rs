//! What a command line says of agents in place of the experiment's file: versions of scaffolds, and the prompt.
//!
//! npm is a script here, which knows a package `tool` and how to be without network.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a step that fails fails the test"
)]
#![expect(clippy::print_stderr, reason = "a test that skips says why")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::Value;
use support::runs::{json, only_run, runs};
use support::{Answer, Place, wall};

/// `view` tells what `$LATEST` says; `install` makes the package; without `$LATEST` there is no network.
const NPM: &str = r#"#!/bin/bash
if [ -z "$LATEST" ]; then
  echo "npm error code ENOTFOUND" >&2
  echo "npm error network request to https://registry.invalid/tool failed" >&2
  exit 1
fi
case "$1" in
  view) echo "\"$LATEST\"" ;;
  install)
    for word; do case "$word" in tool@*) version="${word#tool@}" ;; esac; done
    mkdir -p node_modules/tool node_modules/.bin
    echo "{\"name\": \"tool\", \"version\": \"$version\"}" > node_modules/tool/package.json
    printf '#!/bin/bash\necho "tool %s"\ncp -rL "$PTB_BASE_MODEL" final_model\n' "$version" > node_modules/.bin/tool
    chmod 755 node_modules/.bin/tool ;;
esac
"#;

const TOOL: &str = "name = \"Tool\"\ncommand = [\"tool\", \"{prompt}\"]\nnote = \"Mind the gap.\"\n\
                    [install]\nnpm = [\"tool@{version}\"]\nversion = \"1.0.0\"\n";

/// A place with the agents `tool` and `other`, which are installed, and the script for npm.
fn place() -> Option<Place> {
    if !wall() {
        return None;
    }
    let place = Place::new();
    let npm = place.write("bin/npm", NPM);
    fs::set_permissions(npm, fs::Permissions::from_mode(0o755)).unwrap();
    place.write("registry/agents/tool.toml", TOOL);
    place.write("registry/agents/other.toml", TOOL);
    place.experiment("e", &["tool"], "");
    Some(place)
}

/// `ptb run e.toml`; `latest` is what npm says, and without it there is no network.
fn run(place: &Place, latest: Option<&str>, more: &[&str]) -> Answer {
    let mut command: Command = place.run_command("e", more);
    let path = std::env::var("PATH").unwrap();
    command.env("PATH", format!("{}:{path}", place.path().join("bin").display()));
    command.env("PTB_CACHE", place.path().join("cache"));
    command.envs(latest.map(|latest| ("LATEST", latest)));
    Answer::of(place, command.output().unwrap())
}

/// Versions that ran, in order, one for each run directory.
fn ran(place: &Place) -> Vec<String> {
    let runs = runs(&place.path().join("results"), "e");
    let version = |record: Value| {
        let all = record["provenance"]["versions"].as_object().unwrap().clone();
        all.values().next().unwrap().as_str().unwrap().to_owned()
    };
    let mut all: Vec<String> =
        runs.iter().map(|run| version(json(&run.join("run.json")))).collect();
    all.sort();
    all
}

#[test]
fn a_version_is_part_of_the_cell() {
    let Some(place) = place() else { return };
    let answer = run(&place, Some("2.0.0"), &[]);
    assert_eq!((answer.code, ran(&place)), (0, vec!["1.0.0".to_owned()]), "{}", answer.shown());
    // The same by name is the same cell, and what is in the cache needs no network.
    let answer = run(&place, None, &["--agent-version", "1.0.0"]);
    assert!(answer.code == 0 && answer.shown().contains("done before"), "{}", answer.shown());
    let answer = run(&place, Some("2.0.0"), &["--agent-version", "latest"]);
    assert_eq!(
        (answer.code, ran(&place)),
        (0, vec!["1.0.0".into(), "2.0.0".into()]),
        "{}",
        answer.shown()
    );
    let answer = run(&place, None, &["--agent-version", "tool=2.0.0"]);
    assert!(answer.code == 0 && answer.shown().contains("done before"), "{}", answer.shown());
    // Tomorrow's `latest` is another cell.
    let answer = run(&place, Some("2.1.0"), &["--agent-version=tool=latest"]);
    let all = vec!["1.0.0".to_owned(), "2.0.0".to_owned(), "2.1.0".to_owned()];
    assert_eq!((answer.code, ran(&place)), (0, all), "{}", answer.shown());
    let runs = runs(&place.path().join("results"), "e");
    let newest = runs
        .iter()
        .find(|run| json(&run.join("run.json"))["spec"]["agent"]["options"]["version"] == "2.1.0");
    let shown = place.output(&["show", newest.unwrap().to_str().unwrap()]);
    assert!(shown.out.contains("version 2.1.0 ran"), "{}", shown.out);
    let printed = place.output(&["show", newest.unwrap().to_str().unwrap(), "--output"]);
    assert!(printed.out.contains("tool 2.1.0"), "{}", printed.out);
}

#[test]
fn without_network_it_is_said_what_is_missing() {
    let Some(place) = place() else { return };
    let answer = run(&place, None, &[]);
    assert_eq!(answer.code, 5, "{}", answer.shown());
    for words in [
        "tool 1.0.0 is not in the cache",
        "cannot be reached",
        "run `ptb install tool` where there is network",
    ] {
        assert!(answer.err.contains(words), "{words}: {}", answer.err);
    }
    assert_eq!(run(&place, Some("1.0.0"), &[]).code, 0);
    let answer = run(&place, None, &["--agent-version", "latest"]);
    assert_eq!(answer.code, 5, "{}", answer.shown());
    for words in ["tool latest is not in the cache", "it has 1.0.0: name one with --agent-version"]
    {
        assert!(answer.err.contains(words), "{words}: {}", answer.err);
    }
    for (given, words) in
        [("other=1.0.0", "the experiment has no scaffold `other`"), ("1.0;rm", "is no version")]
    {
        let answer = run(&place, Some("1.0.0"), &["--agent-version", given]);
        assert!(answer.code == 2 && answer.err.contains(words), "{}", answer.shown());
    }
}

/// Two names of one version are one cell, and run once; one scaffold's own version comes after what is for all.
#[test]
fn versions_that_turn_out_to_be_the_same_run_once() {
    let Some(place) = place() else { return };
    let text = fs::read_to_string(place.path().join("e.toml")).unwrap();
    let agents = "agents = [{ scaffold = \"tool\", version = [\"1.0.0\", \"latest\"] }, \"other\"]";
    place.write("e.toml", text.replace("agents = [\"tool\"]", agents));
    let answer = run(&place, Some("1.0.0"), &[]);
    assert_eq!((answer.code, ran(&place).len()), (0, 2), "{}", answer.shown());
    let answer = run(
        &place,
        Some("3.0.0"),
        &["--agent-version", "other=2.0.0", "--agent-version", "latest"],
    );
    let all = ["1.0.0", "1.0.0", "2.0.0", "3.0.0"].map(str::to_owned).to_vec();
    assert_eq!((answer.code, ran(&place)), (0, all), "{}", answer.shown());
}

#[test]
fn a_prompt_of_ones_own_is_part_of_the_cell() {
    let Some(place) = place() else { return };
    place.write("own.md", "Make {{ model_id }} better at {{ benchmark }} in {{ hours }} h.\n");
    let answer = run(&place, Some("1.0.0"), &["--prompt", "own.md"]);
    assert_eq!(answer.code, 0, "{}", answer.shown());
    let first = only_run(&place.path().join("results"), "e");
    let told = fs::read_to_string(first.join("prompt.md")).unwrap();
    assert!(
        told.starts_with("Make ptb/mini better at ") && told.ends_with("\n\nMind the gap.\n"),
        "{told}"
    );
    // Another text is another cell; so is the built-in one, and another note.
    place.write("own.md", "Make {{ model_id }} good.\n");
    assert_eq!(run(&place, Some("1.0.0"), &["--prompt", "own.md"]).code, 0);
    assert_eq!(run(&place, Some("1.0.0"), &[]).code, 0);
    place.write("registry/agents/tool.toml", TOOL.replace("Mind", "Never mind"));
    assert_eq!(run(&place, Some("1.0.0"), &[]).code, 0);
    assert_eq!(ran(&place).len(), 4);
    place.write("own.md", "Make {{ what }} better.\n");
    let answer = run(&place, Some("1.0.0"), &["--prompt", "own.md"]);
    assert!(
        answer.code == 2 && answer.err.contains("own.md: the prompt template"),
        "{}",
        answer.shown()
    );
}
