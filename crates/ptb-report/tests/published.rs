//! The original's published tables, reproduced to 1e-12: weights from its baselines, the average of its
//! agent, the fallback to base scores, the spread over runs, the form of times.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says no by a panic"
)]

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use common::{End, World, agent, baseline, close, shared};
use ptb_core::registry::Submit;
use ptb_core::run::Mark;
use ptb_report::aggregate::{fall_back, mean, sample_std, weighted};
use ptb_report::weights::{Baselines, Claims, Rule, normalise, resolve};
use ptb_report::{Report, WeightsChoice};

/// model -> benchmark -> cell as written.
type Table = BTreeMap<String, BTreeMap<String, String>>;

fn table(dir: &Path, file: &str) -> Table {
    let mut reader = csv::Reader::from_path(dir.join(file)).unwrap();
    let header = reader.headers().unwrap().clone();
    let row = |record: csv::StringRecord| {
        let cells = header.iter().zip(&record).skip(1);
        (record[0].to_owned(), cells.map(|(h, c)| (h.to_owned(), c.to_owned())).collect())
    };
    reader.records().map(|record| row(record.unwrap())).collect()
}

fn number(table: &Table, model: &str, benchmark: &str) -> f64 {
    table[model][benchmark].parse().unwrap()
}

fn factors(dir: &Path) -> BTreeMap<String, f64> {
    serde_json::from_slice(&std::fs::read(dir.join("factors.json")).unwrap()).unwrap()
}

/// Base model, its instruct counterpart, and an id for ours.
const MODELS: [(&str, &str, &str); 4] = [
    ("Qwen3-1.7B-Base", "Qwen3-1.7B", "qwen3-1.7b"),
    ("Qwen3-4B-Base", "Qwen3-4B", "qwen3-4b"),
    ("SmolLM3-3B-Base", "SmolLM3-3B", "smollm3-3b"),
    ("gemma-3-4b-pt", "gemma-3-4b-it", "gemma3-4b"),
];

/// The published baselines as run directories.
fn world(dir: &Path) -> World {
    let (world, baselines) = (World::new(), table(dir, "aggregated_baseline.csv"));
    for (base, instruct, id) in MODELS {
        for benchmark in factors(dir).keys() {
            world.add(baseline(Submit::Base, id, benchmark, number(&baselines, base, benchmark)));
            world.add(baseline(
                Submit::Instruct,
                id,
                benchmark,
                number(&baselines, instruct, benchmark),
            ));
        }
    }
    world
}

fn row<'a>(report: &'a Report, agent: &str) -> &'a ptb_report::Row {
    report.rows.iter().find(|row| row.agent == agent).unwrap()
}

#[test]
fn the_weights_follow_from_the_baselines() {
    let Some(dir) = shared("data/published") else { return };
    let (baselines, factors) = (table(&dir, "aggregated_baseline.csv"), factors(&dir));
    let claims: Vec<Claims> = factors
        .keys()
        .map(|benchmark| {
            let pair = |(base, instruct, _): &(&str, &str, &str)| {
                (number(&baselines, base, benchmark), number(&baselines, instruct, benchmark))
            };
            let baselines = Baselines::of_pairs(&MODELS.iter().map(pair).collect::<Vec<_>>());
            Claims { benchmark: benchmark.clone(), baselines, ..Claims::default() }
        })
        .collect();
    let weights = resolve(&claims, Rule::Precedence).unwrap();
    for (weighed, factor) in weights.iter().zip(factors.values()) {
        close(weighed.weight, *factor);
    }
    let raw: Vec<f64> = claims.iter().filter_map(|c| c.baselines?.raw_weight()).collect();
    for (weight, factor) in normalise(&raw).into_iter().zip(factors.values()) {
        close(Some(weight), *factor);
    }
}

#[test]
fn the_average_follows_from_weights_and_cells() {
    let Some(dir) = shared("data/published") else { return };
    let (cells, factors) = (table(&dir, "aggregated_avg_Opus-4.6.csv"), factors(&dir));
    let published = &table(&dir, "single_metrics_aggregated.csv")["Opus-4.6"];
    let column = |benchmark: &String| {
        let of_models = MODELS.map(|(base, ..)| number(&cells, base, benchmark));
        mean(&of_models)
    };
    let average = weighted(factors.iter().map(|(benchmark, w)| (Some(*w), column(benchmark))));
    close(average, published["avg"].parse().unwrap());
}

