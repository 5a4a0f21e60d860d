//! `models/<id>.toml`: a base model, its instruct counterpart, architecture facts and chat template.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A base model that agents start from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Name for people.
    pub name: String,
    /// The pretrained checkpoint.
    pub base: Weights,
    /// The official instruct counterpart: a baseline and a fingerprint, never shown to agents.
    #[serde(default)]
    pub instruct: Option<Weights>,
    /// Facts that a submission must share.
    pub architecture: Architecture,
    /// How conversations are rendered.
    pub chat: Chat,
}

/// Where weights are: on the hub (read from the local cache) or in a local folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Weights {
    /// Hub id, also the model's public name.
    pub hub: String,
    /// Pinned commit; absent means the cache's `main`.
    #[serde(default)]
    pub revision: Option<String>,
    /// A local folder in Hugging Face layout; wins over the hub. Relative to the registry folder
    /// (built-in files: to that of the checkout which the program was built in).
    #[serde(default)]
    pub path: Option<PathBuf>,
}

/// What config.json must say of a submission. Values that are absent here are not compared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Architecture {
    /// Class in `architectures`, for example `Qwen3ForCausalLM`.
    pub class: String,
    /// Further classes that are the same network (for example a text-only export).
    #[serde(default)]
    pub aliases: Vec<String>,
    /// Hidden layers.
    pub layers: usize,
    /// Hidden size.
    pub hidden: usize,
    /// Inner size of the feed-forward block.
    pub intermediate: usize,
    /// Attention heads.
    pub heads: usize,
    /// Key-value heads.
    pub kv_heads: usize,
    /// Size of a head.
    pub head_dim: usize,
    /// Rows of the embedding.
    pub vocab: usize,
    /// Whether input and output embeddings are one tensor.
    pub tied: bool,
    /// Longest context, in tokens.
    pub context: usize,
    /// Parameters, counted once where tied.
    pub parameters: u64,
}

/// How conversations are rendered for the model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chat {
    /// Id of the chat template in the registry.
    pub template: String,
    /// Id of the one for conversations with tools, where that is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools_template: Option<String>,
    /// The text that begins every sequence, where the template asks for it (`bos_token`).
    #[serde(default)]
    pub bos_token: String,
    /// How the model's calls of functions look in its text.
    #[serde(default, skip_serializing_if = "ToolForm::is_default")]
    pub tool_calls: ToolForm,
}

impl Chat {
    /// Id of the chat template for conversations with or without tools.
    pub fn template_for(&self, tools: bool) -> &str {
        self.tools_template.as_deref().filter(|_| tools).unwrap_or(&self.template)
    }
}

/// How calls of functions look in a model's text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ToolForm {
    /// `<tool_call>{"name": ..., "arguments": {...}}</tool_call>`, one element a call.
    #[default]
    Hermes,
    /// As `hermes`; without such an element, the Python calls of a fenced block labelled `tool_code`.
    Gemma,
}

impl ToolForm {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}
