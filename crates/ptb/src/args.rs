//! The command line: what can be asked, and the help that teaches it.

use std::path::PathBuf;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args, Parser, Subcommand, ValueEnum};

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

const AFTER: &str = "\
Exit codes: 0 done; 1 something found, or some runs failed by the agent's fault;
2 bad usage or input; 3 harness failure; 4 provider failure; 5 a requirement is missing;
130 interrupted.

First steps:
  ptb list benchmarks                 what models can be scored on
  ptb run experiment.toml             run an experiment; the same command resumes it
  ptb report results/EXPERIMENT       its leaderboard
  ptb show results/EXPERIMENT/runs/R  what one run did, and why its score counts or not";

/// Measures how well AI agents post-train language models.
#[derive(Debug, Parser)]
#[command(name = "ptb", version, styles = STYLES, after_help = AFTER, disable_help_subcommand = true)]
pub(crate) struct Cli {
    /// Tell more about what is done, on stderr (twice: much more).
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run an experiment; run again, it goes on where it stopped.
    Run(RunArgs),
    /// Print the leaderboard of results.
    Report(ReportArgs),
    /// Tell what one run did, and why its score counts or not.
    Show(ShowArgs),
    /// Read what a run's agent did, step by step; also while it works.
    Trace(TraceArgs),
    /// Fetch scaffolds (Claude Code, Codex CLI, ...) before runs need them.
    Install(InstallArgs),
    /// List what experiments can name.
    List(ListArgs),
    /// Evaluate a model on a benchmark.
    Eval(Box<EvalArgs>),
    /// Score completions, or the kept completions of a run.
    Score(ScoreArgs),
    /// Look for a benchmark's test items in files.
    Contamination(ContaminationArgs),
    /// Tell whether a model was trained from its base or made from another.
    Lineage(LineageArgs),
    /// Print hashes and projections of a model's weights, as JSON.
    Fingerprint(FingerprintArgs),
    /// Render a conversation with a base model's chat template.
    Render(RenderArgs),
    /// Serve a model with the built-in engine (OpenAI-compatible).
    ServeModel(ServeModelArgs),
    /// Make a small, randomly initialised model, to try things out.
    RandomModel(RandomModelArgs),
}

