//! The four real command-line agents, each driven through a session by the scripted API.
//!
//! `PTB_AGENT_CLIS` names a folder with `node_modules/.bin`, where npm has put them (and a node that suits them).
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test"
)]

mod session;

use std::fs;

use scripted_api::{Fault, Protocol, Script, ScriptedApi, Turn};
use session::{KEY, Session};

/// Three turns, and twice two more for a session that is taken up again.
fn script() -> Script {
    Script::turns([
        Turn::run("echo proof-42 > proof.txt").saying("I write it.").thinking("A file it is."),
        Turn::run("cat proof.txt"),
        Turn::text("Finished: it says proof-42."),
        Turn::run("echo more >> proof.txt"),
        Turn::text("Finished again."),
        Turn::run("echo at last >> proof.txt"),
        Turn::text("Finished after all."),
    ])
}

/// Plays the script: a session, another that takes it up again, one that the API ends, and one that goes on after it. `commands` makes both from a prompt.
fn plays(
    protocol: Protocol,
    model: &str,
    prepare: impl Fn(&Session, &str),
    commands: [&[&str]; 2],
    environment: impl Fn(&str) -> Vec<(&'static str, String)>,
) {
    let Some(session) = Session::new() else { return };
    let api = ScriptedApi::start(script());
    api.expect_key(KEY);
    // Agents try again after a failure, and that must not move the script on.
    api.fail_next(1, Fault::Internal);
    prepare(&session, &api.url());
    let environment = environment(&api.url());
    let environment: Vec<(&str, &str)> =
        environment.iter().map(|(n, v)| (*n, v.as_str())).collect();

    let printed = session.run(commands[0], &environment);
    let proof = session.at("work/proof.txt");
    assert_eq!(fs::read_to_string(&proof).unwrap(), "proof-42\n");
    assert!(printed.contains("proof-42"), "{printed}");
    for line in printed.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|e| panic!("{e}: {line}"));
    }

    session.run(commands[1], &environment);
    assert_eq!(fs::read_to_string(&proof).unwrap(), "proof-42\nmore\n");

    let spent = "the spending limit is reached".to_owned();
    api.fail(Fault::Refused(400, "invalid_request_error".to_owned(), spent));
    let (well, _) = session.end_of(commands[1], &environment);
    assert!(!well, "an agent without its model must not seem to have ended well");
    api.heal();
    session.run(commands[1], &environment);
    assert_eq!(fs::read_to_string(&proof).unwrap(), "proof-42\nmore\nat last\n");

    let ledger = api.ledger();
    let turns: Vec<usize> = ledger.turns().map(|entry| entry.turn).collect();
    assert_eq!(turns, [0, 1, 2, 3, 4, 5, 6]);
    assert!(ledger.entries.iter().any(|e| e.fault == Some("refused")));
    assert_eq!(ledger.entries.iter().filter(|e| e.fault == Some("internal")).count(), 1);
    for entry in ledger.turns() {
        assert_eq!(
            (entry.protocol, entry.model.as_str(), entry.stream),
            (Some(protocol), model, true)
        );
        let tokens = entry.tokens.expect("each reply told its tokens");
        assert!(tokens.output > 3 && (tokens.cached > 0) == (entry.turn > 0), "{entry:?}");
    }
    let last = api.requests().into_iter().rfind(|r| r.method == "POST").unwrap().body.to_string();
    for earlier in ["write proof.txt", "I write it.", "go on please", "echo more"] {
        assert!(last.contains(earlier), "the session that was taken up lacks {earlier:?}");
    }
}

#[test]
fn claude_plays_a_script() {
    let new = [
        "claude",
        "--print",
        "--verbose",
        "--output-format",
        "stream-json",
        "--dangerously-skip-permissions",
        "--model",
        "claude-sonnet-4-5",
        "write proof.txt",
    ];
    let mut again = new.to_vec();
    again.insert(1, "--continue");
    *again.last_mut().unwrap() = "go on please";
    plays(
        Protocol::Messages,
        "claude-sonnet-4-5",
        |_, _| {},
        [&new, &again],
        |url| {
            vec![
                ("ANTHROPIC_BASE_URL", url.to_owned()),
                ("ANTHROPIC_API_KEY", KEY.to_owned()),
                ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1".to_owned()),
                ("DISABLE_AUTOUPDATER", "1".to_owned()),
                ("IS_SANDBOX", "1".to_owned()),
            ]
        },
    );
}