#[test]
fn a_report_over_run_directories_says_the_same() {
    let Some(dir) = shared("data/published") else { return };
    let (world, factors) = (world(&dir), factors(&dir));
    let cells = table(&dir, "aggregated_avg_Opus-4.6.csv");
    for (base, _, id) in MODELS {
        for benchmark in factors.keys() {
            world.add(agent("opus", id, benchmark, End::Own(number(&cells, base, benchmark))));
        }
    }
    let published: f64 =
        table(&dir, "single_metrics_aggregated.csv")["Opus-4.6"]["avg"].parse().unwrap();
    for choice in [WeightsChoice::Default, WeightsChoice::Baselines] {
        let report = world.report_with(choice).unwrap();
        assert!(report.problems.is_empty() && report.unfinished.is_empty());
        for column in &report.benchmarks {
            close(column.weight, factors[&column.benchmark]);
        }
        close(row(&report, "opus").average, published);
    }
}

#[test]
fn runs_without_a_score_fall_back_to_the_base_model() {
    let Some(dir) = shared("data/published") else { return };
    let run = "opencode_zai_glm-5_10h_run2.csv";
    let before = table(&dir, &format!("aggregated_{run}"));
    let after = table(&dir, &format!("final_{run}"));
    let base = table(&dir, "aggregated_baseline.csv");
    let world = world(&dir);
    let mut fallen = 0;
    for (model, _, id) in MODELS {
        for (benchmark, cell) in &before[model] {
            let own: Option<f64> = cell.parse().ok();
            let counted = fall_back(own, Some(number(&base, model, benchmark)));
            assert_eq!(counted, Some(number(&after, model, benchmark)), "{model} {benchmark}");
            let end = match (own, cell.as_str()) {
                (Some(own), _) => End::Own(own),
                (None, "ERR") => End::Marked(Mark::EvaluationFailed),
                (None, "not stored") => End::Marked(Mark::NotSubmitted),
                (None, other) => panic!("a cell says {other}"),
            };
            fallen += usize::from(own.is_none());
            world.add(agent("glm", id, benchmark, end));
        }
    }
    assert_eq!(fallen, 4);
    let report = world.report().unwrap();
    let glm = row(&report, "glm");
    for score in glm.scores.iter().flatten() {
        let published = MODELS.map(|(base, ..)| number(&after, base, &score.benchmark));
        close(score.complete(), mean(&published).unwrap());
        for (base, _, id) in MODELS {
            let ours = score.models.iter().find(|m| m.model == id).unwrap().score;
            assert_eq!(
                ours,
                Some(number(&after, base, &score.benchmark)),
                "{id} {}",
                score.benchmark
            );
        }
    }
    let marks = |i: usize| glm.scores[i].as_ref().unwrap().marks.clone();
    assert_eq!(marks(2), BTreeMap::from([("*".to_owned(), 1), ("†".to_owned(), 1)]), "bfcl");
}

/// AIME has 30 questions, so a run's score is k/30, and mean and spread of three runs name the three.
#[test]
fn the_published_spread_is_the_sample_standard_deviation() {
    let Some(dir) = shared("data/published") else { return };
    let (means, stds) =
        (table(&dir, "aggregated_avg_Opus-4.6.csv"), table(&dir, "aggregated_std_Opus-4.6.csv"));
    for (model, ..) in MODELS {
        let (published_mean, published_std) =
            (number(&means, model, "aime2025"), number(&stds, model, "aime2025"));
        let triples =
            (0..=30).flat_map(|a| (a..=30).flat_map(move |b| (b..=30).map(move |c| [a, b, c])));
        let fits = |triple: &[i32; 3]| {
            let scores = triple.map(|k| f64::from(k) / 30.0);
            let near = |a: Option<f64>, b: f64| (a.unwrap() - b).abs() < 1e-12;
            near(mean(&scores), published_mean) && near(sample_std(&scores), published_std)
        };
        assert_eq!(triples.filter(fits).count(), 1, "{model}");
    }
}

#[test]
fn times_are_written_as_published() {
    let Some(dir) = shared("data/published") else { return };
    for (agent, cells) in table(&dir, "time_aggregated.csv") {
        let parts: Vec<f64> = cells["avg_time"].split(':').map(|p| p.parse().unwrap()).collect();
        let seconds = parts[0] * 3600.0 + parts[1] * 60.0 + parts[2];
        assert_eq!(ptb_report::text::hms(seconds), cells["avg_time"], "{agent}");
    }
}
