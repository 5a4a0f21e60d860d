//! Why there is no answer, by what can be done about it.

use std::sync::Arc;

use ptb_core::failure::FailureKind;
use ptb_core::files::FileError;

/// Why there is no answer. No text of it holds a key.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LlmError {
    /// The address is none.
    #[error(
        "`{url}` is no address of an LLM API: {why}\nhint: give http://HOST/v1 or https://HOST/v1, what comes before \
         /chat/completions"
    )]
    Url {
        /// What was given; without what stands before an `@`.
        url: String,
        /// What is wrong.
        why: String,
    },
    /// The key is none.
    #[error(
        "the API key cannot be sent: {why}\nhint: give the key alone, as the provider shows it"
    )]
    Key {
        /// What is wrong; not the key.
        why: String,
    },
    /// There is a limit on what may be spent, and nobody knows what is spent.
    #[error(
        "no price of {model} is known, so that a spending limit cannot be kept\nhint: set no limit, or name a \
         model that registry/prices.toml of the source has a price of"
    )]
    NoPrice {
        /// The model.
        model: String,
    },
    /// The HTTP client could not be made.
    #[error(
        "cannot set up connections to {host}: {why}\nhint: check the proxy in the environment (https_proxy)"
    )]
    Setup {
        /// Who was to be asked.
        host: String,
        /// Why not.
        why: String,
    },
    /// Nothing was answered for as long as an outage is waited out.
    #[error(
        "the {role} at {host} has answered nothing for {waited_s} s ({why})\nhint: check that it is up and that its \
         address is right, and start again: what was answered is kept"
    )]
    Down {
        /// What the server is for.
        role: String,
        /// Who was asked.
        host: String,
        /// What went wrong last.
        why: String,
        /// For how many seconds nothing was answered.
        waited_s: u64,
    },
    /// One request fails again and again while others are answered.
    #[error(
        "the {role} at {host} fails one request again and again ({tries} times; {why}) while it answers others\n\
         hint: start again later: what was answered is kept; if it stays so, the server cannot bear this request"
    )]
    Failing {
        /// What the server is for.
        role: String,
        /// Who was asked.
        host: String,
        /// What went wrong last.
        why: String,
        /// How often it was sent.
        tries: u32,
    },
    /// The server does not let this key in.
    #[error("the {role} at {host} refuses the key (status {status}): {message}\nhint: {}", key_hint(key_env, *keyless))]
    Refused {
        /// What the server is for.
        role: String,
        /// Who was asked.
        host: String,
        /// HTTP status.
        status: u16,
        /// What the server said, shortened.
        message: String,
        /// The environment variable that the key comes from.
        key_env: String,
        /// Whether no key was sent.
        keyless: bool,
    },
    /// The account has no money left.
    #[error(
        "the account at {host} is out of credit (status {status}): {message}\nhint: top it up at the provider and \
         start again: what was answered is kept"
    )]
    Credit {
        /// Who was asked.
        host: String,
        /// HTTP status.
        status: u16,
        /// What the server said, shortened.
        message: String,
    },
    /// The next request could cost more than may be spent.
    #[error(
        "the spending limit is reached: {spent:.4} of {limit:.4} USD are spent, and the next request may cost \
         {next:.4} USD\nhint: raise the limit and start again: what was answered is kept"
    )]
    Spent {
        /// What may be spent, in US dollars.
        limit: f64,
        /// What is spent, in US dollars.
        spent: f64,
        /// What the request may cost at most, in US dollars.
        next: f64,
    },
    /// The server will not serve this request, now or later.
    #[error("the {role} at {host} rejects the request (status {status}): {message}\nhint: {}", rejection_hint(*status))]
    Rejected {
        /// What the server is for.
        role: String,
        /// Who was asked.
        host: String,
        /// HTTP status.
        status: u16,
        /// What the server said, shortened.
        message: String,
    },
    /// The server sends elsewhere; prompts and keys go to nobody else.
    #[error(
        "the {role} at {host} sends the request elsewhere (status {status}, {to})\nhint: name the address that it \
         leads to, if you trust it"
    )]
    Redirected {
        /// What the server is for.
        role: String,
        /// Who was asked.
        host: String,
        /// HTTP status.
        status: u16,
        /// Where it leads, as the server wrote it, shortened.
        to: String,
    },
    /// The model replied, but never with a valid answer.
    #[error(
        "{model} gave no valid answer in {tries} tries: {reason}\nhint: a model that reasons long needs a larger \
         limit of tokens or less effort; one that is weak cannot do this task"
    )]
    Invalid {
        /// The model.
        model: String,
        /// How often it was asked.
        tries: u32,
        /// What was wrong with the last reply.
        reason: String,
    },
    /// The cache of answers could not be read or written.
    #[error(
        "{0}\nhint: check the disk; the file of answers may be deleted, but then they are paid for again"
    )]
    Cache(Arc<FileError>),
    /// Somebody wanted to hear no more.
    #[error("cancelled")]
    Cancelled,
}

impl LlmError {
    /// Whose failure it is; `None` where what the user gave is wrong (address, key, price).
    pub fn kind(&self) -> Option<FailureKind> {
        match self {
            Self::Url { .. } | Self::Key { .. } | Self::NoPrice { .. } => None,
            Self::Cache(_) => Some(FailureKind::Harness),
            Self::Cancelled => Some(FailureKind::Scheduler),
            _ => Some(FailureKind::Provider),
        }
    }

    /// Whether every further call would end so too: it is about the server, not about one call.
    pub fn ends_all(&self) -> bool {
        !matches!(
            self,
            Self::Failing { .. }
                | Self::Invalid { .. }
                | Self::Rejected { status: 400 | 403 | 413 | 422, .. }
        )
    }
}

impl From<FileError> for LlmError {
    fn from(e: FileError) -> Self {
        Self::Cache(Arc::new(e))
    }
}

fn key_hint(key_env: &str, keyless: bool) -> String {
    match keyless {
        true => format!("give the key in the environment variable {key_env}"),
        false => format!("check the key in the environment variable {key_env}, and what it may do"),
    }
}

/// What to do about a status by which a server rejects a request for good.
fn rejection_hint(status: u16) -> &'static str {
    match status {
        404 | 405 => {
            "check the model's name, and that the address is the root of an OpenAI-compatible API (http://HOST/v1)"
        }
        413 => "the request is too long for this server",
        _ => {
            "check the model's name and what it takes: length of the prompt, limit of tokens, effort"
        }
    }
}
