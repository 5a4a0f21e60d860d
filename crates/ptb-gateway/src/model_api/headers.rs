//! Which headers go through, in both directions.

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};
use ptb_llm::Key;

use super::setup::Credential;

/// Headers that belong to one connection (RFC 9110, section 7.6.1).
const HOP: [&str; 10] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "trailers",
    "transfer-encoding",
    "upgrade",
];
/// What a client may not say: who pays, who it is, where the request goes, how it is to be read.
const CLIENTS: [&str; 19] = [
    "accept-encoding",
    "authorization",
    "api-key",
    "content-encoding",
    "content-length",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "origin",
    "referer",
    "via",
    "x-api-key",
    "x-goog-api-key",
    "x-goog-user-project",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-real-ip",
];
const CLIENTS_PREFIXES: [&str; 5] =
    ["x-forwarded-", "x-original-", "x-rewrite-", "sec-websocket-", "proxy-"];
/// What a provider's answer does not bring into the wall.
const ANSWERS: [&str; 5] =
    ["alt-svc", "content-length", "location", "set-cookie", "strict-transport-security"];
/// What opens the API to subscription tokens, as the CLI itself sends it.
const TOKEN_BETA: &str = "oauth-2025-04-20";

/// The headers of a request as they go to the provider: the scaffold's own, without what is not its to say, with the
/// credential.
pub(super) fn to_upstream(client: &HeaderMap, credential: &Credential) -> HeaderMap {
    let named = connection_names(client);
    let mut out = HeaderMap::with_capacity(client.len() + 2);
    for (name, value) in client {
        let text = name.as_str();
        let kept = !HOP.contains(&text)
            && !CLIENTS.contains(&text)
            && !CLIENTS_PREFIXES.iter().any(|prefix| text.starts_with(prefix))
            && !named.iter().any(|n| n == text);
        if kept {
            out.append(name, value.clone());
        }
    }
    out.insert("accept-encoding", HeaderValue::from_static("identity"));
    authorize(&mut out, credential);
    out
}

/// Puts the credential in.
pub(super) fn authorize(headers: &mut HeaderMap, credential: &Credential) {
    let (name, prefix) = match credential {
        Credential::ApiKey(_) => ("x-api-key", ""),
        Credential::Bearer(_) | Credential::ClaudeToken(_) => ("authorization", "Bearer "),
        Credential::Google(_) => ("x-goog-api-key", ""),
    };
    // `Key` holds nothing that a header may not have.
    if let Some(value) = credential.key().header(prefix) {
        headers.insert(HeaderName::from_static(name), value);
    }
    if matches!(credential, Credential::ClaudeToken(_)) {
        let said: Vec<&str> =
            headers.get_all("anthropic-beta").iter().filter_map(|v| v.to_str().ok()).collect();
        let mut all: Vec<&str> = said.iter().flat_map(|v| v.split(',')).map(str::trim).collect();
        all.retain(|beta| !beta.is_empty());
        if !all.contains(&TOKEN_BETA) {
            all.push(TOKEN_BETA);
        }
        if let Ok(value) = HeaderValue::from_str(&all.join(",")) {
            headers.insert("anthropic-beta", value);
        }
    }
}

/// The headers of an answer as they go to the client.
pub(super) fn to_client(upstream: &HeaderMap, key: Option<&Key>) -> HeaderMap {
    let named = connection_names(upstream);
    let kept = |name: &str, value: &HeaderValue| {
        !HOP.contains(&name)
            && !ANSWERS.contains(&name)
            && !named.iter().any(|n| n == name)
            && key.is_none_or(|key| !key.is_in(value.as_bytes()))
    };
    let mut out = HeaderMap::with_capacity(upstream.len());
    for (name, value) in upstream.iter().filter(|(name, value)| kept(name.as_str(), value)) {
        out.append(name, value.clone());
    }
    out
}

