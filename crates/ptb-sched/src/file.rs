//! The experiment file as written, before its checks.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ptb_core::cell::Feedback;
use serde::Deserialize;

use crate::values::{AgentRef, Axis};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExperimentFile {
    pub(crate) name: Option<String>,
    pub(crate) agents: Axis<AgentRef>,
    pub(crate) models: Axis<String>,
    pub(crate) benchmarks: Axis<String>,
    #[serde(default = "ten")]
    pub(crate) hours: Axis<f64>,
    #[serde(default)]
    pub(crate) gpus: u32,
    #[serde(default = "one")]
    pub(crate) repeats: u32,
    #[serde(default)]
    pub(crate) feedback: Feedback,
    #[serde(default = "namespaces")]
    pub(crate) sandbox: String,
    #[serde(default = "builtin")]
    pub(crate) engine: String,
    #[serde(default = "main_edition")]
    pub(crate) edition: String,
    /// Text file of a prompt template, relative to the experiment file.
    pub(crate) prompt: Option<PathBuf>,
    #[serde(default)]
    pub(crate) evaluate: EvaluateTable,
    /// Benchmark id -> local data, relative to the experiment file.
    #[serde(default)]
    pub(crate) data: BTreeMap<String, PathBuf>,
    #[serde(default)]
    pub(crate) scheduler: SchedulerTable,
    #[serde(default)]
    pub(crate) binds: Vec<BindTable>,
    #[serde(default)]
    pub(crate) grader: GraderTable,
}

/// The language model that grades, where it is not the one that the benchmark's file names.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GraderTable {
    pub(crate) url: Option<String>,
    pub(crate) model: Option<String>,
    /// File with its prompt, relative to the experiment file.
    pub(crate) prompt_file: Option<PathBuf>,
    /// US dollars for one evaluation.
    pub(crate) spend_limit: Option<f64>,
}

/// Settings of evaluations, where they differ from the benchmark's and the edition's.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EvaluateTable {
    pub(crate) seeds: Option<Vec<u64>>,
    pub(crate) limit: Option<usize>,
    pub(crate) max_tokens: Option<u32>,
    pub(crate) gpu_share: Option<f64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SchedulerTable {
    /// Runs at once on this machine.
    #[serde(default = "one_slot")]
    pub(crate) slots: usize,
}

impl Default for SchedulerTable {
    fn default() -> Self {
        Self { slots: 1 }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BindTable {
    pub(crate) host: PathBuf,
    pub(crate) inside: PathBuf,
    #[serde(default)]
    pub(crate) writable: bool,
}

fn ten() -> Axis<f64> {
    Axis(vec![10.0])
}
fn one() -> u32 {
    1
}
fn one_slot() -> usize {
    1
}
fn namespaces() -> String {
    "namespaces".to_owned()
}
fn builtin() -> String {
    "builtin".to_owned()
}
fn main_edition() -> String {
    "main".to_owned()
}
