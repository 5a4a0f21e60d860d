//! Evaluate: the submission's own score, outside the wall.

use std::path::PathBuf;
use std::sync::Arc;

use ptb_core::failure::FailureKind;
use ptb_core::run::{Evidence, Mark, StageFailure};
use ptb_eval::{
    EvalError, EvalSpec, GraderSpec, PATIENCE, Prepared, ScriptSpec, Told, evaluate_script,
};
use ptb_model::Links;

use super::{Run, blocking};
use crate::engine::{Served, Server};
use crate::failure::{harness, stopped};

impl Run<'_> {
    pub(super) async fn evaluate(&mut self) -> Result<(), StageFailure> {
        let skip = [Some(Mark::NotSubmitted), Some(Mark::EvaluationFailed)];
        if skip.contains(&self.verdict()?.mark) {
            return Ok(());
        }
        let fault = self.evaluation_fault_path();
        match self.final_evaluation().await {
            Ok(()) => {
                // A fault noted by an earlier try, which ended before this stage was done.
                let _ = std::fs::remove_file(&fault);
                Ok(())
            }
            Err(e) if e.kind == FailureKind::Agent => {
                let fact = e.message;
                let evidence = Evidence {
                    check: "evaluation".to_owned(),
                    fact,
                    mark: Some(Mark::EvaluationFailed),
                    place: "eval/final".to_owned(),
                };
                self.store.write(&fault, &evidence).await
            }
            Err(e) => Err(e),
        }
    }

    /// Where a fault of the model is noted.
    pub(super) fn evaluation_fault_path(&self) -> PathBuf {
        self.dir().evidence().join("evaluation.json")
    }

    /// The registry's own copy of `evaluate.py` evaluates, never the workspace's.
    async fn by_script(
        &self,
        model_dir: PathBuf,
        links: Links,
        base: PathBuf,
        out: PathBuf,
    ) -> Result<(), StageFailure> {
        let (benchmark, limit) = (self.spec().benchmark.clone(), self.spec().limit);
        let time = ScriptSpec::time_from_env().map_err(harness)?;
        let base = Some(base);
        let spec = ScriptSpec { benchmark, model_dir, links, base, limit, time, out };
        let (progress, slug) = (Arc::clone(&self.context.progress), self.store.record.slug.clone());
        let tell = move |told: Told| progress(&slug, told.into());
        evaluate_script(spec, &tell, &self.context.cancel).await.map(drop).map_err(failure)
    }

    async fn final_evaluation(&mut self) -> Result<(), StageFailure> {
        let spec = self.spec();
        let ((model, links), base) = (self.submitted()?, self.base()?);
        let out = self.dir().eval("final");
        if spec.benchmark.value.script().is_some() {
            return self.by_script(model, links, base, out).await;
        }
        let grading = spec.grader.clone().map(|choice| GraderSpec::from_env(choice, PATIENCE));
        let eval = EvalSpec {
            grading: grading.transpose().map_err(failure)?,
            benchmark: spec.benchmark.clone(),
            data: spec.data.clone(),
            chat_template: spec.chat_template.clone(),
            chat: spec.model.value.chat.clone(),
            asking: spec.agent.asking(),
            model_dir: model.clone(),
            links,
            tokenizer_dir: Some(base.clone()),
            seeds: spec.seeds.clone(),
            limit: spec.limit,
            max_tokens: spec.max_tokens,
            max_connections: spec.benchmark.value.evaluate.max_connections,
            out: out.clone(),
        };
        let prepared = blocking(move || Prepared::new(eval)).await?.map_err(failure)?;
        let log = out.join("server.log");
        let context = prepared.context_needed();
        let served = Served {
            model: &model,
            links,
            base: Some(&base),
            log: Some(&log),
            context,
            gpu_share: spec.gpu_share,
        };
        let mut server = Server::new(&spec.engine, &self.context.programs.ptb, served);
        let (progress, slug) = (Arc::clone(&self.context.progress), self.store.record.slug.clone());
        let tell = move |told: Told| progress(&slug, told.into());
        let result =
            prepared.without_samples().evaluate(&mut server, &tell, &self.context.cancel).await;
        server.stop().await;
        result.map(drop).map_err(failure)
    }
}

fn failure(e: EvalError) -> StageFailure {
    match e.kind() {
        FailureKind::Scheduler => stopped(),
        kind @ FailureKind::Agent => {
            StageFailure { kind, message: e.to_string(), retryable: false }
        }
        kind @ FailureKind::Provider => {
            StageFailure { kind, message: e.to_string(), retryable: true }
        }
        _ => harness(e),
    }
}
