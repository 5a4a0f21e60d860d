//! What a training must do: learn, repeat to the bit, change nothing that it should not.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests"
)]

mod common;

use std::time::{Duration, Instant};

use candle_core::{Device, Tensor};
use common::{Home, chats, copies, tensors, weights};
use ptb_model::{Checkpoint, Config, ModelDir, Parameters, Qwen3, RandomModel};
use ptb_sft::{Data, Event, Every, Length, Method, Optimiser, Settings, Stop};

fn quick(home: &Home, steps: u64) -> Settings {
    let mut settings = home.settings();
    settings.length = Length::Steps(steps);
    settings.optimiser = Optimiser { lr: 5e-3, ..Optimiser::default() };
    settings.batch_tokens = 400;
    settings
}

fn model(dir: &std::path::Path) -> Qwen3 {
    let dir = ModelDir::open(dir).unwrap();
    let config = Config::read(&dir).unwrap();
    let checkpoint = Checkpoint::open(&dir).unwrap();
    let parameters = Parameters::load(&config, &checkpoint, &Device::Cpu).unwrap();
    Qwen3::new(config, parameters)
}

#[test]
fn a_copy_task_is_learnt_from_random_weights() {
    // Adapters beside frozen random embeddings can only do so much.
    let lora = Method::Lora { rank: 16, alpha: 16.0 };
    for (method, enough) in [(Method::Full, 0.05), (lora, 0.8)] {
        let home = Home::new();
        let mut settings = quick(&home, 250);
        settings.method = method;
        let mut losses = Vec::new();
        let outcome = home.train_told(&settings, &copies(600), &mut |event| {
            if let Event::Step(step) = event {
                losses.push(step.loss);
            }
        });
        let last = losses[losses.len() - 10..].iter().sum::<f64>() / 10.0;
        println!("{method:?}: {:.3} -> {last:.4}", losses[0]);
        assert!(losses[0] > 3.0 && last < enough, "{method:?}: {} -> {last}", losses[0]);
        assert_eq!(outcome.unwrap().steps, 250);
        // What lies in the place is what was trained: it answers.
        let saved = model(&home.path("out"));
        let right =
            [("qd>", "qd"), ("hz>", "hz"), ("mm>", "mm"), ("ab>", "ab")].map(|(prompt, answer)| {
                let ids: Vec<u32> = prompt.bytes().map(u32::from).collect();
                let told = ptb_model::argmax_continuation(&saved, &ids, 3).unwrap();
                let expected: Vec<u32> = answer.bytes().map(u32::from).chain([256]).collect();
                // The last letter and the end are the easy part.
                (told == expected, told[2] == expected[2])
            });
        assert!(
            right.iter().all(|(all, end)| *end && (*all || method != Method::Full)),
            "{right:?}"
        );
    }
}

#[test]
fn threads_change_no_bit_and_seeds_do() {
    let lines = chats(150);
    for method in [Method::Full, Method::Lora { rank: 4, alpha: 8.0 }] {
        let mut seen = Vec::new();
        for (seed, threads) in [(1, 1), (1, 2), (1, 5), (2, 2)] {
            let home = Home::new();
            let mut settings = quick(&home, 8);
            settings.batch_tokens = 2000;
            (settings.method, settings.seed, settings.threads) = (method, seed, threads);
            home.train(&settings, &lines).unwrap();
            seen.push(weights(&home.path("out")));
        }
        assert!(seen[0] == seen[1] && seen[0] == seen[2], "{method:?}: threads matter");
        assert!(seen[0] != seen[3], "{method:?}: seeds do not matter");
    }
}

#[test]
fn a_rate_of_zero_gives_the_bases_bits() {
    for (method, bf16, tied) in [
        (Method::Full, false, true),
        (Method::Full, true, false),
        (Method::Lora { rank: 4, alpha: 8.0 }, false, true),
        (Method::Lora { rank: 4, alpha: 8.0 }, true, true),
    ] {
        let model = RandomModel { bf16, tie_word_embeddings: tied, ..RandomModel::mini(3) };
        let home = Home::with(&model);
        let mut settings = quick(&home, 4);
        settings.method = method;
        settings.optimiser.lr = 0.0;
        home.train(&settings, &copies(100)).unwrap();
        assert!(tensors(&home.path("out")) == tensors(&home.path("base")), "{method:?} {bf16}");
        assert_eq!(weights(&home.path("out")), weights(&home.path("base")), "{method:?} {bf16}");
    }
}

