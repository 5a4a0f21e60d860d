//! What a request looks like, and how it differs from the scaffold's.
//!
//! The scaffold's first request for the agent's model that offers tools sets the norm. What differs from it is told
//! with the reasons: other programs in the workspace may ask the model too, and whoever judges wants to know. These
//! are facts, not verdicts: sub-agents have other prompts, and new tools appear when they are loaded.

use std::collections::BTreeSet;

use ptb_llm::protocol::{Operation, Protocol};
use serde::{Deserialize, Serialize};

/// Requests that came before the norm was set and are held against it later.
const MOST_EARLY: usize = 100;
/// So many header names may differ: retries, timeouts and tracing come and go.
const FEW: usize = 4;

/// A request that does not look like the scaffold's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Foreign {
    /// Its number in the record.
    pub number: u64,
    /// How it differs.
    pub reasons: Vec<String>,
}

/// What is compared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Fingerprint {
    pub(super) number: u64,
    pub(super) user_agent: String,
    pub(super) headers: BTreeSet<String>,
    pub(super) fields: BTreeSet<String>,
    /// The id of the longest block of the system prompt: shorter ones change from request to request.
    pub(super) system: Option<String>,
    pub(super) tools: BTreeSet<String>,
    /// Whether it asks for the agent's model, rather than one for side calls.
    pub(super) main: bool,
    pub(super) generates: bool,
}

/// Compares.
#[derive(Debug, Default)]
pub(super) struct Judge {
    norm: Option<Fingerprint>,
    early: Vec<Fingerprint>,
}

impl Judge {
    /// Takes the next request; what is foreign, of it or of those before the norm, comes back.
    pub(super) fn take(&mut self, print: Fingerprint) -> Vec<Foreign> {
        match &self.norm {
            Some(norm) => compare(norm, &print).into_iter().collect(),
            None if print.main && print.generates && !print.tools.is_empty() => {
                let early = std::mem::take(&mut self.early);
                let found = early.iter().filter_map(|early| compare(&print, early)).collect();
                self.norm = Some(print);
                found
            }
            None => {
                if self.early.len() < MOST_EARLY {
                    self.early.push(print);
                }
                Vec::new()
            }
        }
    }

    /// Nothing more comes: without a norm, nothing looked like a scaffold's work.
    pub(super) fn end(&mut self) -> Vec<Foreign> {
        let why =
            "no request before or after it looks like a scaffold's (agent's model, with tools)";
        let early = std::mem::take(&mut self.early);
        let generating = early.into_iter().filter(|print| print.generates);
        generating
            .map(|print| Foreign { number: print.number, reasons: vec![why.to_owned()] })
            .collect()
    }
}

fn compare(norm: &Fingerprint, print: &Fingerprint) -> Option<Foreign> {
    let mut reasons = Vec::new();
    if program(&norm.user_agent) != program(&print.user_agent) {
        let (its, usual) = (shown(&print.user_agent), shown(&norm.user_agent));
        reasons.push(format!("user-agent `{its}`, the scaffold's is `{usual}`"));
    }
    let lacks: Vec<&String> = norm.headers.difference(&print.headers).collect();
    let has: Vec<&String> = print.headers.difference(&norm.headers).collect();
    if lacks.len() + has.len() > FEW {
        reasons.push(format!("headers: lacks {}, has {}", words(&lacks), words(&has)));
    }
    // Side calls have prompts, tools and fields of their own: an allowed model explains them.
    if print.main && print.generates {
        let fields: Vec<&String> = norm.fields.symmetric_difference(&print.fields).collect();
        if fields.len() > FEW {
            reasons.push(format!("fields that one of them lacks: {}", words(&fields)));
        }
        if norm.system != print.system {
            let system = print.system.as_deref().unwrap_or("none");
            reasons.push(format!("system prompt {system}"));
        }
        if print.tools.is_empty() {
            reasons.push("no tools".to_owned());
        }
        let new: Vec<&String> = print.tools.difference(&norm.tools).collect();
        if !new.is_empty() {
            reasons.push(format!("tools that were not there at first: {}", words(&new)));
        }
    }
    (!reasons.is_empty()).then_some(Foreign { number: print.number, reasons })
}

