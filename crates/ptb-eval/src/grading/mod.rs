//! Grades by a language model: what it is asked, and its verdicts, which stand in the samples' records from then on.
//!
//! A verdict is asked for in one call, checked, and asked for again where it is none. Valid replies are kept by content
//! in `grades.jsonl` beside the seeds' folders: asking again costs nothing. A grader that is away, refuses the key or
//! has no credit ends the evaluation as the provider's failure; what is graded is kept, and the same command goes on.

mod questions;

use std::path::Path;
use std::time::Duration;

use futures::StreamExt;
use ptb_core::cell::GraderChoice;
use ptb_core::registry::{Benchmark, Entry, GRADER_URL, Scorer};
use ptb_llm::{Cache, Client, Key, LlmError, Model, Options, Prices};
use ptb_tasks::data::Sample;
use ptb_tasks::score::{Grade, Verdict, read_verdict};
use rayon::prelude::*;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use self::questions::{Question, Questions, Texts, adverse};
use crate::error::EvalError;
use crate::provenance::spent;
use crate::serve::Told;
use crate::store::SampleRecord;

/// Replies of a grader without a verdict before one is given up.
const TRIES: u32 = 4;
/// Calls in flight at once. The engine's number is another: that is the model's server.
const CONNECTIONS: usize = 32;
/// Why a reply without a verdict has one.
const UNJUDGED: &str = "the grader has no verdict on this reply, and has one on an empty reply";
/// Characters of an explanation that a record keeps; the whole reply is in `grades.jsonl`.
const EXPLANATION: usize = 1000;
/// More samples than this share without a verdict are no evaluation.
const MOST_UNGRADED: f64 = 0.05;
/// How long an outage of a grader is waited out where nothing else is said.
pub const PATIENCE: Duration = Duration::from_secs(1800);

/// The environment variable that holds a grader's key.
pub const KEY_ENV: &str = "PTB_GRADER_KEY";

/// Who grades, and how it is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct GraderSpec {
    /// Who.
    pub choice: GraderChoice,
    /// What opens its API.
    pub key: Option<Key>,
    /// How long an outage is waited out.
    pub patience: Duration,
    /// What other evaluations have spent of the same limit, in US dollars.
    pub spent_before: f64,
}

impl GraderSpec {
    /// A grader with the key that the environment holds ([`KEY_ENV`]).
    ///
    /// # Errors
    /// A key that is none.
    pub fn from_env(choice: GraderChoice, patience: Duration) -> Result<Self, EvalError> {
        let key = std::env::var(KEY_ENV).ok().filter(|key| !key.trim().is_empty());
        let key = key.map(Key::new).transpose()?;
        Ok(Self { choice, key, patience, spent_before: 0.0 })
    }
}

/// A grader that can be asked.
#[derive(Debug)]
pub(crate) struct Asker {
    spec: GraderSpec,
    scorer: Scorer,
    questions: Questions,
}

impl Asker {
    /// Checks what can be checked without asking; none where no language model grades.
    pub(crate) fn new(
        spec: Option<&GraderSpec>,
        scorer: &Scorer,
        benchmark: &str,
        first: Option<&Sample>,
    ) -> Result<Option<Self>, EvalError> {
        let Some(grading) = &scorer.grader else { return Ok(None) };
        let spec = spec.ok_or_else(|| EvalError::NoGrader(benchmark.to_owned()))?.clone();
        if spec.key.is_none() && spec.choice.url == GRADER_URL {
            return Err(EvalError::NoGrader(benchmark.to_owned()));
        }
        let questions = Questions::new(&spec.choice.prompt, grading)?;
        let asker = Self { spec, scorer: scorer.clone(), questions };
        asker.client(None)?;
        // A prompt that cannot be filled in is told now, not after the work.
        if let Some(sample) = first {
            asker.questions.of(scorer, sample, 0, &Texts::default())?;
        }
        Ok(Some(asker))
    }

