//! What the options of the registry's agents come to: real command-line agents, started as a run starts them, and the
//! requests that arrive.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test"
)]

mod session;

use std::collections::BTreeMap;

use ptb_agents::{Connection, Places, Start, command};
use ptb_core::cell::{AgentAction, AgentSpec, Budget, Feedback, RunSpec};
use ptb_core::registry::Registry;
use scripted_api::{Request, Script, ScriptedApi, Turn};
use serde_json::Value;
use session::Session;

/// A run of an agent of the registry with these options.
fn spec(id: &str, model: &str, options: &[(&str, &str)]) -> RunSpec {
    let registry = Registry::load(&[]).unwrap();
    let agent = registry.agent(id).unwrap();
    for (name, value) in options {
        assert_eq!(agent.value.option_fault(name, value), None);
    }
    let chosen = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    RunSpec {
        experiment: "e".to_owned(),
        agent: AgentSpec {
            name: format!("{id}/{model}"),
            action: AgentAction::of(agent),
            model: Some(model.to_owned()),
            options: chosen.collect(),
        },
        model: registry.model("tiny").unwrap().clone(),
        benchmark: registry.benchmark("arithmetic").unwrap().clone(),
        chat_template: String::new(),
        data: None,
        data_sha256: String::new(),
        budget: Budget { hours: 1.0, gpus: 0, nodes: 1 },
        feedback: Feedback::Samples,
        binds: Vec::new(),
        sandbox: "none".to_owned(),
        engine: "builtin".to_owned(),
        gpu_share: None,
        grader: None,
        edition: "main".to_owned(),
        seeds: vec![1],
        limit: None,
        max_tokens: 8,
        prompt: None,
        repeat: 1,
    }
}

/// Starts an agent as a run does, and gives what arrived at its API (below `prefix`), and whether it ended well.
fn arrives(spec: &RunSpec, script: Script, prefix: &str) -> Option<(bool, Vec<Request>)> {
    let session = Session::new()?;
    let api = ScriptedApi::start(script);
    let url = format!("{}{prefix}", api.url());
    let home = session.at("home");
    let places = Places { home: home.to_str().unwrap().to_owned(), ..Places::default() };
    let start = Start { prompt: "say hello", api: Some(&url), resume: false };
    let launch = command(spec, "say hello", &places, start).unwrap();
    for (path, text) in &launch.files {
        session.write(&format!("home/{path}"), text);
    }
    let argv: Vec<&str> = launch.argv.iter().map(String::as_str).collect();
    let own: BTreeMap<&str, &str> = launch
        .env
        .iter()
        .filter(|(name, _)| *name != "PATH")
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let env: Vec<(&str, &str)> = own.into_iter().collect();
    let (well, _) = session.end_of(&argv, &env);
    Some((well, api.requests()))
}

/// The first request of the agent's own work: it has tools.
fn own(requests: &[Request]) -> &Request {
    let has_tools =
        |r: &&Request| r.body["tools"].as_array().is_some_and(|tools| !tools.is_empty());
    requests.iter().find(has_tools).expect("the agent asked its model")
}

/// Each case: a model, a level, and what of the request's body tells it.
fn efforts(id: &str, at: &str, cases: &[(&str, &str, Value)]) {
    for (model, level, want) in cases {
        let spec = spec(id, model, &[("effort", level)]);
        let script = Script::turns([Turn::text("hello")]);
        let Some((well, requests)) = arrives(&spec, script, "") else { return };
        let body = &own(&requests).body;
        assert!(well, "{id} {model} {level}");
        assert_eq!(body.pointer(at), Some(want), "{id} {model} {level}");
    }
}

#[test]
fn claude_thinks_as_hard_as_it_is_told() {
    let cases = [
        ("claude-opus-4-6", "low", "low".into()),
        ("claude-opus-4-6", "max", "max".into()),
        ("claude-opus-4-7", "xhigh", "xhigh".into()),
        // A level that the model does not have.
        ("claude-opus-4-6", "xhigh", "high".into()),
    ];
    efforts("claude", "/output_config/effort", &cases);
}

