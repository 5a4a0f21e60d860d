//! No secret goes in, and none is kept: marked keys everywhere around a run, an agent that looks for them, a provider
//! that repeats the key it was given; and the control, in which the same search finds them.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a step that fails fails the test"
)]
#![expect(clippy::print_stderr, reason = "a test that skips says why")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};
use scripted_api::{Credential, Fault, Script, ScriptedApi, Service, Turn};
use support::agents::{AGENTS, Trial};
use support::processes::below;
use support::runs::only_run;
use support::seeker::{INSIDE, MARK, forms, seek};
use support::{Answer, Place, wall};

/// What opens the provider.
const KEY: &str = "sk-Qm4rk3dQ-provider-0123456789abcdef";

/// Variables of the harness's environment that have nothing to do with the agent.
const OTHERS: [&str; 9] = [
    "PTB_GRADER_KEY",
    "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
    "AWS_SECRET_ACCESS_KEY",
    "GITHUB_TOKEN",
    "WANDB_API_KEY",
    "ANTHROPIC_AUTH_TOKEN",
    "SSH_AUTH_SOCK",
    "SOMETHING_PRIVATE",
];

/// Puts marked secrets around a run: into its environment, into files of its user's home. Gives those files.
fn surround(place: &Place, command: &mut Command) -> Vec<PathBuf> {
    for name in OTHERS {
        command.env(name, format!("{MARK}-{}-0123456789", name.to_lowercase()));
    }
    // Temporary files are looked at too.
    let temporary = place.path().join("temporary");
    fs::create_dir_all(&temporary).unwrap();
    command.env("TMPDIR", temporary);
    let secret = format!("{MARK}-of-the-user");
    [".ssh/id_ed25519", ".cache/huggingface/token", ".netrc", ".env"]
        .map(|name| place.write(name, &secret))
        .into()
}

/// Runs to the end and looks meanwhile at temporary files and at the command lines of all that was started.
fn watched(place: &Place, mut command: Command, but: &[PathBuf]) -> (Answer, BTreeSet<String>) {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut seen = BTreeSet::new();
    let temporary = place.path().join("temporary");
    let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let readers = [read(out), read(err)];
    let status = loop {
        seen.extend(seek(&temporary, but).into_iter().map(|found| format!("temporary/{found}")));
        let lines = below(child.id()).into_iter().map(|process| process.line);
        seen.extend(lines.filter(|line| !forms(line.as_bytes()).is_empty()));
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        thread::sleep(Duration::from_millis(50));
    };
    let [stdout, stderr] = readers.map(|reader| reader.join().unwrap());
    for (name, text) in [("stdout", &stdout), ("stderr", &stderr)] {
        seen.extend(forms(text).into_iter().map(|form| format!("{name}: {form}")));
    }
    (Answer::of(place, std::process::Output { status, stdout, stderr }), seen)
}

fn read(mut stream: impl std::io::Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        all
    })
}

/// What the agent found by itself: nothing, but for what was planted for it.
fn assert_nothing_inside(run: &Path, planted: &[&str]) {
    let text = |name: &str| fs::read_to_string(run.join("workspace").join(name)).unwrap();
    assert_eq!(text("found.txt"), "", "{}", text("looked.txt"));
    let seen = text("planted.txt");
    for place in planted {
        assert!(seen.contains(place), "the search inside does not see {place}: {seen}");
    }
}

/// The search finds what it is to find.
#[test]
fn marks_are_found_in_every_form() {
    let hex = |text: &str| text.bytes().map(|b| format!("{b:02x}")).collect::<String>();
    let unicode = |text: &str| text.bytes().map(|b| format!("\\u{b:04x}")).collect::<String>();
    let cases = [
        (format!("a {KEY} b"), "plain"),
        (BASE64_STANDARD.encode(format!("x{KEY}")), "base64"),
        (format!("ab{}", BASE64_STANDARD.encode(format!("xy{KEY}"))), "base64"),
        (format!("f{}", hex(KEY)), "hex"),
        (KEY.replace('m', "%6d"), "percent"),
        (KEY.chars().rev().collect(), "reversed"),
        (unicode(KEY), "escaped"),
        (unicode(KEY).replace('\\', "\\\\"), "escaped twice"),
        (unicode(&BASE64_STANDARD.encode(KEY)), "escaped base64"),
    ];
    for (text, form) in cases {
        assert!(forms(text.as_bytes()).contains(&form), "{form}: {text}");
        let packed = zstd::encode_all(text.as_bytes(), 3).unwrap();
        assert!(forms(&packed).contains(&form), "{form}, packed");
    }
    assert!(forms(b"nothing is marked here").is_empty());
}

