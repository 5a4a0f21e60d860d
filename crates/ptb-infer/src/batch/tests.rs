//! The batch against the differentiable forward, and against itself in other company.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use candle_core::Device;
use ptb_model::{
    Checkpoint, Config, ModelDir, Parameters, Qwen3, RandomModel, Sampling, Tokenizer,
    argmax_continuation, random_model,
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::*;
use crate::compute::step::{Scratch, Slice, step};
use crate::compute::weights::Weights;

const GREEDY: Sampling =
    Sampling { temperature: 0.0, top_p: 1.0, top_k: 0, min_p: 0.0, repetition_penalty: 1.0 };

struct Fixture {
    _home: tempfile::TempDir,
    dir: ModelDir,
    config: Config,
    checkpoint: Checkpoint,
}

fn fixture(model: &RandomModel) -> Fixture {
    let home = tempfile::tempdir().unwrap();
    random_model(home.path(), model).unwrap();
    let dir = ModelDir::open(home.path()).unwrap();
    let config = Config::read(&dir).unwrap();
    let checkpoint = Checkpoint::open(&dir).unwrap();
    Fixture { _home: home, dir, config, checkpoint }
}

impl Fixture {
    fn reference(&self) -> Qwen3 {
        let parameters = Parameters::load(&self.config, &self.checkpoint, &Device::Cpu).unwrap();
        Qwen3::new(self.config.clone(), parameters)
    }

    fn batcher(&self, share_prefixes: bool, step_tokens: usize) -> Batcher {
        let options =
            BatcherOptions { max_rows: 64, step_tokens, kv_bytes: 256 << 20, share_prefixes };
        self.batcher_with(options)
    }

    fn batcher_with(&self, options: BatcherOptions) -> Batcher {
        let weights = Weights::load(&self.config, &self.checkpoint).unwrap();
        let tokenizer = Arc::new(Tokenizer::read(&self.dir).unwrap());
        Batcher::new(weights, tokenizer, vec![258, 256], options)
    }
}

fn request(prompt: &[u32], max_tokens: usize, sampling: Sampling, seed: u64) -> Request {
    Request {
        prompt: prompt.into(),
        max_tokens,
        sampling,
        seed,
        stop: Vec::new(),
        ignore_eos: true,
        skip_special: true,
        stream: false,
    }
}

fn submit(batcher: &mut Batcher, request: Request) -> UnboundedReceiver<Event> {
    let (events, receiver) = unbounded_channel();
    let job = Job { request, events, cancelled: Arc::new(AtomicBool::new(false)) };
    assert!(batcher.admit(job).is_ok());
    receiver
}

fn answer(receiver: &mut UnboundedReceiver<Event>) -> (Vec<u32>, String, Finish) {
    loop {
        match receiver.try_recv().expect("the row has ended") {
            Event::Done { tokens, text, finish } => return (tokens, text, finish),
            Event::Text(_) => {}
            Event::Failed(failure) => panic!("{failure}"),
        }
    }
}

fn run(batcher: &mut Batcher, requests: &[Request]) -> Vec<Vec<u32>> {
    let mut receivers: Vec<_> = requests.iter().map(|r| submit(batcher, r.clone())).collect();
    while !batcher.is_idle() {
        batcher.step();
    }
    assert_eq!(batcher.held_blocks(), 0);
    receivers.iter_mut().map(|r| answer(r).0).collect()
}

fn random_tokens(rng: &mut ChaCha8Rng, count: usize) -> Vec<u32> {
    (0..count).map(|_| rng.next_u32() % 256).collect()
}

fn logits(f: &Fixture, tokens: &[u32], chunk: usize) -> Vec<f32> {
    let weights = Weights::load(&f.config, &f.checkpoint).unwrap();
    let shape = crate::cache::KvShape::new(&f.config);
    let mut pool = crate::cache::Pool::new(shape, 64);
    let table: Vec<_> = (0..tokens.len().div_ceil(64)).map(|_| pool.take().unwrap()).collect();
    let mut scratch = Scratch::default();
    let mut out = Vec::new();
    for (n, part) in tokens.chunks(chunk).enumerate() {
        let slice = Slice { tokens: part, start: n * chunk, table: &table, logits: true };
        out = step(&weights, &mut pool, &[slice], &mut scratch).to_vec();
    }
    out
}

/// Largest difference relative to the logits' own size.
fn distance(a: &[f32], b: &[f32]) -> f64 {
    let size = a.iter().fold(0.0_f64, |m, x| m.max(f64::from(x.abs())));
    let worst = a.iter().zip(b).map(|(x, y)| f64::from((x - y).abs())).fold(0.0, f64::max);
    worst / size
}

#[test]
fn logits_equal_the_differentiable_forward() {
    let mini = RandomModel::mini(3);
    let shapes = [
        RandomModel::tiny(1),
        RandomModel::tiny(2),
        mini.clone(),
        RandomModel { tie_word_embeddings: false, ..mini.clone() },
        RandomModel { bf16: true, ..mini.clone() },
        // Widths that are no multiples of a panel, heads of 40, one key head for all.
        RandomModel {
            hidden_size: 50,
            intermediate_size: 70,
            head_dim: 40,
            num_kv_heads: 1,
            ..mini.clone()
        },
        RandomModel { num_kv_heads: 4, vocab_size: 301, ..mini },
    ];
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    for shape in shapes {
        let f = fixture(&shape);
        let reference = f.reference();
        for length in [1, 2, 63, 64, 65, 150] {
            let tokens = random_tokens(&mut rng, length);
            let input = candle_core::Tensor::new(tokens.as_slice(), &Device::Cpu).unwrap();
            let all = reference.forward(&input.unsqueeze(0).unwrap()).unwrap();
            let expected = all.get(0).unwrap().get(length - 1).unwrap().to_vec1::<f32>().unwrap();
            let ours = logits(&f, &tokens, length);
            let d = distance(&expected, &ours);
            assert!(d < 1e-5, "{shape:?} at {length}: {d}");
        }
    }
}

#[test]
fn logits_do_not_depend_on_how_a_text_is_cut() {
    let f = fixture(&RandomModel::tiny(4));
    let tokens = random_tokens(&mut ChaCha8Rng::seed_from_u64(6), 200);
    let whole = logits(&f, &tokens, 200);
    for chunk in [1, 7, 64, 128] {
        assert_eq!(whole, logits(&f, &tokens, chunk), "chunks of {chunk}");
    }
}

#[test]
fn greedy_tokens_equal_the_differentiable_forward() {
    let f = fixture(&RandomModel::tiny(7));
    let reference = f.reference();
    let mut rng = ChaCha8Rng::seed_from_u64(8);
    let prompts: Vec<_> = [5, 70].iter().map(|n| random_tokens(&mut rng, *n)).collect();
    let requests: Vec<_> = prompts.iter().map(|p| request(p, 64, GREEDY, 0)).collect();
    let ours = run(&mut f.batcher(true, 128), &requests);
    for (prompt, ours) in prompts.iter().zip(ours) {
        assert_eq!(ours, argmax_continuation(&reference, prompt, 64).unwrap());
        let distinct: std::collections::BTreeSet<_> = ours.iter().collect();
        assert!(distinct.len() > 8, "a text that repeats itself shows little: {ours:?}");
    }
}

/// 32 requests of all kinds, half of them with a common beginning.
fn mixed(rng: &mut ChaCha8Rng) -> Vec<Request> {
    let common = random_tokens(rng, 300);
    (0..32)
        .map(|i| {
            let mut prompt = if i % 2 == 0 { common[..100 + 6 * i].to_vec() } else { Vec::new() };
            prompt.extend(random_tokens(rng, 1 + i * 5));
            let sampling = match i % 4 {
                0 => GREEDY,
                1 => Sampling { temperature: 0.8, top_p: 0.9, top_k: 40, ..Sampling::default() },
                2 => Sampling { min_p: 0.05, repetition_penalty: 1.2, ..Sampling::default() },
                _ => Sampling::default(),
            };
            request(&prompt, 8 + i, sampling, 1000 + i as u64)
        })
        .collect()
}

#[test]
fn a_seeded_request_is_the_same_alone_in_company_and_from_the_cache() {
    let f = fixture(&RandomModel::mini(9));
    let requests = mixed(&mut ChaCha8Rng::seed_from_u64(10));
    let alone: Vec<Vec<u32>> = requests
        .iter()
        .map(|r| run(&mut f.batcher(false, 4096), std::slice::from_ref(r)).remove(0))
        .collect();
    let mut warm = f.batcher(true, 192);
    assert_eq!(alone, run(&mut warm, &requests), "together, prefixes shared");
    assert_eq!(alone, run(&mut warm, &requests), "again, out of the cache");
    let backwards: Vec<_> = requests.iter().rev().cloned().collect();
    let mut answers = run(&mut f.batcher(true, 64), &backwards);
    answers.reverse();
    assert_eq!(alone, answers, "in another order, in small steps");
    assert_eq!(alone, run(&mut f.batcher(false, 512), &requests), "nothing shared");
    let pool = |n| rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap();
    for threads in [1, 3] {
        let together = pool(threads).install(|| run(&mut f.batcher(true, 512), &requests));
        assert_eq!(alone, together, "{threads} threads");
    }
}

#[test]
fn a_small_cache_makes_rows_wait_and_changes_nothing() {
    let f = fixture(&RandomModel::mini(9));
    let requests = mixed(&mut ChaCha8Rng::seed_from_u64(10));
    let expected = run(&mut f.batcher(true, 512), &requests);
    let bytes = crate::cache::KvShape::new(&f.config).block_bytes() as u64;
    let mut small = f.batcher_with(BatcherOptions {
        max_rows: 64,
        step_tokens: 256,
        kv_bytes: 12 * bytes,
        share_prefixes: true,
    });
    let mut receivers = Vec::new();
    for r in &requests {
        let (events, receiver) = unbounded_channel();
        receivers.push(receiver);
        let mut job = Job { request: r.clone(), events, cancelled: Arc::default() };
        while let Err(back) = small.admit(job) {
            job = back;
            small.step();
        }
    }
    while !small.is_idle() {
        small.step();
    }
    let answers: Vec<_> = receivers.iter_mut().map(|r| answer(r).0).collect();
    assert_eq!(expected, answers);
}

#[test]
fn a_row_whose_client_is_gone_leaves_the_batch() {
    let f = fixture(&RandomModel::mini(9));
    let mut batcher = f.batcher(true, 64);
    let prompt = random_tokens(&mut ChaCha8Rng::seed_from_u64(11), 200);
    let receiver = submit(&mut batcher, request(&prompt, 1000, GREEDY, 0));
    let mut stays = submit(&mut batcher, request(&prompt, 5, GREEDY, 0));
    batcher.step();
    drop(receiver);
    while !batcher.is_idle() {
        batcher.step();
    }
    assert_eq!(answer(&mut stays).0.len(), 5, "the one that waited for its blocks goes on");
    assert_eq!(batcher.held_blocks(), 0);
}

#[test]
fn broken_weights_fail_their_request_and_say_so() {
    let f = fixture(&RandomModel::mini(9));
    let path = f.dir.path().join("model.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    let name = b"model.norm.weight\":";
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let at = bytes.windows(name.len()).position(|w| w == name).unwrap() + name.len();
    let end = at + bytes[at..].iter().position(|b| *b == b'}').unwrap() + 1;
    let entry: serde_json::Value = serde_json::from_slice(&bytes[at..end]).unwrap();
    let begin = 8 + header + entry["data_offsets"][0].as_u64().unwrap() as usize;
    bytes[begin..begin + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(&path, bytes).unwrap();
    let checkpoint = Checkpoint::open(&f.dir).unwrap();
    let f = Fixture { checkpoint, ..f };
    let mut batcher = f.batcher(true, 64);
    let mut receiver = submit(&mut batcher, request(&[1, 2, 3], 5, GREEDY, 0));
    batcher.step();
    assert!(matches!(receiver.try_recv(), Ok(Event::Failed(Failure::NotFinite))));
    assert!(batcher.is_idle());
}

#[test]
fn requests_that_can_never_fit_are_refused_with_both_numbers() {
    let f = fixture(&RandomModel { max_positions: 100, ..RandomModel::mini(1) });
    let limits = f.batcher(true, 64).limits();
    let refusal = |prompt: &[u32], max| {
        limits.check(&request(prompt, max, GREEDY, 0)).unwrap_err().to_string()
    };
    assert!(limits.check(&request(&[1; 60], 40, GREEDY, 0)).is_ok());
    let text = refusal(&[1; 60], 41);
    assert!(text.contains("101 positions") && text.contains("has 100"), "{text}");
    assert_eq!(refusal(&[], 1), "the prompt is empty");
    assert_eq!(refusal(&[1], 0), "max_tokens must be at least 1");
    assert!(refusal(&[1, 288], 1).contains("token id 288 is outside"));
    assert!(refusal(&[1], usize::MAX).contains("has 100"));
}