/// The program and its version: `curl/8.5.0`. Gemini CLI puts the model behind them (`GeminiCLI/0.61.0/gemini-2.5-pro`).
fn program(user_agent: &str) -> &str {
    let word = user_agent.split([' ', '(']).next().unwrap_or_default();
    match word.match_indices('/').nth(1) {
        Some((second, _)) => word.get(..second).unwrap_or_default(),
        None => word,
    }
}

fn shown(text: &str) -> String {
    text.chars().take(100).collect()
}

fn words(all: &[&String]) -> String {
    if all.is_empty() {
        return "none".to_owned();
    }
    let mut text: Vec<String> = all.iter().take(12).map(|w| shown(w)).collect();
    if all.len() > 12 {
        text.push(format!("and {} more", all.len() - 12));
    }
    text.join(" ")
}

/// What a request is for, as far as fingerprints care.
pub(super) fn generates(operation: Operation) -> bool {
    operation == Operation::Generate
}

/// Whether the system prompt of a protocol stands in its conversation rather than in a field of its own.
pub(super) fn system_in_conversation(protocol: Protocol) -> bool {
    protocol == Protocol::Chat
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(number: u64) -> Fingerprint {
        let set = |words: &str| words.split(' ').map(str::to_owned).collect();
        Fingerprint {
            number,
            user_agent: "claude-cli/2.1 (external, cli)".to_owned(),
            headers: set("user-agent x-app anthropic-version anthropic-beta content-type accept"),
            fields: set("model messages system tools max_tokens stream"),
            system: Some("s".to_owned()),
            tools: set("bash edit"),
            main: true,
            generates: true,
        }
    }

    #[test]
    fn what_differs_is_told_with_its_number() {
        let mut judge = Judge::default();
        let early = Fingerprint { tools: BTreeSet::new(), main: false, ..print(1) };
        assert_eq!(judge.take(early), []);
        let curl =
            Fingerprint { user_agent: "curl/8.5".to_owned(), tools: BTreeSet::new(), ..print(2) };
        assert_eq!(judge.take(curl.clone()), []);
        // The norm: the side call before it is explained by its model, curl's request is not.
        let found = judge.take(print(3));
        assert_eq!((found.len(), found[0].number), (1, 2));
        assert_eq!(
            found[0].reasons,
            [
                "user-agent `curl/8.5`, the scaffold's is `claude-cli/2.1 (external, cli)`",
                "no tools"
            ]
        );
        assert_eq!(judge.take(print(4)), []);
        let other = Fingerprint {
            system: Some("t".to_owned()),
            tools: ["bash".to_owned(), "fetch".to_owned()].into(),
            ..print(5)
        };
        let found = judge.take(other);
        assert_eq!(
            found[0].reasons,
            ["system prompt t", "tools that were not there at first: fetch"]
        );
        let side = Fingerprint { main: false, system: None, ..print(6) };
        assert_eq!(judge.take(side), []);
        assert_eq!(judge.end(), []);
    }

    #[test]
    fn programs_are_told_by_name_and_version() {
        for (agent, want) in [
            ("claude-cli/2.1.330 (external, sdk-cli)", "claude-cli/2.1.330"),
            ("GeminiCLI-tui/0.61.0/gemini-2.5-flash (linux; x64)", "GeminiCLI-tui/0.61.0"),
            ("opencode/1.18.33 ai-sdk/provider-utils/4", "opencode/1.18.33"),
            ("curl", "curl"),
            ("", ""),
        ] {
            assert_eq!(program(agent), want);
        }
    }

    #[test]
    fn without_any_scaffold_everything_is_foreign() {
        let mut judge = Judge::default();
        judge.take(Fingerprint { tools: BTreeSet::new(), ..print(1) });
        judge.take(Fingerprint { tools: BTreeSet::new(), generates: false, ..print(2) });
        let found = judge.end();
        assert_eq!((found.len(), found[0].number), (1, 1));
    }
}
