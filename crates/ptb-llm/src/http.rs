//! What all clients of providers have in common, here and in the gateway.

use std::error::Error;
use std::sync::Once;

use reqwest::{ClientBuilder, Url};

/// A client that is to talk to one server: what goes out goes there and to no other, so redirects are not followed, and
/// no proxy stands before this machine itself.
pub fn client_for(url: &Url) -> ClientBuilder {
    install_tls();
    let builder = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
    if is_local(url) { builder.no_proxy() } else { builder }
}

/// Why a request failed, where that is told. The library's own text says little; the reason is at the end of its chain.
/// Addresses are left out of it.
pub fn reason(e: &reqwest::Error) -> Option<String> {
    let mut source = e.source();
    let mut words = Vec::new();
    while let Some(inner) = source {
        words.push(inner.to_string());
        source = inner.source();
    }
    words.dedup();
    (!words.is_empty()).then(|| words.join(": "))
}

/// Whether a server is this machine.
fn is_local(url: &Url) -> bool {
    let name = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let ip = name.parse::<std::net::IpAddr>();
    name == "localhost" || name.ends_with(".localhost") || ip.is_ok_and(|ip| ip.is_loopback())
}

/// TLS needs one provider of cryptography in the process; whoever comes first installs it.
fn install_tls() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // An error means that the program has installed one already.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_known_by_name_and_number() {
        for (url, local) in [
            ("http://localhost:1/v1", true),
            ("http://a.localhost", true),
            ("http://127.9.9.9", true),
            ("http://[::1]:80", true),
            ("https://localhost.example.com", false),
            ("https://10.0.0.1", false),
        ] {
            assert_eq!(is_local(&Url::parse(url).unwrap()), local, "{url}");
        }
    }
}
