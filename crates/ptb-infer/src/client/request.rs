//! Requests and answers of the two interfaces.

use ptb_model::Sampling;
use serde_json::{Map, Value, json};

/// A prompt that is already rendered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prompt {
    /// Token ids: nothing is left to the server.
    Tokens(Vec<u32>),
    /// Text, for servers that take no ids.
    Text(String),
}

/// One completion to be made.
#[derive(Debug, Clone, PartialEq)]
pub struct CompletionRequest {
    /// What is continued.
    pub prompt: Prompt,
    /// Most tokens to generate.
    pub max_tokens: usize,
    /// How the next token is chosen; `None` leaves it to the server.
    pub sampling: Option<Sampling>,
    /// The request's own seed.
    pub seed: Option<u64>,
    /// Texts that end the answer and are not part of it.
    pub stop: Vec<String>,
    /// Go on after end-of-text tokens (for measurements).
    pub ignore_eos: bool,
}

impl CompletionRequest {
    /// A request with the server's own sampling.
    pub fn new(prompt: Prompt, max_tokens: usize) -> Self {
        Self { prompt, max_tokens, sampling: None, seed: None, stop: Vec::new(), ignore_eos: false }
    }

    pub(super) fn body(&self, model: Option<&str>) -> Value {
        let mut body = json!({ "max_tokens": self.max_tokens });
        match &self.prompt {
            Prompt::Tokens(ids) => body["prompt"] = json!(ids),
            // The rendered text already holds its special tokens.
            Prompt::Text(text) => {
                body["prompt"] = json!(text);
                body["add_special_tokens"] = json!(false);
            }
        }
        common(&mut body, model, self.sampling, self.seed, &self.stop);
        if self.ignore_eos {
            body["ignore_eos"] = json!(true);
        }
        body
    }
}

/// One chat to be answered, for servers that render by themselves.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ChatCall {
    /// OpenAI messages.
    pub messages: Vec<Value>,
    /// OpenAI tool definitions.
    pub tools: Vec<Value>,
    /// Further arguments of the server's template.
    pub kwargs: Map<String, Value>,
    /// Most tokens to generate; `None` leaves it to the server.
    pub max_tokens: Option<usize>,
    /// How the next token is chosen; `None` leaves it to the server.
    pub sampling: Option<Sampling>,
    /// The request's own seed.
    pub seed: Option<u64>,
    /// Texts that end the answer.
    pub stop: Vec<String>,
}

impl ChatCall {
    pub(super) fn body(&self, model: Option<&str>) -> Value {
        let mut body = json!({ "messages": self.messages });
        if !self.tools.is_empty() {
            body["tools"] = json!(self.tools);
        }
        if !self.kwargs.is_empty() {
            body["chat_template_kwargs"] = Value::Object(self.kwargs.clone());
        }
        if let Some(n) = self.max_tokens {
            body["max_tokens"] = json!(n);
        }
        common(&mut body, model, self.sampling, self.seed, &self.stop);
        body
    }
}

/// Fields that both interfaces share; what is left to the server is not sent.
fn common(
    body: &mut Value,
    model: Option<&str>,
    sampling: Option<Sampling>,
    seed: Option<u64>,
    stop: &[String],
) {
    if let Some(model) = model {
        body["model"] = json!(model);
    }
    if let Some(s) = sampling {
        body["temperature"] = json!(s.temperature);
        body["top_p"] = json!(s.top_p);
        body["top_k"] = json!(s.top_k);
        body["min_p"] = json!(s.min_p);
        body["repetition_penalty"] = json!(s.repetition_penalty);
    }
    if let Some(seed) = seed {
        body["seed"] = json!(seed);
    }
    if !stop.is_empty() {
        body["stop"] = json!(stop);
    }
}

/// Why an answer ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finished {
    /// The model ended it, or a stop text did.
    Stop,
    /// `max_tokens` were generated.
    Length,
    /// Something else, in the server's word.
    Other(String),
}

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Completion {
    /// Its text.
    pub text: String,
    /// Why it ended.
    pub finish: Finished,
    /// Tokens of the prompt, as the server counted.
    pub prompt_tokens: u64,
    /// Tokens generated.
    pub completion_tokens: u64,
    /// Ids of the generated tokens, where the server gives them (see [`super::Client::with_token_ids`]).
    pub token_ids: Option<Vec<u32>>,
    /// OpenAI tool calls of a chat, as they came.
    pub tool_calls: Vec<Value>,
}

impl Completion {
    pub(super) fn read<'a>(
        answer: &'a Value,
        text: impl Fn(&'a Value) -> Option<&'a str>,
    ) -> Result<Self, String> {
        let choice = &answer["choices"][0];
        let text = text(choice).ok_or("it has no choice with a text")?;
        let finish = match choice["finish_reason"].as_str() {
            Some("stop") => Finished::Stop,
            Some("length") => Finished::Length,
            other => Finished::Other(other.unwrap_or("unknown").to_owned()),
        };
        // Counts are added up later, and no real one comes near this bound.
        let count = |key: &str| answer["usage"][key].as_u64().unwrap_or(0).min(u32::MAX.into());
        let id = |id: &Value| id.as_u64().and_then(|id| u32::try_from(id).ok());
        Ok(Self {
            text: text.to_owned(),
            finish,
            token_ids: choice["token_ids"].as_array().and_then(|ids| ids.iter().map(id).collect()),
            prompt_tokens: count("prompt_tokens"),
            completion_tokens: count("completion_tokens"),
            tool_calls: choice["message"]["tool_calls"].as_array().cloned().unwrap_or_default(),
        })
    }
}