/// Headers as the record keeps them: names and texts, in their order; a name that is there more than once has its
/// values joined by commas.
pub(super) fn on_record(headers: &HeaderMap) -> Vec<(String, String)> {
    let mut out: Vec<(String, String)> = Vec::with_capacity(headers.len());
    for (name, value) in headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        match out.iter_mut().find(|(n, _)| n == name.as_str()) {
            Some((_, all)) => {
                all.push_str(", ");
                all.push_str(&value);
            }
            None => out.push((name.as_str().to_owned(), value.into_owned())),
        }
    }
    out
}

/// Names that the `connection` header makes hop-by-hop.
fn connection_names(headers: &HeaderMap) -> Vec<String> {
    let values = headers.get_all("connection").iter().filter_map(|v| v.to_str().ok());
    values.flat_map(|v| v.split(',')).map(|n| n.trim().to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, HeaderValue::from_static(value));
        }
        map
    }

    fn shown(map: &HeaderMap) -> Vec<String> {
        let mut all: Vec<String> =
            map.iter().map(|(n, v)| format!("{n}: {}", v.to_str().unwrap())).collect();
        all.sort();
        all
    }

    #[test]
    fn a_client_cannot_say_who_pays_or_where_it_goes() {
        let client = map(&[
            ("authorization", "Bearer dummy"),
            ("x-api-key", "dummy"),
            ("x-goog-api-key", "dummy"),
            ("cookie", "a=b"),
            ("host", "evil"),
            ("connection", "keep-alive, x-extra"),
            ("x-extra", "1"),
            ("x-http-method-override", "DELETE"),
            ("x-forwarded-for", "1.2.3.4"),
            ("accept-encoding", "gzip, br"),
            ("content-length", "5"),
            ("transfer-encoding", "chunked"),
            ("user-agent", "claude-cli/2"),
            ("anthropic-beta", "a, b"),
            ("anthropic-version", "2023-06-01"),
            ("openai-beta", "x"),
        ]);
        let key = Key::new("sk-real-0123456789").unwrap();
        let kept =
            ["accept-encoding: identity", "anthropic-beta: a, b", "anthropic-version: 2023-06-01"];
        let tail = ["openai-beta: x", "user-agent: claude-cli/2"];
        let with = |more: &[&str]| {
            let mut all: Vec<String> =
                kept.iter().chain(&tail).chain(more).map(|s| (*s).to_owned()).collect();
            all.sort();
            all
        };
        let sent = |credential: &Credential| shown(&to_upstream(&client, credential));
        assert_eq!(
            sent(&Credential::ApiKey(key.clone())),
            with(&["x-api-key: sk-real-0123456789"])
        );
        assert_eq!(
            sent(&Credential::Google(key.clone())),
            with(&["x-goog-api-key: sk-real-0123456789"])
        );
        let bearer = "authorization: Bearer sk-real-0123456789";
        assert_eq!(sent(&Credential::Bearer(key.clone())), with(&[bearer]));
        let token = Credential::ClaudeToken(key);
        let all = sent(&token);
        assert!(all.contains(&"anthropic-beta: a,b,oauth-2025-04-20".to_owned()), "{all:?}");
        assert!(all.contains(&bearer.to_owned()));
        // It is not there twice when the CLI sends it.
        let again = to_upstream(&map(&[("anthropic-beta", "oauth-2025-04-20,c")]), &token);
        assert_eq!(again["anthropic-beta"], "oauth-2025-04-20,c");
    }

    #[test]
    fn an_answer_brings_no_key_and_no_address() {
        let key = Key::new("sk-real-0123456789").unwrap();
        let answer = map(&[
            ("content-type", "text/event-stream"),
            ("request-id", "r"),
            ("x-echo", "Bearer sk-real-0123456789"),
            ("location", "https://elsewhere"),
            ("set-cookie", "a=b"),
            ("content-length", "7"),
            ("connection", "x-hop"),
            ("x-hop", "1"),
            ("retry-after", "3"),
        ]);
        let want = ["content-type: text/event-stream", "request-id: r", "retry-after: 3"];
        assert_eq!(shown(&to_client(&answer, Some(&key))), want);
        let twice = on_record(&map(&[("a", "1"), ("a", "2"), ("b", "3")]));
        assert_eq!(twice, [("a".to_owned(), "1, 2".to_owned()), ("b".to_owned(), "3".to_owned())]);
    }
}
