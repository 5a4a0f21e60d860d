//! `eval/<id>/<seed>/log.eval`: the samples of a seed as Inspect's tools read them.

use ptb_core::run::Metrics;
use ptb_tasks::data::Sample;
use serde_json::{Map, Value, json};

use crate::error::EvalError;
use crate::inspect::{self, Dataset, Entry, Log, LogError};
use crate::prepare::{Plan, SeedPlan};
use crate::provenance::engines_before;
use crate::store::SampleRecord;

impl Plan {
    /// Writes a seed's log. `metrics` are those of this seed alone.
    pub(crate) fn write_log(
        &self,
        of_seed: &SeedPlan,
        records: &[SampleRecord],
        metrics: &Metrics,
    ) -> Result<(), EvalError> {
        let (benchmark, seed) = (&self.spec.benchmark, of_seed.seed);
        let ids: Vec<&str> = records.iter().map(|r| r.id.as_str()).collect();
        let engines = engines_before(&self.spec.out);
        let model = self.spec.model_dir.file_name().unwrap_or_default().to_string_lossy();
        let scorer = serde_json::to_value(benchmark.value.scorer.kind).unwrap_or_default();
        let path = self.spec.out.join(seed.to_string()).join("log.eval");
        let log = Log {
            metrics,
            title: &benchmark.value.name,
            run_id: &format!("{}-{}-{seed}", benchmark.id, self.weights_sha256),
            model: &model,
            engine: engines.last().map_or("given", String::as_str),
            created: self.created,
            started: self.created,
            completed: jiff::Timestamp::now(),
            dataset: Dataset {
                name: &benchmark.id,
                location: None,
                ids: &ids,
                shuffled: benchmark.value.data.shuffle.is_some(),
            },
            scorer: scorer.as_str().unwrap_or_default(),
            pass_fail: !benchmark.value.scorer.kind.is_graded(),
            packages: &[("ptb", env!("CARGO_PKG_VERSION"))],
            revision: None,
            metadata: &self.of_log(seed),
        };
        let all: Vec<(Value, Map<String, Value>)> = records.iter().map(beside).collect();
        // They were made before, so they can be made: one sample's at a time.
        let messages = |sample: &Sample| {
            let prompter = self.prompter.as_ref();
            prompter.and_then(|p| p.messages(sample).ok()).unwrap_or_default().into()
        };
        let entries = records.iter().zip(of_seed.pairs()).zip(&all);
        let entries = entries.map(|((record, (sample, _)), (grades, metadata))| Entry {
            id: &record.id,
            epoch: 1,
            // A conversation's last message is its question.
            question: if sample.messages.is_some() { "" } else { &sample.question },
            messages: messages(sample),
            choices: &sample.choices,
            target: &sample.target,
            completion: &record.completion,
            tool_calls: record.tool_calls.as_deref(),
            truncated: record.truncated,
            score: record.score,
            answer: record.answer.as_deref(),
            explanation: None,
            grades: (!record.grades.is_empty()).then_some(grades),
            error: record.error.as_deref(),
            prompt_tokens: record.prompt_tokens,
            completion_tokens: record.completion_tokens,
            seconds: None,
            metadata: Some(metadata),
        });
        inspect::write(&path, &log, entries).map_err(|e| match e {
            LogError::File(e) => EvalError::File(e),
            e => EvalError::Nothing(e.to_string()),
        })
    }

    fn of_log(&self, seed: u64) -> Map<String, Value> {
        let (weights, data) = (&self.weights_sha256, &self.dataset.sha256);
        let all = json!({
            "weights_sha256": weights,
            "data_sha256": data,
            "run_seed": seed,
        });
        all.as_object().cloned().unwrap_or_default()
    }
}

/// What of a record has no place of its own in a log.
fn beside(record: &SampleRecord) -> (Value, Map<String, Value>) {
    let mut metadata = Map::new();
    metadata.insert("request_seed".to_owned(), record.seed.into());
    if let Some(tokens) = record.reduced_to {
        metadata.insert("reduced_to".to_owned(), tokens.into());
    }
    (serde_json::to_value(&record.grades).unwrap_or_default(), metadata)
}
