//! The engine from outside: a server process, started and ended by its harness, spoken to over its
//! socket. This test's own program is that server when it is called with `serve-model`.
#![allow(clippy::print_stdout, reason = "the harness reads it, or a person does")]

#[path = "../examples/serve_model.rs"]
mod server;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial};
use ptb_infer::{
    Builtin, Client, Completion, CompletionRequest, Endpoint, Engine, Finished, InferError, Prompt,
    Running, ServeSpec, StartError, Url,
};
use ptb_model::{RandomModel, Sampling, random_model};
use serde_json::{Value, json};

type Outcome = Result<(), Failed>;
type Test = (&'static str, fn() -> Outcome);

const TIME: Duration = Duration::from_secs(60);
const GREEDY: Sampling =
    Sampling { temperature: 0.0, top_p: 1.0, top_k: 0, min_p: 0.0, repetition_penalty: 1.0 };

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("serve-model") => return server::main(),
        Some("be-a-harness") => return harness(),
        _ => {}
    }
    let tests: Vec<Test> = vec![
        ("answers_are_deterministic_and_counted", answers),
        ("company_changes_nothing", company),
        ("garbage_is_refused_and_harms_nobody", garbage),
        ("full_queue_says_when_to_come_back", full_queue),
        ("streams_give_the_same_text", streams),
        ("vanished_clients_free_their_rows", vanished),
        ("broken_model_is_the_models_fault", broken_model),
        ("broken_numbers_are_the_models_fault", broken_numbers),
        ("missing_program_is_not_the_models_fault", missing_program),
        ("stop_ends_the_process_and_its_socket", stop),
        ("killed_harness_takes_its_engine_along", killed_harness),
        ("url_engine_speaks_to_a_running_server", url_engine),
        ("transformers_gives_the_same_greedy_tokens", transformers),
    ];
    let trials = tests.into_iter().map(|(name, test)| Trial::test(name, test)).collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

// ---- help ----

fn check(condition: bool, what: impl Into<String>) -> Outcome {
    if condition { Ok(()) } else { Err(what.into().into()) }
}

fn runtime() -> Result<tokio::runtime::Runtime, Failed> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}

fn model(shape: &RandomModel) -> Result<tempfile::TempDir, Failed> {
    let home = tempfile::tempdir()?;
    random_model(home.path(), shape)?;
    Ok(home)
}

fn builtin() -> Result<Builtin, Failed> {
    Ok(Builtin::new(std::env::current_exe()?).with_args(["--threads", "2"]))
}

fn start(dir: &Path, args: &[&str]) -> Result<(tokio::runtime::Runtime, Running, Client), Failed> {
    let runtime = runtime()?;
    let engine = builtin()?.with_args(args.iter().copied());
    let running = runtime.block_on(engine.start(&ServeSpec::new(dir)))?;
    let client = running.client(TIME)?;
    Ok((runtime, running, client))
}

fn request(text: &str, max_tokens: usize, seed: u64) -> CompletionRequest {
    let tokens = text.bytes().map(u32::from).collect();
    CompletionRequest {
        sampling: Some(Sampling { temperature: 0.9, top_p: 0.95, ..Sampling::default() }),
        seed: Some(seed),
        ignore_eos: true,
        ..CompletionRequest::new(Prompt::Tokens(tokens), max_tokens)
    }
}

