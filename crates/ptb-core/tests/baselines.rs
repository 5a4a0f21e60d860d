//! What keys a baseline's cell: how its model is asked, and nothing that it does not meet.

#![expect(clippy::unwrap_used, reason = "a step that fails fails the test")]

use std::collections::BTreeMap;

use ptb_core::cell::{AgentAction, AgentSpec, Budget, Feedback, RunSpec};
use ptb_core::registry::{Asking, PromptForm, Registry, SamplingChoice, Submit};

fn run(agent: &str) -> RunSpec {
    let registry = Registry::load(&[]).unwrap();
    RunSpec {
        experiment: "e".to_owned(),
        agent: AgentSpec {
            name: agent.to_owned(),
            action: AgentAction::of(registry.agent(agent).unwrap()),
            model: None,
            options: BTreeMap::new(),
        },
        model: registry.model("tiny").unwrap().clone(),
        benchmark: registry.benchmark("gsm8k").unwrap().clone(),
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
        seeds: vec![42],
        limit: None,
        max_tokens: 16,
        prompt: None,
        repeat: 1,
    }
}

/// The key after a change.
fn key(run: &RunSpec, change: impl FnOnce(&mut RunSpec)) -> String {
    let mut run = run.clone();
    change(&mut run);
    run.cell_key()
}

fn asking(run: &mut RunSpec, change: impl FnOnce(&mut Asking)) {
    let AgentAction::Baseline(baseline) = &mut run.agent.action else { unreachable!() };
    change(&mut baseline.asking);
}

#[test]
fn the_built_in_baselines_are_what_they_are_called() {
    assert_eq!(run("base").agent.action, AgentAction::Submit(Submit::Base));
    assert_eq!(run("instruct").agent.action, AgentAction::Submit(Submit::Instruct));
    let agent = run("few-shot").agent;
    assert_eq!((agent.submits(), agent.is_baseline()), (Some(Submit::Base), true));
    let sampling =
        SamplingChoice { temperature: Some(0.6), top_p: Some(0.95), ..SamplingChoice::default() };
    assert_eq!(agent.asking(), Asking { prompt: PromptForm::FewShot, sampling });
    assert_eq!(agent.asking().to_string(), "few-shot prompt, temperature 0.6, top_p 0.95");
    assert_eq!(run("base").agent.asking().to_string(), "");
}

#[test]
fn everything_that_a_few_shot_baseline_meets_is_in_its_key() {
    let few_shot = run("few-shot");
    let same = few_shot.cell_key();
    let other = [
        key(&few_shot, |r| {
            r.benchmark.value.few_shot.as_mut().unwrap().examples.rows[0] = 0;
        }),
        key(&few_shot, |r| r.benchmark.value.few_shot.as_mut().unwrap().text.push('!')),
        key(&few_shot, |r| r.benchmark.value.few_shot.as_mut().unwrap().stop.clear()),
        key(&few_shot, |r| asking(r, |a| a.sampling.temperature = Some(0.7))),
        key(&few_shot, |r| asking(r, |a| a.sampling.top_k = Some(20))),
        key(&few_shot, |r| asking(r, |a| a.prompt = PromptForm::Chat)),
        key(&few_shot, |r| {
            let AgentAction::Baseline(baseline) = &mut r.agent.action else { unreachable!() };
            baseline.few_shot_sha256 = "other examples".to_owned();
        }),
        run("base").cell_key(),
    ];
    let distinct: std::collections::BTreeSet<&String> = other.iter().chain([&same]).collect();
    assert_eq!(distinct.len(), other.len() + 1);
    assert_eq!(key(&few_shot, |r| r.benchmark.value.name.clear()), same);
}

#[test]
fn what_nobody_meets_is_in_no_key() {
    let run = run("base");
    let same = run.cell_key();
    for other in [
        key(&run, |r| r.benchmark.value.data.files.push("elsewhere.jsonl".to_owned())),
        key(&run, |r| r.benchmark.value.data.path = Some("/moved".into())),
        key(&run, |r| r.benchmark.value.evaluate.breakdown.push("level".to_owned())),
        key(&run, |r| r.benchmark.value.weight = None),
    ] {
        assert_eq!(other, same);
    }
    assert_ne!(key(&run, |r| r.data_sha256.push('1')), same);
    assert_ne!(key(&run, |r| r.chat_template.push('!')), same);
}

#[test]
fn a_few_shot_prompt_keys_no_other_run() {
    for agent in ["base", "instruct"] {
        let run = run(agent);
        let without = key(&run, |r| r.benchmark.value.few_shot = None);
        assert_eq!(run.cell_key(), without, "{agent}");
        // Keys of results that were made before there were such prompts stay as they are.
        let mut benchmark = run.benchmark.value;
        benchmark.few_shot = None;
        let fields = serde_json::to_value(&benchmark).unwrap();
        assert!(fields.get("few_shot").is_none());
    }
}

#[test]
fn a_run_s_record_keeps_how_its_baseline_was_asked() {
    let spec = run("few-shot");
    let text = serde_json::to_string(&spec).unwrap();
    assert!(text.contains(r#""prompt":"few-shot","sampling":{"temperature":0.6,"top_p":0.95}"#));
    assert_eq!(serde_json::from_str::<RunSpec>(&text).unwrap(), spec);
    let plain = serde_json::to_string(&run("base").agent).unwrap();
    assert!(plain.contains(r#""action":{"submit":"base"}"#), "{plain}");
}
