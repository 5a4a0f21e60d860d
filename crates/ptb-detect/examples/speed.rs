//! How fast documents are looked through: `speed MB [DATA]` makes so many megabytes of distinct JSON Lines (words of a
//! Zipf distribution, 30 % of the bytes escaped letters that are no ASCII, 1 % near misses) and scans them against a
//! benchmark's test items, from a file that is removed afterwards.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a program for measuring")]

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Instant;

use ptb_detect::{Index, Item, Limits};
use serde_json::Value;

/// A small generator of random numbers (SplitMix64): the text has to be made faster than it is read.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        ((self.next() >> 32) as usize * n) >> 32
    }

    /// A rank of a Zipf distribution with exponent 1, by inverting its continuous form.
    fn zipf(&mut self, n: usize) -> usize {
        let u = (self.next() >> 11) as f64 / (1u64 << 53) as f64;
        ((n as f64).powf(u) as usize).min(n) - 1
    }
}

fn records(path: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

/// Words, the frequent ones first: those of the items, then made-up ones; and escaped ones.
fn words(items: &[Item]) -> (Vec<String>, Vec<String>) {
    let mut random = Random(1);
    let mut known = std::collections::BTreeMap::new();
    for word in items.iter().flat_map(|i| &i.texts).flat_map(|t| t.split_whitespace()) {
        if word.chars().all(char::is_alphanumeric) {
            *known.entry(word.to_lowercase()).or_insert(0u32) += 1;
        }
    }
    let mut known: Vec<(String, u32)> = known.into_iter().collect();
    known.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    let mut words: Vec<String> = known.into_iter().map(|(w, _)| w).collect();
    while words.len() < 60_000 {
        let n = 3 + random.below(8);
        words.push((0..n).map(|_| (b'a' + random.below(26) as u8) as char).collect());
    }
    let escaped = (0..20_000).map(|_| {
        let (block, n) = ([0x430, 0x3b1, 0x4e00, 0x5d0][random.below(4)], 2 + random.below(4));
        (0..n).fold(String::new(), |mut w, _| {
            let _ = write!(w, "\\u{:04x}", block + random.below(24));
            w
        })
    });
    (words, escaped.collect())
}

/// Seconds that all threads of this process have computed, in the program and in the kernel.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

fn main() {
    let megabytes: u64 = std::env::args().nth(1).unwrap().parse().unwrap();
    let data = std::env::args().nth(2).unwrap();
    let items: Vec<Item> = records(&data)
        .iter()
        .enumerate()
        .map(|(i, r)| {
            let field = |name: &str| r[name].as_str().map(str::to_owned);
            let texts = ["question", "answer", "prompt", "canonical_solution"].iter();
            let code = [field("prompt"), field("canonical_solution")]
                .into_iter()
                .flatten()
                .collect::<String>();
            Item {
                id: (i + 1).to_string(),
                texts: texts.filter_map(|f| field(f)).collect(),
                code: vec![code],
                ..Item::default()
            }
        })
        .collect();
    let index = Index::new(&items, []);
    let (words, escaped) = words(&items);
    let path = std::env::temp_dir().join(format!("detect-speed-{}.jsonl", std::process::id()));
    let mut file =
        std::io::BufWriter::with_capacity(1 << 20, std::fs::File::create(&path).unwrap());
    let (mut random, mut line, mut written) = (Random(7), String::new(), 0u64);
    while written < megabytes * 1_000_000 {
        line.clear();
        line.push_str("{\"text\": \"");
        if random.below(100) == 0 {
            // A near miss: an item's words, every third of them another.
            let item = &items[random.below(items.len())].texts[0];
            for (i, word) in item.split_whitespace().enumerate() {
                let other = &words[random.zipf(words.len())];
                let word: String = word.chars().filter(|c| c.is_alphanumeric()).collect();
                let _ = write!(line, "{} ", if i % 3 == 2 { other } else { &word });
            }
        }
        let n = 60 + random.below(200);
        for _ in 0..n {
            let wide = random.below(1000) < 134;
            line.push_str(if wide {
                &escaped[random.zipf(escaped.len())]
            } else {
                &words[random.zipf(words.len())]
            });
            line.push(' ');
        }
        line.push_str("\"}\n");
        file.write_all(line.as_bytes()).unwrap();
        written += line.len() as u64;
    }
    file.flush().unwrap();
    drop(file);
    let sample = {
        use std::io::Read;
        let mut b = vec![0; 1 << 20];
        std::fs::File::open(&path).unwrap().read_exact(&mut b).unwrap();
        b
    };
    let share =
        sample.windows(2).filter(|w| *w == b"\\u").count() as f64 * 6.0 / sample.len() as f64;
    let before = cpu_seconds();
    let begin = Instant::now();
    let mut items_found = 0;
    let scanned = index.scan(
        std::slice::from_ref(&path),
        &Limits::default(),
        &mut |f| items_found += f.items.len(),
        &mut |u| println!("{u:?}"),
    );
    let seconds = begin.elapsed().as_secs_f64();
    let cpu = cpu_seconds() - before;
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find(|l| l.starts_with("VmHWM")).unwrap().to_owned();
    std::fs::remove_file(&path).unwrap();
    let threads = rayon::current_num_threads();
    println!(
        "{:.0} MB in {seconds:.2} s on {threads} threads, {cpu:.2} s of CPU: {:.0} MB/s of CPU; escaped {:.0} %; {} documents, {} flagged, {items_found} items; {peak}",
        scanned.bytes as f64 / 1e6,
        scanned.bytes as f64 / 1e6 / cpu,
        share * 100.0,
        scanned.documents,
        scanned.flagged
    );
}
