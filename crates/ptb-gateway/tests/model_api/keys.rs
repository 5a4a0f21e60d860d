//! Keys: the real one reaches the provider alone, the client's reaches nobody.

use ptb_gateway::{Credential, Service};
use ptb_llm::Key;

use crate::provider::{Answer, Provider, Step};
use crate::support::{Api, KEY, anthropic_events, messages, of_kind, text};

#[tokio::test(flavor = "multi_thread")]
async fn the_real_key_goes_out_and_the_dummy_one_does_not() {
    let provider = Provider::start(|_| Answer::events(&anthropic_events())).await;
    let key = || Key::new(KEY).unwrap();
    for (credential, header, value) in [
        (Credential::ApiKey(key()), "x-api-key", KEY.to_owned()),
        (Credential::Bearer(key()), "authorization", format!("Bearer {KEY}")),
        (Credential::Google(key()), "x-goog-api-key", KEY.to_owned()),
        (Credential::ClaudeToken(key()), "authorization", format!("Bearer {KEY}")),
    ] {
        let token = matches!(credential, Credential::ClaudeToken(_));
        let api = Api::with(&provider, |setup| setup.credential = credential);
        let request = api
            .post("/v1/messages?key=dummykey&beta=true&token=dummykey", &messages("x"))
            .header("authorization", "Bearer dummykey")
            .header("x-goog-api-key", "dummykey")
            .header("proxy-authorization", "dummykey")
            .header("cookie", "dummykey")
            .header("anthropic-beta", "one")
            .header("accept-encoding", "gzip");
        assert_eq!(request.send().await.unwrap().status(), 200);
        let seen = provider.seen().pop().unwrap();
        assert_eq!(seen.header(header), Some(value.as_str()));
        assert!(!format!("{seen:?}").contains("dummy"), "{seen:?}");
        assert_eq!(seen.path, "/v1/messages?beta=true");
        assert_eq!(seen.header("accept-encoding"), Some("identity"));
        assert_eq!(seen.header("user-agent"), Some("claude-cli/2.1 (external)"));
        assert_eq!(seen.header("host"), Some(provider.address.to_string().as_str()));
        let beta = if token { "one,oauth-2025-04-20" } else { "one" };
        assert_eq!(seen.header("anthropic-beta"), Some(beta));
        let (_, _, folder) = api.stop().await;
        assert!(!text(&folder.path().join("api.jsonl.zst")).contains(KEY));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_the_provider_repeats_does_not_come_in() {
    let provider = Provider::start(|seen| {
        let said = format!("Incorrect API key provided: {}", seen.header("x-api-key").unwrap());
        match seen.body.contains("stream please") {
            true => Answer::stream(vec![Step::Send(format!("event: x\ndata: {said}\n\n"))]),
            false => {
                let mut answer =
                    Answer::json(401, &format!(r#"{{"error": {{"message": "{said}"}}}}"#));
                answer.headers.push(("x-echo", said));
                answer
            }
        }
    })
    .await;
    let api = Api::new(&provider);
    let response = api.post("/v1/messages", &messages("x")).send().await.unwrap();
    assert_eq!(response.status(), 401);
    assert!(response.headers().get("x-echo").is_none());
    let body = response.text().await.unwrap();
    assert!(body.contains("provided: ******") && !body.contains(KEY), "{body}");
    let (_, body) = api.ask("/v1/messages", &messages("stream please")).await;
    assert!(body.contains("provided: ******") && !body.contains(KEY), "{body}");
    let (_, record, folder) = api.stop().await;
    assert_eq!(of_kind(&record, "response").len(), 2);
    assert!(!text(&folder.path().join("api.jsonl.zst")).contains(KEY));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_followed_elsewhere() {
    let elsewhere = Provider::start(|_| Answer::json(200, "{}")).await;
    let to = elsewhere.url();
    let provider = Provider::start(move |_| {
        let mut answer = Answer::json(307, "{}");
        answer.headers.push(("location", format!("{to}/v1/messages")));
        answer
    })
    .await;
    let api = Api::new(&provider);
    let response = api.post("/v1/messages", &messages("x")).send().await.unwrap();
    assert_eq!(response.status(), 502);
    assert!(response.headers().get("location").is_none());
    assert!(response.text().await.unwrap().contains("sends the request elsewhere (status 307)"));
    assert!(elsewhere.seen().is_empty());
    assert_eq!(api.stop().await.0.failed, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_cannot_be_looked_at_do_not_come_in() {
    for (status, form, charged) in
        [(200, "zstd", true), (401, "br", false), (200, "identity, GZIP", true)]
    {
        let provider = Provider::start(move |_| {
            let mut answer = Answer::json(status, &format!("not really packed, with {KEY}"));
            answer.headers.push(("content-encoding", form.to_owned()));
            answer
        })
        .await;
        let api = Api::new(&provider);
        let (got, text) = api.ask("/v1/messages", &messages("x")).await;
        assert_eq!(got, 502, "{form}: {text}");
        assert!(text.contains("in a form that was not asked for") && !text.contains(KEY), "{text}");
        assert!(matches!(*api.running.service().borrow(), Service::Down { .. }));
        // An answer was generated all the same, and an error costs nothing.
        let (totals, record, _) = api.stop().await;
        assert_eq!((totals.failed, totals.uncounted), (1, u64::from(charged)));
        assert_eq!(of_kind(&record, "response")[0]["refused"], "unreachable");
    }
    let plain = Provider::start(|_| {
        let mut answer = Answer::json(200, "{}");
        answer.headers.push(("content-encoding", "Identity".to_owned()));
        answer
    })
    .await;
    let api = Api::new(&plain);
    assert_eq!(api.ask("/v1/messages", &messages("x")).await.0, 200);
    api.stop().await;
}
