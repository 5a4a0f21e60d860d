//! How fast the mask is on one core: `cargo run --release -p ptb-llm --example mask_speed`.
#![expect(clippy::print_stdout, reason = "a program talks to its user")]

use std::error::Error;
use std::time::Instant;

use ptb_llm::mask::Mask;

/// Bytes of each text.
const BYTES: usize = 256 << 20;
/// Bytes of a piece of a stream.
const PIECE: usize = 64 << 10;

fn main() -> Result<(), Box<dyn Error>> {
    let log = r#"{"type":"assistant","message":{"content":[{"type":"text","text":"The loss went from 2.31 to 0.87 after 400 steps; next I look at the tokenizer, and at what evaluate.py says.\n"}]},"session_id":"0b1f7a52-8a6d-4f0e-9f0c-3c9a3c8a7d11"}
"#;
    let code = "    for step in range(steps):\n        loss = model(batch).loss / accumulate\n        loss.backward()\n";
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let base64: String =
        (0..1 << 20).map(|_| char::from(alphabet[(random() % 64) as usize])).collect();
    // Keys of one service begin alike, others do not.
    let secrets: Vec<String> = (0..40)
        .map(|n| {
            let begin = if n % 2 == 0 { "sk-ant-api03-" } else { "" };
            let end = |_| char::from(alphabet[(random() % 62) as usize]);
            begin.to_owned() + &(0..80).map(end).collect::<String>()
        })
        .collect();
    let hostile = "eyJ_eyJ.eyJ.-----BEGIN PRIVATE KEY-----sk-ant-x AIza hf_xoxb-xx ";
    for count in [4, 8, 16, 40] {
        let named = secrets.iter().take(count).enumerate().map(|(n, s)| (format!("KEY_{n}"), s));
        let mask = Mask::new(named)?;
        for (name, text) in [
            ("log lines", log),
            ("code", code),
            ("base64", base64.as_str()),
            ("beginnings of keys", hostile),
        ] {
            let mut text = text.repeat(BYTES / text.len()).into_bytes();
            let began = Instant::now();
            let masked = mask.whole(&text);
            let whole = text.len() as f64 / began.elapsed().as_secs_f64() / 1e6;
            let same = masked.as_ref() == text.as_slice();
            drop(masked);
            let (mut stream, mut out) = (mask.stream(), Vec::with_capacity(2 * PIECE));
            let began = Instant::now();
            for piece in text.chunks(PIECE) {
                out.clear();
                stream.push(piece, &mut out);
            }
            stream.finish(&mut out);
            let pieces = text.len() as f64 / began.elapsed().as_secs_f64() / 1e6;
            text.extend_from_slice(secrets[3].as_bytes());
            let found = mask.whole(&text).ends_with(b"[masked:KEY_3]");
            println!(
                "{count} secrets, {name}: {whole:.0} MB/s whole, {pieces:.0} MB/s in pieces; unchanged: {same}; a secret at its end: {found}"
            );
        }
    }
    Ok(())
}
