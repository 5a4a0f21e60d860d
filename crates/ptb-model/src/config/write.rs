//! `config.json` written anew: what was checked, and nothing else of what the file held.
//!
//! The form is that of `transformers` 4 (`rope_theta`, `rope_scaling`, `rope_local_base_freq`), which version 5 and
//! the servers read as well.

use serde_json::{Map, Value, json};

use super::family::Pattern;
use super::{Config, Layer, Rope, Scaling};

pub(super) fn write(c: &Config, dtype: Option<&str>) -> Value {
    let family = c.architecture.family();
    let mut text = text(c);
    let mut outer = json!({
        "architectures": [family.class],
        "model_type": family.model_type,
        "tie_word_embeddings": c.tie_word_embeddings,
        // Null, where a class has one of its own for an absent key.
        "eos_token_id": (!c.eos.is_empty()).then_some(&c.eos),
    });
    if let Some(dtype) = dtype {
        outer["torch_dtype"] = json!(dtype);
    }
    let mut file = Map::new();
    if let Value::Object(outer) = outer {
        file.extend(outer);
    }
    let Some(section) = family.section else {
        file.extend(text);
        return Value::Object(file);
    };
    for key in ["tie_word_embeddings", "eos_token_id"] {
        text.insert(key.to_owned(), file[key].clone());
    }
    text.insert("model_type".to_owned(), json!(section));
    file.insert("text_config".to_owned(), Value::Object(text));
    if let Some(vision) = &c.vision {
        vision.write(&mut file);
    }
    Value::Object(file)
}

/// The text's settings, whether they are the file or its section.
fn text(c: &Config) -> Map<String, Value> {
    let family = c.architecture.family();
    let mut text = json!({
        "hidden_size": c.hidden_size,
        "intermediate_size": c.intermediate_size,
        "num_hidden_layers": c.num_layers,
        "num_attention_heads": c.num_heads,
        "num_key_value_heads": c.num_kv_heads,
        "head_dim": c.head_dim,
        "max_position_embeddings": c.max_positions,
        "rms_norm_eps": c.rms_norm_eps,
        "attention_bias": false,
        "attention_dropout": 0.0,
        "vocab_size": c.vocab_size,
        "use_cache": true,
    });
    text[family.activation_key] = json!(family.activation.name());
    // Where no layer says which base, any serves.
    let any = Rope { theta: family.absent.rope_theta, scaling: Scaling::None };
    let turned = c.layers.iter().filter(|layer| layer.window.is_none()).find_map(|l| l.rope);
    let rope = turned.unwrap_or(any);
    text["rope_theta"] = json!(rope.theta);
    if let Some(scaling) = scaling(rope.scaling) {
        text["rope_scaling"] = scaling;
    }
    match family.pattern {
        Pattern::Same => text["use_sliding_window"] = json!(false),
        Pattern::NoRope => {
            let turned: Vec<u8> = c.layers.iter().map(|l| u8::from(l.rope.is_some())).collect();
            text["no_rope_layers"] = json!(turned);
            text["use_sliding_window"] = json!(false);
            // Ids of the class's own may lie outside of a small vocabulary, and it then refuses to be made.
            text["pad_token_id"] = Value::Null;
            text["bos_token_id"] = Value::Null;
        }
        Pattern::Window => {
            text["layer_types"] = c.layers.iter().map(kind).collect();
            let local = c.layers.iter().find(|l| l.window.is_some());
            if let Some(Layer { rope, window }) = local {
                text["sliding_window"] = json!(window);
                text["rope_local_base_freq"] = json!(rope.unwrap_or(any).theta);
            }
            text["query_pre_attn_scalar"] = whole(c.query_scalar);
            text["final_logit_softcapping"] = json!(c.logit_cap);
            text["attn_logit_softcapping"] = Value::Null;
        }
    }
    match text {
        Value::Object(text) => text,
        _ => Map::new(),
    }
}

fn kind(layer: &Layer) -> Value {
    json!(if layer.window.is_some() { "sliding_attention" } else { "full_attention" })
}

/// Whole numbers as such: some classes take no other.
fn whole(x: f64) -> Value {
    if x.fract() == 0.0 && x < 1e9 { json!(x as u64) } else { json!(x) }
}

fn scaling(scaling: Scaling) -> Option<Value> {
    match scaling {
        Scaling::None => None,
        Scaling::Linear { factor } => Some(json!({ "rope_type": "linear", "factor": factor })),
        Scaling::Llama3 { factor, low, high, original } => Some(json!({
            "rope_type": "llama3",
            "factor": factor,
            "low_freq_factor": low,
            "high_freq_factor": high,
            "original_max_position_embeddings": whole(original),
        })),
    }
}
