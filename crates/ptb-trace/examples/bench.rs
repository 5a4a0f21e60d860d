//! How fast traces are converted, and in how much memory.
//!
//! Makes traces of Claude Code's shapes (60 MB each, in a temporary file) and converts each several times, counting the
//! best: `cargo run --release -p ptb-trace --example bench [MEGABYTES]`. With a name as second argument only that trace.

use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::time::Instant;

use ptb_trace::{About, Format, convert};

/// Traces of lines that are no JSON: of a program that prints plain text, and of one that should not.
const PLAIN: &str = "plain lines of 40 B";
const STRAYS: &str = "stray lines of 40 B";

/// A trace to measure: its name, bytes of a tool's output, whether the lines are records of the harness.
const TRACES: &[(&str, usize, bool)] = &[
    (PLAIN, 40, false),
    (STRAYS, 40, false),
    ("outputs of 200 kB", 200_000, false),
    ("outputs of 20 kB", 20_000, false),
    ("outputs of 2 kB", 2_000, false),
    ("outputs of 200 B", 200, false),
    ("outputs of 200 kB, as records", 200_000, true),
    ("outputs of 20 kB, as records", 20_000, true),
    ("outputs of 2 kB, as records", 2_000, true),
    ("outputs of 10 MB", 10_000_000, false),
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let megabytes: usize = arguments.next().map_or(Ok(60), |n| n.parse())?;
    let only = arguments.next();
    let mut out = std::io::stdout().lock();
    let folder = tempfile::tempdir()?;
    for (name, size, recorded) in TRACES {
        if only.as_ref().is_some_and(|only| only != name) {
            continue;
        }
        let path = folder.path().join("trace.jsonl");
        let (mut to, bytes) = (BufWriter::new(File::create(&path)?), megabytes << 20);
        let bytes = match [PLAIN, STRAYS].contains(name) {
            true => write_lines(&mut to, bytes, *size)?,
            false => write_trace(&mut to, bytes, *size, *recorded)?,
        };
        let format = if *name == PLAIN { Format::Plain } else { Format::Claude };
        let (mut best, mut steps) = (f64::INFINITY, 0);
        for _ in 0..3 {
            let begun = Instant::now();
            let input = BufReader::with_capacity(1 << 18, File::open(&path)?);
            let about = About { name: "bench".into(), ..About::default() };
            let summary = convert(input, format, None, &about, std::io::sink(), std::io::sink())?;
            best = best.min(begun.elapsed().as_secs_f64());
            steps = summary.steps;
            assert_eq!(summary.lines.unknown + summary.lines.broken > 0, *name == STRAYS);
        }
        let speed = bytes as f64 / 1e6 / best;
        writeln!(
            out,
            "{name:>30}: {:.1} MB, {steps} steps, {speed:.0} MB/s, peak {}",
            bytes as f64 / 1e6,
            peak()
        )?;
    }
    Ok(())
}

/// Most memory of this process so far.
fn peak() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    line.map_or_else(|| "unknown".to_owned(), |l| l.trim().to_owned())
}

fn write_lines(to: &mut impl Write, bytes: usize, size: usize) -> std::io::Result<usize> {
    let line = format!("{:-<1$}\n", "step loss", size - 1);
    (0..bytes / size).try_for_each(|_| to.write_all(line.as_bytes()))?;
    to.flush()?;
    Ok(bytes / size * size)
}

fn write_trace(
    to: &mut impl Write,
    bytes: usize,
    size: usize,
    recorded: bool,
) -> std::io::Result<usize> {
    let (mut written, mut n) = (0, 0u64);
    let mut put = |line: String, n: u64| -> std::io::Result<usize> {
        let line = match recorded {
            true => format!(
                "{{\"schema\":1,\"seconds\":{n}.125,\"stream\":\"out\",\"text\":{},\"more\":false}}\n",
                serde_json::to_string(&line)?
            ),
            false => line + "\n",
        };
        to.write_all(line.as_bytes())?;
        Ok(line.len())
    };
    written += put(r#"{"type":"system","subtype":"init","cwd":"/home/agent/task","session_id":"3ad2d727","tools":["Task","Bash","Edit"],"model":"claude-sonnet-4-5","claude_code_version":"2.1.329","uuid":"1291d277"}"#.to_owned(), 0)?;
    let output = serde_json::to_string(&text(size))?;
    while written < bytes {
        n += 1;
        let call = format!(
            r#"{{"type":"assistant","message":{{"id":"msg_{n:024}","type":"message","role":"assistant","model":"claude-sonnet-4-5","content":[{{"type":"tool_use","id":"toolu_{n:024}","name":"Bash","input":{{"command":"python train.py --steps {n} && tail -n 50 log.txt","description":"train a little more"}}}}],"stop_reason":null,"stop_sequence":null,"usage":{{"input_tokens":100,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":1}},"context_management":null}},"parent_tool_use_id":null,"session_id":"3ad2d727","uuid":"9687b901","timestamp":"2026-11-21T08:39:41.564Z"}}"#
        );
        let result = format!(
            r#"{{"type":"user","message":{{"role":"user","content":[{{"tool_use_id":"toolu_{n:024}","type":"tool_result","content":{output},"is_error":false}}]}},"parent_tool_use_id":null,"session_id":"3ad2d727","uuid":"db3073d2","timestamp":"2026-11-21T08:39:41.830Z","tool_use_result":{{"stdout":{output},"stderr":"","interrupted":false,"isImage":false,"noOutputExpected":false}}}}"#
        );
        written += put(call, n)? + put(result, n)?;
    }
    to.flush()?;
    Ok(written)
}

/// Text like a training log: lines with numbers, quotes, some colours, some characters beyond ASCII.
fn text(size: usize) -> String {
    let mut made = String::new();
    for n in 0.. {
        made += &format!(
            "step {n:>6} | loss {:.4} | lr 1.0e-4 | {{\"grad_norm\": {}}}\n",
            3.0 / f64::from(n + 1),
            n % 7
        );
        if n % 20 == 0 {
            made += "\u{1b}[32mcheckpoint\u{1b}[0m saved \u{2014} \u{e9}tape\n";
        }
        if made.len() >= size {
            return made;
        }
    }
    made
}
