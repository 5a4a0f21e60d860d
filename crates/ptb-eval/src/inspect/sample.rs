//! One sample in a log: `EvalSample`, `EvalSampleSummary` and the reduced score of Inspect's log.

use std::borrow::Cow;
use std::collections::BTreeMap;

use ptb_core::registry::Role;
use ptb_tasks::score::ToolCall;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use super::names::{LogId, Names};
use super::{Entry, Log, derived, thin};

/// The field of a sample's metadata by which Inspect's `stderr` clusters the epochs of a sample.
pub(super) const CLUSTER: &str = "sample_id";

/// What all samples of a log have in common.
#[derive(Debug)]
pub(super) struct Frame<'a> {
    pub(super) log: &'a Log<'a>,
    pub(super) names: Names,
    /// The model as Inspect names models.
    pub(super) model: String,
    /// Scores of one sample: the log's seeds.
    pub(super) epochs: usize,
    /// Name of the evaluation.
    pub(super) eval_id: String,
}

impl<'a> Frame<'a> {
    pub(super) fn of(log: &'a Log<'a>) -> Self {
        Self {
            log,
            names: Names::of(log.dataset.ids),
            model: format!("{}/{}", log.engine, log.model),
            epochs: log.metrics.seeds.len().max(1),
            eval_id: derived(&["eval", log.run_id, &log.metrics.benchmark, log.model]),
        }
    }

    pub(super) fn parts<'e>(&'e self, entry: &'e Entry<'e>) -> Parts<'e> {
        let epoch = entry.epoch.to_string();
        Parts {
            frame: self,
            entry,
            id: self.names.id(entry.id),
            uuid: derived(&["sample", &self.eval_id, entry.id, &epoch]),
            usage: BTreeMap::from([(
                self.model.as_str(),
                Usage::new(entry.prompt_tokens, entry.completion_tokens),
            )]),
        }
    }
}

/// What sample and summary are made of.
#[derive(Debug)]
pub(super) struct Parts<'e> {
    frame: &'e Frame<'e>,
    entry: &'e Entry<'e>,
    id: LogId<'e>,
    uuid: String,
    usage: BTreeMap<&'e str, Usage>,
}

impl<'e> Parts<'e> {
    /// Where Inspect looks for it.
    pub(super) fn file_name(&self) -> String {
        format!("samples/{}_epoch_{}.json", self.id, self.entry.epoch)
    }

