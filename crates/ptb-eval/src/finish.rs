//! Seeds that have all their completions are graded and written, beside the asking for others where grading is nothing
//! but reading, and then held no longer than metrics need them.

use std::sync::Arc;

use ptb_tasks::data::Sample;
use rayon::prelude::*;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::error::EvalError;
use crate::evaluation::Answered;
use crate::grading::{Asker, enough};
use crate::prepare::{Plan, SeedPlan};
use crate::seed::SeedWork;
use crate::store::SampleRecord;
use crate::tally::{Facts, Graded, tally};

/// A seed that is graded and written.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) graded: Graded,
    /// Its answers, where somebody wants them.
    pub(crate) answered: Vec<Answered>,
}

/// Seeds in the hands of threads that grade and write.
#[derive(Debug)]
pub(crate) struct Finishing {
    plan: Arc<Plan>,
    samples_wanted: bool,
    cancel: CancellationToken,
    at_once: Arc<Semaphore>,
    tasks: JoinSet<Result<(usize, Finished), EvalError>>,
}

impl Finishing {
    pub(crate) fn new(plan: &Arc<Plan>, samples_wanted: bool, cancel: &CancellationToken) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            plan: Arc::clone(plan),
            samples_wanted,
            cancel: cancel.clone(),
            at_once: Arc::new(Semaphore::new(cores)),
            tasks: JoinSet::new(),
        }
    }

    /// Hands over a seed that has all its completions.
    pub(crate) fn begin(&mut self, index: usize, work: SeedWork) {
        let (plan, cancel) = (Arc::clone(&self.plan), self.cancel.clone());
        let (at_once, wanted) = (Arc::clone(&self.at_once), self.samples_wanted && index == 0);
        self.tasks.spawn(async move {
            // Never closed; without a place it would be slower, not wrong.
            let _place = at_once.acquire_owned().await.ok();
            let finish = move || plan.finish_seed(index, work, wanted, &cancel);
            let finished = tokio::task::spawn_blocking(finish).await.map_err(ended)??;
            Ok((index, finished))
        });
    }

    /// Waits for all: the seeds in their order.
    pub(crate) async fn all(mut self) -> Result<Vec<Finished>, EvalError> {
        let (mut all, mut failure) = (Vec::new(), None);
        while let Some(done) = self.tasks.join_next().await {
            match done.map_err(ended).and_then(|of_seed| of_seed) {
                Ok(of_seed) => all.push(of_seed),
                Err(e) => failure = failure.or(Some(e)),
            }
        }
        all.sort_by_key(|(index, _)| *index);
        match failure {
            Some(e) => Err(e),
            None => Ok(all.into_iter().map(|(_, finished)| finished).collect()),
        }
    }
}

fn ended(e: tokio::task::JoinError) -> EvalError {
    EvalError::Nothing(format!("grading ended: {e}"))
}

impl Plan {
    /// What metrics tell beside their numbers.
    pub(crate) fn facts(&self) -> Facts<'_> {
        Facts {
            benchmark: &self.spec.benchmark,
            weights_sha256: &self.weights_sha256,
            data_sha256: &self.dataset.sha256,
            settings: &self.settings,
            complete: self.count == self.dataset.samples.len(),
            samples: &self.dataset.samples,
            grader: self.asker.as_ref().map(Asker::provenance),
        }
    }

    /// Grades a seed's completions and writes them in order, and its log. Asked to stop, it writes nothing.
    fn finish_seed(
        &self,
        index: usize,
        mut work: SeedWork,
        samples_wanted: bool,
        cancel: &CancellationToken,
    ) -> Result<Finished, EvalError> {
        let seed = &self.seeds[index];
        let graded = |(record, sample): (SampleRecord, &Sample)| match cancel.is_cancelled() {
            true => Err(EvalError::Cancelled),
            false => Ok(self.grader.graded(record, sample)),
        };
        let pairs = work.take_pairs(seed).into_par_iter().map(graded);
        let records = pairs.collect::<Result<Vec<_>, _>>()?;
        if self.asker.is_some() {
            enough(&records)?;
        }
        work.store.finish(&records)?;
        let graded = Graded::new(seed.seed, &records, &self.dataset.samples);
        // A seed without a single score has no metrics of its own.
        if let Ok(metrics) = tally(&self.facts(), std::slice::from_ref(&graded)) {
            self.write_log(seed, &records, &metrics)?;
        }
        let answered = if samples_wanted { answered(seed, records) } else { Vec::new() };
        Ok(Finished { graded, answered })
    }
}

fn answered(seed: &SeedPlan, records: Vec<SampleRecord>) -> Vec<Answered> {
    let answer =
        |((sample, asked), r): ((&Sample, &crate::render::Asked), SampleRecord)| Answered {
            id: r.id,
            prompt: asked.text(),
            completion: r.completion,
            score: r.score,
            answer: r.answer,
            target: sample.target.clone(),
        };
    seed.pairs().zip(records).map(answer).collect()
}
