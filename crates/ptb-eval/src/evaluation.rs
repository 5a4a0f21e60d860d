//! From missing completions to metrics.

use ptb_core::files::write_json;
use ptb_core::run::Metrics;
use ptb_llm::Cache;
use ptb_tasks::data::Sample;
use rayon::prelude::*;
use tokio_util::sync::CancellationToken;

use crate::error::EvalError;
use crate::grading::{Asker, enough};
use crate::prepare::{Prepared, SeedState};
use crate::provenance::{engines_before, note_grader, note_grading};
use crate::serve::{Serve, Told};
use crate::store::SampleRecord;
use crate::tally::{Facts, Graded, tally};

/// What an evaluation gave.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// What was measured.
    pub metrics: Metrics,
    /// The samples of the first seed, in order.
    pub samples: Vec<Answered>,
}

/// One sample with its answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Answered {
    /// The sample's id.
    pub id: String,
    /// The prompt as rendered.
    pub prompt: String,
    /// What the model wrote.
    pub completion: String,
    /// 0 to 1 (a rubric's may be negative); absent where it could not be scored.
    pub score: Option<f64>,
    /// The answer that was read.
    pub answer: Option<String>,
    /// The reference answer.
    pub target: String,
}

impl Prepared {
    /// Has `serve`'s engine make the completions that are missing (it is not asked for one when none is), grades
    /// all, writes `metrics.json`.
    pub async fn evaluate(
        mut self,
        serve: &mut dyn Serve,
        tell: &(dyn Fn(Told) + Send + Sync),
        cancel: &CancellationToken,
    ) -> Result<Evaluation, EvalError> {
        let total = self.total() as u64;
        if let Some(line) = self.kept_before() {
            tell(Told::Said(line));
        }
        tell(Told::Count { done: total - self.missing() as u64, total });
        self.ask_all(serve, tell, cancel).await?;
        if self.asker.is_some() {
            self.ask_grader(tell, cancel).await?;
        }
        // Grading may run programs.
        let cancel = cancel.clone();
        tokio::task::spawn_blocking(move || self.finish(&cancel))
            .await
            .map_err(|e| EvalError::Nothing(format!("grading ended: {e}")))?
    }

    /// What is there from before, and who made it.
    fn kept_before(&self) -> Option<String> {
        let (total, kept) = (self.total(), self.total() - self.missing());
        let by: Vec<String> = engines_before(&self.spec.out);
        let by = if by.is_empty() { String::new() } else { format!(" ({})", by.join(", ")) };
        (kept > 0).then(|| format!("{kept} of {total} completions are there from before{by}"))
    }

    /// Has the language model that grades give its verdicts on all completions.
    async fn ask_grader(
        &mut self,
        tell: &(dyn Fn(Told) + Send + Sync),
        cancel: &CancellationToken,
    ) -> Result<(), EvalError> {
        let Some(asker) = &self.asker else { return Ok(()) };
        let mut pairs: Vec<(SampleRecord, &Sample)> = Vec::new();
        for state in &mut self.states {
            let SeedState { samples, kept, .. } = state;
            pairs.extend(samples.iter().filter_map(|s| Some((kept.remove(&s.id)?, s))));
        }
        let cache = Cache::open(&self.spec.out.join("grades.jsonl"))?;
        let client = asker.client(Some((cache, &self.spec.out)))?;
        let result = asker.grade(&client, &mut pairs, tell, cancel).await;
        let totals = client.totals();
        if totals.requests > 0 {
            let mut entry = asker.provenance();
            entry["host"] = client.host().into();
            entry["totals"] = serde_json::to_value(totals).unwrap_or_default();
            note_grading(&self.spec.out, entry)?;
        }
        result?;
        // A graded benchmark has one seed.
        let records: Vec<SampleRecord> = pairs.into_iter().map(|(record, _)| record).collect();
        if let Some(state) = self.states.first_mut() {
            state.kept = records.into_iter().map(|r| (r.id.clone(), r)).collect();
        }
        Ok(())
    }

    /// Grades all, writes samples in order, and the metrics over them. Asked to stop, it writes nothing.
    fn finish(mut self, cancel: &CancellationToken) -> Result<Evaluation, EvalError> {
        let mut by_seed: Vec<Graded> = Vec::new();
        for (state, store) in self.states.iter_mut().zip(std::mem::take(&mut self.stores)) {
            let SeedState { samples, kept, .. } = state;
            let pairs: Vec<(SampleRecord, &Sample)> =
                samples.iter().filter_map(|s| Some((kept.remove(&s.id)?, s))).collect();
            let grader = &self.grader;
            let graded = |(record, sample)| match cancel.is_cancelled() {
                true => Err(EvalError::Cancelled),
                false => Ok(grader.graded(record, sample)),
            };
            let records = pairs.into_par_iter().map(graded).collect::<Result<Vec<_>, _>>()?;
            if self.asker.is_some() {
                enough(&records)?;
            }
            store.finish(&records)?;
            by_seed.push(Graded { seed: state.seed, records });
        }
        let facts = Facts {
            benchmark: &self.spec.benchmark,
            weights_sha256: &self.weights_sha256,
            data_sha256: &self.dataset.sha256,
            settings: &self.settings,
            complete: self.count == self.dataset.samples.len(),
            samples: &self.dataset.samples,
            grader: self.asker.as_ref().map(Asker::provenance),
        };
        let metrics = tally(&facts, &by_seed)?;
        for (state, of_seed) in self.states.iter().zip(&by_seed) {
            // A seed without a single score has no metrics of its own.
            if let Ok(metrics) = tally(&facts, std::slice::from_ref(of_seed)) {
                self.write_log(state, &of_seed.records, &metrics)?;
            }
        }
        if let Some(grader) = self.grader.provenance() {
            note_grader(&self.spec.out, grader)?;
        }
        write_json(&self.spec.out.join("metrics.json"), &metrics)?;
        let first = by_seed.into_iter().next().map(|g| g.records).unwrap_or_default();
        let asked = self.states.first().map(SeedState::pairs);
        let samples = asked.into_iter().flatten().zip(first).map(|((sample, asked), r)| Answered {
            id: r.id,
            prompt: asked.text(),
            completion: r.completion,
            score: r.score,
            answer: r.answer,
            target: sample.target.clone(),
        });
        Ok(Evaluation { metrics, samples: samples.collect() })
    }
}
