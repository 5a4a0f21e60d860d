//! When two names mean one model.

use crate::price::without_date;

/// Whether `asked` means the model `allowed`.
///
/// It does when the names are equal, or when exactly one of them has a date at its end (`-2025-08-07`, `-20250807`) or
/// `-latest`, and they are equal without it: `gpt-5-mini-2025-08-07` means `gpt-5-mini`, and `claude-haiku-4-5` means
/// `claude-haiku-4-5-20251001`. Two different dates are two models. Case matters, and nothing else is overlooked: no
/// provider's name in front, no `[1m]`, `:online` or `-fast` behind.
pub fn same_model(asked: &str, allowed: &str) -> bool {
    let bare = |name| without_date(name).or_else(|| name.strip_suffix("-latest"));
    asked == allowed || bare(asked) == Some(allowed) || bare(allowed) == Some(asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_overlooked_and_nothing_else() {
        for (asked, allowed, want) in [
            ("gpt-5-mini", "gpt-5-mini", true),
            ("gpt-5-mini-2025-08-07", "gpt-5-mini", true),
            ("gpt-5-mini", "gpt-5-mini-2025-08-07", true),
            ("claude-3-5-haiku-latest", "claude-3-5-haiku", true),
            ("claude-haiku-4-5-20251001", "claude-haiku-4-5", true),
            ("gpt-5-mini-2025-08-07", "gpt-5-mini-2025-09-01", false),
            ("claude-3-5-haiku-latest", "claude-3-5-haiku-20241022", false),
            ("gpt-5", "gpt-5-mini", false),
            ("gpt-5-mini", "gpt-5", false),
            ("gpt-5-mini:online", "gpt-5-mini", false),
            ("GPT-5", "gpt-5", false),
            ("openai/gpt-5", "gpt-5", false),
            ("claude-opus-4-6[1m]", "claude-opus-4-6", false),
            ("", "gpt-5", false),
        ] {
            assert_eq!(same_model(asked, allowed), want, "{asked} {allowed}");
        }
    }
}
