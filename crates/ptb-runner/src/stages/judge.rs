//! Judge: the workspace is kept, facts are gathered, the policy decides.

use ptb_core::run::{Evidence, StageFailure, Verdict};
use ptb_judge::{ArchiveError, Submitted, archive, decide, gather};

use super::{Run, SolveRecord, blocking, remove_dir};
use crate::failure::{harness, stopped};

impl Run<'_> {
    pub(super) async fn judge(&mut self) -> Result<(), StageFailure> {
        let task = self.dir().attempt(self.store.record.attempts).join("task");
        if task.is_dir() {
            let to = self.dir().workspace();
            let cancel = self.context.cancel.clone();
            let kept = blocking(move || archive(&task, &to, &|| cancel.is_cancelled())).await?;
            let manifest = kept.map_err(|e| match e {
                ArchiveError::Stopped => stopped(),
                e @ ArchiveError::File(_) => harness(e),
            })?;
            self.store.write(&self.dir().path().join("manifest.json"), &manifest).await?;
        }
        let evidence = self.evidence().await?;
        remove_dir(&self.dir().evidence())?;
        for (i, fact) in evidence.iter().enumerate() {
            let path = self.dir().evidence().join(format!("{:02}-{}.json", i + 1, fact.check));
            self.store.write(&path, fact).await?;
        }
        let verdict = decide(&evidence, self.spec().agent.is_baseline());
        self.store.write(&self.verdict_path(), &verdict).await
    }

    async fn evidence(&self) -> Result<Vec<Evidence>, StageFailure> {
        let SolveRecord { submission, end, .. } = self.solve_record()?;
        let end = end.to_string();
        let (dir, _) = self.submitted()?;
        let (base, instruct) = (self.base()?, self.instruct());
        let architecture = self.spec().model.value.architecture.clone();
        let gathered = blocking(move || {
            gather(&Submitted {
                end: &end,
                submission: &submission,
                dir: &dir,
                base: &base,
                instruct: instruct.as_deref(),
                architecture: &architecture,
            })
        });
        gathered.await?.map_err(harness)
    }

    fn verdict_path(&self) -> std::path::PathBuf {
        self.dir().verdicts().join("facts.json")
    }

    /// The verdict that judging left.
    pub(super) fn verdict(&self) -> Result<Verdict, StageFailure> {
        ptb_core::files::read_json(&self.verdict_path()).map_err(harness)
    }
}
