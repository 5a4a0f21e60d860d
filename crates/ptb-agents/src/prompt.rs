//! What the agent is told.

use minijinja::{Environment, UndefinedBehavior, context};
use ptb_core::cell::{AgentAction, RunSpec};
use thiserror::Error;

use crate::Places;

const TEMPLATE: &str = include_str!("prompt.md.jinja");

/// The prompt's template is faulty (only a user's own can be).
#[derive(Debug, Error)]
#[error(
    "the prompt template does not render: {0}; hint: it may use model_id, base_model, benchmark, task, directory, hours, gpus, max_tokens, feedback, script"
)]
pub struct PromptError(String);

/// The text of the task for a run, from the built-in template or the experiment's own.
pub fn prompt(spec: &RunSpec, places: &Places) -> Result<String, PromptError> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let text = environment
        .render_str(
            spec.prompt.as_deref().unwrap_or(TEMPLATE),
            context! {
                model_id => &spec.model.value.base.hub,
                base_model => &places.base_model,
                benchmark => &spec.benchmark.value.name,
                task => spec.benchmark.value.task.trim(),
                directory => &places.task,
                hours => spec.budget.hours,
                gpus => spec.budget.gpus,
                max_tokens => spec.max_tokens,
                feedback => spec.feedback.word(),
                script => spec.benchmark.value.script().is_some(),
            },
        )
        .map_err(|e| PromptError(format!("{e:#}")))?;
    let note = match &spec.agent.action {
        AgentAction::Command(agent) => agent.value.note.as_deref(),
        _ => None,
    };
    Ok(note.map_or(text.clone(), |note| format!("{}\n\n{}\n", text.trim_end(), note.trim())))
}
