//! From a reply to its grade, programs included: those run in walls of their own.

use ptb_code::{CodeError, Job, Pool, PoolOptions};
use ptb_core::registry::{Scorer, ScorerKind, ToolForm};
use ptb_tasks::data::Sample;
use ptb_tasks::score::{Graded, Outcome, Program, Reply, score};
use serde_json::{Value, json};

use crate::store::SampleRecord;

/// Grades replies by a benchmark's scorer.
#[derive(Debug)]
pub struct Grader {
    scorer: Scorer,
    form: ToolForm,
    /// What runs programs, for a scorer that asks for it.
    pool: Option<Pool>,
}

impl Grader {
    /// Starts what grading needs. `form` is how the model family writes its calls of functions.
    ///
    /// # Errors
    /// Where programs must be run and cannot be: no Python, no wall.
    pub fn start(scorer: &Scorer, form: ToolForm) -> Result<Self, CodeError> {
        let pool = match scorer.kind {
            ScorerKind::Code => Some(Pool::start(&PoolOptions::default())?),
            _ => None,
        };
        Ok(Self { scorer: scorer.clone(), form, pool })
    }

    /// Whether grading is nothing but reading: it takes no time to speak of and no chance.
    pub(crate) fn only_reads(&self) -> bool {
        self.pool.is_none()
    }

    /// What runs programs, for records; none where none are run.
    pub(crate) fn provenance(&self) -> Option<Value> {
        let pool = self.pool.as_ref()?;
        Some(json!({
            "python": pool.python(),
            "reads_library_alone": pool.reads_library_alone(),
        }))
    }

    /// Grades a reply; callable from many threads, and it may take seconds where a program is run.
    ///
    /// # Errors
    /// What keeps the scorer from its work; no reply is to blame for it.
    pub fn grade(&self, sample: &Sample, reply: &Reply<'_>) -> Result<Graded, String> {
        match score(&self.scorer, reply, sample).map_err(|e| e.to_string())? {
            Outcome::Graded(graded) => Ok(graded),
            Outcome::Run(program) => self.run(program, sample),
        }
    }

    fn run(&self, program: Program, sample: &Sample) -> Result<Graded, String> {
        let pool = self.pool.as_ref().ok_or("nothing was started that runs programs")?;
        let Program { source, entry_point, tests } = program;
        let job = Job { prelude: sample.question.clone(), source, entry_point, tests };
        let verdict = pool.run(&job).map_err(|e| e.to_string())?;
        Ok(Graded::new(f64::from(verdict.passed), Some(verdict.reason)))
    }

    /// The record with its grade. A scorer that fails is an error, never a wrong answer.
    pub(crate) fn graded(&self, record: SampleRecord, sample: &Sample) -> SampleRecord {
        let tool_calls = record.tool_calls.as_deref();
        let (form, grades) = (self.form, record.grades.as_slice());
        let reply = Reply { text: &record.completion, tool_calls, form, grades };
        let (answer, score, error, rows) = match self.grade(sample, &reply) {
            Ok(g) => (g.answer, Some(g.score), None, g.rows),
            Err(e) => (None, None, Some(e), Vec::new()),
        };
        SampleRecord { answer, score, error, rows, ..record }
    }
}
