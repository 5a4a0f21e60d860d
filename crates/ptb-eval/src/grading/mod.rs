//! Grades by a language model: what it is asked, and its verdicts, which stand in the samples' records from then on.
//!
//! A verdict is asked for in one call, checked, and asked for again where it is none. Valid replies are kept by content
//! in `grades.jsonl` beside the seeds' folders: asking again costs nothing. A grader that is away, refuses the key or
//! has no credit ends the evaluation as the provider's failure; what is graded is kept, and the same command goes on.

mod questions;

use std::time::Duration;

use futures::StreamExt;
use ptb_core::cell::GraderChoice;
use ptb_core::registry::{Benchmark, Entry, GRADER_URL, Scorer};
use ptb_llm::{Cache, Client, Key, LlmError, Model, Options, Prices};
use ptb_tasks::data::Sample;
use ptb_tasks::score::{Grade, Verdict, read_verdict};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use self::questions::{Question, Questions};
use crate::error::EvalError;
use crate::serve::Told;
use crate::store::SampleRecord;

/// Replies of a grader without a verdict before one is given up.
const TRIES: u32 = 4;
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
}

impl GraderSpec {
    /// A grader with the key that the environment holds ([`KEY_ENV`]).
    ///
    /// # Errors
    /// A key that is none.
    pub fn from_env(choice: GraderChoice, patience: Duration) -> Result<Self, EvalError> {
        let key = std::env::var(KEY_ENV).ok().filter(|key| !key.trim().is_empty());
        let key = key.map(Key::new).transpose()?;
        Ok(Self { choice, key, patience })
    }
}

/// A grader that can be asked.
#[derive(Debug)]
pub(crate) struct Asker {
    spec: GraderSpec,
    scorer: Scorer,
    questions: Questions,
    connections: usize,
}

impl Asker {
    /// Checks what can be checked without asking; none where no language model grades.
    pub(crate) fn new(
        spec: Option<&GraderSpec>,
        scorer: &Scorer,
        benchmark: &str,
        connections: usize,
    ) -> Result<Option<Self>, EvalError> {
        let Some(grading) = &scorer.grader else { return Ok(None) };
        let spec = spec.ok_or_else(|| EvalError::NoGrader(benchmark.to_owned()))?.clone();
        if spec.key.is_none() && spec.choice.url == GRADER_URL {
            return Err(EvalError::NoGrader(benchmark.to_owned()));
        }
        let questions = Questions::new(&spec.choice.prompt, grading)?;
        let asker = Self { spec, scorer: scorer.clone(), questions, connections };
        asker.client(None)?;
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

    /// Somebody who asks, with the replies that are kept.
    pub(crate) fn client(&self, cache: Option<Cache>) -> Result<Client, EvalError> {
        let GraderSpec { choice, key, patience } = &self.spec;
        let GraderChoice { url, model, spend_limit, .. } = choice;
        let price = Prices::built_in().ok().and_then(|prices| prices.of(model));
        let model = Model { url: url.clone(), name: model.clone(), key: key.clone(), price };
        let options = Options {
            connections: self.connections,
            patience: *patience,
            spend_limit: *spend_limit,
            ..Options::default()
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
        let total = places.len() as u64;
        tell(Told::Verdicts { done: 0, total });
        let ended = {
            let pairs = &*pairs;
            let mut verdicts = futures::stream::iter(places)
                .map(|(i, place)| async move {
                    let (record, sample) = &pairs[i];
                    let question = self.questions.of(&self.scorer, record, sample, place)?;
                    Ok::<_, EvalError>((
                        i,
                        place,
                        self.verdict(client, &question, tell, cancel).await?,
                    ))
                })
                .buffer_unordered(self.connections);
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

    /// One verdict with its explanation. What no reply gave is no verdict; what keeps the grader from replying is an
    /// error.
    async fn verdict(
        &self,
        client: &Client,
        question: &Question,
        tell: &(dyn Fn(Told) + Send + Sync),
        cancel: &CancellationToken,
    ) -> Result<(Verdict, Option<String>), EvalError> {
        let read = |reply: &str| read_verdict(self.scorer.kind, reply);
        let say = |line: String| tell(Told::Said(line));
        let (verdict, explanation) =
            match client.ask(&question.call, TRIES, read, &say, cancel).await {
                Ok(answer) => answer.value,
                Err(LlmError::Cancelled) => return Err(EvalError::Cancelled),
                // Of this reply there is no verdict; what a model wrote must not end the whole.
                Err(e) if !e.ends_all() => {
                    say(format!("{}: {e}", question.about));
                    (Verdict::None, Some(e.to_string()))
                }
                Err(e) => return Err(e.into()),
            };
        let explanation = explanation.map(|text| text.chars().take(EXPLANATION).collect());
        Ok((verdict, explanation))
    }
}

/// Checks a grader's address, key and prompt, without asking it; whatever is given, where no language model grades.
///
/// # Errors
/// What is wrong with them; [`EvalError::NoGrader`] where there is none and the benchmark wants one.
pub fn check_grader(
    spec: Option<&GraderSpec>,
    benchmark: &Entry<Benchmark>,
) -> Result<(), EvalError> {
    Asker::new(spec, &benchmark.value.scorer, &benchmark.id, 1).map(drop)
}

/// Whether enough was graded to be an evaluation. A few replies may be such that no grader says anything of them.
pub(crate) fn enough(records: &[SampleRecord]) -> Result<(), EvalError> {
    let without: Vec<&SampleRecord> = records.iter().filter(|r| r.score.is_none()).collect();
    if without.len() as f64 <= records.len() as f64 * MOST_UNGRADED {
        return Ok(());
    }
    let first = without.first().and_then(|r| r.error.clone()).unwrap_or_default();
    Err(EvalError::Ungraded { without: without.len(), of: records.len(), first })
}
