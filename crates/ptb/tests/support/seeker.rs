//! Looks for marks in whatever is left of a run, as somebody would who has its files: decompressed, decoded, turned
//! around.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Every marked secret has this word in it, and nothing else does.
pub(crate) const MARK: &str = "Qm4rk3dQ";

/// Where in a folder marked secrets are, as `file: form`; folders and files in `but` are left out.
pub(crate) fn seek(folder: &Path, but: &[PathBuf]) -> Vec<String> {
    let mut found = Vec::new();
    let entries = walkdir::WalkDir::new(folder).into_iter();
    for entry in entries.filter_entry(|e| !but.iter().any(|b| b == e.path())).flatten() {
        let shown = entry.path().strip_prefix(folder).unwrap().display().to_string();
        if shown.contains(MARK) {
            found.push(format!("{shown}: name"));
        }
        // What vanishes meanwhile is looked at another time.
        let Ok(bytes) = fs::read(entry.path()) else { continue };
        // Weights are numbers: no program codes a text there.
        if shown.ends_with(".safetensors") {
            found.extend(has(&bytes).then(|| format!("{shown}: plain")));
            continue;
        }
        found.extend(forms(&bytes).into_iter().map(|form| format!("{shown}: {form}")));
    }
    found
}

/// The forms in which a text has a marked secret.
pub(crate) fn forms(bytes: &[u8]) -> Vec<&'static str> {
    let plain = match bytes.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        true => zstd::decode_all(bytes).unwrap_or_else(|_| bytes.to_vec()),
        false => bytes.to_vec(),
    };
    // JSON within JSON within JSON.
    let once = unescaped(&plain);
    let twice = unescaped(&once);
    let mut found = Vec::new();
    for (text, names) in [
        (&plain, ["plain", "base64", "hex", "percent", "reversed"]),
        (
            &once,
            ["escaped", "escaped base64", "escaped hex", "escaped percent", "escaped reversed"],
        ),
        (&twice, ["escaped twice", "escaped twice, base64", "-", "-", "-"]),
    ] {
        let turned: Vec<u8> = text.iter().rev().copied().collect();
        let hits = [has(text), in_base64(text), in_hex(text), has(&percent(text)), has(&turned)];
        found.extend(names.into_iter().zip(hits).filter(|(_, hit)| *hit).map(|(name, _)| name));
    }
    found
}

fn has(text: &[u8]) -> bool {
    memchr::memmem::find(text, MARK.as_bytes()).is_some()
}

/// A text whose escapes are resolved, whatever else is in it.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::with_capacity(text.len()), text);
    while let Some(at) = memchr::memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..at]);
        rest = &rest[at + 1..];
        let code = rest.get(1..5).filter(|_| rest[0] == b'u').and_then(number);
        match (code, rest.first()) {
            (Some(code), _) => {
                let c = char::from_u32(code).unwrap_or('?');
                out.extend(c.to_string().bytes());
                rest = &rest[5..];
            }
            (None, Some(escaped)) => {
                out.push(*escaped);
                rest = &rest[1..];
            }
            (None, None) => {}
        }
    }
    out.extend_from_slice(rest);
    out
}

fn number(digits: &[u8]) -> Option<u32> {
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

fn percent(text: &[u8]) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::with_capacity(text.len()), text);
    while let Some(at) = memchr::memchr(b'%', rest) {
        out.extend_from_slice(&rest[..at]);
        match rest.get(at + 1..at + 3).and_then(number) {
            Some(byte) => {
                out.push(u8::try_from(byte).unwrap());
                rest = &rest[at + 3..];
            }
            None => {
                out.push(b'%');
                rest = &rest[at + 1..];
            }
        }
    }
    out.extend_from_slice(rest);
    out
}

/// Runs of characters of which a coding is made, long enough to hold the mark.
fn runs(text: &[u8], least: usize, of: impl Fn(u8) -> bool) -> impl Iterator<Item = &[u8]> {
    text.split(move |b| !of(*b)).filter(move |run| run.len() >= least)
}

