//! From missing completions to metrics.

use std::time::Duration;

use futures::StreamExt;
use ptb_core::files::write_json;
use ptb_core::run::Metrics;
use ptb_infer::Running;
use ptb_tasks::data::Sample;
use tokio_util::sync::CancellationToken;

use crate::error::EvalError;
use crate::prepare::{Prepared, SeedState};
use crate::tally::{Facts, Graded, graded, tally};

/// Longest time that one request may take, queueing included: a 4000-token answer on a slow machine.
const REQUEST_TIME: Duration = Duration::from_secs(3600);

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
    /// 0 to 1; absent where it could not be scored.
    pub score: Option<f64>,
    /// The answer that was read.
    pub answer: Option<String>,
    /// The reference answer.
    pub target: String,
}

impl Prepared {
    /// Asks `engine` for the completions that are missing (it may be absent when none is), grades all,
    /// writes `metrics.json`. `progress` is told how many completions are there, and of how many.
    pub async fn evaluate(
        mut self,
        engine: Option<&Running>,
        progress: &(dyn Fn(u64, u64) + Send + Sync),
        cancel: &CancellationToken,
    ) -> Result<Evaluation, EvalError> {
        let total = self.total() as u64;
        let mut done = total - self.missing() as u64;
        progress(done, total);
        if let Some(engine) = engine.filter(|_| done < total) {
            let client = engine.client(REQUEST_TIME)?;
            let manner = self.manner(&client, engine.chat_only(), engine.pid().is_some()).await?;
            let missing = self.missing_places();
            let mut fresh = Vec::with_capacity(missing.len());
            let mut stores = std::mem::take(&mut self.stores);
            let this = &self;
            let mut answers = futures::stream::iter(missing)
                .map(|place| {
                    let client = &client;
                    async move { (place, this.ask(client, manner, place, cancel).await) }
                })
                .buffer_unordered(this.spec.max_connections);
            while let Some(((state, index), answer)) = answers.next().await {
                let target = &this.dataset.samples[index].target;
                let record = graded(&this.spec.benchmark.value.scorer, answer?, target);
                stores[state].append(&record)?;
                fresh.push((state, record));
                done += 1;
                progress(done, total);
            }
            drop(answers);
            self.stores = stores;
            for (state, record) in fresh {
                self.states[state].kept.insert(record.id.clone(), record);
            }
        }
        if self.missing() > 0 {
            return Err(EvalError::Nothing(format!("{} completions are missing", self.missing())));
        }
        self.finish()
    }

    /// Places (state, sample) of missing completions, in the order in which they are asked.
    fn missing_places(&self) -> Vec<(usize, usize)> {
        let samples = self.samples();
        let of_state = |(s, state): (usize, &SeedState)| {
            let missing = |i: &usize| !state.kept.contains_key(&samples[*i].id);
            (0..samples.len()).filter(missing).map(|i| (s, i)).collect::<Vec<_>>()
        };
        self.states.iter().enumerate().flat_map(of_state).collect()
    }

    /// Writes samples in order, and the metrics over them.
    fn finish(mut self) -> Result<Evaluation, EvalError> {
        let scorer = &self.spec.benchmark.value.scorer;
        let mut by_seed: Vec<Graded> = Vec::new();
        for (state, store) in self.states.iter_mut().zip(std::mem::take(&mut self.stores)) {
            let samples = &self.dataset.samples[..self.asked.len()];
            let of_sample = |s: &Sample| Some(graded(scorer, state.kept.remove(&s.id)?, &s.target));
            let records: Vec<_> = samples.iter().filter_map(of_sample).collect();
            store.finish(&records)?;
            by_seed.push(Graded { seed: state.seed, records });
        }
        let metrics = tally(
            &Facts {
                benchmark: &self.spec.benchmark.id,
                weights_sha256: &self.weights_sha256,
                data_sha256: &self.dataset.sha256,
                settings: &self.settings,
                complete: self.asked.len() == self.dataset.samples.len(),
            },
            &by_seed,
        )?;
        write_json(&self.spec.out.join("metrics.json"), &metrics)?;
        let first = by_seed.into_iter().next().map(|g| g.records).unwrap_or_default();
        let samples = first.into_iter().enumerate().map(|(i, r)| Answered {
            id: r.id,
            prompt: self.asked[i].text.clone(),
            completion: r.completion,
            score: r.score,
            answer: r.answer,
            target: self.dataset.samples[i].target.clone(),
        });
        Ok(Evaluation { metrics, samples: samples.collect() })
    }
}
