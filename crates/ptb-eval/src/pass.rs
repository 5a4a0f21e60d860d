//! Passes over the missing completions: each asks one engine for all of them, and the next one, with a fresh engine
//! and in the end with fewer tokens, for what the last one could not get.

use std::time::Duration;

use futures::StreamExt;
use ptb_llm::Level;
use tokio_util::sync::CancellationToken;

use crate::ask::{Asking, Manner};
use crate::error::EvalError;
use crate::prepare::{Prepared, SeedState};
use crate::provenance::note_engine;
use crate::serve::{Serve, Told};
use crate::silence::Silence;

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
    /// made.
    pub(crate) async fn ask_all(
        &mut self,
        serve: &mut dyn Serve,
        tell: &(dyn Fn(Told) + Send + Sync),
        cancel: &CancellationToken,
    ) -> Result<(), EvalError> {
        let level = Level::new(self.spec.max_connections);
        let passes = passes(self.spec.max_tokens, &self.spec.benchmark.value.evaluate.ladder);
        for (i, max_tokens) in passes.iter().enumerate() {
            if self.missing() == 0 {
                return Ok(());
            }
            let Err(failure) = self.pass(serve, *max_tokens, &level, tell, cancel).await else {
                continue;
            };
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
        max_tokens: u32,
        level: &Level,
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
        note_engine(&self.spec.out, &name, engine)?;
        let client = engine.client(self.request_time)?;
        let silence = Silence::new(self.request_time, tell);
        let manner = Manner::Tokens;
        let mut asking = Asking { engine, client, manner, max_tokens, level, silence, cancel };
        asking.manner = self.manner(&asking).await?;
        let missing = self.missing_places();
        let most = self.spec.max_connections;
        let at_once = asking.engine.connections().map_or(most, |n| n.min(most)).max(1);
        let mut stores = std::mem::take(&mut self.stores);
        let (mut fresh, mut end) = (Vec::with_capacity(missing.len()), Ok(()));
        let (this, total) = (&*self, self.total() as u64);
        let mut answers = futures::stream::iter(missing)
            .map(|place| {
                let asking = &asking;
                async move { (place, this.ask(asking, place).await) }
            })
            .buffer_unordered(at_once);
        let mut done = total - this.missing() as u64;
        while let Some(((state, _), answer)) = answers.next().await {
            let kept = answer.and_then(|record| {
                stores[state].append(&record)?;
                Ok(record)
            });
            match kept {
                Ok(record) => fresh.push((state, record)),
                Err(e) => {
                    end = Err(e);
                    break;
                }
            }
            done += 1;
            tell(Told::Count { done, total });
        }
        drop(answers);
        if let (Err(EvalError::Engine(_)), Some(words)) = (&end, asking.engine.last_words().await) {
            end = Err(EvalError::Died { engine: name, words, hint });
        }
        self.stores = stores;
        for (state, record) in fresh {
            self.states[state].kept.insert(record.id.clone(), record);
        }
        end
    }

    /// Places (state, sample) of missing completions, in the order in which they are asked.
    fn missing_places(&self) -> Vec<(usize, usize)> {
        let of_state = |(s, state): (usize, &SeedState)| {
            let missing = |i: &usize| !state.kept.contains_key(&state.samples[*i].id);
            (0..self.count).filter(missing).map(|i| (s, i)).collect::<Vec<_>>()
        };
        self.states.iter().enumerate().flat_map(of_state).collect()
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
