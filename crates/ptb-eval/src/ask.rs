//! Asking an engine for one completion, with patience for what may pass.

use std::time::Duration;

use ptb_core::registry::PromptForm;
use ptb_core::seed::request_seed;
use ptb_infer::{ChatCall, Client, Completion, CompletionRequest, Finished, InferError, Prompt};
use tokio_util::sync::CancellationToken;

use crate::error::EvalError;
use crate::prepare::Prepared;
use crate::store::SampleRecord;

/// Tries of one request before the evaluation gives up.
const TRIES: u32 = 8;
/// Longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

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

impl Prepared {
    /// The answer to sample `index` under the run seed of state `state`, not yet graded.
    pub(crate) async fn ask(
        &self,
        client: &Client,
        manner: Manner,
        (state, index): (usize, usize),
        cancel: &CancellationToken,
    ) -> Result<SampleRecord, EvalError> {
        let (state, sample) = (&self.states[state], &self.dataset.samples[index]);
        let seed = request_seed(state.seed, &sample.id, 1, 0);
        let completion = self.retried(client, manner, index, seed, cancel).await?;
        Ok(SampleRecord {
            id: sample.id.clone(),
            key: state.keys.get(&sample.id).cloned().unwrap_or_default(),
            seed,
            truncated: completion.finish == Finished::Length,
            completion: completion.text,
            prompt_tokens: completion.prompt_tokens,
            completion_tokens: completion.completion_tokens,
            answer: None,
            score: None,
            error: None,
        })
    }

    async fn retried(
        &self,
        client: &Client,
        manner: Manner,
        index: usize,
        seed: u32,
        cancel: &CancellationToken,
    ) -> Result<Completion, EvalError> {
        let mut pause = Duration::from_millis(250);
        for attempt in 1.. {
            let answer = tokio::select! {
                () = cancel.cancelled() => return Err(EvalError::Cancelled),
                answer = self.once(client, manner, index, seed) => answer,
            };
            match answer {
                Err(EvalError::Engine(e)) if e.retryable() && attempt < TRIES => {
                    let wait = e.retry_after().unwrap_or(pause).min(LONGEST_PAUSE);
                    tracing::debug!("sample {index}: {e}; trying again in {wait:?}");
                    tokio::select! {
                        () = cancel.cancelled() => return Err(EvalError::Cancelled),
                        () = tokio::time::sleep(wait) => {}
                    }
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                other => return other,
            }
        }
        Err(EvalError::Cancelled)
    }

    async fn once(
        &self,
        client: &Client,
        manner: Manner,
        index: usize,
        seed: u32,
    ) -> Result<Completion, EvalError> {
        let asked = &self.asked[index];
        let stop = self.stop.clone();
        let max_tokens = self.spec.max_tokens as usize;
        let (sampling, seed) = (Some(self.sampling), Some(u64::from(seed)));
        if manner == Manner::Chat {
            let messages = asked.messages.clone();
            let max_tokens = Some(max_tokens);
            let call =
                ChatCall { messages, max_tokens, sampling, seed, stop, ..ChatCall::default() };
            return Ok(client.chat(&call).await?);
        }
        let tokens = self.encode(&asked.text)?;
        let room = self.context.saturating_sub(tokens.len());
        if room == 0 {
            return Err(EvalError::Model(format!(
                "its config.json allows {} tokens of context and the prompt has {}",
                self.context,
                tokens.len()
            )));
        }
        let prompt = match manner {
            Manner::Text => Prompt::Text(asked.text.clone()),
            _ => Prompt::Tokens(tokens),
        };
        let request = CompletionRequest {
            prompt,
            max_tokens: max_tokens.min(room),
            sampling,
            seed,
            stop,
            ignore_eos: false,
        };
        Ok(client.complete(&request).await?)
    }

    fn encode(&self, text: &str) -> Result<Vec<u32>, EvalError> {
        self.tokenizer.encode(text, false).map_err(|reason| EvalError::Tokenizer {
            dir: self.spec.tokenizer_dir.clone().unwrap_or_else(|| self.spec.model_dir.clone()),
            reason,
        })
    }

    /// Which manner a server takes: ids if it answers to them, else text.
    pub(crate) async fn manner(
        &self,
        client: &Client,
        chat_only: bool,
        ours: bool,
    ) -> Result<Manner, EvalError> {
        if chat_only {
            // Wrapped into a message, the text would be another prompt.
            return match self.spec.asking.prompt {
                PromptForm::Chat => Ok(Manner::Chat),
                PromptForm::FewShot => Err(EvalError::ChatOnly),
            };
        }
        if ours {
            return Ok(Manner::Tokens);
        }
        let ids = self.encode("1")?;
        match client.complete(&CompletionRequest::new(Prompt::Tokens(ids), 1)).await {
            Err(InferError::Rejected { status: 400 | 422, .. }) => Ok(Manner::Text),
            Err(e) => Err(e.into()),
            Ok(_) => Ok(Manner::Tokens),
        }
    }
}
