//! The lines of the summary that tell what the agent used of its model.

use super::RunSummary;
use crate::text::{clock, count, number, usd};
use crate::usage::{TokenCounts, Usage};

impl RunSummary {
    /// Requests and cost, tokens by kind, and what stood in the way: at most three lines.
    pub(super) fn usage_words(&self) -> Vec<String> {
        let Some(usage) = &self.usage else { return Vec::new() };
        let books = [requests(usage), tokens(&usage.tokens)];
        books.into_iter().chain(obstacles(usage)).collect()
    }
}

fn requests(usage: &Usage) -> String {
    let cost = match usage.cost_usd {
        Some(cost) => usd(cost),
        None if usage.known_cost_usd > 0.0 => {
            format!("unknown, at least {}", usd(usage.known_cost_usd))
        }
        None => "unknown".to_owned(),
    };
    let limit = usage.spend_limit_usd.map(|limit| format!(" of {}", usd(limit)));
    let without: Vec<String> =
        usage.attempts_without_books.iter().take(5).map(u32::to_string).collect();
    let missing = match without.as_slice() {
        [] => String::new(),
        some => format!("; nothing is known of attempt {}", some.join(", ")),
    };
    format!(
        "{}, cost {cost}{}{missing}",
        several(usage.requests, "request"),
        limit.unwrap_or_default()
    )
}

fn tokens(tokens: &TokenCounts) -> String {
    let part = |n: u64, what: &str| (n > 0).then(|| format!("{} {what}", number(n)));
    let parts = |parts: [Option<String>; 2]| {
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) }
    };
    format!(
        "{} in{}, {} out{}",
        several(tokens.input, "token"),
        parts([
            part(tokens.cached_input, "cached"),
            part(tokens.cache_writes(), "written to caches")
        ]),
        number(tokens.output),
        parts([part(tokens.reasoning, "reasoning"), None])
    )
}

/// What stood between agent and model, where something did.
fn obstacles(usage: &Usage) -> Option<String> {
    let told = |n: u64, what: &str| (n > 0).then(|| format!("{} {what}", number(n)));
    let away = usage.without_service_seconds;
    let limit = match (usage.spend_limit_usd, usage.token_limit) {
        _ if usage.over_limit == 0 => None,
        (Some(limit), None) => Some(format!("spending limit of {} reached", usd(limit))),
        (None, Some(limit)) => Some(format!("limit of {} reached", several(limit, "token"))),
        _ => Some("a limit reached".to_owned()),
    };
    let words = [
        (away >= 0.5).then(|| format!("{} without service given back", clock(away))),
        limit,
        told(usage.refused.saturating_sub(usage.over_limit), "refused"),
        told(usage.failed, "failed"),
        told(usage.cut, "cut"),
        told(usage.unpriced, "without a known price"),
        told(usage.uncounted, "whose tokens were not told"),
        told(usage.foreign_requests, "not of the scaffold"),
    ];
    let words: Vec<String> = words.into_iter().flatten().collect();
    (!words.is_empty()).then(|| words.join(", "))
}

fn several(n: u64, noun: &str) -> String {
    match n {
        1 => count(1, noun),
        _ => format!("{} {noun}s", number(n)),
    }
}