#[test]
fn codex_thinks_as_hard_as_it_is_told() {
    let cases = ["low", "xhigh", "max"].map(|l| ("gpt-5.2", l, l.into()));
    efforts("codex", "/reasoning/effort", &cases);
}

#[test]
fn gemini_thinks_as_hard_as_it_is_told() {
    let at = "/generationConfig/thinkingConfig/thinkingLevel";
    let cases = [
        ("gemini-3-pro-preview", "low", "LOW".into()),
        ("gemini-3-flash-preview", "medium", "MEDIUM".into()),
    ];
    efforts("gemini", at, &cases);
    let at = "/generationConfig/thinkingConfig/thinkingBudget";
    let cases = [("gemini-2.5-pro", "low", 1024.into()), ("gemini-2.5-pro", "high", 24576.into())];
    efforts("gemini", at, &cases);
}

#[test]
fn opencode_thinks_as_hard_as_it_is_told() {
    // The slowest to start; `low` is asked for beside its limit of turns.
    let cases = [("gpt-5.2", "max", "max".into())];
    efforts("opencode", "/reasoning_effort", &cases);
}

#[test]
fn a_level_that_an_agent_does_not_have_is_told_with_those_it_has() {
    let registry = Registry::load(&[]).unwrap();
    for (id, level, levels) in [
        ("gemini", "max", "it can be low, medium, high"),
        ("claude", "ultra", "it can be low, medium, high, xhigh, max"),
        ("codex", "minimal", "it can be low, medium, high, xhigh, max"),
        ("opencode", "none", "it can be low, medium, high, xhigh, max"),
    ] {
        let agent = &registry.agent(id).unwrap().value;
        let (fault, hint) = agent.option_fault("effort", level).expect("no such level");
        assert_eq!((fault, hint.as_str()), (format!("`effort` cannot be `{level}`"), levels));
    }
    let claude = &registry.agent("claude").unwrap().value;
    assert!(
        claude
            .option_fault("max_turns", "many")
            .is_some_and(|(_, hint)| hint.contains("whole number"))
    );
}

/// A model that always has more to do meets its scaffold's limit of turns.
#[test]
fn turns_are_counted() {
    for (id, model) in [("claude", "claude-opus-4-6"), ("gemini", "gemini-2.5-pro")] {
        let options = [("max_turns", "2")];
        let script = Script::by(|c| Turn::run(format!("echo {}", c.turn)));
        let Some((_, requests)) = arrives(&spec(id, model, &options), script, "") else { return };
        let turns =
            requests.iter().filter(|r| r.method == "POST" && r.body["tools"].is_array()).count();
        assert_eq!(turns, 2, "{id}");
    }
    // OpenCode is told, in its last turn, that it is.
    let spec = spec("opencode", "gpt-5.2", &[("max_turns", "2"), ("effort", "low")]);
    let script = Script::turns([Turn::run("echo 1"), Turn::text("enough")]);
    let Some((_, requests)) = arrives(&spec, script, "") else { return };
    let told = |r: &Request| r.body.to_string().contains("MAXIMUM STEPS REACHED");
    assert!(requests.iter().any(told));
    assert_eq!(own(&requests).body["reasoning_effort"], "low");
}

/// What the gateway lets through is what the scaffold makes of its model's name.
#[test]
fn geminis_names_of_models_are_known() {
    for model in ["gemini-3-pro-preview", "gemini-3.5-flash", "gemini-2.5-pro"] {
        let spec = spec("gemini", model, &[]);
        let script = Script::turns([Turn::text("hello")]);
        let Some((_, requests)) = arrives(&spec, script, "") else { return };
        let path = &own(&requests).path;
        let asked = path.split("/models/").nth(1).unwrap().split(':').next().unwrap();
        let connection = Connection::of(&spec).unwrap();
        assert_eq!(connection.model, asked, "{model} is asked for by another name");
        let known = asked == model || connection.aux_models.iter().any(|aux| aux == model);
        assert!(known, "{connection:?}");
    }
}
