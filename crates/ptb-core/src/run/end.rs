//! How an attempt ended.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::files::Schema;

/// How the agent of an attempt ended. In JSON it is a word (`"finished"`), or an object with one key, the word, whose
/// value has the fields (`{"killed": {"signal": 9}}`).
///
/// Files of the first version hold words alone (`failed with exit code 7`); they are read too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", rename_all = "kebab-case")]
pub enum End {
    /// No agent ran: a baseline submits a known model.
    Baseline,
    /// The agent ended by itself, and said that all is well (exit code 0).
    Finished,
    /// The agent ended by itself with another exit code.
    Failed {
        /// Its exit code.
        code: i32,
    },
    /// The time was over.
    Deadline,
    /// A limit of the model API refused the agent's last requests, and the agent ended.
    Limit {
        /// Which one.
        limit: ApiLimit,
        /// What the agent was told.
        message: String,
    },
    /// The provider of the model that drives the agent failed, and nobody could go on. What the agent left is not taken:
    /// the next attempt goes on in it.
    Provider {
        /// What was wrong.
        fault: ApiFault,
        /// The provider's words, or why it cannot be reached.
        message: String,
    },
    /// A signal ended the agent, which the harness did not send.
    Killed {
        /// The signal's number.
        signal: i32,
    },
    /// The kernel ended the agent's command or one of its processes for want of memory, and the agent did not get over
    /// it.
    OutOfMemory {
        /// Processes that the kernel ended meanwhile.
        kills: u64,
    },
    /// The agent did nothing for long, as often as it was started.
    Standstill {
        /// Minutes without anything after which an agent is ended.
        minutes: f64,
        /// How often it was.
        times: u32,
    },
    /// The harness or its machine ended while the agent worked, or whoever ran it stopped it. Told when the next attempt
    /// begins.
    Interrupted,
}

/// A limit of the model API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ApiLimit {
    /// US dollars.
    Spending,
    /// Tokens.
    Tokens,
}

/// What is wrong with a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ApiFault {
    /// It does not answer, has too much to do, or breaks off.
    Outage,
    /// It does not let the key in.
    Key,
    /// The account has no money.
    Credit,
}

impl End {
    /// Its word in files, without the fields.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Baseline => "baseline",
            Self::Finished => "finished",
            Self::Failed { .. } => "failed",
            Self::Deadline => "deadline",
            Self::Limit { .. } => "limit",
            Self::Provider { .. } => "provider",
            Self::Killed { .. } => "killed",
            Self::OutOfMemory { .. } => "out-of-memory",
            Self::Standstill { .. } => "standstill",
            Self::Interrupted => "interrupted",
        }
    }

    /// Whether what the agent left is its submission. Where it was not its own doing that it ended, another attempt
    /// follows instead.
    pub fn submits(&self) -> bool {
        !matches!(self, Self::Provider { .. } | Self::Interrupted)
    }

    /// The end that words of the first version tell.
    fn of_words(words: &str) -> Option<Self> {
        let number = |after: &str| words.strip_prefix(after).and_then(|n| n.parse().ok());
        number("failed with exit code ")
            .map(|code| Self::Failed { code })
            .or_else(|| number("killed by signal ").map(|signal| Self::Killed { signal }))
    }
}

/// In words, for people.
impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Baseline | Self::Finished | Self::Deadline | Self::Interrupted => {
                f.write_str(self.word())
            }
            Self::Failed { code } => write!(f, "failed with exit code {code}"),
            Self::Killed { signal } => write!(f, "killed by signal {signal}"),
            Self::Limit { limit: ApiLimit::Spending, message } => {
                write!(f, "spending limit: {message}")
            }
            Self::Limit { limit: ApiLimit::Tokens, message } => write!(f, "token limit: {message}"),
            Self::Provider { fault, message } => {
                let fault = match fault {
                    ApiFault::Outage => "outage",
                    ApiFault::Key => "key refused",
                    ApiFault::Credit => "no credit",
                };
                write!(f, "provider ({fault}): {message}")
            }
            Self::OutOfMemory { kills: 1 } => f.write_str("out of memory (1 process killed)"),
            Self::OutOfMemory { kills } => write!(f, "out of memory ({kills} processes killed)"),
            Self::Standstill { minutes, times } => {
                write!(f, "standstill ({minutes} min without anything, {times} times)")
            }
        }
    }
}

