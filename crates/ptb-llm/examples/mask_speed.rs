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
    let secrets = (0..4).map(|n| {
        let value = format!("sk-ant-api03-{}", format!("{n}aB3dE5fG7hJ9kL").repeat(7));
        (format!("KEY_{n}"), value)
    });
    let mask = Mask::new(secrets)?;
    let log = r#"{"type":"assistant","message":{"content":[{"type":"text","text":"The loss went from 2.31 to 0.87 after 400 steps; next I look at the tokenizer, and at what evaluate.py says.\n"}]},"session_id":"0b1f7a52-8a6d-4f0e-9f0c-3c9a3c8a7d11"}
"#;
    let code = "    for step in range(steps):\n        loss = model(batch).loss / accumulate\n        loss.backward()\n";
    let base64: String = (0_u32..12_288)
        .map(|n| {
            let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
            char::from(alphabet[(n.wrapping_mul(2_654_435_761) >> 26) as usize % 64])
        })
        .collect();
    for (name, text) in [("log lines", log), ("code", code), ("base64", base64.as_str())] {
        let text = text.repeat(BYTES / text.len()).into_bytes();
        let began = Instant::now();
        let masked = mask.whole(&text);
        let whole = text.len() as f64 / began.elapsed().as_secs_f64() / 1e6;
        let same = masked.as_ref() == text.as_slice();
        let (mut stream, mut out) = (mask.stream(), Vec::with_capacity(2 * PIECE));
        let began = Instant::now();
        for piece in text.chunks(PIECE) {
            out.clear();
            stream.push(piece, &mut out);
        }
        stream.finish(&mut out);
        let pieces = text.len() as f64 / began.elapsed().as_secs_f64() / 1e6;
        println!("{name}: {whole:.0} MB/s whole, {pieces:.0} MB/s in pieces; unchanged: {same}");
    }
    Ok(())
}