/// One HTTP request by hand, so that it can be wrong in every way; gives the raw answer.
fn raw(endpoint: &Endpoint, bytes: &[u8]) -> Result<String, Failed> {
    let Endpoint::Unix(path) = endpoint else { return Err("not a socket".into()) };
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(TIME))?;
    stream.write_all(bytes)?;
    // A client that closes its side is taken for gone; only a request that never ends needs it.
    if !bytes.windows(4).any(|w| w == b"\r\n\r\n") {
        stream.shutdown(std::net::Shutdown::Write)?;
    }
    let mut answer = Vec::new();
    // A server may close on garbage without reading it all.
    let _ = stream.take(1 << 20).read_to_end(&mut answer);
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn post(route: &str, body: &str) -> Vec<u8> {
    format!(
        "POST /v1/{route} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn gone(pid: u32) -> bool {
    // A zombie has ended, too: its parent may be a test runner that collects it later.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.is_empty() || stat.rsplit(')').next().is_some_and(|s| s.trim_start().starts_with('Z'))
}

fn wait_gone(pid: u32) -> Outcome {
    let start = Instant::now();
    while !gone(pid) {
        check(start.elapsed() < Duration::from_secs(20), format!("process {pid} lives on"))?;
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

// ---- answers ----

fn answers() -> Outcome {
    let home = model(&RandomModel::mini(1))?;
    let (runtime, running, client) = start(home.path(), &[])?;
    runtime.block_on(async {
        let asked = request("one and two", 20, 5);
        let first = client.complete(&asked).await?;
        check(first == client.complete(&asked).await?, "the same request has two answers")?;
        check(
            first != client.complete(&CompletionRequest { seed: Some(6), ..asked.clone() }).await?,
            "seed",
        )?;
        check(first.prompt_tokens == 11 && first.completion_tokens == 20, format!("{first:?}"))?;
        check(first.finish == Finished::Length, format!("{first:?}"))?;
        let text = Prompt::Text("one and two".to_owned());
        let as_text = CompletionRequest { prompt: text, ..asked.clone() };
        check(first == client.complete(&as_text).await?, "text and its tokens differ")?;
        // Stop at a piece of the known answer: the text must end just before its first occurrence.
        let chars: Vec<char> = first.text.chars().collect();
        let stop: String = chars[3..5].iter().collect();
        let stopped =
            client.complete(&CompletionRequest { stop: vec![stop.clone()], ..asked }).await?;
        let cut = first.text.find(&stop).map(|at| &first.text[..at]);
        check(
            Some(stopped.text.as_str()) == cut,
            format!("{stop:?} in {first:?} gave {stopped:?}"),
        )?;
        check(stopped.finish == Finished::Stop, "finish reason")?;
        check(client.models().await?.len() == 1, "models")
    })?;
    runtime.block_on(running.stop());
    Ok(())
}

fn company() -> Outcome {
    let home = model(&RandomModel::mini(2))?;
    let (runtime, running, client) = start(home.path(), &["--max-rows", "16"])?;
    let common = "a beginning that many prompts share, ".repeat(8);
    let asked: Vec<_> = (0..32)
        .map(|i| {
            request(
                &format!("{}{}", if i % 3 == 0 { "" } else { &common }, "x".repeat(i + 1)),
                24,
                i as u64,
            )
        })
        .collect();
    let (alone, together) = runtime.block_on(async {
        let mut alone = Vec::new();
        for r in &asked {
            alone.push(client.complete(r).await?);
        }
        let together: Vec<Completion> =
            futures::future::try_join_all(asked.iter().map(|r| client.complete(r))).await?;
        Ok::<_, InferError>((alone, together))
    })?;
    check(alone == together, "a request's answer depends on its company")?;
    runtime.block_on(running.stop());
    Ok(())
}

fn garbage() -> Outcome {
    let home = model(&RandomModel { max_positions: 200, ..RandomModel::mini(1) })?;
    let (runtime, running, client) = start(home.path(), &[])?;
    let expected = runtime.block_on(client.complete(&request("hello", 8, 1)))?;
    let long = "1,".repeat(200);
    let cases: Vec<(&str, String, u16, &str)> = vec![
        ("completions", "{".into(), 400, "not valid"),
        ("completions", "[]".into(), 400, "not valid"),
        ("completions", "\u{0}\u{1}".into(), 400, "not valid"),
        ("completions", "{}".into(), 400, "prompt"),
        ("completions", r#"{"prompt": 5}"#.into(), 400, "a text or a list of token ids"),
        ("completions", r#"{"prompt": [-1]}"#.into(), 400, "list of token ids"),
        ("completions", r#"{"prompt": [1.5]}"#.into(), 400, "list of token ids"),
        ("completions", r#"{"prompt": ["a", "b"]}"#.into(), 400, "one text"),
        ("completions", r#"{"prompt": ""}"#.into(), 400, "the prompt is empty"),
        ("completions", r#"{"prompt": []}"#.into(), 400, "the prompt is empty"),
        (
            "completions",
            r#"{"prompt": [288]}"#.into(),
            400,
            "outside of the model's vocabulary of 288",
        ),
        ("completions", r#"{"prompt": "a", "max_tokens": 0}"#.into(), 400, "at least 1"),
        ("completions", r#"{"prompt": "a", "max_tokens": -1}"#.into(), 400, "not valid"),
        (
            "completions",
            format!(r#"{{"prompt": [{long}1], "max_tokens": 9}}"#),
            400,
            "needs 210 positions",
        ),
        (
            "completions",
            format!(r#"{{"prompt": [{long}1], "max_tokens": 9}}"#),
            400,
            "context has 200",
        ),
        (
            "completions",
            r#"{"prompt": "a", "max_tokens": 18446744073709551615}"#.into(),
            400,
            "context has 200",
        ),
        (
            "completions",
            r#"{"prompt": "a", "temperature": -1}"#.into(),
            400,
            "`temperature` must be",
        ),
        ("completions", r#"{"prompt": "a", "top_p": 0}"#.into(), 400, "`top_p` must be"),
        ("completions", r#"{"prompt": "a", "top_k": -2}"#.into(), 400, "`top_k` must be"),
        ("completions", r#"{"prompt": "a", "min_p": 2}"#.into(), 400, "`min_p` must be"),
        (
            "completions",
            r#"{"prompt": "a", "repetition_penalty": 0}"#.into(),
            400,
            "`repetition_penalty`",
        ),
        ("completions", r#"{"prompt": "a", "stop": 5}"#.into(), 400, "`stop` must be"),
        ("completions", r#"{"prompt": "a", "stop": [""]}"#.into(), 400, "`stop` takes"),
        ("completions", r#"{"prompt": "a", "n": 2}"#.into(), 400, "`n` is not supported"),
        (
            "completions",
            r#"{"prompt": "a", "logprobs": 1}"#.into(),
            400,
            "`logprobs` is not supported",
        ),
        ("chat/completions", r#"{"messages": []}"#.into(), 400, "no chat template"),
        ("nothing", "{}".into(), 404, "no such route"),
        ("completions", " ".repeat((16 << 20) + 1), 413, "longer than"),
    ];
    for (route, body, status, text) in &cases {
        let answer = raw(running.endpoint(), &post(route, body))?;
        let shown: String = body.chars().take(60).collect();
        let fine = answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.contains(text);
        check(fine, format!("{route} {shown}: {answer}"))?;
    }
    for bytes in
        [&b"\x16\x03\x01 not http at all\r\n\r\n"[..], b"", b"POST /v1/completions HTTP/1.1\r\n"]
    {
        raw(running.endpoint(), bytes)?;
    }
    let again = runtime.block_on(client.complete(&request("hello", 8, 1)))?;
    check(again == expected, "the server is not what it was")?;
    let refused = runtime.block_on(client.complete(&request("a", 500, 1)));
    check(
        matches!(&refused, Err(e @ InferError::Rejected { status: 400, .. }) if !e.retryable()),
        format!("{refused:?}"),
    )?;
    runtime.block_on(running.stop());
    Ok(())
}

fn full_queue() -> Outcome {
    let home = model(&RandomModel::tiny(1))?;
    let (runtime, running, client) = start(home.path(), &["--max-rows", "1", "--queue", "2"])?;
    let outcomes = runtime.block_on(futures::future::join_all((0..24).map(|i| {
        let (client, asked) = (client.clone(), request("q", 400, i));
        async move { client.complete(&asked).await }
    })));
    let busy: Vec<_> = outcomes.iter().filter_map(|o| o.as_ref().err()).collect();
    let fine = |e: &&InferError| e.retryable() && e.retry_after() == Some(Duration::from_secs(1));
    check(!busy.is_empty() && busy.len() < 24, format!("{} of 24 refused", busy.len()))?;
    check(busy.iter().all(fine), format!("{busy:?}"))?;
    runtime.block_on(running.stop());
    Ok(())
}

fn streams() -> Outcome {
    let home = model(&RandomModel::mini(3))?;
    let (runtime, running, client) = start(home.path(), &[])?;
    let expected = runtime.block_on(client.complete(&request("stream", 40, 9)))?;
    let body = json!({
        "prompt": "stream", "max_tokens": 40, "temperature": 0.9, "top_p": 0.95, "top_k": 0,
        "min_p": 0.0, "repetition_penalty": 1.0, "seed": 9, "ignore_eos": true, "stream": true,
    });
    let answer = raw(running.endpoint(), &post("completions", &body.to_string()))?;
    let events: Vec<&str> = answer.lines().filter_map(|l| l.strip_prefix("data: ")).collect();
    check(events.last() == Some(&"[DONE]") && events.len() > 5, answer.clone())?;
    let pieces: Result<Vec<Value>, _> =
        events[..events.len() - 1].iter().map(|e| serde_json::from_str(e)).collect();
    let pieces = pieces?;
    let text: String = pieces.iter().filter_map(|p| p["choices"][0]["text"].as_str()).collect();
    check(text == expected.text, format!("{text:?} is not {:?}", expected.text))?;
    check(pieces.last().is_some_and(|p| p["usage"]["completion_tokens"] == 40), answer)?;
    runtime.block_on(running.stop());
    Ok(())
}

fn vanished() -> Outcome {
    let home = model(&RandomModel::tiny(1))?;
    let (runtime, running, client) = start(home.path(), &["--max-rows", "1"])?;
    let Endpoint::Unix(path) = running.endpoint().clone() else { return Err("no socket".into()) };
    let body = json!({ "prompt": "a", "max_tokens": 30_000, "ignore_eos": true }).to_string();
    for _ in 0..3 {
        let mut stream = UnixStream::connect(&path)?;
        stream.write_all(&post("completions", &body))?;
        std::thread::sleep(Duration::from_millis(50));
    }
    // The only row would be taken for 90,000 tokens if the clients' leaving went unnoticed.
    runtime.block_on(client.complete(&request("b", 5, 1)))?;
    runtime.block_on(running.stop());
    Ok(())
}

// ---- faults ----

fn broken_model() -> Outcome {
    let home = model(&RandomModel::mini(1))?;
    std::fs::write(home.path().join("model.safetensors"), b"short")?;
    let engine = builtin()?;
    let refused = runtime()?.block_on(engine.start(&ServeSpec::new(home.path())));
    let Err(e) = refused else { return Err("it serves".into()) };
    check(e.is_model_fault() && e.to_string().contains("model.safetensors"), e.to_string())?;
    // What the first look does not see, the server says by its exit code.
    let home = model(&RandomModel::mini(1))?;
    std::fs::write(home.path().join("tokenizer.json"), b"{}")?;
    let refused = runtime()?.block_on(engine.start(&ServeSpec::new(home.path())));
    let Err(e) = refused else { return Err("it serves".into()) };
    check(e.is_model_fault() && e.to_string().contains("tokenizer.json"), e.to_string())
}

fn broken_numbers() -> Outcome {
    let home = model(&RandomModel::mini(1))?;
    let path = home.path().join("model.safetensors");
    let mut bytes = std::fs::read(&path)?;
    let start = 8 + u64::from_le_bytes(bytes[..8].try_into()?) as usize;
    bytes[start..].as_chunks_mut::<4>().0.fill(f32::NAN.to_le_bytes());
    std::fs::write(&path, bytes)?;
    let (runtime, running, client) = start_dir(home.path())?;
    let answer = runtime.block_on(client.complete(&request("a", 5, 1)));
    check(
        matches!(&answer, Err(e @ InferError::ModelFault { .. }) if !e.retryable()),
        format!("{answer:?}"),
    )?;
    runtime.block_on(running.stop());
    Ok(())
}

fn start_dir(dir: &Path) -> Result<(tokio::runtime::Runtime, Running, Client), Failed> {
    start(dir, &[])
}

fn missing_program() -> Outcome {
    let home = model(&RandomModel::mini(1))?;
    let spec = ServeSpec::new(home.path());
    let outcome = runtime()?.block_on(Builtin::new("/nonexistent/ptb").start(&spec));
    check(matches!(&outcome, Err(StartError::Spawn { .. })), format!("{outcome:?}"))?;
    let outcome = runtime()?.block_on(Builtin::new("/bin/false").start(&spec));
    check(matches!(&outcome, Err(StartError::Ended { .. })), format!("{outcome:?}"))
}

// ---- life and death ----

fn stop() -> Outcome {
    let home = model(&RandomModel::mini(1))?;
    let (runtime, running, _) = start(home.path(), &[])?;
    let (Some(pid), Endpoint::Unix(path)) = (running.pid(), running.endpoint().clone()) else {
        return Err("no process".into());
    };
    check(path.exists() && !gone(pid), "it does not run")?;
    runtime.block_on(running.stop());
    check(gone(pid) && !path.exists(), "it lives on")?;
    let (_runtime, running, _) = start(home.path(), &[])?;
    let pid = running.pid().ok_or("no process")?;
    drop(running);
    wait_gone(pid)
}

/// Starts an engine, tells its process id and socket, and waits to be killed.
fn harness() -> ExitCode {
    let dir = PathBuf::from(std::env::args().nth(2).unwrap_or_default());
    let Ok((_runtime, running, _client)) = start(&dir, &[]) else { return ExitCode::FAILURE };
    println!("{} {}", running.pid().unwrap_or(0), running.endpoint());
    std::thread::sleep(TIME);
    ExitCode::SUCCESS
}

fn killed_harness() -> Outcome {
    use std::io::BufRead;
    let home = model(&RandomModel::mini(1))?;
    let mut child = Command::new(std::env::current_exe()?)
        .arg("be-a-harness")
        .arg(home.path())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    std::io::BufReader::new(child.stdout.take().ok_or("no output")?).read_line(&mut line)?;
    let (pid, socket) = line.trim().split_once(" unix:").ok_or(format!("said {line:?}"))?;
    let pid: u32 = pid.parse()?;
    check(!gone(pid) && Path::new(socket).exists(), "the engine does not run")?;
    child.kill()?;
    child.wait()?;
    wait_gone(pid)?;
    check(!Path::new(socket).exists(), "its socket is left")?;
    if let Some(left) = Path::new(socket).parent() {
        std::fs::remove_dir_all(left)?;
    }
    Ok(())
}

fn url_engine() -> Outcome {
    let home = model(&RandomModel::mini(1))?;
    let (runtime, running, client) = start(home.path(), &[])?;
    let url = Url::parse(&running.endpoint().to_string())?;
    let other = runtime.block_on(url.start(&ServeSpec::new("unused")))?;
    check(!other.chat_only() && other.pid().is_none(), "it is somebody else's")?;
    let through = other.client(TIME)?;
    let asked = request("hello", 8, 1);
    let same = runtime.block_on(async {
        Ok::<_, InferError>(client.complete(&asked).await? == through.complete(&asked).await?)
    })?;
    check(same, "two clients, two answers")?;
    runtime.block_on(running.stop());
    let dead = runtime.block_on(url.start(&ServeSpec::new("unused")));
    check(matches!(&dead, Err(StartError::Unreachable(e)) if e.retryable()), format!("{dead:?}"))?;
    check(Url::parse("http://127.0.0.1:8000/v1?chat")?.name() == "url", "name")?;
    for bad in ["", "vllm", "ftp://x/v1", "unix:", "http://", "http://x/v1?a=b"] {
        check(Url::parse(bad).is_err(), format!("{bad} is an endpoint"))?;
    }
    Ok(())
}

// ---- the yardstick ----

/// `transformers`, where a Python that has it is named by `PTB_PYTHON`, continues alike.
fn transformers() -> Outcome {
    let Ok(python) = std::env::var("PTB_PYTHON") else {
        let reason = "PTB_PYTHON names no Python with torch and transformers";
        check(std::env::var("PTB_REQUIRE_ALL").as_deref() != Ok("1"), reason)?;
        println!("skipped: {reason}");
        return Ok(());
    };
    let shapes = [
        RandomModel::tiny(11),
        RandomModel { tie_word_embeddings: false, bf16: true, ..RandomModel::tiny(12) },
        RandomModel { num_kv_heads: 1, head_dim: 40, ..RandomModel::mini(13) },
    ];
    for shape in shapes {
        let home = model(&shape)?;
        let (runtime, running, client) = start(home.path(), &[])?;
        let prompts =
            ["A first prompt.", "Äöü and 😀: bytes that span tokens", &"long ".repeat(60)];
        let all = python_tokens(&python, home.path(), &prompts)?;
        for (n, prompt) in prompts.into_iter().enumerate() {
            let mut asked = request(prompt, 64, 0);
            asked.sampling = Some(GREEDY);
            let body = json!({
                "prompt": prompt, "max_tokens": 64, "temperature": 0, "ignore_eos": true,
                "return_token_ids": true,
            });
            let answer = raw(running.endpoint(), &post("completions", &body.to_string()))?;
            let json: Value = serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap_or(""))?;
            let ours = &json["choices"][0]["token_ids"];
            let theirs = &all[n];
            check(ours == theirs, format!("{shape:?}, {prompt:?}: {ours} is not {theirs}"))?;
            let text = runtime.block_on(client.complete(&asked))?.text;
            check(json["choices"][0]["text"] == text, "the text of the two routes differs")?;
        }
        runtime.block_on(running.stop());
    }
    Ok(())
}

fn python_tokens(python: &str, model: &Path, prompts: &[&str]) -> Result<Value, Failed> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/transformers_greedy.py");
    let output = Command::new(python).arg(script).arg(model).args(prompts).output()?;
    let error = String::from_utf8_lossy(&output.stderr);
    check(output.status.success(), format!("{script} failed: {error}"))?;
    Ok(serde_json::from_slice(&output.stdout)?)
}
