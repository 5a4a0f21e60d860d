//! Where an engine answers.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// The root of an OpenAI-compatible API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// `http(s)://host/v1`, without a slash at the end.
    Http(String),
    /// A Unix socket; the API's root is `/v1`.
    Unix(PathBuf),
}

impl Endpoint {
    /// The address of a route such as `completions`.
    pub fn url(&self, route: &str) -> String {
        match self {
            Self::Http(base) => format!("{base}/{route}"),
            Self::Unix(_) => format!("http://localhost/v1/{route}"),
        }
    }

    /// `/health` lies beside `/v1`, not below it.
    pub(crate) fn health_url(&self) -> String {
        match self {
            Self::Http(base) => format!("{}/health", base.strip_suffix("/v1").unwrap_or(base)),
            Self::Unix(_) => "http://localhost/health".to_owned(),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(base) => f.write_str(base),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A text that names no endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` names no endpoint\nhint: give http://HOST/v1, https://HOST/v1 or unix:PATH")]
pub struct EndpointError(String);

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        if let Some(path) = text.strip_prefix("unix:").filter(|p| !p.is_empty()) {
            return Ok(Self::Unix(PathBuf::from(path)));
        }
        let url = reqwest::Url::parse(text).ok().filter(|u| {
            matches!(u.scheme(), "http" | "https") && u.has_host() && u.query().is_none()
        });
        url.map(|_| Self::Http(text.trim_end_matches('/').to_owned()))
            .ok_or_else(|| EndpointError(text.to_owned()))
    }
}