impl Serialize for End {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, to)
    }
}

impl<'de> Deserialize<'de> for End {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(from)?;
        match value.as_str().and_then(Self::of_words) {
            Some(end) => Ok(end),
            None => Self::deserialize(value).map_err(serde::de::Error::custom),
        }
    }
}

/// `attempts/<n>/end.json`: how the agent of an attempt ended. Absent while it works; after it was stopped, until
/// the next attempt begins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttemptEnd {
    /// How.
    pub end: End,
    /// Exit code of the agent, where it had one.
    pub code: Option<i32>,
    /// Seconds of the budget that it used.
    pub seconds: f64,
}

impl Schema for AttemptEnd {
    const KIND: &'static str = "attempt's end";
    /// 2: the end is typed; it was words.
    const VERSION: u32 = 2;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::{read_json, write_json};
    use serde_json::json;

    /// Every end with its JSON, which is stable, and its words.
    fn table() -> Vec<(End, serde_json::Value, &'static str)> {
        let message = || "no further request".to_owned();
        vec![
            (End::Baseline, json!("baseline"), "baseline"),
            (End::Finished, json!("finished"), "finished"),
            (End::Deadline, json!("deadline"), "deadline"),
            (End::Interrupted, json!("interrupted"), "interrupted"),
            (End::Failed { code: 7 }, json!({"failed": {"code": 7}}), "failed with exit code 7"),
            (End::Killed { signal: 9 }, json!({"killed": {"signal": 9}}), "killed by signal 9"),
            (
                End::Limit { limit: ApiLimit::Tokens, message: message() },
                json!({"limit": {"limit": "tokens", "message": "no further request"}}),
                "token limit: no further request",
            ),
            (
                End::Provider { fault: ApiFault::Credit, message: message() },
                json!({"provider": {"fault": "credit", "message": "no further request"}}),
                "provider (no credit): no further request",
            ),
            (
                End::OutOfMemory { kills: 1 },
                json!({"out-of-memory": {"kills": 1}}),
                "out of memory (1 process killed)",
            ),
            (
                End::Standstill { minutes: 0.5, times: 4 },
                json!({"standstill": {"minutes": 0.5, "times": 4}}),
                "standstill (0.5 min without anything, 4 times)",
            ),
        ]
    }

    #[test]
    fn each_end_has_its_form() {
        for (end, form, words) in table() {
            assert_eq!(serde_json::to_value(&end).unwrap(), form);
            assert_eq!(serde_json::from_value::<End>(form.clone()).unwrap(), end);
            assert_eq!(end.to_string(), words);
            let key = form.as_object().and_then(|o| o.keys().next().cloned());
            assert_eq!(key.as_deref().or(form.as_str()), Some(end.word()));
            assert_eq!(end.submits(), !["provider", "interrupted"].contains(&end.word()));
        }
    }

    #[test]
    fn ends_of_the_first_version_are_read_and_newer_ones_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("end.json");
        let old = [
            ("finished", End::Finished),
            ("deadline", End::Deadline),
            ("failed with exit code 7", End::Failed { code: 7 }),
            ("killed by signal 9", End::Killed { signal: 9 }),
        ];
        for (words, end) in old {
            let text = json!({"schema": 1, "end": words, "code": null, "seconds": 1.5});
            std::fs::write(&path, text.to_string()).unwrap();
            let read: AttemptEnd = read_json(&path).unwrap();
            assert_eq!(read, AttemptEnd { end, code: None, seconds: 1.5 });
            write_json(&path, &read).unwrap();
            assert_eq!(read_json::<AttemptEnd>(&path).unwrap(), read);
        }
        for bad in ["ended somehow", "failed with exit code x"] {
            let text = json!({"schema": 2, "end": bad, "code": null, "seconds": 1.5});
            std::fs::write(&path, text.to_string()).unwrap();
            assert!(read_json::<AttemptEnd>(&path).is_err());
        }
        std::fs::write(&path, r#"{"schema": 3}"#).unwrap();
        let refused = read_json::<AttemptEnd>(&path).unwrap_err().to_string();
        assert!(refused.contains("newer ptb"), "{refused}");
    }
}
