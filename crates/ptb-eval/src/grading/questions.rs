//! What a grader is asked: the prompt's templates, filled in with a reply and what it answers.

use minijinja::value::Serde;
use minijinja::{Environment, Value, context};
use ptb_core::files::sha256_hex;
use ptb_core::registry::{Entry, GraderPrompt, Grading, Role, Scorer, ScorerKind};
use ptb_llm::{Call, Message};
use ptb_tasks::TaskError;
use ptb_tasks::data::Sample;
use ptb_tasks::prompt::{ChatMessage, environment};
use ptb_tasks::score::{Grade, Verdict, Which, pairwise, shown};

use crate::error::EvalError;

/// Hexadecimal digits of a mark.
const MARK: usize = 12;
/// What templates see, for messages.
const SEEN: &str = "a grader's prompt sees `mark`, and `messages`, `criterion`, `points` (rubric) or `question`, `reply_a`, \
                    `reply_b` (pairwise)";

/// What a grader is shown.
#[derive(Debug, Clone, Default)]
pub(super) struct Texts {
    /// The model's reply.
    pub(super) reply: String,
    /// The reply that it is compared with, where one is.
    pub(super) baseline: String,
}

impl Texts {
    pub(super) fn new(scorer: &Scorer, completion: &str, sample: &Sample) -> Self {
        let baseline = match scorer.kind {
            ScorerKind::Pairwise => shown(&sample.target),
            _ => String::new(),
        };
        Self { reply: shown(completion), baseline }
    }
}

/// The verdict on a reply that keeps a grader from one: nothing asked for is met, and no comparison won.
pub(super) fn adverse(scorer: &Scorer, sample: &Sample, place: usize) -> Verdict {
    match scorer.kind {
        ScorerKind::Rubric => {
            Verdict::Met(sample.criteria.get(place).is_some_and(|c| c.points < 0.0))
        }
        _ => Verdict::Better(if place == 0 { "A>B" } else { "B>A" }.to_owned()),
    }
}

/// One call for one verdict.
#[derive(Debug)]
pub(super) struct Question {
    /// What is judged, for messages.
    pub(super) about: String,
    pub(super) call: Call,
}

/// A grader's prompt, parsed.
#[derive(Debug)]
pub(super) struct Questions {
    environment: Environment<'static>,
    roles: Vec<Role>,
    grading: Grading,
    source: String,
}

impl Questions {
    pub(super) fn new(prompt: &Entry<GraderPrompt>, grading: &Grading) -> Result<Self, EvalError> {
        let messages = &prompt.value.messages;
        let parse = || -> Result<_, minijinja::Error> {
            let mut environment = environment()?;
            for (i, message) in messages.iter().enumerate() {
                environment.add_template_owned(i.to_string(), message.content.clone())?;
            }
            Ok(environment)
        };
        let source = prompt.source.clone();
        let environment = parse().map_err(|e| fault(&source, "read", &e))?;
        let roles = messages.iter().map(|m| m.role).collect();
        Ok(Self { environment, roles, grading: grading.clone(), source })
    }

    pub(super) fn effort(&self) -> Option<&str> {
        self.grading.effort.as_deref()
    }

    pub(super) fn max_tokens(&self) -> u32 {
        self.grading.max_tokens
    }

    /// The grades that a sample's reply is to get, without verdicts yet.
    pub(super) fn open_grades(&self, scorer: &Scorer, sample: &Sample) -> Vec<Grade> {
        let open =
            |criterion, game| Grade { criterion, game, verdict: Verdict::None, explanation: None };
        match scorer.kind {
            ScorerKind::Rubric => (0..sample.criteria.len() as u64)
                .map(|place| open(Some(Which::Place(place)), None))
                .collect(),
            _ => (1..=pairwise::GAMES).map(|game| open(None, Some(game))).collect(),
        }
    }

    /// The question for one of a reply's grades. Both texts are what a grader is shown of them.
    pub(super) fn of(
        &self,
        scorer: &Scorer,
        sample: &Sample,
        place: usize,
        Texts { reply, baseline }: &Texts,
    ) -> Result<Question, EvalError> {
        let (about, values) = match scorer.kind {
            ScorerKind::Rubric => {
                let criterion = &sample.criteria[place];
                let about = format!("sample {}, criterion {place}", sample.id);
                (about, of_rubric(sample, reply, &criterion.text, criterion.points))
            }
            _ => {
                let about = format!("sample {}, game {}", sample.id, place + 1);
                let (a, b) = if place == 0 { (baseline, reply) } else { (reply, baseline) };
                (about, of_games(sample, a, b))
            }
        };
        let message = |(i, role): (usize, &Role)| {
            let template = self.environment.get_template(&i.to_string());
            let text = template.and_then(|t| t.render(values.clone()));
            let text = text.map_err(|e| fault(&self.source, "fill in", &e))?;
            Ok(match role {
                Role::System => Message::system(text),
                Role::User => Message::user(text),
                Role::Assistant => Message::assistant(text),
            })
        };
        let messages: Result<Vec<Message>, EvalError> =
            self.roles.iter().enumerate().map(message).collect();
        let Grading { max_tokens, effort, .. } = &self.grading;
        let call = Call {
            messages: messages?,
            max_tokens: *max_tokens,
            effort: effort.clone(),
            temperature: None,
        };
        Ok(Question { about, call })
    }
}

fn of_rubric(sample: &Sample, reply: &str, criterion: &str, points: f64) -> Value {
    let mut messages = sample.messages.clone().unwrap_or_else(|| {
        vec![ChatMessage { role: Role::User, content: sample.question.clone() }]
    });
    messages.push(ChatMessage { role: Role::Assistant, content: reply.to_owned() });
    let texts = messages.iter().map(|m| m.content.as_str()).chain([criterion]);
    let mark = mark(texts);
    let messages: Vec<Value> = messages.into_iter().map(|m| Value::from(Serde(m))).collect();
    // Whole points without a decimal point.
    let points = if points.fract() == 0.0 { Value::from(points as i64) } else { points.into() };
    context! { mark, messages, criterion, points }
}

fn of_games(sample: &Sample, reply_a: &str, reply_b: &str) -> Value {
    let question = &sample.question;
    let mark = mark([question.as_str(), reply_a, reply_b]);
    context! { mark, question, reply_a, reply_b }
}

/// A word that stands in none of the texts: it is made of their hash, so whoever wrote one of them could not know it.
fn mark<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    let all: String = texts.into_iter().map(|t| format!("{} {t} ", t.len())).collect();
    sha256_hex(all.as_bytes()).chars().take(MARK).collect()
}

fn fault(source: &str, action: &str, e: &minijinja::Error) -> EvalError {
    EvalError::Task(TaskError::Template {
        action: format!("{action} the grader's prompt ({source})"),
        reason: e.to_string(),
        hint: SEEN.to_owned(),
    })
}
