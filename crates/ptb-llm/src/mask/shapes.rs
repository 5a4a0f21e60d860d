//! What keys of common services look like. The lengths are conservative: a shorter thing may be an example or a word.
//!
//! A shape is a beginning that the searcher finds together with the secrets, and simple steps after it: whether they
//! go on is then known at every byte, as a stream needs it.

/// A kind of key.
pub(super) struct Shape {
    /// What it is masked as.
    pub(super) name: &'static str,
    /// How it may begin.
    pub(super) starts: &'static [&'static str],
    body: Body,
}

enum Body {
    /// Runs of characters, between which stands a dot.
    Runs(&'static [Run]),
    /// All up to the end of a PEM block.
    Pem,
}

/// Characters of one kind: at least, at most.
struct Run {
    of: Kind,
    least: usize,
    most: usize,
}

#[derive(Clone, Copy)]
enum Kind {
    Alphanumeric,
    /// With `-` and `_`.
    Word,
    /// Upper case and digits.
    Upper,
}

impl Kind {
    fn has(self, b: u8) -> bool {
        match self {
            Self::Alphanumeric => b.is_ascii_alphanumeric(),
            Self::Word => b.is_ascii_alphanumeric() || b == b'-' || b == b'_',
            Self::Upper => b.is_ascii_uppercase() || b.is_ascii_digit(),
        }
    }
}

/// What follows the beginning of a shape.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// A key, of so many bytes after its beginning.
    Key(usize),
    /// No key.
    Other,
    /// More must be known.
    Open,
}

/// No key goes on for longer, but for PEM blocks.
const LONGEST_RUN: usize = 4096;
/// No PEM block goes on for longer.
const LONGEST_PEM: usize = 16 << 10;
const PEM_END: &[u8] = b"-----END ";
const DASHES: &[u8] = b"-----";
/// After `-----END `, at most so much up to the closing dashes and with them.
const LONGEST_PEM_NAME: usize = 40;

const fn run(of: Kind, least: usize) -> Run {
    Run { of, least, most: LONGEST_RUN }
}

const fn exactly(of: Kind, length: usize) -> Run {
    Run { of, least: length, most: length }
}

/// The shapes. Where one beginning begins another, the longer one stands for itself alone.
pub(super) const SHAPES: &[Shape] = &[
    Shape { name: "anthropic-key", starts: &["sk-ant-"], body: Body::Runs(&[run(Kind::Word, 20)]) },
    Shape {
        name: "openai-key",
        starts: &["sk-proj-", "sk-svcacct-", "sk-admin-", "sk-or-v1-"],
        body: Body::Runs(&[run(Kind::Word, 20)]),
    },
    Shape { name: "sk-key", starts: &["sk-"], body: Body::Runs(&[run(Kind::Alphanumeric, 32)]) },
    Shape { name: "google-key", starts: &["AIza"], body: Body::Runs(&[exactly(Kind::Word, 35)]) },
    Shape {
        name: "huggingface-token",
        starts: &["hf_", "api_org_"],
        body: Body::Runs(&[run(Kind::Alphanumeric, 30)]),
    },
    Shape {
        name: "github-token",
        starts: &["ghp_", "gho_", "ghu_", "ghs_", "ghr_"],
        body: Body::Runs(&[run(Kind::Alphanumeric, 36)]),
    },
    Shape {
        name: "github-token",
        starts: &["github_pat_"],
        body: Body::Runs(&[run(Kind::Word, 50)]),
    },
    Shape {
        name: "slack-token",
        starts: &["xoxb-", "xoxp-", "xoxa-", "xoxr-", "xoxs-", "xoxe-"],
        body: Body::Runs(&[run(Kind::Word, 20)]),
    },
    Shape {
        name: "aws-key-id",
        starts: &["AKIA", "ASIA"],
        body: Body::Runs(&[exactly(Kind::Upper, 16)]),
    },
    Shape {
        name: "jwt",
        starts: &["eyJ"],
        body: Body::Runs(&[run(Kind::Word, 8), run(Kind::Word, 8), run(Kind::Word, 16)]),
    },
    Shape {
        name: "private-key",
        starts: &[
            "-----BEGIN PRIVATE KEY-----",
            "-----BEGIN RSA PRIVATE KEY-----",
            "-----BEGIN EC PRIVATE KEY-----",
            "-----BEGIN DSA PRIVATE KEY-----",
            "-----BEGIN OPENSSH PRIVATE KEY-----",
            "-----BEGIN ENCRYPTED PRIVATE KEY-----",
            "-----BEGIN PGP PRIVATE KEY BLOCK-----",
        ],
        body: Body::Pem,
    },
];

