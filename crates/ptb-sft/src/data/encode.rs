//! Text into tokens, with the positions that are learnt.
//!
//! Chats are written as Qwen3's template renders them (ChatML): `<|im_start|>role\ncontent<|im_end|>\n`. What is
//! learnt is encoded apart from what stands before it, as a generation begins after a prompt that was encoded
//! alone; neighbours of one kind are encoded together, as whoever renders the prompt does.

use std::path::Path;

use ptb_model::{Config, Links, ModelDir, Tokenizer};

use super::{Example, Record, Role};
use crate::error::SftError;
use crate::settings::TooLong;

const TURN: &str = "<|im_start|>";
pub(crate) const TURN_END: &str = "<|im_end|>";
const TEXT_END: &str = "<|endoftext|>";

/// Turns records into examples.
#[derive(Debug, Clone)]
pub struct Encoder {
    tokenizer: Tokenizer,
    vocabulary: usize,
    text_end: Option<u32>,
    chats: bool,
    too_long: TooLong,
    pub(super) max_length: usize,
}

/// A record in tokens.
pub(super) struct Encoded {
    /// None when it is left out as too long.
    pub(super) example: Option<Example>,
    pub(super) cut: bool,
    pub(super) chat: bool,
}

impl Encoder {
    /// An encoder for the base model in this directory. Examples have at most `max_length` tokens, and no more than
    /// the model has positions.
    ///
    /// # Errors
    /// A base that cannot be read, or a `max_length` below 2.
    pub fn new(base: &Path, max_length: usize, too_long: TooLong) -> Result<Self, SftError> {
        if max_length < 2 {
            let message =
                format!("a longest example of {max_length} tokens leaves nothing to learn");
            return Err(SftError::input(message, "give at least 2, see --max-length"));
        }
        // The base is the harness's or the user's own: links may lead to a cache.
        let base = ModelDir::open_with(base, Links::Follow)?;
        let (config, tokenizer) = (Config::read(&base)?, Tokenizer::read(&base)?);
        let text_end = tokenizer.id(TEXT_END).or(config.eos.first().copied());
        let chats = tokenizer.id(TURN).is_some() && tokenizer.id(TURN_END).is_some();
        let vocabulary = config.vocab_size;
        let max_length = max_length.min(config.max_positions);
        Ok(Self { tokenizer, vocabulary, text_end, chats, too_long, max_length })
    }

    /// The token that ends a turn of a chat.
    pub(crate) fn turn_end(&self) -> Option<u32> {
        self.tokenizer.id(TURN_END)
    }

    pub(super) fn encode(&self, record: &Record) -> Result<Encoded, String> {
        let mut parts = Parts::default();
        let mut end = self.text_end;
        match record {
            Record::Chat { messages } => {
                if !self.chats {
                    return Err(format!("the base's tokenizer has no {TURN}, which chats need"));
                }
                for message in messages {
                    let learn = message.role == Role::Assistant;
                    parts.add(&format!("{TURN}{}\n", message.role.name()), false);
                    parts.add(&format!("{}{TURN_END}", message.content), learn);
                    parts.add("\n", false);
                }
                end = None;
            }
            Record::Completion { prompt, completion } => {
                parts.add(prompt, false);
                parts.add(completion, true);
            }
            Record::Text { text } => parts.add(text, true),
        }
        let mut example = Example { ids: Vec::new(), learn: Vec::new() };
        for (text, learn) in &parts.0 {
            example.ids.extend(self.tokenizer.encode(text, false)?);
            example.learn.resize(example.ids.len(), *learn);
        }
        if let Some(end) = end {
            example.ids.push(end);
            example.learn.push(true);
        }
        if let Some(id) = example.ids.iter().find(|id| **id as usize >= self.vocabulary) {
            return Err(format!("token {id} of the base's tokenizer is not in its embedding"));
        }
        let chat = matches!(record, Record::Chat { .. });
        if example.counted() == 0 {
            return Err("there is nothing to learn in it".to_owned());
        }
        Ok(self.fit(example, chat))
    }

    fn fit(&self, mut example: Example, chat: bool) -> Encoded {
        if example.ids.len() <= self.max_length {
            return Encoded { example: Some(example), cut: false, chat };
        }
        example.ids.truncate(self.max_length);
        example.learn.truncate(self.max_length);
        let keep = self.too_long == TooLong::Cut && example.counted() > 0;
        Encoded { example: keep.then_some(example), cut: keep, chat }
    }
}

/// Texts one after the other, those of one kind joined.
#[derive(Default)]
struct Parts(Vec<(String, bool)>);

impl Parts {
    fn add(&mut self, text: &str, learn: bool) {
        match self.0.last_mut() {
            Some((last, kind)) if *kind == learn => last.push_str(text),
            _ => self.0.push((text.to_owned(), learn)),
        }
    }
}