#[test]
fn adapters_change_projections_alone_and_a_rank_bounds_the_change() {
    let home = Home::new();
    let mut settings = quick(&home, 12);
    settings.method = Method::Lora { rank: 2, alpha: 4.0 };
    let mut trained = 0;
    home.train_told(&settings, &copies(100), &mut |event| {
        if let Event::Begin(begin) = event {
            trained = begin.trained;
        }
    })
    .unwrap();
    // Rank times (rows + columns) of the seven projections of two layers.
    let (hidden, ffn, queries, keys) = (48, 80, 64, 32);
    let sides = 2 * (hidden + queries) + 2 * (hidden + keys) + 3 * (hidden + ffn);
    assert_eq!(trained, 2 * 2 * sides);
    let (base, out) = (tensors(&home.path("base")), tensors(&home.path("out")));
    let mut changed = 0;
    for ((name, before), (_, after)) in base.iter().zip(&out) {
        let projection = name.contains("_proj");
        assert_eq!(before != after, projection, "{name}");
        changed += usize::from(projection);
        if name.ends_with("0.self_attn.q_proj.weight") {
            let of = |v: &[u32], i: usize| f64::from(f32::from_bits(v[i]));
            let delta: Vec<f64> = (0..before.len()).map(|i| of(after, i) - of(before, i)).collect();
            assert_eq!(rank(&delta, 64, 48), 2);
        }
    }
    assert_eq!(changed, 14);
}

/// Rank by elimination with full pivoting; what is a thousandth of the largest counts as zero.
fn rank(values: &[f64], rows: usize, columns: usize) -> usize {
    let mut m: Vec<Vec<f64>> = values.chunks(columns).map(<[f64]>::to_vec).collect();
    let largest = values.iter().fold(0.0_f64, |a, b| a.max(b.abs()));
    for done in 0..rows.min(columns) {
        let places = (done..rows).flat_map(|i| (done..columns).map(move |j| (i, j)));
        let (i, j) = places.max_by(|a, b| m[a.0][a.1].abs().total_cmp(&m[b.0][b.1].abs())).unwrap();
        if m[i][j].abs() < 1e-3 * largest {
            return done;
        }
        m.swap(done, i);
        m.iter_mut().for_each(|row| row.swap(done, j));
        let pivot = m[done].clone();
        for row in &mut m[done + 1..] {
            let factor = row[done] / pivot[done];
            row.iter_mut().zip(&pivot).for_each(|(x, p)| *x -= factor * p);
        }
    }
    rows.min(columns)
}

/// After the first step B is not zero: the second step's loss is that of the merged weights which a look after the
/// first has saved, by the model code alone.
#[test]
fn a_look_at_adapters_saves_what_the_next_step_computes_with() {
    let home = Home::new();
    let lines = copies(8);
    let mut settings = quick(&home, 3);
    settings.method = Method::Lora { rank: 3, alpha: 6.0 };
    settings.optimiser.warmup = 0.0;
    settings.look = Some(Every::Steps(1));
    let (mut losses, mut snapshot) = (Vec::new(), None);
    let out = home.path("out");
    home.train_told(&settings, &lines, &mut |event| match event {
        Event::Step(step) => losses.push(step.loss),
        Event::Look(look) if look.step == 1 => snapshot = Some(model(&out)),
        _ => {}
    })
    .unwrap();
    let merged = snapshot.unwrap();
    // All examples are alike in length, so one batch holds them all, each epoch.
    let rows: Vec<Vec<u32>> = lines
        .lines()
        .map(|line| {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            let text = format!(
                "{}{}",
                value["prompt"].as_str().unwrap(),
                value["completion"].as_str().unwrap()
            );
            text.bytes().map(u32::from).collect()
        })
        .collect();
    let width = rows[0].len();
    let ids = Tensor::from_vec(rows.concat(), (rows.len(), width), &Device::Cpu).unwrap();
    let targets: Vec<i64> = rows
        .iter()
        .flat_map(|row| {
            let next = row[1..].iter().map(|id| i64::from(*id)).chain([256]);
            next.enumerate().map(|(i, t)| if i < 2 { -100 } else { t }).collect::<Vec<_>>()
        })
        .collect();
    let loss = merged.loss(&ids, &targets).unwrap().to_scalar::<f32>().unwrap();
    let mean = f64::from(loss) / (3.0 * rows.len() as f64);
    assert!((mean - losses[1]).abs() < 1e-4, "{mean} {losses:?}");
    assert!((losses[0] - losses[1]).abs() > 1e-2, "{losses:?}");
}

#[test]
fn turns_end_generations_after_chats_and_other_files_stay() {
    for (lines, chat) in [(chats(20), true), (copies(20), false)] {
        let home = Home::new();
        let path = home.path("base/generation_config.json");
        std::fs::write(&path, "{\"eos_token_id\": 256, \"do_sample\": false}").unwrap();
        home.train(&quick(&home, 2), &lines).unwrap();
        let read = |name: &str| std::fs::read_to_string(home.path(name)).unwrap();
        let generation: serde_json::Value =
            serde_json::from_str(&read("out/generation_config.json")).unwrap();
        let eos = if chat { serde_json::json!([256, 258]) } else { serde_json::json!(256) };
        assert_eq!(generation, serde_json::json!({"eos_token_id": eos, "do_sample": false}));
        for name in ["config.json", "tokenizer.json", "tokenizer_config.json"] {
            assert_eq!(read(&format!("out/{name}")), read(&format!("base/{name}")), "{name}");
        }
    }
}