    /// What metrics record of who graded: the same for whoever grades likewise, wherever it is asked.
    pub(crate) fn provenance(&self) -> Value {
        let GraderChoice { model, prompt, .. } = &self.spec.choice;
        json!({
            "model": model,
            "prompt": prompt.id,
            "prompt_sha256": prompt.sha256,
            "effort": self.questions.effort(),
            "max_tokens": self.questions.max_tokens(),
        })
    }

    /// Somebody who asks, with the replies that are kept, which were paid for out of the same limit; `out` is the
    /// evaluation's folder, which tells what else was.
    pub(crate) fn client(&self, kept: Option<(Cache, &Path)>) -> Result<Client, EvalError> {
        let GraderSpec { choice, key, patience, spent_before } = &self.spec;
        let GraderChoice { url, model, spend_limit, .. } = choice;
        let price = Prices::built_in().ok().and_then(|prices| prices.of(model));
        // A sitting that was killed noted nothing, but what it was answered is kept; invalid replies stand only in notes.
        let spent = match (&kept, &price) {
            (Some((cache, out)), Some(price)) => spent(out).max(cache.cost(price)),
            _ => 0.0,
        };
        let cache = kept.map(|(cache, _)| cache);
        let model = Model { url: url.clone(), name: model.clone(), key: key.clone(), price };
        let defaults = Options::default();
        let options = Options {
            connections: CONNECTIONS,
            // Silence is an outage too, and no server's wish to be left alone is longer than the user's patience.
            request_time: defaults.request_time.min(*patience),
            longest_pause: defaults.longest_pause.min(*patience),
            patience: *patience,
            spend_limit: *spend_limit,
            spent_before: spent_before + spent,
            ..defaults
        };
        Ok(Client::new(model, options, cache)?)
    }

    /// Asks for every verdict on every record, and puts them into it. A verdict that cannot be had is none.
    pub(crate) async fn grade(
        &self,
        client: &Client,
        pairs: &mut [(SampleRecord, &Sample)],
        tell: &(dyn Fn(Told) + Send + Sync),
        cancel: &CancellationToken,
    ) -> Result<(), EvalError> {
        let mut places = Vec::new();
        for (i, (record, sample)) in pairs.iter_mut().enumerate() {
            record.grades = self.questions.open_grades(&self.scorer, sample);
            places.extend((0..record.grades.len()).map(|question| (i, question)));
        }
        let texts = |(record, sample): &(SampleRecord, &Sample)| {
            Texts::new(&self.scorer, &record.completion, sample)
        };
        let texts: Vec<Texts> =
            tokio::task::block_in_place(|| pairs.par_iter().map(texts).collect());
        let total = places.len() as u64;
        tell(Told::Verdicts { done: 0, total });
        let ended = {
            let (pairs, texts) = (&*pairs, &texts);
            let mut verdicts = futures::stream::iter(places)
                .map(|(i, place)| async move {
                    let of = (pairs[i].1, place, &texts[i]);
                    Ok::<_, EvalError>((i, place, self.verdict(client, of, tell, cancel).await?))
                })
                .buffer_unordered(CONNECTIONS);
            let mut all = Vec::new();
            loop {
                match verdicts.next().await {
                    None => break Ok(all),
                    Some(Ok(found)) => all.push(found),
                    Some(Err(e)) => break Err(e),
                }
                tell(Told::Verdicts { done: all.len() as u64, total });
            }
        };
        for (i, place, (verdict, explanation)) in ended? {
            let grade = &mut pairs[i].0.grades[place];
            *grade = Grade { verdict, explanation, ..grade.clone() };
        }
        Ok(())
    }

