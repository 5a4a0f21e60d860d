//! What the tests share.

use ptb_core::registry::Architecture;
use ptb_model::RandomModel;

/// What a registry file would say of a random model's architecture.
pub(crate) fn architecture(model: &RandomModel) -> Architecture {
    let config = model.config();
    Architecture {
        class: "Qwen3ForCausalLM".into(),
        aliases: vec![],
        layers: config.num_layers,
        hidden: config.hidden_size,
        intermediate: config.intermediate_size,
        heads: config.num_heads,
        kv_heads: config.num_kv_heads,
        head_dim: config.head_dim,
        vocab: config.vocab_size,
        tied: true,
        context: 1024,
        parameters: 0,
    }
}