#[test]
fn the_model_with_the_lowest_held_back_loss_is_kept_and_patience_ends() {
    let home = Home::new();
    let mut settings = quick(&home, 400);
    settings.validation = 0.2;
    settings.look = Some(Every::Steps(5));
    settings.patience = Some(2);
    // Nothing can be learnt from noise but what does not hold for other noise.
    let noise: String = (0_u32..40)
        .map(|i| {
            let text: String = (0..12)
                .map(|j| {
                    char::from(b'a' + u8::try_from((i * 7919 + j * 104_729) % 1009 % 26).unwrap())
                })
                .collect();
            format!("{{\"text\":\"{text}\"}}\n")
        })
        .collect();
    let mut looks = Vec::new();
    let outcome = home
        .train_told(&settings, &noise, &mut |event| {
            if let Event::Look(look) = event {
                looks.push((look.step, look.value.unwrap(), look.kept));
            }
        })
        .unwrap();
    let best = looks.iter().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
    assert_eq!(outcome.end, ptb_sft::End::Patience, "{looks:?}");
    assert!(outcome.steps < 400 && looks.len() >= 3, "{looks:?}");
    let kept = outcome.best.unwrap();
    assert_eq!((kept.step, kept.value), (best.0, Some(best.1)));
    assert_eq!(looks[looks.len() - 3].0, best.0, "{looks:?}");
    // The same number of steps alone leaves the same bytes.
    let alone = Home::new();
    let mut until = quick(&alone, 400);
    until.validation = 0.2;
    until.look = Some(Every::Steps(5));
    until.patience = Some(2);
    let mut at_best = None;
    let out = alone.path("out");
    alone
        .train_told(&until, &noise, &mut |event| {
            if let Event::Look(look) = event
                && look.step == kept.step
            {
                at_best = Some(weights(&out));
            }
        })
        .unwrap();
    assert_eq!(at_best.unwrap(), weights(&home.path("out")));
}

#[test]
fn numbers_that_are_none_end_it_and_leave_what_was_there() {
    let home = Home::new();
    let first = quick(&home, 3);
    home.train(&first, &copies(50)).unwrap();
    let before = weights(&home.path("out"));
    let mut wild = quick(&home, 300);
    wild.optimiser = Optimiser { lr: 1e30, clip: 0.0, ..Optimiser::default() };
    let outcome = home.train(&wild, &copies(50)).unwrap();
    assert_eq!(outcome.end, ptb_sft::End::Diverged);
    assert_eq!((outcome.best, outcome.exit_code()), (None, 1));
    assert_eq!(weights(&home.path("out")), before);
}

/// The limit is of the whole program's time, not of what is left when training begins.
#[test]
fn what_was_before_training_uses_up_the_limit() {
    let home = Home::new();
    let mut settings = quick(&home, 1);
    settings.limit = Some(Duration::from_secs(600));
    settings.began = Instant::now().checked_sub(Duration::from_secs(100)).unwrap();
    let mut left = None;
    home.train_told(&settings, &copies(20), &mut |event| {
        if let Event::Begin(begin) = event {
            left = begin.seconds_left;
        }
    })
    .unwrap();
    assert!(left.unwrap() <= 500.0, "{left:?}");
}

/// The end's first look at much held back data takes long, and has never been measured.
#[test]
fn time_is_kept_for_a_first_look_at_what_was_held_back() {
    let home = Home::new();
    let mut settings = quick(&home, 1 << 40);
    settings.validation = 0.9;
    settings.limit = Some(Duration::from_secs(600));
    let lines = format!("{{\"text\":\"{}\"}}\n", "abcde".repeat(50)).repeat(2000);
    let (encoder, stop) = (home.encoder(), Stop::new());
    let data = Data::read_from(lines.as_bytes(), "data", &encoder).unwrap();
    let mut told = None;
    let mut tell = |event: Event<'_>| {
        if let Event::Step(step) = event {
            told = Some((step.seconds_left.unwrap(), step.tokens_per_second));
            stop.ask(15);
        }
    };
    ptb_sft::train(&settings, data, &encoder, None, &stop, &mut tell).unwrap();
    let (left, speed) = told.unwrap();
    // Of 250 tokens each the first has nothing before it, and the end of the text comes after the last.
    assert!(left <= 600.0 - 1800.0 * 250.0 / speed, "{left} at {speed} tokens a second");
}
