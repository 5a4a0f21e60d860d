//! From samples to what is sent: messages, rendered text, token ids.

use std::sync::Arc;

use ptb_core::files::sha256_hex;
use ptb_core::registry::PromptForm;
use ptb_model::Tokenizer;
use ptb_tasks::chat::{ChatTemplate, RenderRequest};
use ptb_tasks::data::{Dataset, Sample};
use ptb_tasks::prompt::{ChatMessage, FewShotPrompter, Prompter};
use rayon::prelude::*;
use serde_json::{Value, json};

use crate::error::EvalError;
use crate::prepare::{EvalSpec, SeedPlan};
use crate::shared::Shared;

/// The day that chat templates which ask for it are told: prompts must not change with the calendar.
const PROMPT_DATE: jiff::civil::Date = jiff::civil::date(2026, 1, 15);

/// One prompt, rendered.
#[derive(Debug)]
pub(crate) struct Asked {
    text: Shared<u8>,
    tokens: Shared<u32>,
    /// SHA-256 of the rendered text.
    pub(crate) sha256: String,
}

impl Asked {
    /// The rendered text.
    pub(crate) fn text(&self) -> String {
        // It was one before it was split.
        String::from_utf8(self.text.to_vec()).unwrap_or_default()
    }

    /// Its token ids.
    pub(crate) fn tokens(&self) -> Vec<u32> {
        self.tokens.to_vec()
    }

    /// Number of its tokens.
    pub(crate) fn len(&self) -> usize {
        self.tokens.len()
    }
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
        before: Option<&SeedPlan>,
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
        // No template gives the text that begins every sequence of the model.
        let text =
            |sample: &Sample| Ok(format!("{}{}", self.spec.chat.bos_token, prompter.text(sample)?));
        self.all(samples, text)
    }

    fn chats(&self, samples: &[Sample]) -> Result<Vec<Asked>, EvalError> {
        let prompter = Prompter::new(&self.spec.benchmark, self.dataset)?;
        let template = ChatTemplate::new(&self.spec.chat_template)?;
        let kwargs = serde_json::Map::new();
        let text = |sample: &Sample| {
            Ok(template.render(&RenderRequest {
                messages: &as_json(&prompter.messages(sample)?),
                tools: Some(&sample.tools[..]).filter(|tools| !tools.is_empty()),
                kwargs: &kwargs,
                bos_token: &self.spec.chat.bos_token,
                date: PROMPT_DATE,
                add_generation_prompt: true,
            })?)
        };
        self.all(samples, text)
    }

    /// Every sample's prompt, held as what it does not share with the first one's.
    fn all(
        &self,
        samples: &[Sample],
        text: impl Fn(&Sample) -> Result<String, EvalError> + Sync,
    ) -> Result<Vec<Asked>, EvalError> {
        let both = |sample: &Sample| {
            let text = text(sample)?;
            let tokens = encode(self.spec, self.tokenizer, &text)?;
            Ok::<_, EvalError>((text, tokens))
        };
        let Some(first) = samples.first() else { return Ok(Vec::new()) };
        let (base, base_tokens) = both(first)?;
        let (base, base_tokens) = (Arc::from(base.into_bytes()), Arc::from(base_tokens));
        let asked = |sample: &Sample| {
            let (text, tokens) = both(sample)?;
            Ok(Asked {
                sha256: sha256_hex(text.as_bytes()),
                text: Shared::new(text.as_bytes(), &base),
                tokens: Shared::new(&tokens, &base_tokens),
            })
        };
        samples.par_iter().map(asked).collect()
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
