//! A server that comes up: what it is asked arrives as it was meant. One start for all of it.

use std::path::Path;
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use ptb_infer::{
    Builtin, Client, CompletionRequest, Engine, Finished, InferError, Prompt, Running, ServeSpec,
};
use ptb_model::{RandomModel, Sampling};
use serde_json::json;

use crate::faults::configure;
use crate::help::{
    GREEDY, Outcome, TIME, Which, below, check, gone, model, request, runtime, spec, wait_until,
};

pub(crate) fn serves(which: Which) -> Outcome {
    let (weights, base) = (model(&RandomModel::tiny(11))?, model(&RandomModel::tiny(12))?);
    let (runtime, prompts) = (runtime()?, ["A first prompt.", "long long long long", "x"]);
    let expected = of_builtin(&runtime, weights.path(), &prompts)?;
    // What a submission would like the server to do; requests say otherwise. Only its end of text counts: here
    // a token that the model is known to say.
    let end = expected.first().and_then(|ids| ids.get(20)).ok_or("too short")?;
    let wish = format!(
        r#"{{"eos_token_id": [256, {end}], "temperature": 0.01, "top_k": 1, "max_new_tokens": 3, "num_beams": 4}}"#
    );
    std::fs::write(weights.path().join("generation_config.json"), wish)?;
    let log = weights.path().join("server.log");
    // Each of these ended one of the servers, in words of the machine's.
    configure(
        weights.path(),
        &[
            ("__class__", json!("x")),
            ("pad_token_id", json!(1_000_000_000)),
            ("num_labels", json!(1_000_000_000)),
            ("return_dict", json!(false)),
            ("text_config", json!({ "a": 1 })),
        ],
    )?;
    let mut spec = spec(weights.path());
    spec.max_context = Some(8192);
    spec.tokenizer_dir = Some(base.path().to_owned());
    spec.log = Some(log.clone());
    let begin = Instant::now();
    let running = runtime.block_on(which.engine().start(&spec))?;
    println!("{} answered after {:.1?}", which.name(), begin.elapsed());
    records(which, &running)?;
    check(std::fs::metadata(&log)?.len() > 0, "no log")?;
    let client = running.client(TIME)?;
    let begin = Instant::now();
    runtime.block_on(tokens_and_seeds(&client))?;
    runtime.block_on(long_prompts(&client))?;
    runtime.block_on(sampling(&client))?;
    runtime.block_on(limits(which, &client))?;
    println!("{} took {:.1?} for its requests", which.name(), begin.elapsed());
    runtime.block_on(greedy(&client, &prompts, &expected, *end))?;
    killed_worker(which, &runtime, running, &client)
}

fn records(which: Which, running: &Running) -> Outcome {
    check(running.isolation().wall == "namespaces", format!("{:?}", running.isolation()))?;
    check(
        running.isolation().reason.is_none() && running.alive() && !running.chat_only(),
        "records",
    )?;
    let launched = running.launched().ok_or("no record of the start")?;
    check(launched.versions.contains_key("torch"), format!("{launched:?}"))?;
    let line = launched.command.join(" ");
    check(line.contains("--no-trust-remote-code") && line.contains("/opt/model"), line)?;
    println!("{} runs as {:?}", which.name(), launched);
    Ok(())
}