    /// One verdict with its explanation. What keeps the grader from replying at all is an error.
    async fn verdict(
        &self,
        client: &Client,
        (sample, place, texts): (&Sample, usize, &Texts),
        tell: &(dyn Fn(Told) + Send + Sync),
        cancel: &CancellationToken,
    ) -> Result<(Verdict, Option<String>), EvalError> {
        let say = |line: String| tell(Told::Said(line));
        let question = self.questions.of(&self.scorer, sample, place, texts)?;
        let failure =
            match self.asked(client, &question, &say, cancel).await {
                Err(EvalError::Grader(
                    e @ (LlmError::Invalid { .. } | LlmError::Rejected { .. }),
                )) if !e.ends_all() => e,
                // The server's bad day is nobody's fault here.
                Err(EvalError::Grader(e)) if !e.ends_all() => {
                    say(format!("{}: no verdict: {e}", question.about));
                    return Ok((Verdict::None, None));
                }
                other => return other,
            };
        // What a model wrote must neither end the whole nor choose what is left out. So the same question is asked
        // about an empty reply: where that has a verdict, it is this reply that keeps the grader from one.
        let empty = Texts { reply: String::new(), ..texts.clone() };
        let control = self.questions.of(&self.scorer, sample, place, &empty)?;
        match self.asked(client, &control, &say, cancel).await {
            Ok(_) => {
                say(format!("{}: taken as not met or lost, {UNJUDGED}: {failure}", question.about));
                let verdict = adverse(&self.scorer, sample, place);
                Ok((verdict, Some(UNJUDGED.to_owned())))
            }
            Err(EvalError::Grader(e)) if !e.ends_all() => {
                say(format!("{}: no verdict: {failure}", question.about));
                Ok((Verdict::None, None))
            }
            Err(e) => Err(e),
        }
    }

    async fn asked(
        &self,
        client: &Client,
        question: &Question,
        say: &(dyn Fn(String) + Send + Sync),
        cancel: &CancellationToken,
    ) -> Result<(Verdict, Option<String>), EvalError> {
        let read = |reply: &str| read_verdict(self.scorer.kind, reply);
        match client.ask(&question.call, TRIES, read, say, cancel).await {
            Ok(answer) => {
                let (verdict, explanation) = answer.value;
                let explanation = explanation.map(|text| text.chars().take(EXPLANATION).collect());
                Ok((verdict, explanation))
            }
            Err(LlmError::Cancelled) => Err(EvalError::Cancelled),
            Err(e) => Err(e.into()),
        }
    }
}

/// Checks a grader's address, key and prompt, filled in for the first sample, without asking it; whatever is given,
/// where no language model grades.
///
/// # Errors
/// What is wrong with them; [`EvalError::NoGrader`] where there is none and the benchmark wants one.
pub fn check_grader(
    spec: Option<&GraderSpec>,
    benchmark: &Entry<Benchmark>,
    first: Option<&Sample>,
) -> Result<(), EvalError> {
    Asker::new(spec, &benchmark.value.scorer, &benchmark.id, first).map(drop)
}

/// Asks a grader for what costs nothing: whether it lets the key in. What passes (nobody answers) is told and no error.
///
/// # Errors
/// What will not pass by itself: a key that is refused, an account without credit.
pub async fn knock_grader(spec: &GraderSpec) -> Result<Option<String>, EvalError> {
    let model = Model {
        url: spec.choice.url.clone(),
        name: spec.choice.model.clone(),
        key: spec.key.clone(),
        price: None,
    };
    match Client::new(model, Options::default(), None)?.knock().await {
        Ok(()) => Ok(None),
        Err(e @ (LlmError::Refused { .. } | LlmError::Credit { .. })) => Err(e.into()),
        Err(e) => Ok(Some(e.to_string())),
    }
}

/// Whether enough was graded to be an evaluation. A few replies may be such that no grader says anything of them.
pub(crate) fn enough(records: &[SampleRecord]) -> Result<(), EvalError> {
    let without: Vec<&SampleRecord> = records.iter().filter(|r| r.score.is_none()).collect();
    let most = (records.len() as f64 * MOST_UNGRADED).max(1.0);
    if (without.len() as f64) <= most && without.len() < records.len() {
        return Ok(());
    }
    let first = without.first().and_then(|r| r.error.clone()).unwrap_or_default();
    let first = first.split("; hint: ").next().unwrap_or_default().to_owned();
    Err(EvalError::Ungraded { without: without.len(), of: records.len(), first })
}
