//! Asking an engine for one completion.

use std::time::Duration;

use ptb_core::registry::PromptForm;
use ptb_infer::{
    ChatCall, Client, Completion, CompletionRequest, Finished, InferError, Prompt, Running,
};
use ptb_llm::Level;
use ptb_tasks::data::Sample;
use ptb_tasks::score::ToolCall;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::error::EvalError;
use crate::prepare::Plan;
use crate::render::{Asked, as_json};
use crate::silence::Silence;
use crate::store::SampleRecord;

/// Longest time that a question for one token may take: some servers load a model when they are first asked.
const PROBE_TIME: Duration = Duration::from_secs(300);

/// How an engine wants to be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Token ids.
    Tokens,
    /// The rendered text, for servers that take no ids.
    Text,
    /// Messages, for servers that only chat.
    Chat,
}

/// What is asked, and how, in one pass.
#[derive(Debug)]
pub(crate) struct Asking<'a> {
    pub(crate) engine: &'a Running,
    pub(crate) client: Client,
    pub(crate) manner: Manner,
    /// New tokens allowed per completion.
    pub(crate) max_tokens: u32,
    pub(crate) level: &'a Level,
    pub(crate) silence: Silence<'a>,
    pub(crate) cancel: &'a CancellationToken,
}

impl Plan {
    /// The answer to sample `index` under the run seed at `seed`, not yet graded.
    pub(crate) async fn ask(
        &self,
        asking: &Asking<'_>,
        (seed, index): (usize, usize),
    ) -> Result<SampleRecord, EvalError> {
        let of_seed = &self.seeds[seed];
        let (sample, asked) = (&of_seed.samples[index], &of_seed.asked[index]);
        let seed = of_seed.request_seed(sample);
        let request = || self.once(asking, (sample, asked), seed);
        let completion = asking.patiently(None, request).await?;
        let reduced = asking.max_tokens < self.spec.max_tokens;
        Ok(SampleRecord {
            id: sample.id.clone(),
            key: self.key(of_seed, (sample, asked)),
            seed,
            truncated: completion.finish == Finished::Length,
            reduced_to: reduced.then_some(asking.max_tokens),
            completion: completion.text,
            tool_calls: calls(&completion.tool_calls),
            prompt_tokens: completion.prompt_tokens,
            completion_tokens: completion.completion_tokens,
            answer: None,
            score: None,
            error: None,
            grades: Vec::new(),
            rows: Vec::new(),
        })
    }

    /// The messages of a chat that asks a sample.
    fn messages(&self, sample: &Sample) -> Result<Vec<Value>, EvalError> {
        match &self.prompter {
            Some(prompter) => Ok(as_json(&prompter.messages(sample)?)),
            None => Err(EvalError::ChatOnly),
        }
    }

    async fn once(
        &self,
        asking: &Asking<'_>,
        (sample, asked): (&Sample, &Asked),
        seed: u32,
    ) -> Result<Completion, EvalError> {
        let stop = self.stop.clone();
        let max_tokens = asking.max_tokens as usize;
        let (sampling, seed) = (Some(self.sampling), Some(u64::from(seed)));
        if asking.manner == Manner::Chat {
            let (messages, tools) = (self.messages(sample)?, sample.tools.clone());
            let (max_tokens, kwargs) = (Some(max_tokens), serde_json::Map::new());
            let call = ChatCall { messages, tools, kwargs, max_tokens, sampling, seed, stop };
            return Ok(asking.client.chat(&call).await?);
        }
        let room = self.context.saturating_sub(asked.len());
        if room == 0 {
            return Err(EvalError::Model(format!(
                "its config.json allows {} tokens of context and the prompt has {}",
                self.context,
                asked.len()
            )));
        }
        let prompt = match asking.manner {
            Manner::Text => Prompt::Text(asked.text()),
            _ => Prompt::Tokens(asked.tokens()),
        };
        let request = CompletionRequest {
            prompt,
            max_tokens: max_tokens.min(room),
            sampling,
            seed,
            stop,
            ignore_eos: false,
        };
        Ok(asking.client.complete(&request).await?)
    }

    /// Which manner a server takes: ids if it answers to them, else text.
    pub(crate) async fn manner(&self, asking: &Asking<'_>) -> Result<Manner, EvalError> {
        if asking.engine.chat_only() {
            // Wrapped into a message, the text would be another prompt.
            return match self.spec.asking.prompt {
                PromptForm::Chat => Ok(Manner::Chat),
                PromptForm::FewShot => Err(EvalError::ChatOnly),
            };
        }
        if asking.engine.pid().is_some() {
            return Ok(Manner::Tokens);
        }
        let probe = CompletionRequest::new(Prompt::Tokens(self.probe.clone()), 1);
        let asked = || async { Ok(asking.client.complete(&probe).await?) };
        match asking.patiently(Some(PROBE_TIME), asked).await {
            Err(EvalError::Engine(InferError::Rejected { status: 400 | 422, .. })) => {
                Ok(Manner::Text)
            }
            Err(e) => Err(e),
            Ok(_) => Ok(Manner::Tokens),
        }
    }
}

/// OpenAI's tool calls; none where the server read none, so that they are looked for in the text.
fn calls(all: &[Value]) -> Option<Vec<ToolCall>> {
    let call = |value: &Value| ToolCall {
        name: value["function"]["name"].as_str().unwrap_or_default().to_owned(),
        arguments: value["function"]["arguments"].clone(),
    };
    (!all.is_empty()).then(|| all.iter().map(call).collect())
}