impl Command {
    pub(crate) fn wants_json(&self) -> bool {
        match self {
            Self::Run(a) => a.json,
            Self::Show(a) => a.json,
            Self::Trace(a) => a.json,
            Self::Install(a) => a.json,
            Self::List(a) => a.json,
            Self::Eval(a) => a.json,
            Self::Score(a) => a.json,
            Self::Report(a) => a.json,
            Self::Contamination(a) => a.json,
            Self::Lineage(a) => a.json,
            Self::Fingerprint(_) => true,
            Self::Render(_) | Self::ServeModel(_) | Self::RandomModel(_) => false,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct RegistryArgs {
    /// Folder of registry files that win over the built-in ones (may be given more than once). `./registry` is
    /// looked at by itself.
    #[arg(long = "registry", value_name = "DIR")]
    pub(crate) folders: Vec<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "Example of an experiment file:

  name = \"first\"
  agents = [\"base\", \"instruct\", \"my-agent\"]   # my-agent/ holds solve.sh
  models = [\"qwen3-1.7b\"]
  benchmarks = [\"gsm8k\"]
  hours = 10
  repeats = 3

  [data]
  gsm8k = \"data/gsm8k\"                        # otherwise from the Hugging Face cache")]
pub(crate) struct RunArgs {
    /// The experiment file (TOML).
    pub(crate) file: PathBuf,
    /// Where results are kept: DIR/<experiment>/runs/.
    #[arg(long, value_name = "DIR", default_value = "results")]
    pub(crate) results: PathBuf,
    #[command(flatten)]
    pub(crate) registry: RegistryArgs,
    /// Use this sandbox instead of the file's: `namespaces`, or `none` (no isolation; recorded).
    #[arg(long, value_name = "NAME")]
    pub(crate) sandbox: Option<String>,
    /// Tell agents the text of this template instead of the file's or the built-in one.
    #[arg(long, value_name = "FILE")]
    pub(crate) prompt: Option<PathBuf>,
    /// Run scaffolds in this version (`latest` is what npm says) instead of the pinned one: all of them, or one by
    /// SCAFFOLD=VERSION (may be given more than once). The version is part of the cell.
    #[arg(long = "agent-version", value_name = "VERSION")]
    pub(crate) agent_versions: Vec<String>,
    /// Continue a solve that was cut: its workspace and what is left of its budget, not a fresh attempt.
    #[arg(long)]
    pub(crate) continue_solve: bool,
    /// Show no progress.
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Print JSON alone on stdout, and no progress. What is wrong before the runs begin is a JSON object on
    /// stderr, and stdout stays empty.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Table,
    Md,
    Csv,
    Json,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:

  ptb trace results/first/runs/claude-...            the last attempt, as a transcript
  ptb trace results/first/runs/claude-... --follow   what the agent does now, until it ends
  ptb trace results/first/runs/claude-... --json     the trajectory (ATIF 1.8)")]
pub(crate) struct TraceArgs {
    /// The run's directory.
    pub(crate) run: PathBuf,
    /// Attempt, from 1; the last one, if not given.
    #[arg(long, value_name = "N")]
    pub(crate) attempt: Option<u32>,
    /// Go on while the agent works.
    #[arg(short, long, conflicts_with = "json")]
    pub(crate) follow: bool,
    /// Print the trajectory as JSON (ATIF 1.8).
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Scaffolds come from npm and are kept in $PTB_CACHE/agents (or ~/.cache/ptb/agents), each version in a folder
of its own. `ptb run` fetches what is missing by itself; machines without network get them so, from a shared cache.

  ptb install claude codex
  ptb install claude --agent-version latest"
)]
pub(crate) struct InstallArgs {
    /// Agents of the registry.
    #[arg(required = true)]
    pub(crate) agents: Vec<String>,
    /// Version, as npm knows it, in place of the pinned one.
    #[arg(long, value_name = "VERSION")]
    pub(crate) agent_version: Option<String>,
    #[command(flatten)]
    pub(crate) registry: RegistryArgs,
    /// Print JSON alone on stdout.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// A folder of results: an experiment, several, or one run.
    pub(crate) dir: PathBuf,
    /// Form of the report.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
    /// The same as --format json.
    #[arg(long, conflicts_with = "format")]
    pub(crate) json: bool,
    /// Weights of benchmarks: an edition's (`main`), `equal`, or `baselines` (from the experiment's own).
    #[arg(long, value_name = "NAME")]
    pub(crate) weights: Option<String>,
    /// Edition whose scores are shown.
    #[arg(long, value_name = "NAME")]
    pub(crate) edition: Option<String>,
    #[command(flatten)]
    pub(crate) registry: RegistryArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// A run directory, or a run's id or name below `./results`.
    pub(crate) run: PathBuf,
    /// Print what the agent printed in its last attempt.
    #[arg(long, conflicts_with = "json")]
    pub(crate) output: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    Benchmarks,
    Models,
    Agents,
    Editions,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// What to list.
    #[arg(value_enum)]
    pub(crate) kind: Kind,
    #[command(flatten)]
    pub(crate) registry: RegistryArgs,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct EvalArgs {
    /// Benchmark id (`ptb list benchmarks`).
    pub(crate) benchmark: String,
    /// The model to evaluate, in Hugging Face layout.
    #[arg(long, value_name = "DIR")]
    pub(crate) model_path: PathBuf,
    /// Base model that it was made from: gives chat template and tokenizer (`ptb list models`).
    #[arg(long, value_name = "MODEL")]
    pub(crate) model: String,
    /// The benchmark's data: a folder with test.jsonl and train.jsonl, or the test file.
    #[arg(long, value_name = "PATH")]
    pub(crate) data: Option<PathBuf>,
    /// Keep completions and metrics here; run again, the evaluation goes on.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Ask with the benchmark's few-shot prompt: solved examples in plain text, no chat template. Sampling is
    /// that of the agent `few-shot` (temperature 0.6, top-p 0.95), not the model's own.
    #[arg(long)]
    pub(crate) few_shot: bool,
    /// Only the first N samples.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) limit: Option<u64>,
    /// Run seed (may be given more than once; the score is the mean).
    #[arg(long = "seed", value_name = "S")]
    pub(crate) seeds: Vec<u64>,
    /// New tokens allowed per completion.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_tokens: Option<u32>,
    /// Requests in flight at once.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=4096))]
    pub(crate) max_connections: Option<u64>,
    /// Time that one request may take, in seconds, waiting in the server's queue included (an hour, if not given).
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) request_timeout: Option<u32>,
    /// What serves the model: `builtin`, `vllm` or `transformers` (found on PATH, or by PTB_VLLM and
    /// PTB_TRANSFORMERS), or the URL of an OpenAI-compatible server (`URL?chat` for one that only takes messages).
    #[arg(long, value_name = "ENGINE", default_value = "builtin")]
    pub(crate) engine: String,
    /// Share of a GPU's memory that `vllm` or `transformers` may take, above 0 and at most 1. By default most of
    /// what is free.
    #[arg(long, value_name = "X", value_parser = share)]
    pub(crate) gpu_share: Option<f64>,
    #[command(flatten)]
    pub(crate) grader: GraderArgs,
    /// Write the metrics to this file as well.
    #[arg(long, value_name = "F")]
    pub(crate) json_output_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) registry: RegistryArgs,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(
    next_help_heading = "Benchmarks that a language model grades (its key is in PTB_GRADER_KEY)"
)]
pub(crate) struct GraderArgs {
    /// Its API, OpenAI-compatible: what comes before `/chat/completions` (https://api.openai.com/v1, if not given).
    #[arg(long, value_name = "URL")]
    pub(crate) grader: Option<String>,
    /// Its name there, where it is another than the benchmark's (gpt-5-mini).
    #[arg(long, value_name = "NAME")]
    pub(crate) grader_model: Option<String>,
    /// What it is told: a TOML file like those of registry/prompts.
    #[arg(long, value_name = "FILE")]
    pub(crate) grader_prompt: Option<PathBuf>,
    /// Most US dollars that verdicts may cost; with the limit reached the evaluation stops, and goes on when it is
    /// run again with a higher one.
    #[arg(long, value_name = "USD", value_parser = dollars)]
    pub(crate) grader_limit: Option<f64>,
    /// How long the grader may be out of reach before the evaluation stops, in seconds (half an hour, if not given).
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) grader_patience: Option<u32>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Lines of FILE: {\"id\": \"1\", \"completion\": \"...\"}. An id is the first present of id, task_id,
prompt_id, uid, question_id, else the line's number. Calls of functions that a server has parsed go beside the
completion: \"tool_calls\": [{\"name\": \"f\", \"arguments\": {\"x\": 1}}]; else they are read from the text, as any
model family writes them. Where a language model grades, its verdicts go there: \"grades\": [{\"criterion\": 0,
\"verdict\": true}, ...], or [{\"game\": 1, \"verdict\": \"B>A\"}, {\"game\": 2, \"verdict\": \"A>>B\"}]. The last line of stderr is the metrics as JSON."
)]
pub(crate) struct ScoreArgs {
    /// A benchmark id (with --completions), or a run directory or a folder of `ptb eval --out`, whose kept
    /// completions are scored again.
    pub(crate) target: String,
    /// Completions, one JSON object a line; `-` reads stdin.
    #[arg(long, value_name = "FILE")]
    pub(crate) completions: Option<PathBuf>,
    /// The benchmark's data: a folder with test.jsonl, or the test file.
    #[arg(long, value_name = "PATH")]
    pub(crate) data: Option<PathBuf>,
    /// The run seed that the completions were made under: it orders the choices of multiple-choice questions. By
    /// default the benchmark's own.
    #[arg(long, value_name = "S", requires = "completions")]
    pub(crate) seed: Option<u64>,
    /// Leave missing samples out, and count them, instead of refusing.
    #[arg(long)]
    pub(crate) partial: bool,
    #[command(flatten)]
    pub(crate) registry: RegistryArgs,
    /// Print a JSON line per sample.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Exit code 1 when an item was found, 0 when none was. With --json a line for each document that holds items:
{\"file\": \"train.jsonl\", \"line\": 7, \"items\": [{\"id\": \"12\", \"kind\": \"verbatim\", \"score\": 1.0}]}
Kinds: verbatim; normalised (other numbers or names); choices (in any order); code (other names and layout); paraphrase
(a candidate, for a judge). The last line of stderr is then a summary as JSON, with what could not be read.

  ptb contamination gsm8k task/data --data gsm8k/test.jsonl
  ptb contamination humaneval train.jsonl.gz solve.py --json"
)]
pub(crate) struct ContaminationArgs {
    /// A benchmark id; see `ptb list benchmarks`.
    pub(crate) benchmark: String,
    /// Files, and folders with all that is below them. What a file is, its content tells: JSON, JSON Lines, CSV, text,
    /// Python, notebooks, Parquet, Arrow, packed or not.
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    /// The benchmark's test data: a folder with test.jsonl (and train.jsonl), or the test file.
    #[arg(long, value_name = "TEST_FILE")]
    pub(crate) data: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) registry: RegistryArgs,
    /// Print a JSON line for each document that holds items.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "With B the base, I the suspect, F the model: alpha is how far F has gone from B towards I, 0 to 1. Decisions:
unchanged, base (exit code 0); copy, suspect (alpha 0.5 or more in most layers), merged (0.1 or more), unrelated
(most matrices are not the base's) (exit code 1).

  ptb lineage final_model --base Qwen3-1.7B-Base --suspect Qwen3-1.7B"
)]
pub(crate) struct LineageArgs {
    /// The model, in Hugging Face layout.
    pub(crate) model: PathBuf,
    /// The base that it should have been trained from.
    #[arg(long, value_name = "DIR")]
    pub(crate) base: PathBuf,
    /// A model that it may have been made from (may be given more than once).
    #[arg(long = "suspect", value_name = "DIR")]
    pub(crate) suspects: Vec<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "One JSON object: of each tensor its type, shape, SHA-256, norm, and a count sketch (the sums of its elements with
signs, in 256 buckets, both drawn from the element's place). Sketches add up like the tensors do, so the angle between
what two models changed can be told from three of them."
)]
pub(crate) struct FingerprintArgs {
    /// The model, in Hugging Face layout.
    pub(crate) model: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct RenderArgs {
    /// Base model, whose chat template is used.
    #[arg(long, value_name = "MODEL")]
    pub(crate) model: String,
    /// JSON file: a list of messages; `-` reads stdin.
    #[arg(long, value_name = "FILE")]
    pub(crate) messages: PathBuf,
    /// JSON file: a list of tools.
    #[arg(long, value_name = "FILE")]
    pub(crate) tools: Option<PathBuf>,
    /// Another chat template than the model's own: the name of a file in the registry's chat-templates.
    #[arg(long, value_name = "NAME")]
    pub(crate) template: Option<String>,
    /// Further arguments of the template, a JSON object (`{"add_generation_prompt": true}`).
    #[arg(long, value_name = "JSON")]
    pub(crate) kwargs: Option<String>,
    /// What the template takes for today.
    #[arg(long, value_name = "YYYY-MM-DD")]
    pub(crate) date: Option<jiff::civil::Date>,
    #[command(flatten)]
    pub(crate) registry: RegistryArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ServeModelArgs {
    /// The model, in Hugging Face layout.
    pub(crate) dir: PathBuf,
    /// Port on 127.0.0.1; 0 takes a free one.
    #[arg(long, value_name = "N", conflicts_with = "socket", default_value_t = 8000)]
    pub(crate) port: u16,
    /// Unix socket instead of a port.
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// Base model whose chat template answers /v1/chat/completions.
    #[arg(long, value_name = "MODEL")]
    pub(crate) model: Option<String>,
    /// Take the tokenizer from here instead of DIR.
    #[arg(long, value_name = "DIR")]
    pub(crate) tokenizer: Option<PathBuf>,
    /// Threads of the matrix products; by default one for each core.
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,
    /// Follow links that lead out of DIR (the Hugging Face cache is made of them).
    #[arg(long)]
    pub(crate) follow_links: bool,
    /// End when stdin is closed.
    #[arg(long)]
    pub(crate) life_line: bool,
    #[command(flatten)]
    pub(crate) registry: RegistryArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RandomModelArgs {
    /// Folder to make.
    pub(crate) dir: PathBuf,
    /// Seed of the weights.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

fn dollars(text: &str) -> Result<f64, String> {
    let dollars = text.parse::<f64>().ok().filter(|d| d.is_finite() && *d > 0.0);
    dollars.ok_or_else(|| "give an amount above 0, such as 2.50".to_owned())
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| *share > 0.0 && *share <= 1.0);
    share.ok_or_else(|| "not a number above 0 and at most 1, such as 0.4".to_owned())
}
