//! One request on its way through the batch.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ptb_model::{Sampling, Tokenizer};
use tokio::sync::mpsc::UnboundedSender;

use crate::cache::Table;
use crate::sample::Sampler;
use crate::text::TextStream;

/// What is asked for; checked by [`super::Batcher::check`].
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) prompt: Arc<[u32]>,
    pub(crate) max_tokens: usize,
    pub(crate) sampling: Sampling,
    pub(crate) seed: u64,
    pub(crate) stop: Vec<String>,
    pub(crate) ignore_eos: bool,
    pub(crate) skip_special: bool,
    pub(crate) stream: bool,
}

/// A request with the place its events go to.
pub(crate) struct Job {
    pub(crate) request: Request,
    /// Unbounded, but for the request's own `max_tokens`.
    pub(crate) events: UnboundedSender<Event>,
    /// Set when the client is gone.
    pub(crate) cancelled: Arc<AtomicBool>,
}

/// Why a request cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the prompt is empty")]
    Empty,
    #[error("max_tokens must be at least 1")]
    NoTokens,
    #[error("token id {id} is outside of the model's vocabulary of {vocab}")]
    Token { id: u32, vocab: usize },
    #[error(
        "the request needs {wanted} positions ({prompt} of the prompt and {max_tokens} to generate), \
         and the model's context has {context}"
    )]
    Context { wanted: usize, prompt: usize, max_tokens: usize, context: usize },
    #[error(
        "the request needs {wanted} positions, and the server's cache has room for {room}; hint: raise \
         the cache's memory"
    )]
    Cache { wanted: usize, room: usize },
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finish {
    /// End-of-text token or stop string.
    Stop,
    /// `max_tokens` reached.
    Length,
}

/// Why an answer could not be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    #[error("the model's output is not a finite number; its weights are broken")]
    NotFinite,
}

/// What a row tells its client.
#[derive(Debug)]
pub(crate) enum Event {
    /// New text of a streamed answer.
    Text(String),
    /// The end: all tokens (the ending one included) and the whole text.
    Done {
        tokens: Vec<u32>,
        text: String,
        finish: Finish,
    },
    Failed(Failure),
}

/// A request in the batch.
pub(crate) struct Row {
    job: Job,
    pub(crate) table: Table,
    /// Prompt and answer.
    pub(crate) tokens: Vec<u32>,
    /// Positions whose keys and values are stored.
    pub(crate) computed: usize,
    sampler: Sampler,
    text: Option<TextStream>,
    tokenizer: Arc<Tokenizer>,
}

impl Row {
    pub(crate) fn new(job: Job, table: Table, vocab: usize, tokenizer: Arc<Tokenizer>) -> Self {
        let r = &job.request;
        // Text is needed on the way only for stop strings and streams.
        let text = (r.stream || !r.stop.is_empty())
            .then(|| TextStream::new(Arc::clone(&tokenizer), r.stop.clone(), r.skip_special));
        Self {
            sampler: Sampler::new(r.sampling, r.seed, &r.prompt, vocab),
            tokens: r.prompt.to_vec(),
            computed: 0,
            text,
            table,
            tokenizer,
            job,
        }
    }

    pub(crate) fn prompt(&self) -> Arc<[u32]> {
        Arc::clone(&self.job.request.prompt)
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.job.cancelled.load(Ordering::Relaxed) || self.job.events.is_closed()
    }

    /// Takes the next token from logits; true when the row has ended.
    pub(crate) fn advance(&mut self, logits: &[f32], eos: &[u32]) -> bool {
        let Ok(token) = self.sampler.next(logits) else {
            self.send(Event::Failed(Failure::NotFinite));
            return true;
        };
        self.tokens.push(token);
        let request = &self.job.request;
        let ended = !request.ignore_eos && eos.contains(&token);
        let full = self.tokens.len() - request.prompt.len() >= request.max_tokens;
        // The ending token is no part of the text.
        let stopped = !ended && self.text.as_mut().is_some_and(|t| t.push(token));
        if ended || stopped || full {
            self.finish(ended || stopped);
            return true;
        }
        if request.stream
            && let Some(text) = self.text.as_mut()
        {
            let new = text.take();
            if !new.is_empty() {
                self.send(Event::Text(new));
            }
        }
        false
    }

    fn finish(&mut self, mut stopped: bool) {
        let request = &self.job.request;
        let tokens = self.tokens[request.prompt.len()..].to_vec();
        let text = match self.text.as_mut() {
            None => {
                let end = if stopped { tokens.len() - 1 } else { tokens.len() };
                self.tokenizer.decode(&tokens[..end], request.skip_special)
            }
            Some(stream) => {
                let text = stream.finish().to_owned();
                // The last bytes may have completed a stop string.
                stopped |= stream.stopped();
                if request.stream {
                    let rest = stream.take();
                    self.send(Event::Text(rest));
                }
                text
            }
        };
        let finish = if stopped { Finish::Stop } else { Finish::Length };
        self.send(Event::Done { tokens, text, finish });
    }

    fn send(&self, event: Event) {
        // A client that has gone takes nothing; the row ends at the next step.
        let _ = self.job.events.send(event);
    }
}
