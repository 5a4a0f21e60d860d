//! The one place where requests go: its address, and the paths below it.

use reqwest::Url;

use crate::GatewayError;

/// Keys of a query that are passed on. The rest (keys and tokens above all) is not.
const QUERY: [&str; 9] = [
    "alt",
    "beta",
    "limit",
    "after_id",
    "before_id",
    "after",
    "pageSize",
    "pageToken",
    "client_version",
];

/// The provider's address.
#[derive(Debug, Clone)]
pub(super) struct Upstream {
    root: Url,
    /// The path without a slash at its end, and without a version at its end.
    path: String,
    /// The version at its end, which takes the place of the client's.
    version: Option<String>,
}

impl Upstream {
    /// Reads an address.
    ///
    /// # Errors
    /// When it is none, or has a key, a query or a fragment in it.
    pub(super) fn parse(text: &str) -> Result<Self, GatewayError> {
        // What stands before an `@` may be a password.
        let shown = text.rsplit('@').next().unwrap_or_default().to_owned();
        let fail = |why: &str| GatewayError::Upstream { url: shown.clone(), why: why.to_owned() };
        let root = Url::parse(text.trim()).map_err(|e| fail(&e.to_string()))?;
        if !matches!(root.scheme(), "http" | "https") {
            return Err(fail("it begins with neither http:// nor https://"));
        }
        if !root.username().is_empty() || root.password().is_some() {
            return Err(fail("keys do not belong into addresses"));
        }
        if root.query().is_some() || root.fragment().is_some() {
            return Err(fail("it has a query or a fragment"));
        }
        let path = root.path().trim_end_matches('/').to_owned();
        let (path, version) = match path.rsplit_once('/') {
            Some((before, last)) if is_version(last) => (before.to_owned(), Some(last.to_owned())),
            _ => (path, None),
        };
        Ok(Self { root, path, version })
    }

    /// The address of a known path of a client, which begins with a version.
    pub(super) fn url(&self, path: &str, query: Option<&str>) -> Url {
        let (client, rest) = path.trim_start_matches('/').split_once('/').unwrap_or(("v1", ""));
        let version = self.version.as_deref().unwrap_or(client);
        let mut url = self.root.clone();
        url.set_path(&format!("{}/{version}/{rest}", self.path));
        let query = query.map(kept).filter(|query| !query.is_empty());
        url.set_query(query.as_deref());
        url
    }

    /// Host and port, for messages.
    pub(super) fn host(&self) -> String {
        let name = self.root.host_str().unwrap_or_default();
        self.root.port().map_or_else(|| name.to_owned(), |port| format!("{name}:{port}"))
    }

    /// A client of it.
    pub(super) fn client(&self) -> reqwest::ClientBuilder {
        ptb_llm::http::client_for(&self.root)
    }
}

/// `v1`, `v4`, `v1beta`, `v1alpha`.
fn is_version(text: &str) -> bool {
    let Some(rest) = text.strip_prefix('v') else { return false };
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    (1..4).contains(&digits) && matches!(&rest[digits..], "" | "beta" | "alpha")
}

/// The part of a query that is passed on: known keys with plain values.
fn kept(query: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'=');
    let pairs = query.split('&').filter(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        QUERY.contains(&key) && value.len() <= 500 && value.bytes().all(plain)
    });
    pairs.collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_put_below_the_upstream() {
        for (root, path, want) in [
            ("https://api.anthropic.com", "/v1/messages", "https://api.anthropic.com/v1/messages"),
            ("https://api.openai.com/v1/", "/v1/responses", "https://api.openai.com/v1/responses"),
            (
                "https://x.ai/api/anthropic",
                "/v1/messages",
                "https://x.ai/api/anthropic/v1/messages",
            ),
            ("https://x.ai/api/v4", "/v1/chat/completions", "https://x.ai/api/v4/chat/completions"),
            (
                "http://h:81/vx",
                "/v1beta/models/g:countTokens",
                "http://h:81/vx/v1beta/models/g:countTokens",
            ),
            (
                "https://h/v1beta",
                "/v1beta/models/g:generateContent",
                "https://h/v1beta/models/g:generateContent",
            ),
        ] {
            let upstream = Upstream::parse(root).unwrap();
            assert_eq!(upstream.url(path, None).as_str(), want, "{root} {path}");
        }
    }

    #[test]
    fn of_a_query_known_keys_are_kept() {
        let upstream = Upstream::parse("https://h").unwrap();
        let query = "alt=sse&key=AIza-secret&beta=true&access_token=x&$httpMethod=DELETE&limit=a%26key=b&key";
        let url = upstream.url("/v1/messages", Some(query));
        assert_eq!(url.query(), Some("alt=sse&beta=true"));
        assert_eq!(upstream.url("/v1/messages", Some("key=x")).query(), None);
    }

    #[test]
    fn addresses_with_keys_are_refused_and_not_shown() {
        for (text, why) in [
            ("api.openai.com/v1", "relative URL"),
            ("ftp://x/v1", "neither http"),
            ("https://user:secret@host/v1", "keys do not belong"),
            ("http://host/v1?key=secret1", "query"),
        ] {
            let e = Upstream::parse(text).unwrap_err().to_string();
            assert!(e.contains(why) && e.contains("hint: "), "{text}: {e}");
            assert!(!e.contains("user:secret"), "{e}");
        }
        assert_eq!(Upstream::parse("http://[::1]:8/").unwrap().host(), "[::1]:8");
    }
}