async fn tokens_and_seeds(client: &Client) -> Outcome {
    let asked = request("one and two", 24, 5);
    let first = client.complete(&asked).await?;
    check(first.prompt_tokens == 11 && first.completion_tokens == 24, format!("{first:?}"))?;
    check(first.finish == Finished::Length, format!("{first:?}"))?;
    let ids = first.token_ids.clone().ok_or("no token ids")?;
    check(ids.len() == 24, format!("{ids:?}"))?;
    check(client.complete(&asked).await? == first, "the same request has two answers")?;
    let other = client.complete(&CompletionRequest { seed: Some(6), ..asked.clone() }).await?;
    check(other.token_ids != first.token_ids, "another seed changes nothing")?;
    // A text is taken as it stands, without a token at its beginning.
    let text =
        CompletionRequest { prompt: Prompt::Text("one and two".to_owned()), ..asked.clone() };
    check(client.complete(&text).await? == first, "text and its tokens differ")?;
    // Seeds hold among concurrent requests.
    let many: Vec<_> =
        (0..6).map(|n| CompletionRequest { seed: Some(n), ..asked.clone() }).collect();
    let mut alone = Vec::new();
    for asked in &many {
        alone.push(client.complete(asked).await?.token_ids);
    }
    let together =
        futures::future::try_join_all(many.iter().map(|asked| client.complete(asked))).await?;
    let same = together.iter().zip(&alone).filter(|(a, b)| a.token_ids == **b).count();
    // Numbers depend on what is computed together in the last digit; a seed that is ignored would differ in
    // nearly all.
    check(same >= 5, format!("only {same} of 6 are what they were alone"))
}

/// More than a server computes at once, with seeds.
async fn long_prompts(client: &Client) -> Outcome {
    let asked: Vec<_> = (0..3).map(|n| request(&"long ".repeat(900), 3, n)).collect();
    let answers =
        futures::future::try_join_all(asked.iter().map(|asked| client.complete(asked))).await?;
    let whole = |a: &ptb_infer::Completion| (a.prompt_tokens, a.completion_tokens) == (4500, 3);
    check(answers.iter().all(whole), format!("{answers:?}"))
}

async fn sampling(client: &Client) -> Outcome {
    let with = |change: fn(&mut Sampling), seed| {
        let mut asked = request("the quick brown fox", 32, seed);
        let mut sampling = Sampling::default();
        change(&mut sampling);
        asked.sampling = Some(sampling);
        asked
    };
    let ids = async |asked: CompletionRequest| {
        Ok::<_, InferError>(client.complete(&asked).await?.token_ids)
    };
    let greedy = ids(with(|s| *s = GREEDY, 1)).await?.ok_or("no ids")?;
    check(greedy.len() == 32, "the submission's own bounds hold")?;
    check(
        Some(&greedy) == ids(with(|s| *s = GREEDY, 2)).await?.as_ref(),
        "greedy depends on the seed",
    )?;
    check(
        Some(&greedy) != ids(with(|_| (), 1)).await?.as_ref(),
        "the submission's sampling counts",
    )?;
    for (name, change) in [
        ("top_k", (|s: &mut Sampling| s.top_k = 1) as fn(&mut Sampling)),
        ("min_p", |s| s.min_p = 1.0),
        ("top_p", |s| s.top_p = 1e-6),
        ("temperature", |s| s.temperature = 1e-4),
    ] {
        let same = ids(with(change, 3)).await?.ok_or("no ids")?;
        check(same == greedy, format!("{name} is not heard: {same:?} is not {greedy:?}"))?;
    }
    let penalised = ids(with(|s| s.repetition_penalty = 1.5, 4)).await?;
    check(penalised != ids(with(|_| (), 4)).await?, "repetition_penalty is not heard")?;
    let asked = with(|s| *s = GREEDY, 1);
    let whole = client.complete(&asked).await?.text;
    let chars: Vec<char> = whole.chars().collect();
    let stop: String = chars.get(4..6).ok_or("too short")?.iter().collect();
    let stopped = client.complete(&CompletionRequest { stop: vec![stop.clone()], ..asked }).await?;
    let cut = whole.find(&stop).map(|at| &whole[..at]);
    check(Some(stopped.text.as_str()) == cut, format!("{stop:?} in {whole:?}: {stopped:?}"))?;
    check(stopped.finish == Finished::Stop, format!("{stopped:?}"))
}

async fn limits(which: Which, client: &Client) -> Outcome {
    let refused = client.complete(&request("a", 1 << 20, 1)).await;
    let fine =
        matches!(&refused, Err(e @ InferError::Rejected { status: 400, .. }) if !e.retryable());
    check(fine, format!("{refused:?}"))?;
    println!(
        "{} refuses what is too long: {}",
        which.name(),
        refused.err().map(|e| e.to_string()).unwrap_or_default()
    );
    let mut asked = request("a", 4, 1);
    asked.prompt = Prompt::Tokens(vec![4_000_000]);
    let refused = client.complete(&asked).await;
    check(
        matches!(&refused, Err(InferError::Rejected { status: 400, .. })),
        format!("{refused:?}"),
    )?;
    client.complete(&request("a", 4, 1)).await?;
    Ok(())
}

