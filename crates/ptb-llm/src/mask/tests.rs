//! What is masked, what is not, and that a stream makes no difference.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const KEY: &str = "sk-ant-api03-aB3_dE5-fG7hJ9kL1mN3pQ5rS7t";
/// With characters that every form changes.
const ODD: &str = "pa\"ss/wö+rd \\&<猫";
const PEM: &str =
    "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA\nabcd+/==\n-----END RSA PRIVATE KEY-----";

fn mask() -> Mask {
    Mask::new([("API_KEY", KEY), ("ODD", ODD)]).unwrap()
}

/// In pieces that end at these places.
fn streamed(mask: &Mask, text: &[u8], cuts: &[usize]) -> Vec<u8> {
    let (mut stream, mut out, mut from) = (mask.stream(), Vec::new(), 0);
    for cut in cuts {
        let cut = (*cut).clamp(from, text.len());
        stream.push(&text[from..cut], &mut out);
        from = cut;
    }
    stream.push(&text[from..], &mut out);
    stream.finish(&mut out);
    out
}

fn masked(text: &str) -> String {
    String::from_utf8(mask().whole(text.as_bytes()).into_owned()).unwrap()
}

#[test]
fn a_secret_is_found_in_every_form() {
    for secret in [KEY, ODD] {
        let name = if secret == KEY { "[masked:API_KEY]" } else { "[masked:ODD]" };
        let json = serde_json::to_string(secret).unwrap();
        let twice = serde_json::to_string(&json).unwrap();
        let ascii: String = secret
            .encode_utf16()
            .map(|unit| match char::from_u32(unit.into()) {
                Some('"') => "\\\"".to_owned(),
                Some('\\') => "\\\\".to_owned(),
                Some(c) if c.is_ascii() => c.to_string(),
                _ => format!("\\u{unit:04x}"),
            })
            .collect();
        let address = |upper: bool| -> String {
            let encode = |b: u8| match b {
                b'-' | b'_' => char::from(b).to_string(),
                b if b.is_ascii_alphanumeric() => char::from(b).to_string(),
                b if upper => format!("%{b:02X}"),
                b => format!("%{b:02x}"),
            };
            secret.bytes().map(encode).collect()
        };
        let hex: String = secret.bytes().map(|b| format!("{b:02x}")).collect();
        let forms = [
            secret.to_owned(),
            json[1..json.len() - 1].to_owned(),
            twice[3..twice.len() - 3].to_owned(),
            ascii,
            address(true),
            address(false),
            address(true).replace("%20", "+"),
            hex.to_uppercase(),
            hex,
        ];
        for form in forms {
            let text = format!("before={form}, after");
            assert_eq!(masked(&text), format!("before={name}, after"), "{form}");
        }
    }
}