    pub(super) fn sample(&self) -> Sample<'_> {
        let entry = self.entry;
        let prompt = entry.messages.iter().enumerate().map(|(n, m)| Message {
            id: format!("{}-{n}", self.uuid),
            content: &m.content,
            source: "input",
            role: m.role,
            tool_calls: None,
            model: None,
        });
        let reply = Message {
            id: format!("{}-{}", self.uuid, entry.messages.len()),
            content: entry.completion,
            source: "generate",
            role: Role::Assistant,
            tool_calls: entry.tool_calls.map(|calls| self.calls(calls)),
            model: Some(&self.frame.model),
        };
        let stop_reason = match (entry.truncated, entry.tool_calls) {
            (true, _) => "max_tokens",
            (false, Some([_, ..])) => "tool_calls",
            _ => "stop",
        };
        Sample {
            id: &self.id,
            epoch: entry.epoch,
            input: self.input(),
            choices: (!entry.choices.is_empty()).then_some(entry.choices),
            target: entry.target,
            output: Output {
                model: &self.frame.model,
                choices: [Choice { message: reply.clone(), stop_reason }],
                completion: entry.completion,
                usage: Usage::new(entry.prompt_tokens, entry.completion_tokens),
                time: entry.seconds,
            },
            messages: prompt.chain([reply]).collect(),
            scores: self.scores(false),
            metadata: self.metadata(false),
            store: Empty {},
            events: [],
            model_usage: &self.usage,
            total_time: entry.seconds,
            working_time: entry.seconds,
            uuid: &self.uuid,
            error: entry.error.map(|message| Failure {
                message,
                traceback: message,
                traceback_ansi: message,
            }),
            error_retries: [],
            attachments: Empty {},
        }
    }

    pub(super) fn summary(&self) -> Summary<'_> {
        let entry = self.entry;
        Summary {
            id: &self.id,
            epoch: entry.epoch,
            input: thin::text(self.input()),
            choices: (!entry.choices.is_empty()).then_some(entry.choices),
            target: thin::text(entry.target),
            metadata: self.metadata(true),
            scores: self.scores(true),
            model_usage: &self.usage,
            total_time: entry.seconds,
            working_time: entry.seconds,
            uuid: &self.uuid,
            error: entry.error.map(thin::field),
            retries: 0,
            completed: true,
            message_count: entry.messages.len() + 1,
        }
    }

    /// Its score as a number, as Inspect keeps the mean over epochs.
    pub(super) fn reduced(&self) -> Option<Reduced<'_>> {
        let value = scored(self.entry)?;
        Some(Reduced { value, answer: self.entry.answer, history: [], sample_id: &self.id })
    }

    fn input(&self) -> &'e str {
        match self.entry.messages.last() {
            Some(last) if self.entry.question.is_empty() => &last.content,
            _ => self.entry.question,
        }
    }

    fn scores(&self, short: bool) -> Option<BTreeMap<&'e str, Score<'e>>> {
        let entry = self.entry;
        let cut = |text: &'e str| if short { thin::field(text) } else { Cow::Borrowed(text) };
        let score = Score {
            value: self.frame.value(scored(entry)?),
            answer: entry.answer.map(cut),
            explanation: entry.explanation.map(cut),
            metadata: entry.grades.map(|grades| Grades {
                grades: if short { thin::value(grades) } else { Cow::Borrowed(grades) },
            }),
            history: [],
        };
        Some(BTreeMap::from([(self.frame.log.scorer, score)]))
    }

    fn metadata(&self, short: bool) -> Metadata<'_> {
        let given = self
            .entry
            .metadata
            .map(|given| if short { Cow::Owned(thin::map(given)) } else { Cow::Borrowed(given) });
        // A replaced id may be of any length.
        let own = if short { thin::field(self.entry.id) } else { Cow::Borrowed(self.entry.id) };
        Metadata {
            given,
            id: self.id.is_replaced().then_some(own),
            cluster: (self.frame.epochs > 1).then_some(&self.id),
        }
    }

    /// Calls as Inspect has them: with arguments that are an object, and what kept them from being one.
    fn calls(&self, calls: &[ToolCall]) -> Vec<Call> {
        let call = |(n, call): (usize, &ToolCall)| {
            let (arguments, parse_error) = arguments(&call.arguments);
            Call {
                id: format!("{}-call-{n}", self.uuid),
                function: call.name.clone(),
                arguments,
                parse_error,
                kind: "function",
            }
        };
        calls.iter().enumerate().map(call).collect()
    }
}

impl Frame<'_> {
    fn value(&self, score: f64) -> ScoreValue {
        match score {
            1.0 if self.log.pass_fail => ScoreValue::Letter("C"),
            0.0 if self.log.pass_fail => ScoreValue::Letter("I"),
            score => ScoreValue::Number(score),
        }
    }
}

/// The score of a sample that has one: JSON has no other numbers than finite ones.
pub(super) fn scored(entry: &Entry<'_>) -> Option<f64> {
    entry.score.filter(|score| score.is_finite() && entry.error.is_none())
}

