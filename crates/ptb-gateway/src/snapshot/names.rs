//! Which files of a directory make a model.

/// Configuration, tokenizer and processor files that are taken by their whole name.
const NAMES: [&str; 13] = [
    "config.json",
    "generation_config.json",
    "model.safetensors.index.json",
    "vocab.json",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "preprocessor_config.json",
    "processor_config.json",
    "image_processor_config.json",
    // Never used: judges note what they say.
    "chat_template.jinja",
    "chat_template.json",
    "tokenizer.model",
];

/// Whether a file of this name is part of a model. Code and pickles are not: nothing in a submission is
/// run. Templates are taken to be looked at: the prompt's form is the base model's.
pub(super) fn is_model_file(name: &str) -> bool {
    let enclosed = |head: &str, tail: &str| {
        name.len() > head.len() + tail.len() && name.starts_with(head) && name.ends_with(tail)
    };
    NAMES.contains(&name)
        || name == "tokenizer.json"
        || enclosed("tokenizer_", ".json")
        || (enclosed("", ".safetensors") && !name.starts_with('.'))
}

/// Hostile text made fit for one line of a terminal or a log: controls escaped, length bounded.
pub(crate) fn printable(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if out.len() >= 200 {
            out.push('…');
            break;
        }
        // Bidirectional controls reorder what a terminal shows.
        if c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_data_files_and_nothing_else() {
        let taken = [
            "config.json",
            "generation_config.json",
            "model.safetensors",
            "tokenizer.json",
            "model-00001-of-00002.safetensors",
            "model.safetensors.index.json",
            "merges.txt",
            "tokenizer_config.json",
            "vocab.json",
            "preprocessor_config.json",
            "chat_template.jinja",
            "chat_template.json",
            "tokenizer.model",
        ];
        let left = [
            "modeling_x.py",
            "pytorch_model.bin",
            "training_args.bin",
            "README.md",
            ".safetensors",
            ".hidden.safetensors",
            "config.json.bak",
            "Config.json",
            "tokenizer_.json",
            "optimizer.pt",
            "",
        ];
        for name in taken {
            assert!(is_model_file(name), "{name}");
        }
        // `tokenizer_.json` has nothing between its ends.
        for name in left {
            assert!(!is_model_file(name), "{name}");
        }
    }

    #[test]
    fn names_are_printed_safely() {
        assert_eq!(printable("a\u{1b}[31m\n\u{202e}b"), "a\\u{1b}[31m\\u{a}\\u{202e}b");
        assert!(printable(&"x".repeat(10_000)).len() < 300);
    }
}
