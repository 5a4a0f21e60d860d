//! Names that users type: which are allowed, and which known one was probably meant.

/// Whether `name` may be an id (benchmark, model, agent, edition, experiment): 1 to 80 of ASCII lower-case
/// letters, digits, `.`, `_`, `-`, starting with a letter or digit. Ids become folder names.
pub fn is_id(name: &str) -> bool {
    let allowed =
        |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
    (1..=80).contains(&name.len())
        && name.chars().all(allowed)
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
}

/// Turns any text into an id-like slug: other characters become `-`, runs are merged.
pub fn slug(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars().map(|c| c.to_ascii_lowercase()) {
        let c = if c.is_ascii_alphanumeric() || matches!(c, '.' | '_') { c } else { '-' };
        if c != '-' || !out.ends_with('-') {
            out.push(c);
        }
    }
    let out = out.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    if out.is_empty() { "x".to_owned() } else { out.chars().take(80).collect() }
}

/// The known name nearest to `word`, if one is near enough to be what was meant.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|k| (strsim::jaro_winkler(&word.to_lowercase(), &k.to_lowercase()), k))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, k)| k)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_folder_safe() {
        for good in ["gsm8k", "qwen3-1.7b", "a", "v1.2"] {
            assert!(is_id(good), "{good}");
        }
        for bad in ["", ".", "..", "../x", "A", "a/b", "-a", "a b", "é", &"a".repeat(81)] {
            assert!(!is_id(bad), "{bad}");
        }
    }

    #[test]
    fn any_text_makes_a_slug_that_is_an_id() {
        for text in
            ["", "claude/claude-opus-4-6", "../../etc", "Ünïcode  agent", "-", &"x-".repeat(90)]
        {
            assert!(is_id(&slug(text)), "{text:?} -> {:?}", slug(text));
        }
    }

    #[test]
    fn the_nearest_name_is_offered_only_when_near() {
        assert_eq!(nearest("gsm8", ["gsm8k", "aime2025"]), Some("gsm8k"));
        assert_eq!(nearest("zzz", ["gsm8k", "aime2025"]), None);
    }
}