impl Shape {
    /// Whether what comes after the beginning makes it a key. `whole`: nothing comes after `rest`.
    pub(super) fn judge(&self, rest: &[u8], whole: bool) -> Verdict {
        match &self.body {
            Body::Runs(runs) => judge_runs(runs, rest, whole),
            Body::Pem => judge_pem(rest, whole),
        }
    }

    /// Whether such a key may begin after these bytes: not in the middle of a word, unless what looks like a word's
    /// letter ends an escape (`\n`, `\u000a`, `%3D`, a terminal's colour). Where several runs must follow, a text
    /// such as `eyJ_eyJ_eyJ_` would else be read to its end again and again.
    pub(super) fn may_follow(&self, before: &[u8]) -> bool {
        let several = matches!(self.body, Body::Runs([_, _, ..]));
        let digits = |bytes: &[u8]| bytes.iter().all(u8::is_ascii_hexdigit);
        match before {
            [.., b'-' | b'_'] => !several,
            [.., last] if !last.is_ascii_alphanumeric() => true,
            [.., b'\\', b'n' | b'r' | b't' | b'b' | b'f'] => true,
            [.., b'\\', b'u', a, b, c, d] if digits(&[*a, *b, *c, *d]) => true,
            [.., b'%', a, b] if digits(&[*a, *b]) => true,
            [.., b'0'..=b'9' | b'[' | b';', b'm'] => true,
            [] => true,
            _ => false,
        }
    }
}

fn judge_runs(runs: &[Run], rest: &[u8], whole: bool) -> Verdict {
    let mut at = 0;
    for (index, run) in runs.iter().enumerate() {
        let here = rest.get(at..).unwrap_or_default();
        let length = here.iter().take(run.most).take_while(|b| run.of.has(**b)).count();
        at += length;
        let after = rest.get(at);
        if after.is_none()
            && !whole
            && (length < run.most || run.least == run.most || index + 1 < runs.len())
        {
            return Verdict::Open;
        }
        // What is longer than a key of fixed length is something else.
        let too_long = run.least == run.most && after.is_some_and(|b| Kind::Word.has(*b));
        if length < run.least || too_long {
            return Verdict::Other;
        }
        if index + 1 < runs.len() {
            if after != Some(&b'.') {
                return Verdict::Other;
            }
            at += 1;
        }
    }
    Verdict::Key(at)
}

/// Up to `-----END ...-----`; without an end near enough, the base64 that follows.
fn judge_pem(rest: &[u8], whole: bool) -> Verdict {
    let near = rest.get(..LONGEST_PEM).unwrap_or(rest);
    let find = |in_what: &[u8], what: &[u8]| in_what.windows(what.len()).position(|w| w == what);
    let dashes = find(near, DASHES);
    let open = match dashes {
        Some(at) => rest.len() < at + PEM_END.len(),
        None => near.len() < LONGEST_PEM,
    };
    if open && !whole {
        return Verdict::Open;
    }
    // Dashes of something else end the search: no text is read twice.
    let ends = |at: &usize| rest.get(*at..).is_some_and(|rest| rest.starts_with(PEM_END));
    let Some(end) = dashes.filter(ends) else {
        let base64 = |b: &&u8| b.is_ascii_alphanumeric() || b"+/=\r\n\\".contains(b);
        return Verdict::Key(near.iter().take_while(base64).count());
    };
    let name = end + PEM_END.len();
    let after = rest.get(name..).unwrap_or_default();
    let near = after.get(..LONGEST_PEM_NAME).unwrap_or(after);
    match find(near, DASHES) {
        Some(dashes) => Verdict::Key(name + dashes + DASHES.len()),
        None if near.len() < LONGEST_PEM_NAME && !whole => Verdict::Open,
        None => Verdict::Key(name),
    }
}