/// What our own server says to each prompt, greedily.
pub(crate) fn of_builtin(
    runtime: &tokio::runtime::Runtime,
    dir: &Path,
    prompts: &[&str],
) -> Result<Vec<Vec<u32>>, Failed> {
    let builtin = Builtin::new(std::env::current_exe()?).with_args(["--threads", "1"]);
    let running = runtime.block_on(builtin.start(&ServeSpec::new(dir)))?;
    let client = running.client(TIME)?.with_token_ids(true);
    let mut all = Vec::new();
    for prompt in prompts {
        let answer = runtime.block_on(client.complete(&greedy_request(prompt)))?;
        all.push(answer.token_ids.ok_or("no token ids")?);
    }
    runtime.block_on(running.stop());
    Ok(all)
}

fn greedy_request(prompt: &str) -> CompletionRequest {
    CompletionRequest { sampling: Some(GREEDY), ..request(prompt, 48, 0) }
}

/// All implementations agree on what the weights say, and on where a text ends.
async fn greedy(client: &Client, prompts: &[&str], expected: &[Vec<u32>], end: u32) -> Outcome {
    for (prompt, expected) in prompts.iter().zip(expected) {
        let answer = client.complete(&greedy_request(prompt)).await?;
        check(
            answer.token_ids.as_ref() == Some(expected),
            format!("{answer:?} is not {expected:?}"),
        )?;
        let asked = CompletionRequest { ignore_eos: false, ..greedy_request(prompt) };
        let answer = client.complete(&asked).await?;
        let at = expected.iter().position(|id| *id == end || *id == 256);
        let fine = match at {
            Some(at) => {
                answer.finish == Finished::Stop && answer.completion_tokens <= at as u64 + 1
            }
            None => answer.finish == Finished::Length && answer.completion_tokens == 48,
        };
        check(fine, format!("{end} at {at:?}: {answer:?}"))?;
    }
    Ok(())
}

/// The process that computes is killed while a request is open: the request fails in a way that says "ask
/// again", the server is seen to have gone, and nothing of it is left.
fn killed_worker(
    which: Which,
    runtime: &tokio::runtime::Runtime,
    running: Running,
    client: &Client,
) -> Outcome {
    let pid = running.pid().ok_or("no process")?;
    let all = below(pid);
    let is_worker = |line: &str| match which {
        Which::Vllm => line.contains("EngineCore"),
        Which::Transformers => line.contains("serve.py"),
    };
    let worker =
        all.iter().find(|(_, line)| is_worker(line)).ok_or(format!("no worker in {all:?}"))?;
    let open = runtime.spawn({
        let client = client.clone();
        // On a quick machine one is answered before the kill; then the next one is open.
        async move {
            loop {
                if let Err(e) = client.complete(&request("open", 480, 1)).await {
                    break e;
                }
            }
        }
    });
    std::thread::sleep(Duration::from_millis(300));
    let worker = rustix::process::Pid::from_raw(i32::try_from(worker.0)?).ok_or("no pid")?;
    let begin = Instant::now();
    rustix::process::kill_process(worker, rustix::process::Signal::KILL)?;
    let e = runtime.block_on(open)?;
    check(e.retryable(), format!("{e:?}"))?;
    wait_until("the server is seen to have gone", Duration::from_secs(30), || !running.alive())?;
    println!(
        "{} was seen to have gone {:.1?} after its worker: {:?}",
        which.name(),
        begin.elapsed(),
        running.exited()
    );
    check(running.pid().is_none() && running.exited().is_some(), "it has no end")?;
    runtime.block_on(running.stop());
    let left: Vec<_> = all.iter().filter(|(pid, _)| !gone(*pid)).collect();
    check(left.is_empty(), format!("{left:?} live on"))
}
