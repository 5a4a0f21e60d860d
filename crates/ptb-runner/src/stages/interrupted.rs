//! An attempt whose harness ended before it: what it left is told when the next one begins.

use std::fs;

use ptb_core::run::{AttemptEnd, End, StageFailure};
use ptb_judge::archive;

use super::solve::{END, RESERVE, is_paused};
use super::{Run, blocking, remove_dir};
use crate::trajectory;

impl Run<'_> {
    /// Closes the books of an attempt that has no end. Its use of the model API and of the machine was written down as it
    /// grew; its steps are told from what it printed.
    pub(super) async fn close_interrupted(&mut self, attempt: u32) -> Result<(), StageFailure> {
        let dir = self.dir().attempt(attempt);
        if attempt == 0 || dir.join(END).exists() || is_paused(&dir) {
            return Ok(());
        }
        let _ = fs::remove_file(dir.join(RESERVE));
        self.tell_trajectory(attempt).await?;
        let seconds = trajectory::consumed(&dir).last().map_or(0.0, |(_, consumed)| *consumed);
        let ended = AttemptEnd { end: End::Interrupted, code: None, seconds };
        self.store.write(&dir.join(END), &ended).await?;
        self.store.event("attempt", None, format!("{attempt} was interrupted"))
    }

    /// Once there is a score: keeps what an earlier attempt left in its workspace, without weights, and removes the rest.
    /// What the score rests on lies in `final_model` and `workspace` of the run.
    pub(super) async fn tidy(&mut self, attempt: u32) -> Result<(), StageFailure> {
        let dir = self.dir().attempt(attempt);
        let task = dir.join("task");
        if attempt < self.store.record.attempts && task.is_dir() {
            let (to, cancel) = (dir.join("workspace"), self.context.cancel.clone());
            let kept = blocking(move || archive(&task, &to, &|| cancel.is_cancelled())).await?;
            if let Err(e) = kept {
                return self.store.event("tidy", None, e.to_string());
            }
        }
        for name in ["task", "snapshots"] {
            if let Err(e) = remove_dir(&dir.join(name)) {
                self.store.event("tidy", None, e.message)?;
            }
        }
        Ok(())
    }
}