/// A script that looks everywhere finds nothing of the harness's environment and of its user's files.
#[test]
fn a_script_finds_no_secret_inside() {
    if !wall() {
        return;
    }
    let place = Place::new();
    place.agent(
        "seeker",
        "export PLANTED=Qpl4nt3dQ; python3 seek.py; cp -r \"$PTB_BASE_MODEL\" final_model",
    );
    place.write("seeker/seek.py", INSIDE);
    let word = BASE64_STANDARD.encode("Qpl4nt3dQ");
    place.write("seeker/data/deep.json", format!("{{\"coded\": \"{word}\"}}"));
    place.experiment("e", &["seeker"], "hours = 0.05\n");
    let mut command = place.run_command("e", &[]);
    let mut but = surround(&place, &mut command);
    for (_, _, variable) in AGENTS {
        command.env(variable, KEY);
    }
    let (answer, seen) = watched(&place, command, &but);
    assert_eq!(answer.code, 0, "{}", answer.shown());
    assert_eq!(seen, BTreeSet::new());
    let run = only_run(&place.path().join("results"), "e");
    assert_nothing_inside(&run, &["/environ", "$PLANTED", "data/deep.json"]);
    assert_eq!(seek(place.path(), &but), Vec::<String>::new());
    // The same search sees what lies there.
    but.pop();
    let found = seek(place.path(), &but);
    assert!(found.iter().all(|f| f.starts_with(".env: ")) && !found.is_empty(), "{found:?}");
}

/// Where a key comes from.
#[derive(Debug, Clone, Copy, PartialEq)]
enum From {
    Variable,
    File,
    Command,
}

/// A run of a real agent whose provider repeats the key wherever it can. Gives all places where it was found.
fn with_an_echo(agent: &str, from: From, masked: bool) -> Option<Vec<String>> {
    let seek_inside =
        format!("python3 - << 'END'\n{INSIDE}\nEND\ncp -r \"$PTB_BASE_MODEL\" final_model");
    let refused = |words: &str| {
        Fault::Refused(500, "api_error".to_owned(), format!("{words}: {KEY} (Bearer {KEY})"))
    };
    let echo =
        format!("echo {KEY} > echoed.txt; echo {KEY} | base64; echo '{{\"key\": \"{KEY}\"}}'");
    let done = format!("Your key is {KEY}, in a link https://host/?key={KEY}. Finished.");
    let turns = [
        Turn::run(seek_inside).saying("I look for keys."),
        Turn::run(echo).thinking(format!("The key {KEY} is mine.")).failing(1, refused("no key")),
        Turn::text(done),
    ];
    let api = ScriptedApi::start(Script::by(move |conversation| {
        let looked = conversation.said.iter().any(|text| text.contains("look for keys"));
        let told = conversation.results.len();
        turns[if looked { told.clamp(1, 2) } else { 0 }].clone()
    }));
    api.expect_key(KEY);
    api.add_header("x-echo", KEY);
    api.add_header("x-request-key", &format!("Bearer {KEY}"));
    let trial = Trial::new(agent, &api.url(), "", 0.1)?;
    let mut command = trial.command();
    let mut but = surround(&trial.place, &mut command);
    let file = trial.place.write("keys/of-the-provider", format!("{KEY}\n"));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    match from {
        From::Variable => command.env(trial.key, KEY),
        From::File => command.env_remove(trial.key).env(format!("{}_FILE", trial.key), &file),
        From::Command => command
            .env_remove(trial.key)
            .env(format!("{}_COMMAND", trial.key), format!("cat {}", file.display())),
    };
    but.push(file);
    if !masked {
        command.env("PTB_TEST_NO_MASK", "1");
    }
    let (answer, seen) = watched(&trial.place, command, &but);
    assert_eq!(answer.code, 0, "{}", answer.shown());
    let replies = api.ledger();
    let replies: Vec<_> = replies.entries.iter().filter(|e| e.service == Service::Reply).collect();
    assert!(replies.iter().all(|e| e.credential == Credential::Right), "the key went out");
    assert!(replies.iter().any(|e| e.fault.is_some()), "the error with the key was sent");
    let run = only_run(&trial.results(), "e");
    assert!(run.join("workspace/echoed.txt").is_file(), "{}", answer.shown());
    if masked {
        assert_nothing_inside(&run, &[]);
    }
    let announced = answer.err.contains("KEYS ARE NOT MASKED");
    assert_eq!(announced, !masked && cfg!(debug_assertions), "{}", answer.shown());
    Some(seen.into_iter().chain(seek(trial.place.path(), &but)).collect())
}

/// The key goes to the provider and nowhere else, whatever the provider does with it.
#[test]
fn a_key_that_the_provider_repeats_is_nowhere() {
    thread::scope(|scope| {
        let runs = [("claude", From::Variable), ("codex", From::File), ("gemini", From::Command)];
        for (agent, from) in runs {
            scope.spawn(move || {
                let Some(found) = with_an_echo(agent, from, true) else { return };
                assert_eq!(found, Vec::<String>::new(), "{agent}, key from a {from:?}");
            });
        }
    });
}

/// The control: with the mask switched off, which builds for users cannot, the same search finds the key.
#[test]
fn without_the_mask_the_search_finds_the_key() {
    thread::scope(|scope| {
        for agent in ["claude", "codex"] {
            scope.spawn(move || {
                let Some(found) = with_an_echo(agent, From::Variable, false) else { return };
                let places =
                    ["output.jsonl", "api.jsonl.zst", "workspace/echoed.txt", "trajectory.json"];
                for place in places.into_iter().filter(|_| cfg!(debug_assertions)) {
                    assert!(found.iter().any(|f| f.contains(place)), "{agent} {place}: {found:#?}");
                }
                assert!(cfg!(debug_assertions) || found.is_empty(), "{agent}: {found:#?}");
            });
        }
    });
}
