//! `serve_model serve-model DIR --socket PATH [--life-line] [--threads N]`: the server alone, as tests and
//! benches start it. The `ptb` program has the same command with help and messages.

use std::future::pending;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use ptb_infer::{Listen, ServeError, ServeOptions, serve, tie_to_stdin};

/// Runs the server with a command line of the form above; anything else is bad usage.
#[allow(unreachable_pub, reason = "a program by itself, a module in a test")]
pub fn main() -> ExitCode {
    match run(std::env::args().skip(1)) {
        Ok(code) => code,
        Err(text) => {
            let _ = writeln!(std::io::stderr(), "error: {text}");
            ExitCode::from(2)
        }
    }
}

fn run(mut args: impl Iterator<Item = String>) -> Result<ExitCode, String> {
    if args.next().as_deref() != Some("serve-model") {
        return Err("the first argument must be serve-model".to_owned());
    }
    let mut options = ServeOptions::new(args.next().ok_or("a model directory is missing")?);
    let (mut listen, mut tied) = (None, false);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value"));
        let number = |text: String| text.parse::<usize>().map_err(|e| format!("{text}: {e}"));
        match arg.as_str() {
            "--socket" => listen = Some(PathBuf::from(value()?)),
            "--life-line" => tied = true,
            "--tokenizer" => options.tokenizer_dir = Some(value()?.into()),
            "--follow-links" => options.links = ptb_model::Links::Follow,
            "--threads" => options.threads = Some(number(value()?)?),
            "--max-rows" => options.max_rows = number(value()?)?,
            "--queue" => options.queue = number(value()?)?,
            "--step-tokens" => options.step_tokens = number(value()?)?,
            "--no-sharing" => options.share_prefixes = false,
            _ => return Err(format!("unknown argument {arg}")),
        }
    }
    let socket = listen.ok_or("--socket is missing")?;
    if tied {
        tie_to_stdin(Some(socket.clone())).map_err(|e| e.to_string())?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|e| e.to_string())?;
    let served = serve(options, Listen::Socket(socket), None, |_| (), pending());
    match runtime.block_on(served) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(e @ ServeError::Model(_)) => Err(e.to_string()),
        Err(e) => {
            let _ = writeln!(std::io::stderr(), "error: {e}");
            Ok(ExitCode::from(3))
        }
    }
}
