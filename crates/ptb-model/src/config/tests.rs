//! Names, spellings, settings that are refused, and what is written anew.

use super::*;
use crate::random::RandomModel;
use serde_json::json;

fn read(file: &Value) -> Result<Config, String> {
    Config::from_json(file.to_string().as_bytes()).map_err(|e| e.fault.to_string())
}

#[test]
fn an_architecture_has_both_its_names() {
    let of = |text: &str| architecture(&serde_json::from_str(text).unwrap());
    for known in Architecture::ALL {
        let (class, kind) = (known.class(), known.family().model_type);
        for text in [
            format!(r#"{{"architectures": ["{class}"]}}"#),
            format!(r#"{{"model_type": "{kind}"}}"#),
            format!(r#"{{"architectures": ["{class}"], "model_type": "{kind}"}}"#),
        ] {
            assert_eq!(of(&text).unwrap(), known, "{text}");
        }
        assert!(knows(class));
    }
    for (text, told) in [
        (r#"{"architectures": ["Grand"], "model_type": "qwen3"}"#, "`Grand`"),
        (r#"{"architectures": ["Qwen3ForCausalLM"], "model_type": "grand"}"#, "`grand`"),
        (r#"{"architectures": ["Qwen3ForCausalLM"], "model_type": "llama"}"#, "expected `qwen3`"),
        (r#"{"model_type": "cuda out of\nmemory"}"#, r"`cuda out of\nmemory`"),
        ("{}", "names no architecture"),
    ] {
        let e = of(text).unwrap_err().to_string();
        assert!(e.contains(told), "{text}: {e}");
    }
}

/// As published: what all sizes of the family share is left out.
fn gemma() -> Value {
    json!({
        "architectures": ["Gemma3ForConditionalGeneration"],
        "boi_token_index": 255_999, "eoi_token_index": 256_000, "image_token_index": 262_144,
        "initializer_range": 0.02, "mm_tokens_per_image": 256, "model_type": "gemma3",
        "text_config": {
            "hidden_size": 2560, "intermediate_size": 10240, "model_type": "gemma3_text",
            "num_hidden_layers": 34, "rope_scaling": { "factor": 8.0, "rope_type": "linear" },
            "sliding_window": 1024,
        },
        "torch_dtype": "bfloat16", "transformers_version": "4.50.0.dev0",
        "vision_config": {
            "hidden_size": 1152, "image_size": 896, "intermediate_size": 4304,
            "model_type": "siglip_vision_model", "num_attention_heads": 16,
            "num_hidden_layers": 27, "patch_size": 14, "vision_use_head": false,
        },
    })
}

#[test]
fn a_published_gemma_is_what_its_class_makes_of_it() {
    let c = read(&gemma()).unwrap();
    assert_eq!((c.num_heads, c.num_kv_heads, c.head_dim), (8, 4, 256));
    assert_eq!((c.vocab_size, c.max_positions, c.query_scalar), (262_208, 131_072, 256.0));
    assert_eq!((c.tie_word_embeddings, c.eos.as_slice()), (true, &[1][..]));
    let full: Vec<usize> = (0..34).filter(|i| c.layers[*i].window.is_none()).collect();
    assert_eq!(full, [5, 11, 17, 23, 29]);
    let local = Rope { theta: 1e4, scaling: Scaling::None };
    assert_eq!(c.layers[0], Layer { rope: Some(local), window: Some(1024) });
    let far = Rope { theta: 1e6, scaling: Scaling::Linear { factor: 8.0 } };
    assert_eq!(c.layers[5], Layer { rope: Some(far), window: None });
    assert_eq!(c.embedding_scale(), Some(2560_f32.sqrt()));
    let written = c.to_json(Some("bfloat16"));
    assert_eq!(written["vision_config"]["hidden_size"], 1152);
    assert_eq!(written["vision_config"]["vision_use_head"], false);
    assert_eq!(written["mm_tokens_per_image"], 256);
    // Absent sections are absent again.
    let mut bare = gemma();
    bare.as_object_mut().unwrap().remove("vision_config");
    assert!(read(&bare).unwrap().to_json(None).get("vision_config").is_none());
}

#[test]
fn both_forms_of_rotary_settings_say_the_same() {
    let llama = |rope: Value| {
        let mut file = RandomModel { architecture: Architecture::Llama, ..RandomModel::mini(1) }
            .config()
            .to_json(None);
        let file = file.as_object_mut().unwrap();
        file.remove("rope_theta");
        file.remove("rope_scaling");
        file.extend(rope.as_object().unwrap().clone());
        read(&Value::Object(file.clone()))
    };
    let scaling = json!({
        "rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    });
    let mut new = scaling.clone();
    new["rope_theta"] = json!(5e5);
    let older = llama(json!({ "rope_theta": 5e5, "rope_scaling": scaling })).unwrap();
    let newer = llama(json!({ "rope_parameters": new })).unwrap();
    assert_eq!(older, newer);
    let said = |rope| llama(rope).unwrap_err();
    let e = said(json!({ "rope_scaling": scaling, "rope_parameters": { "rope_type": "default" } }));
    assert!(e.contains("as in `rope_parameters`"), "{e}");
    let e = said(json!({ "rope_scaling": { "rope_type": "llama3" } }));
    assert!(e.contains("`low_freq_factor` is absent"), "{e}");
    let e = said(json!({ "rope_parameters": { "full_attention": {} } }));
    assert!(e.contains("`rope_parameters`"), "{e}");

    let mut new = gemma();
    let text = new["text_config"].as_object_mut().unwrap();
    text.remove("rope_scaling");
    let kinds: Vec<&str> =
        (1..=34).map(|n| if n % 6 == 0 { "full_attention" } else { "sliding_attention" }).collect();
    text.insert("layer_types".into(), json!(kinds));
    text.insert(
        "rope_parameters".into(),
        json!({
            "full_attention": { "rope_type": "linear", "factor": 8.0, "rope_theta": 1e6 },
            "sliding_attention": { "rope_type": "default", "rope_theta": 1e4 },
        }),
    );
    assert_eq!(read(&new).unwrap(), read(&gemma()).unwrap());
}

#[test]
fn what_is_written_anew_reads_the_same() {
    let mut all: Vec<Config> = Architecture::ALL
        .map(|architecture| RandomModel { architecture, ..RandomModel::tiny(1) }.config())
        .into();
    all.push(read(&gemma()).unwrap());
    all.push(Config { eos: Vec::new(), ..all[1].clone() });
    all.push(Config { logit_cap: Some(30.0), query_scalar: 168.5, ..all[3].clone() });
    let one = |all: &Config, n: usize| Config { layers: vec![all.layers[n]; 4], ..all.clone() };
    all.extend([one(&all[2], 0), one(&all[2], 1), one(&all[3], 0), one(&all[3], 1)]);
    for config in all {
        let file = config.to_json(Some("float32"));
        assert_eq!(read(&file).unwrap(), config, "{file:#}");
    }
}

#[test]
fn settings_that_the_code_lacks_are_refused_by_name() {
    let of =
        |architecture| RandomModel { architecture, ..RandomModel::tiny(1) }.config().to_json(None);
    use Architecture::{Gemma3, Llama, SmolLm3};
    for (architecture, key, value, told) in [
        (Llama, "mlp_bias", json!(true), "`mlp_bias` is true, expected false"),
        (Llama, "attention_bias", json!(true), "`attention_bias` is true"),
        (Llama, "partial_rotary_factor", json!(0.5), "`partial_rotary_factor` is 0.5, expected 1"),
        (Llama, "rope_scaling", json!({"rope_type": "yarn"}), "`rope_type` is yarn"),
        (Llama, "rope_scaling", json!({"rope_type": "linear"}), "`factor` is absent"),
        (SmolLm3, "use_sliding_window", json!(true), "`use_sliding_window` is true"),
        (SmolLm3, "no_rope_layers", json!([1, 0]), "`no_rope_layers` is a list of 2"),
        (SmolLm3, "no_rope_layers", json!([1, 0, 2, 1]), "`no_rope_layers` is 2, expected 0 or 1"),
        (Gemma3, "hidden_activation", json!("silu"), "expected `gelu_pytorch_tanh`"),
        (Gemma3, "attn_logit_softcapping", json!(50.0), "`attn_logit_softcapping` is 50"),
        (Gemma3, "use_bidirectional_attention", json!(true), "`use_bidirectional_attention`"),
        (Gemma3, "layer_types", json!(["full_attention"]), "`layer_types` is a list of 1"),
        (Gemma3, "sliding_window", json!(0), "`sliding_window` is 0"),
        (Gemma3, "rope_parameters", json!({"rope_theta": 1e6}), "`rope_parameters` is one for all"),
        (Gemma3, "query_pre_attn_scalar", json!(0), "`query_pre_attn_scalar` is 0"),
    ] {
        let mut file = of(architecture);
        file[key] = value;
        let e = read(&file).unwrap_err();
        assert!(e.contains(told), "{architecture:?} {key}: {e}");
    }
    let mut file = gemma();
    file["text_config"]["final_logit_softcapping"] = json!(30.0);
    assert!(read(&file).unwrap_err().contains("`final_logit_softcapping` is 30"));
    file = gemma();
    file["tie_word_embeddings"] = json!(false);
    file["text_config"]["tie_word_embeddings"] = json!(true);
    assert!(read(&file).unwrap_err().contains("as in `text_config`"));
    file = gemma();
    file.as_object_mut().unwrap().remove("text_config");
    assert!(read(&file).unwrap_err().contains("`text_config` is absent"));
    file = gemma();
    file["text_config"]["hidden_size"] = json!("wide");
    assert!(read(&file).unwrap_err().contains("`text_config.hidden_size`"));
}

#[test]
fn training_is_for_plain_qwen3() {
    for architecture in Architecture::ALL {
        let config = RandomModel { architecture, ..RandomModel::tiny(1) }.config();
        let told = config.check_trainable().map_err(|e| e.to_string());
        match architecture {
            Architecture::Qwen3 => told.unwrap(),
            other => {
                let e = told.unwrap_err();
                assert!(
                    e.contains(&format!("has a {}", other.class())) && e.contains("hint:"),
                    "{e}"
                );
            }
        }
    }
}