#[test]
fn codex_plays_a_script() {
    let prepare = |session: &Session, url: &str| {
        let config = format!(
            "model_provider = \"gateway\"\n[model_providers.gateway]\nname = \"gateway\"\nbase_url = \"{url}/v1\"\n\
             env_key = \"GATEWAY_KEY\"\nwire_api = \"responses\"\n"
        );
        session.write("home/.codex/config.toml", &config);
    };
    let options = [
        "--json",
        "--skip-git-repo-check",
        "--dangerously-bypass-approvals-and-sandbox",
        "--model",
        "gpt-5.2",
    ];
    let new = [&["codex", "exec"], &options[..], &["write proof.txt"]].concat();
    let again = [&["codex", "exec", "resume", "--last"], &options[..], &["go on please"]].concat();
    plays(Protocol::Responses, "gpt-5.2", prepare, [&new, &again], |_| {
        vec![("GATEWAY_KEY", KEY.to_owned())]
    });
}

#[test]
fn gemini_plays_a_script() {
    let prepare = |session: &Session, _: &str| {
        let settings = r#"{"security": {"auth": {"selectedType": "gemini-api-key"}},
            "privacy": {"usageStatisticsEnabled": false}, "general": {"enableAutoUpdate": false}}"#;
        session.write("home/.gemini/settings.json", settings);
    };
    let options = [
        "gemini",
        "--yolo",
        "--skip-trust",
        "--model",
        "gemini-2.5-pro",
        "--output-format",
        "stream-json",
    ];
    let new = [&options[..], &["--prompt", "write proof.txt"]].concat();
    let again = [&options[..], &["--resume", "latest", "--prompt", "go on please"]].concat();
    plays(Protocol::Gemini, "gemini-2.5-pro", prepare, [&new, &again], |url| {
        vec![("GOOGLE_GEMINI_BASE_URL", url.to_owned()), ("GEMINI_API_KEY", KEY.to_owned())]
    });
}

#[test]
fn opencode_plays_a_script() {
    let prepare = |session: &Session, url: &str| {
        let config = serde_json::json!({
            "autoupdate": false,
            "share": "disabled",
            "small_model": "gateway/small-model",
            "provider": {"gateway": {
                "npm": "@ai-sdk/openai-compatible",
                "name": "Gateway",
                "options": {"baseURL": format!("{url}/v1"), "apiKey": KEY},
                "models": {
                    "some-model": {"tool_call": true, "limit": {"context": 128_000, "output": 8192}},
                    "small-model": {},
                },
            }},
            "permission": {"edit": "allow", "bash": "allow", "webfetch": "allow"},
        });
        session.write("home/.config/opencode/opencode.json", &config.to_string());
    };
    let options = ["opencode", "run", "--format", "json", "--model", "gateway/some-model"];
    let new = [&options[..], &["write proof.txt"]].concat();
    let again = [&options[..], &["--continue", "go on please"]].concat();
    plays(Protocol::Chat, "some-model", prepare, [&new, &again], |_| {
        vec![
            ("OPENCODE_DISABLE_AUTOUPDATE", "1".to_owned()),
            ("OPENCODE_DISABLE_MODELS_FETCH", "1".to_owned()),
        ]
    });
}

/// A command that outlives one call of its tool is waited for, and that is no turn of the script.
#[test]
fn codex_waits_for_a_long_command() {
    let Some(session) = Session::new() else { return };
    let wait = Turn::run("echo begins; sleep 33; echo ends > proof.txt; cat proof.txt");
    let api = ScriptedApi::start(Script::turns([wait, Turn::text("done")]));
    let config = format!(
        "model_provider = \"gateway\"\n[model_providers.gateway]\nname = \"gateway\"\nbase_url = \"{}/v1\"\n\
         wire_api = \"responses\"\n",
        api.url()
    );
    session.write("home/.codex/config.toml", &config);
    let options = ["--json", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox"];
    session.run(&[&["codex", "exec", "--model", "gpt-5.2"], &options[..], &["wait"]].concat(), &[]);
    assert_eq!(fs::read_to_string(session.at("work/proof.txt")).unwrap(), "ends\n");
    let turns: Vec<usize> = api.ledger().turns().map(|entry| entry.turn).collect();
    assert_eq!((turns.first(), turns.last()), (Some(&0), Some(&1)));
    assert!(turns.len() > 2, "the command took longer than one call may: {turns:?}");
}