/// Whether the mark is in base64 somewhere, however it lies in the groups of four.
fn in_base64(text: &[u8]) -> bool {
    let config = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    let coding = GeneralPurpose::new(&STANDARD, config);
    let of = |b: u8| b.is_ascii_alphanumeric() || b"+/-_".contains(&b);
    runs(text, MARK.len() * 4 / 3, of).any(|run| {
        let run: Vec<u8> = run
            .iter()
            .map(|b| match b {
                b'-' => b'+',
                b'_' => b'/',
                other => *other,
            })
            .collect();
        (0..4).any(|skip| {
            let run = &run[skip..];
            // A single character at the end codes nothing.
            let run = if run.len() % 4 == 1 { &run[..run.len() - 1] } else { run };
            coding.decode(run).is_ok_and(|decoded| has(&decoded))
        })
    })
}

fn in_hex(text: &[u8]) -> bool {
    runs(text, MARK.len() * 2, |b| b.is_ascii_hexdigit()).any(|run| {
        (0..2).any(|skip| {
            let bytes: Vec<u8> = run[skip..]
                .chunks_exact(2)
                .map(|pair| u8::try_from(number(pair).unwrap()).unwrap())
                .collect();
            has(&bytes)
        })
    })
}

/// A program in Python that looks for marks from inside the wall: in its environment, in `/proc`, in every readable file
/// that the harness may have put there. It writes what it finds into `found.txt`, where it found the word that was
/// planted for it into `planted.txt`, and prints what it was given.
pub(crate) const INSIDE: &str = r#"
import base64, json, os
words = {"found.txt": b"Qm4rk" + b"3dQ", "planted.txt": b"Qpl4nt" + b"3dQ"}
def coded(word):
    forms = [word, word[::-1], word.hex().encode(), "".join("\\u%04x" % b for b in word).encode()]
    for before in range(3):
        text = base64.b64encode(b"x" * before + word + b"xxx")
        forms.append(text[4 if before else 0:][:8 if before else 10])
    return forms
looked = {name: coded(word) for name, word in words.items()}
seen = {name: [] for name in words}
def look(where, text):
    for name, forms in looked.items():
        if any(form in text for form in forms):
            seen[name].append(where)
def read(path, most=4 << 20):
    try:
        with open(path, "rb") as f:
            return f.read(most)
    except OSError:
        return b""
files = 0
for pid in [p for p in os.listdir("/proc") if p.isdigit()]:
    for name in ["environ", "cmdline", "maps", "comm", "mountinfo", "cgroup", "stack", "status"]:
        look("/proc/" + pid + "/" + name, read("/proc/" + pid + "/" + name))
    for kind in ["fd", "cwd", "root", "exe"]:
        base = "/proc/" + pid + "/" + kind
        try:
            links = [base + "/" + n for n in os.listdir(base)] if kind == "fd" else [base]
            for link in links:
                look(link, os.readlink(link).encode())
        except OSError:
            pass
for name in ["/proc/mounts", "/proc/cmdline", "/proc/keys", "/proc/net/unix", "/proc/net/tcp"]:
    look(name, read(name))
# The host's own programs hold nothing of a run.
skipped = {"/proc", "/sys", "/usr", "/bin", "/sbin", "/lib", "/lib64", "/opt/agent"}
for root, folders, names in os.walk("/"):
    folders[:] = [f for f in folders if os.path.join(root, f) not in skipped]
    for name in names:
        path = os.path.join(root, name)
        if os.path.isfile(path) and name not in words:
            files += 1
            look(path, read(path))
for name, value in os.environ.items():
    look("$" + name, value.encode("utf-8", "surrogateescape"))
for name, places in seen.items():
    with open(name, "w") as f:
        f.write("".join(place + "\n" for place in places))
given = json.dumps(dict(os.environ))
print(given)
print(base64.b64encode(given.encode()).decode())
print("".join("\\u%04x" % b for b in given.encode())[:20000])
with open("looked.txt", "w") as f:
    f.write("%d files, %d variables\n" % (files, len(os.environ)))
"#;
