//! How a baseline's model is asked, where that differs from how a submission is: form of prompt, sampling.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How a model is asked beyond what the benchmark and the model's own files say. The default is how every
/// submission is asked; only baselines may have another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Asking {
    /// The prompt's form.
    pub prompt: PromptForm,
    /// Sampling in place of the model's own.
    pub sampling: SamplingChoice,
}

/// What a model is given to go on with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PromptForm {
    /// The benchmark's chat messages, rendered with the base model's chat template.
    #[default]
    Chat,
    /// The benchmark's `[few_shot]` text: solved examples and the question, without a chat template.
    FewShot,
}

impl PromptForm {
    /// Its word in files.
    pub fn word(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::FewShot => "few-shot",
        }
    }
}

/// Sampling parameters in place of those of a model's `generation_config.json`; what is absent stays as that
/// file says. Meaning and ranges are those of Hugging Face `transformers`, class `GenerationConfig`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SamplingChoice {
    /// Softmax temperature, 0 (greedy) to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// Nucleus: the smallest set of tokens whose probability reaches this, above 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    /// How many of the likeliest tokens are kept; 0 keeps all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u32>,
    /// Tokens below this share of the likeliest token's probability are dropped, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_p: Option<f64>,
    /// Divides (or multiplies, when negative) the logits of tokens already seen, above 0 to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repetition_penalty: Option<f64>,
}

impl SamplingChoice {
    /// The parameters that are set, by name, in a fixed order.
    fn named(&self) -> impl Iterator<Item = (&'static str, f64)> {
        let all = [
            ("temperature", self.temperature),
            ("top_p", self.top_p),
            ("top_k", self.top_k.map(f64::from)),
            ("min_p", self.min_p),
            ("repetition_penalty", self.repetition_penalty),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value?)))
    }

    pub(super) fn fault(&self) -> Option<(&'static str, String, String)> {
        if *self == Self::default() {
            let hint = "set `temperature`, `top_p`, ..., or leave the table out".to_owned();
            return Some(("[sampling]", "[sampling] sets nothing".to_owned(), hint));
        }
        self.named().find_map(|(name, value)| {
            // Comparisons are written so that NaN fails them.
            let (fits, range) = match name {
                "temperature" => ((0.0..=100.0).contains(&value), "a number from 0 to 100"),
                "top_p" => (value > 0.0 && value <= 1.0, "a number above 0 to 1"),
                "min_p" => ((0.0..=1.0).contains(&value), "a number from 0 to 1"),
                "repetition_penalty" => (value > 0.0 && value <= 100.0, "a number above 0 to 100"),
                _ => (true, ""),
            };
            (!fits).then(|| {
                (name, format!("{name} = {value} is out of range"), format!("give {range}"))
            })
        })
    }
}

/// What differs from how a submission is asked, for people: `few-shot prompt, temperature 0.6, top_p 0.95`.
/// Nothing for the default.
impl fmt::Display for Asking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prompt = match self.prompt {
            PromptForm::Chat => None,
            PromptForm::FewShot => Some("few-shot prompt".to_owned()),
        };
        let sampling = self.sampling.named().map(|(name, value)| format!("{name} {value}"));
        f.write_str(&prompt.into_iter().chain(sampling).collect::<Vec<_>>().join(", "))
    }
}
