//! From missing completions to metrics.

use ptb_core::files::write_json;
use ptb_core::run::Metrics;
use ptb_llm::Cache;
use tokio_util::sync::CancellationToken;

use crate::error::EvalError;
use crate::finish::{Finished, Finishing};
use crate::prepare::{Plan, Prepared};
use crate::provenance::{engines_before, note_grader, note_grading};
use crate::serve::{Serve, Told};
use crate::tally::{Graded, tally};

/// What an evaluation gave.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// What was measured.
    pub metrics: Metrics,
    /// The samples of the first seed, in order, where they are wanted.
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
        let mut finishing = Finishing::new(&self.plan, self.samples_wanted, cancel);
        let asked = self.gather(serve, &mut finishing, tell, cancel).await;
        // Whatever happened, nothing is written any more when this returns.
        let finished = finishing.all().await;
        asked?;
        let (plan, finished) = (self.plan, finished?);
        let parts = plan.spec.benchmark.value.evaluate.breakdown.clone();
        let evaluation = tokio::task::spawn_blocking(move || plan.conclude(finished))
            .await
            .map_err(|e| EvalError::Nothing(format!("the metrics' computation ended: {e}")))??;
        let there = &evaluation.metrics.breakdowns;
        for name in parts.iter().filter(|name| !there.contains_key(*name)) {
            tell(Told::Said(format!("no sample has `{name}`, which [evaluate] breakdown names")));
        }
        Ok(evaluation)
    }

    /// Gathers completions and verdicts, and hands every seed over to be finished.
    async fn gather(
        &mut self,
        serve: &mut dyn Serve,
        finishing: &mut Finishing,
        tell: &(dyn Fn(Told) + Send + Sync),
        cancel: &CancellationToken,
    ) -> Result<(), EvalError> {
        self.ask_all(serve, finishing, tell, cancel).await?;
        if self.plan.asker.is_some() {
            self.ask_grader(tell, cancel).await?;
        }
        for (index, work) in self.seeds.iter_mut().enumerate() {
            if let Some(work) = work.take() {
                finishing.begin(index, work);
            }
        }
        Ok(())
    }

    /// What is there from before, and who made it.
    fn kept_before(&self) -> Option<String> {
        let (total, kept) = (self.total(), self.total() - self.missing());
        let by: Vec<String> = engines_before(&self.plan.spec.out);
        let by = if by.is_empty() { String::new() } else { format!(" ({})", by.join(", ")) };
        (kept > 0).then(|| format!("{kept} of {total} completions are there from before{by}"))
    }

    /// Has the language model that grades give its verdicts on all completions. A graded benchmark has one seed.
    async fn ask_grader(
        &mut self,
        tell: &(dyn Fn(Told) + Send + Sync),
        cancel: &CancellationToken,
    ) -> Result<(), EvalError> {
        let plan = &self.plan;
        let (Some(asker), [seed], [Some(work)]) =
            (&plan.asker, plan.seeds.as_slice(), self.seeds.as_mut_slice())
        else {
            return Ok(());
        };
        let out = &plan.spec.out;
        let mut pairs = work.take_pairs(seed);
        let cache = Cache::open(&out.join("grades.jsonl"))?;
        let client = asker.client(Some((cache, out)))?;
        let result = asker.grade(&client, &mut pairs, tell, cancel).await;
        let totals = client.totals();
        if totals.requests > 0 {
            let mut entry = asker.provenance();
            entry["host"] = client.host().into();
            entry["totals"] = serde_json::to_value(totals).unwrap_or_default();
            note_grading(out, entry)?;
        }
        result?;
        work.put_back(pairs.into_iter().map(|(record, _)| record));
        Ok(())
    }
}

impl Plan {
    /// The metrics over all seeds, written down.
    fn conclude(&self, finished: Vec<Finished>) -> Result<Evaluation, EvalError> {
        let (by_seed, answered): (Vec<Graded>, Vec<Vec<Answered>>) =
            finished.into_iter().map(|f| (f.graded, f.answered)).unzip();
        let metrics = tally(&self.facts(), &by_seed)?;
        let out = &self.spec.out;
        if let Some(grader) = self.grader.provenance() {
            note_grader(out, grader)?;
        }
        write_json(&out.join("metrics.json"), &metrics)?;
        Ok(Evaluation { metrics, samples: answered.into_iter().next().unwrap_or_default() })
    }
}