/// What is left of a text in base64, with what is masked taken for nothing.
fn left(encoded: &str) -> Vec<String> {
    encoded
        .split(['[', ']'])
        .filter(|part| !part.starts_with("masked:"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn base64_is_masked_wherever_the_secret_lies() {
    for secret in [KEY, ODD] {
        for before in 0..7 {
            for after in 0..4 {
                let text = format!("{}{secret}{}", "x".repeat(before), "y".repeat(after));
                for encoded in [STANDARD.encode(&text), URL_SAFE.encode(&text)] {
                    let masked = masked(&encoded);
                    assert!(masked.contains("[masked:"), "{before} {after} {masked}");
                    // At its ends stay the characters that hold bits of its neighbours.
                    let kept: usize = left(&masked).iter().map(String::len).sum();
                    assert!(kept <= (before + after) * 4 / 3 + 8, "{before} {after} {masked}");
                }
            }
        }
    }
    let in_json = STANDARD.encode(ODD).replace('/', "\\/");
    assert!(masked(&in_json).contains("[masked:ODD]"));
}

#[test]
fn keys_of_common_services_are_masked() {
    let a = |length: usize| "aB3".repeat(length).chars().take(length).collect::<String>();
    let upper = "ABCDEFGH12345678";
    let cases = [
        (format!("sk-ant-oat01-{}", a(40)), "anthropic-key"),
        (format!("sk-proj-{}", a(40)), "openai-key"),
        (format!("sk-{}", a(48)), "sk-key"),
        (format!("AIza{}", a(35)), "google-key"),
        (format!("hf_{}", a(34)), "huggingface-token"),
        (format!("ghp_{}", a(36)), "github-token"),
        (format!("github_pat_{}_{}", a(22), a(59)), "github-token"),
        ("xoxb-123456789012-abcdefABCDEF".to_owned(), "slack-token"),
        (format!("AKIA{upper}"), "aws-key-id"),
        (format!("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOi{}.{}", a(30), a(43)), "jwt"),
        (PEM.to_owned(), "private-key"),
        (PEM.replace('\n', "\\n"), "private-key"),
    ];
    for (key, name) in cases {
        let there = |before: &str, after: &str| {
            let expected = format!("{before}[masked:{name}]{after}");
            assert_eq!(masked(&format!("{before}{key}{after}")), expected);
        };
        for (before, after) in
            [("", ""), ("key=", "\n"), ("\"", "\""), ("\\n", "\\n"), ("%3D", "&")]
        {
            there(before, after);
        }
        there("\u{1b}[32m", "\u{1b}[0m");
    }
}

#[test]
fn ordinary_text_stays() {
    let hash = "0123456789abcdef".repeat(4);
    let texts = [
        format!("disk-{hash} task-{hash}"),
        "sk-learn sk-ant- sk-ant-short hf_hub_download AIza AKIA eyJ.eyJ.".to_owned(),
        format!("AIza{}", "a".repeat(36)),
        "AKIAIOSFODNN7EXAMPLEE and xoxb-short".to_owned(),
        "eyJhbGciOiJIUzI1NiJ9.not-a-token".to_owned(),
        format!("{{\"sha256\": \"{hash}\"}}"),
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----".to_owned(),
    ];
    for text in texts {
        assert!(matches!(mask().whole(text.as_bytes()), Cow::Borrowed(_)), "{}", masked(&text));
        let every: Vec<usize> = (0..text.len()).collect();
        assert_eq!(streamed(&mask(), text.as_bytes(), &every), text.as_bytes());
    }
}

#[test]
fn a_private_key_without_an_end_is_held_no_longer_than_its_bound() {
    let begin = "-----BEGIN PRIVATE KEY-----\n";
    let text = format!("{begin}{}", "MIIE0123".repeat(4000));
    let (mask, mut out) = (mask(), Vec::new());
    let mut stream = mask.stream();
    let mut most = 0;
    for piece in text.as_bytes().chunks(100) {
        stream.push(piece, &mut out);
        most = most.max(stream.held());
    }
    assert!((16 << 10..(16 << 10) + 200).contains(&most), "{most}");
    stream.finish(&mut out);
    assert_eq!(out, *mask.whole(text.as_bytes()));
    let kept = text.len() - begin.len() + 1 - (16 << 10);
    assert_eq!(String::from_utf8(out).unwrap().len(), kept + "[masked:private-key]".len());
}

#[test]
fn a_broken_private_key_loses_its_base64_alone() {
    let begin = "-----BEGIN PRIVATE KEY-----";
    let text = format!("{begin}\nMIIE\n{begin} and -----ENDED -----END PRIVATE KEY-----");
    let expected =
        "[masked:private-key][masked:private-key] and -----ENDED -----END PRIVATE KEY-----";
    assert_eq!(masked(&text), expected);
    let every: Vec<usize> = (0..text.len()).collect();
    assert_eq!(streamed(&mask(), text.as_bytes(), &every), expected.as_bytes());
}

#[test]
fn little_is_held_back() {
    let (mask, mut out) = (mask(), Vec::new());
    let mut stream = mask.stream();
    stream.push(b"a line of output\n", &mut out);
    assert_eq!((stream.held(), out.as_slice()), (0, &b"a line of output\n"[..]));
    stream.push(b"key: sk-ant-api03", &mut out);
    assert_eq!(stream.held(), "sk-ant-api03".len());
    stream.push(b" is no key\n", &mut out);
    assert_eq!(stream.held(), 0);
    assert!(out.ends_with(b"key: sk-ant-api03 is no key\n"));
}

#[test]
fn what_cannot_be_masked_is_refused() {
    let error = |name: &str, value: &str| Mask::new([(name, value)]).unwrap_err().to_string();
    let short = error("KEY", "1234567 \n");
    assert!(short.starts_with("cannot mask the secret KEY: it has 7 characters"), "{short}");
    assert!(!short.contains("1234567"), "the secret itself is not told");
    assert!(error("KEY", &"x".repeat(20_000)).contains("20000 bytes"));
    for name in ["", "a b", "a\"b", "a]b"] {
        assert!(error(name, "12345678").contains("under the name"), "{name}");
    }
    assert!(Mask::new([("KEY", "12345678")]).is_ok());
    assert_eq!(
        format!("{:?} {:?}", mask(), mask().stream()),
        "Mask(on) MaskStream { held: 0, .. }"
    );
}

#[test]
fn switched_off_it_hides_nothing() {
    let text = format!("{KEY} {PEM}");
    assert_eq!(Mask::off().whole(text.as_bytes()), text.as_bytes());
    assert_eq!(streamed(&Mask::off(), text.as_bytes(), &[3, 9]), text.as_bytes());
}

#[test]
fn of_secrets_that_hold_each_other_the_longer_is_masked() {
    let mask = Mask::new([("SHORT", "abcdefgh"), ("LONG", "abcdefghijkl"), ("PREFIX", "sk-ant-a")])
        .unwrap();
    let text = mask.text("abcdefghijkl abcdefghijk sk-ant-a sk-ant-abc");
    assert_eq!(text, "[masked:LONG] [masked:SHORT]ijk [masked:PREFIX] [masked:PREFIX]bc");
    let inside = Mask::new([("A", "sk-ant-api")]).unwrap();
    assert_eq!(inside.text("sk-ant-api03"), "[masked:A]03");
    let shorter_than_a_beginning = Mask::new([("A", "-----BEGIN")]).unwrap();
    let text = "-----BEGIN RSA PRIVATE KEY---- is broken";
    assert_eq!(shorter_than_a_beginning.text(text), "[masked:A] RSA PRIVATE KEY---- is broken");
}

/// Pieces of which hostile texts are made: secrets, halves of them, beginnings of shapes, ordinary words.
fn pieces() -> impl Strategy<Value = String> {
    let hex: String = KEY.bytes().map(|b| format!("{b:02x}")).collect();
    let shapes =
        "sk- sk-ant- sk-proj- AIza AKIA eyJ hf_ ghp_ . - _ \\n % \\u0022 -----END -----BEGIN";
    let mut fixed: Vec<String> = shapes.split(' ').map(str::to_owned).collect();
    fixed.extend([
        KEY.to_owned(),
        KEY[..20].to_owned(),
        KEY[20..].to_owned(),
        ODD.to_owned(),
        serde_json::to_string(ODD).unwrap(),
        hex,
        STANDARD.encode(KEY),
        STANDARD.encode(format!("x{KEY}")),
        STANDARD.encode(format!("xy{ODD}")),
        PEM.to_owned(),
        PEM[..50].to_owned(),
        "-----END RSA PRIVATE KEY-----".to_owned(),
        "A".repeat(16),
        "a1B2".repeat(9),
        "\n".to_owned(),
    ]);
    prop_oneof![3 => proptest::sample::select(fixed), 1 => "[ -~]{0,12}", 1 => "\\PC{0,4}"]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_stream_makes_no_difference(parts in vec(pieces(), 0..12), mut cuts in vec(0_usize..400, 0..8)) {
        let (text, mask) = (parts.concat(), mask());
        let whole = mask.whole(text.as_bytes());
        cuts.sort_unstable();
        prop_assert_eq!(&streamed(&mask, text.as_bytes(), &cuts), whole.as_ref());
        let every: Vec<usize> = (0..text.len()).collect();
        prop_assert_eq!(&streamed(&mask, text.as_bytes(), &every), whole.as_ref());
    }

    #[test]
    fn no_form_remains(parts in vec(pieces(), 0..12)) {
        let masked = mask().whole(parts.concat().as_bytes()).into_owned();
        for secret in [KEY, ODD] {
            for form in forms::of(secret) {
                let there = masked.windows(form.len()).any(|w| w == form);
                prop_assert!(!there, "{}", String::from_utf8_lossy(&form));
            }
        }
    }

    #[test]
    fn any_secret_is_found_at_any_cut(secret in "[!-~]{8,40}", before in "[ -~]{0,20}", cut in 0_usize..80) {
        let mask = Mask::new([("S", &secret)]).unwrap();
        let text = format!("{before}{secret}\n");
        let out = streamed(&mask, text.as_bytes(), &[cut]);
        let whole = mask.whole(text.as_bytes());
        prop_assert_eq!(&out, whole.as_ref());
        prop_assert!(!out.windows(secret.len()).any(|w| w == secret.as_bytes()));
    }

    #[test]
    fn what_holds_no_secret_stays(text in vec(any::<u8>(), 0..300), cut in 0_usize..300) {
        prop_assert_eq!(streamed(&mask(), &text, &[cut]), text);
    }
}
