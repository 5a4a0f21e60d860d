//! Passes over the missing completions: each asks one engine for all of them, and the next one, with a fresh engine
//! and in the end with fewer tokens, for what the last one could not get.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use ptb_llm::Level;
use tokio_util::sync::CancellationToken;

use crate::ask::{Asking, Manner};
use crate::error::EvalError;
use crate::finish::Finishing;
use crate::prepare::Prepared;
use crate::provenance::note_engine;
use crate::serve::{Serve, Told};
use crate::silence::Silence;
use crate::store::SampleRecord;

/// Passes with the benchmark's own token limit, with the first lower one, and with each further one.
const ATTEMPTS: [usize; 3] = [4, 3, 2];
/// Silence while an engine starts; then twice as long, and so on.
const FIRST_WORD: Duration = Duration::from_secs(15);
/// Before a fresh engine is started after a failure; what filled the memory may take a while to go.
const PAUSE: Duration = Duration::from_secs(2);

/// The token limit of each pass, in order: the limit asked for, then the benchmark's lower ones.
pub(crate) fn passes(max_tokens: u32, ladder: &[u32]) -> Vec<u32> {
    let lower = ladder.iter().copied().filter(|tokens| *tokens < max_tokens);
    let limits = std::iter::once(max_tokens).chain(lower);
    let [.., further] = ATTEMPTS;
    let attempts = ATTEMPTS.into_iter().chain(std::iter::repeat(further));
    limits.zip(attempts).flat_map(|(limit, n)| std::iter::repeat_n(limit, n)).collect()
}

impl Prepared {
    /// Asks for every completion that is missing. One that is there is not asked for again, on whatever rung it was
    /// made. A seed that has all is handed over at once, where that keeps nothing from the engine.
    pub(crate) async fn ask_all(
        &mut self,
        serve: &mut dyn Serve,
        finishing: &mut Finishing,
        tell: &(dyn Fn(Told) + Send + Sync),
        cancel: &CancellationToken,
    ) -> Result<(), EvalError> {
        let spec = &self.plan.spec;
        let level = Level::new(spec.max_connections);
        let passes = passes(spec.max_tokens, &spec.benchmark.value.evaluate.ladder);
        for (i, max_tokens) in passes.iter().enumerate() {
            if self.missing() == 0 {
                return Ok(());
            }
            let pass = self.pass(serve, (*max_tokens, &level), finishing, tell, cancel);
            let Err(failure) = pass.await else { continue };
            let again = serve.starts() && failure.may_pass();
            let Some(next) = passes.get(i + 1).filter(|_| again) else {
                return Err(failure);
            };
            tell(Told::Said(format!(
                "{} completions are missing after try {} of {}: {failure}; going on with at most {next} tokens",
                self.missing(),
                i + 1,
                passes.len()
            )));
            serve.give_up().await;
            tokio::select! {
                () = cancel.cancelled() => return Err(EvalError::Cancelled),
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
        Ok(())
    }

    /// One pass over what is missing. What was answered before it failed is kept.
    async fn pass(
        &mut self,
        serve: &mut dyn Serve,
        (max_tokens, level): (u32, &Level),
        finishing: &mut Finishing,
        tell: &(dyn Fn(Told) + Send + Sync),
        cancel: &CancellationToken,
    ) -> Result<(), EvalError> {
        let name = serve.name().to_owned();
        let hint = match serve.log() {
            Some(log) => format!("its output is in {}", log.display()),
            None => "keep its output with --out DIR".to_owned(),
        };
        let engine = tokio::select! {
            () = cancel.cancelled() => return Err(EvalError::Cancelled),
            () = waited_for(&name, tell) => return Err(EvalError::Cancelled),
            engine = serve.engine() => engine?,
        };
        let plan = Arc::clone(&self.plan);
        note_engine(&plan.spec.out, &name, engine)?;
        let client = engine.client(self.request_time)?;
        let silence = Silence::new(self.request_time, tell);
        let manner = Manner::Tokens;
        let mut asking = Asking { engine, client, manner, max_tokens, level, silence, cancel };
        asking.manner = plan.manner(&asking).await?;
        let most = plan.spec.max_connections;
        let at_once = asking.engine.connections().map_or(most, |n| n.min(most)).max(1);
        let mut answers = futures::stream::iter(self.missing_places())
            .map(|place| {
                let (asking, plan) = (&asking, &*plan);
                async move { (place, plan.ask(asking, place).await) }
            })
            .buffer_unordered(at_once);
        let (total, mut end) = (self.total() as u64, Ok(()));
        let mut done = total - self.missing() as u64;
        while let Some((place, answer)) = answers.next().await {
            if let Err(e) = answer.and_then(|record| self.keep(place, record, finishing)) {
                end = Err(e);
                break;
            }
            done += 1;
            tell(Told::Count { done, total });
        }
        drop(answers);
        match (end, asking.engine.last_words().await) {
            (Err(EvalError::Engine(_)), Some(words)) => {
                Err(EvalError::Died { engine: name, words, hint })
            }
            (end, _) => end,
        }
    }

    /// Keeps a completion. A seed's last one hands it over, unless grading runs programs, which would take the
    /// engine's cores and have time limits of their own, or asks a grader.
    fn keep(
        &mut self,
        (seed, place): (usize, usize),
        record: SampleRecord,
        finishing: &mut Finishing,
    ) -> Result<(), EvalError> {
        let Some(work) = self.seeds[seed].as_mut() else { return Ok(()) };
        work.keep(place, record)?;
        let at_once = self.plan.grader.only_reads() && self.plan.asker.is_none();
        let whole = at_once && work.missing() == 0;
        if let Some(work) = whole.then(|| self.seeds[seed].take()).flatten() {
            finishing.begin(seed, work);
        }
        Ok(())
    }

    /// Places (seed, sample) of missing completions, in the order in which they are asked: one seed after the other.
    fn missing_places(&self) -> Vec<(usize, usize)> {
        let works = self.seeds.iter().enumerate().filter_map(|(i, work)| Some((i, work.as_ref()?)));
        works.flat_map(|(seed, work)| work.missing_places().map(move |i| (seed, i))).collect()
    }
}

/// Tells how long an engine has been starting; never returns.
async fn waited_for(name: &str, tell: &(dyn Fn(Told) + Send + Sync)) {
    let mut pause = FIRST_WORD;
    let mut waited = Duration::ZERO;
    loop {
        tokio::time::sleep(pause).await;
        waited += pause;
        tell(Told::Said(format!("waiting for {name} to start, for {} s so far", waited.as_secs())));
        pause = waited;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ladder_goes_down_in_four_three_and_two_tries() {
        assert_eq!(
            passes(4000, &[3000, 2000]),
            [4000, 4000, 4000, 4000, 3000, 3000, 3000, 2000, 2000]
        );
        assert_eq!(passes(2500, &[3000, 2000]), [2500, 2500, 2500, 2500, 2000, 2000, 2000]);
        assert_eq!(passes(64, &[]), [64; 4]);
    }
}
