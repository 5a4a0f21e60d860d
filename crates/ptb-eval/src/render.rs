//! From samples to what is sent: messages, rendered text, token ids.

use std::sync::Arc;

use ptb_core::registry::PromptForm;
use ptb_model::Tokenizer;
use ptb_tasks::chat::{ChatTemplate, RenderRequest};
use ptb_tasks::data::{Dataset, Sample};
use ptb_tasks::prompt::{ChatMessage, FewShotPrompter, Prompter};
use rayon::prelude::*;
use serde_json::{Value, json};

use crate::error::EvalError;
use crate::prepare::{EvalSpec, SeedState};

/// The day that chat templates which ask for it are told: prompts must not change with the calendar.
const PROMPT_DATE: jiff::civil::Date = jiff::civil::date(2026, 1, 15);

/// One prompt, rendered.
#[derive(Debug)]
pub(crate) struct Asked {
    /// The chat messages; none where the prompt is plain text.
    pub(crate) messages: Vec<ChatMessage>,
    /// The rendered text.
    pub(crate) text: String,
    /// Its token ids.
    pub(crate) tokens: Vec<u32>,
}

/// What is asked, from samples to token ids.
pub(crate) struct Render<'a> {
    pub(crate) spec: &'a EvalSpec,
    pub(crate) dataset: &'a Dataset,
    pub(crate) tokenizer: &'a Tokenizer,
    /// Samples that are asked, from the first.
    pub(crate) count: usize,
}

impl Render<'_> {
    /// What a seed's samples are rendered to: what another seed's are, where these are the same.
    pub(crate) fn under(
        &self,
        samples: &Arc<[Sample]>,
        before: Option<&SeedState>,
    ) -> Result<Arc<[Asked]>, EvalError> {
        if let Some(same) = before.filter(|b| Arc::ptr_eq(&b.samples, samples)) {
            return Ok(Arc::clone(&same.asked));
        }
        let samples = &samples[..self.count];
        let asked = match self.spec.asking.prompt {
            PromptForm::Chat => self.chats(samples),
            PromptForm::FewShot => self.few_shot(samples),
        };
        Ok(asked?.into())
    }

    fn few_shot(&self, samples: &[Sample]) -> Result<Vec<Asked>, EvalError> {
        let prompter = FewShotPrompter::new(&self.spec.benchmark, self.dataset)?;
        let asked = |sample| {
            // No template gives the text that begins every sequence of the model.
            let text = format!("{}{}", self.spec.chat.bos_token, prompter.text(sample)?);
            self.asked(Vec::new(), text)
        };
        samples.par_iter().map(asked).collect()
    }

    fn chats(&self, samples: &[Sample]) -> Result<Vec<Asked>, EvalError> {
        let prompter = Prompter::new(&self.spec.benchmark, self.dataset)?;
        let template = ChatTemplate::new(&self.spec.chat_template)?;
        let kwargs = serde_json::Map::new();
        let asked = |sample: &Sample| {
            let messages = prompter.messages(sample)?;
            let text = template.render(&RenderRequest {
                messages: &as_json(&messages),
                tools: Some(&sample.tools[..]).filter(|tools| !tools.is_empty()),
                kwargs: &kwargs,
                bos_token: &self.spec.chat.bos_token,
                date: PROMPT_DATE,
                add_generation_prompt: true,
            })?;
            self.asked(messages, text)
        };
        samples.par_iter().map(asked).collect()
    }

    fn asked(&self, messages: Vec<ChatMessage>, text: String) -> Result<Asked, EvalError> {
        let tokens = encode(self.spec, self.tokenizer, &text)?;
        Ok(Asked { messages, text, tokens })
    }
}

/// Messages as chat templates and servers take them.
pub(crate) fn as_json(messages: &[ChatMessage]) -> Vec<Value> {
    messages.iter().map(|m| json!({"role": m.role, "content": m.content})).collect()
}

/// Token ids of a text that has its special tokens already.
pub(crate) fn encode(
    spec: &EvalSpec,
    tokenizer: &Tokenizer,
    text: &str,
) -> Result<Vec<u32>, EvalError> {
    tokenizer.encode(text, false).map_err(|reason| EvalError::Tokenizer {
        dir: spec.tokenizer_dir.clone().unwrap_or_else(|| spec.model_dir.clone()),
        reason,
    })
}
