//! Record: what counts, and why.

use ptb_core::files::{FileError, read_json};
use ptb_core::run::{Counts, Evidence, Mark, Metrics, Score, StageFailure, Verdict};

use super::Run;
use crate::failure::harness;

impl Run<'_> {
    pub(super) async fn record(&mut self) -> Result<(), StageFailure> {
        let verdict = self.verdict()?;
        let metrics: Option<Metrics> =
            optional(read_json(&self.dir().eval("final").join("metrics.json")))?;
        let fault: Option<Evidence> = optional(read_json(&self.evaluation_fault_path()))?;
        let score = self.outcome(&verdict, metrics, fault)?;
        let path = self.dir().score(&self.spec().edition);
        self.store.write(&path, &score).await?;
        // What counts lies in final_model/ and workspace/ now; weights of the attempts are not kept twice. What cannot be
        // tidied up must not take the score back.
        for attempt in 1..=self.store.record.attempts {
            self.tidy(attempt).await?;
        }
        Ok(())
    }

    fn outcome(
        &self,
        verdict: &Verdict,
        metrics: Option<Metrics>,
        fault: Option<Evidence>,
    ) -> Result<Score, StageFailure> {
        let (mark, reason) = match (verdict.mark, &metrics, fault) {
            (Some(mark), ..) => (Some(mark), verdict.reason.clone()),
            (None, Some(_), _) => (None, verdict.reason.clone()),
            (None, None, Some(fault)) => (Some(Mark::EvaluationFailed), fault.fact),
            (None, None, None) => {
                return Err(harness("neither metrics nor a fault are there; hint: run again"));
            }
        };
        let spec = self.spec();
        Ok(Score {
            edition: spec.edition.clone(),
            cell: self.store.record.cell.clone(),
            agent: spec.agent.name.clone(),
            model: spec.model.id.clone(),
            benchmark: spec.benchmark.id.clone(),
            repeat: spec.repeat,
            counts: if mark.is_some() { Counts::Base } else { Counts::Own },
            own_score: metrics.as_ref().map(|m| m.accuracy),
            own_stderr: metrics.as_ref().map(|m| m.stderr_clustered.unwrap_or(m.stderr)),
            mark,
            reason,
            submission: self.solve_record()?.submission,
        })
    }
}

/// A file that need not be there.
fn optional<T>(read: Result<T, FileError>) -> Result<Option<T>, StageFailure> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(e) if e.is_missing() => Ok(None),
        Err(e) => Err(harness(e)),
    }
}