fn arguments(of: &Value) -> (Map<String, Value>, Option<String>) {
    let parsed = match of {
        Value::Object(map) => return (map.clone(), None),
        Value::String(text) => serde_json::from_str::<Map<String, Value>>(text),
        other => serde_json::from_value(other.clone()),
    };
    match parsed {
        Ok(map) => (map, None),
        Err(e) => {
            let whole = Map::from_iter([("arguments".to_owned(), of.clone())]);
            (whole, Some(format!("the arguments are not a JSON object: {e}")))
        }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct Sample<'e> {
    id: &'e LogId<'e>,
    epoch: u32,
    input: &'e str,
    #[serde(skip_serializing_if = "Option::is_none")]
    choices: Option<&'e [String]>,
    target: &'e str,
    messages: Vec<Message<'e>>,
    output: Output<'e>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scores: Option<BTreeMap<&'e str, Score<'e>>>,
    metadata: Metadata<'e>,
    store: Empty,
    events: [(); 0],
    model_usage: &'e BTreeMap<&'e str, Usage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_time: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    working_time: Option<f64>,
    uuid: &'e str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Failure<'e>>,
    error_retries: [(); 0],
    attachments: Empty,
}

#[derive(Debug, Serialize)]
pub(super) struct Summary<'e> {
    id: &'e LogId<'e>,
    epoch: u32,
    input: Cow<'e, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    choices: Option<&'e [String]>,
    target: Cow<'e, str>,
    metadata: Metadata<'e>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scores: Option<BTreeMap<&'e str, Score<'e>>>,
    model_usage: &'e BTreeMap<&'e str, Usage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_time: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    working_time: Option<f64>,
    uuid: &'e str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Cow<'e, str>>,
    retries: u32,
    completed: bool,
    message_count: usize,
}

#[derive(Debug, Serialize)]
pub(super) struct Reduced<'e> {
    value: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<&'e str>,
    history: [(); 0],
    sample_id: &'e LogId<'e>,
}

#[derive(Debug, Clone, Serialize)]
struct Message<'e> {
    id: String,
    content: &'e str,
    source: &'static str,
    role: Role,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_calls: Option<Vec<Call>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'e str>,
}

#[derive(Debug, Clone, Serialize)]
struct Call {
    id: String,
    function: String,
    arguments: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parse_error: Option<String>,
    #[serde(rename = "type")]
    kind: &'static str,
}

#[derive(Debug, Serialize)]
struct Output<'e> {
    model: &'e str,
    choices: [Choice<'e>; 1],
    completion: &'e str,
    usage: Usage,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Choice<'e> {
    message: Message<'e>,
    stop_reason: &'static str,
}

#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Usage {
    input_tokens: u64,
    output_tokens: u64,
    total_tokens: u64,
}

impl Usage {
    pub(super) fn new(input_tokens: u64, output_tokens: u64) -> Self {
        let total_tokens = input_tokens.saturating_add(output_tokens);
        Self { input_tokens, output_tokens, total_tokens }
    }
}

#[derive(Debug, Serialize)]
struct Score<'e> {
    value: ScoreValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<Cow<'e, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    explanation: Option<Cow<'e, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Grades<'e>>,
    history: [(); 0],
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum ScoreValue {
    Letter(&'static str),
    Number(f64),
}

#[derive(Debug, Serialize)]
struct Grades<'e> {
    grades: Cow<'e, Value>,
}

/// What was given, and what the log needs beside it, which comes first of equal names.
#[derive(Debug)]
struct Metadata<'e> {
    given: Option<Cow<'e, Map<String, Value>>>,
    /// The dataset's id, where the log has another.
    id: Option<Cow<'e, str>>,
    cluster: Option<&'e LogId<'e>>,
}

impl Serialize for Metadata<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (key, value) in self.given.iter().flat_map(|given| given.iter()) {
            let ours =
                (key == CLUSTER && self.cluster.is_some()) || (key == "id" && self.id.is_some());
            if !ours {
                map.serialize_entry(key, value)?;
            }
        }
        if let Some(id) = &self.id {
            map.serialize_entry("id", id)?;
        }
        if let Some(cluster) = self.cluster {
            map.serialize_entry(CLUSTER, cluster)?;
        }
        map.end()
    }
}

#[derive(Debug, Serialize)]
struct Failure<'e> {
    message: &'e str,
    traceback: &'e str,
    traceback_ansi: &'e str,
}

#[derive(Debug, Serialize)]
struct Empty {}
