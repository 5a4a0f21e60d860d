//! Request bodies, as OpenAI's and vLLM's servers take them. Unknown fields are ignored, as there;
//! fields that would change the answer and are not implemented are refused.

use ptb_model::Sampling;
use serde::Deserialize;
use serde_json::{Map, Value};

/// Fields that completions and chats share.
#[derive(Deserialize)]
pub(super) struct Common {
    pub(super) max_tokens: Option<u64>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    top_k: Option<i64>,
    min_p: Option<f64>,
    repetition_penalty: Option<f64>,
    pub(super) seed: Option<i64>,
    stop: Option<Value>,
    #[serde(default)]
    pub(super) ignore_eos: bool,
    #[serde(default)]
    pub(super) stream: bool,
    pub(super) skip_special_tokens: Option<bool>,
    #[serde(default)]
    pub(super) return_token_ids: bool,
    n: Option<u64>,
    best_of: Option<u64>,
    frequency_penalty: Option<f64>,
    presence_penalty: Option<f64>,
    logit_bias: Option<Value>,
    logprobs: Option<Value>,
    echo: Option<bool>,
    suffix: Option<String>,
}

/// `POST /v1/completions`.
#[derive(Deserialize)]
pub(super) struct CompletionBody {
    pub(super) prompt: Value,
    pub(super) add_special_tokens: Option<bool>,
}

/// `POST /v1/chat/completions`.
#[derive(Deserialize)]
pub(super) struct ChatBody {
    pub(super) messages: Vec<Value>,
    #[serde(default)]
    pub(super) tools: Option<Vec<Value>>,
    #[serde(default)]
    pub(super) chat_template_kwargs: Option<Map<String, Value>>,
    pub(super) max_completion_tokens: Option<u64>,
}

/// A prompt as text or as token ids.
#[derive(Debug, PartialEq)]
pub(super) enum Prompt {
    Text(String),
    Tokens(Vec<u32>),
}

impl Prompt {
    pub(super) fn read(value: Value) -> Result<Self, String> {
        match value {
            Value::String(text) => Ok(Self::Text(text)),
            // A list of one prompt is a prompt.
            Value::Array(mut list)
                if matches!(list.as_slice(), [Value::String(_) | Value::Array(_)]) =>
            {
                list.pop().map_or_else(|| Err(String::new()), Self::read)
            }
            Value::Array(list) => {
                let ids: Option<Vec<u32>> =
                    list.iter().map(|v| v.as_u64().and_then(|n| u32::try_from(n).ok())).collect();
                ids.map(Self::Tokens)
                    .ok_or_else(|| "`prompt` must be one text or one list of token ids".to_owned())
            }
            _ => Err("`prompt` must be a text or a list of token ids".to_owned()),
        }
    }
}

impl Common {
    /// Refuses what is not implemented rather than answering something else.
    pub(super) fn check(&self) -> Result<(), String> {
        let set = |v: &Option<Value>| {
            v.as_ref().is_some_and(|v| !v.is_null() && *v != Value::Bool(false))
        };
        let refused = [
            ("n", self.n.is_some_and(|n| n != 1)),
            ("best_of", self.best_of.is_some_and(|n| n != 1)),
            ("frequency_penalty", self.frequency_penalty.is_some_and(|p| p != 0.0)),
            ("presence_penalty", self.presence_penalty.is_some_and(|p| p != 0.0)),
            (
                "logit_bias",
                self.logit_bias
                    .as_ref()
                    .is_some_and(|b| b.as_object().is_none_or(|o| !o.is_empty())),
            ),
            ("logprobs", set(&self.logprobs)),
            ("echo", self.echo == Some(true)),
            ("suffix", self.suffix.is_some()),
        ];
        match refused.iter().find(|(_, refused)| *refused) {
            Some((name, _)) => Err(format!("`{name}` is not supported by the built-in engine")),
            None => Ok(()),
        }
    }

    /// The request's own values over the model's.
    pub(super) fn sampling(&self, model: Sampling) -> Result<Sampling, String> {
        let top_k = match self.top_k {
            None => model.top_k,
            Some(-1) => 0,
            Some(k) => u32::try_from(k).map_err(|_| "`top_k` must be -1, 0 or above".to_owned())?,
        };
        let sampling = Sampling {
            temperature: self.temperature.unwrap_or(model.temperature),
            top_p: self.top_p.unwrap_or(model.top_p),
            top_k,
            min_p: self.min_p.unwrap_or(model.min_p),
            repetition_penalty: self.repetition_penalty.unwrap_or(model.repetition_penalty),
        };
        let within = [
            ("temperature", (0.0..=100.0).contains(&sampling.temperature), "from 0 to 100"),
            ("top_p", sampling.top_p > 0.0 && sampling.top_p <= 1.0, "above 0, at most 1"),
            ("min_p", (0.0..=1.0).contains(&sampling.min_p), "from 0 to 1"),
            (
                "repetition_penalty",
                sampling.repetition_penalty > 0.0 && sampling.repetition_penalty <= 100.0,
                "above 0, at most 100",
            ),
        ];
        match within.iter().find(|(_, ok, _)| !ok) {
            Some((name, _, range)) => Err(format!("`{name}` must be {range}")),
            None => Ok(sampling),
        }
    }

    /// At most 16 texts of at most 1,024 bytes.
    pub(super) fn stops(&self) -> Result<Vec<String>, String> {
        let list = match &self.stop {
            None | Some(Value::Null) => return Ok(Vec::new()),
            Some(Value::String(text)) => vec![text.clone()],
            Some(Value::Array(list)) => list
                .iter()
                .map(|v| v.as_str().map(str::to_owned))
                .collect::<Option<_>>()
                .ok_or("`stop` must be a text or a list of texts")?,
            Some(_) => return Err("`stop` must be a text or a list of texts".to_owned()),
        };
        let fine = list.len() <= 16 && list.iter().all(|s| !s.is_empty() && s.len() <= 1024);
        fine.then_some(list)
            .ok_or_else(|| "`stop` takes up to 16 texts of 1 to 1024 bytes".to_owned())
    }
}
