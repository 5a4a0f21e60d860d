//! Metrics again, from kept completions alone: neither weights nor engine are needed.

use std::collections::HashMap;
use std::path::Path;

use ptb_core::files::{read_json, read_log};
use ptb_core::registry::{Benchmark, Entry, ToolForm};
use ptb_core::run::Metrics;
use ptb_tasks::data::{Sample, load};
use rayon::prelude::*;

use crate::error::EvalError;
use crate::grader::Grader;
use crate::store::SampleRecord;
use crate::tally::{Facts, Graded, tally};

/// Grades the completions of a finished evaluation (the folder `eval/<id>/`) again; `form` is how the model writes
/// its calls of functions. Gives its records of the first seed and the metrics, which equal `metrics.json` unless scorer or data have changed. Writes
/// nothing.
pub fn rescore(
    benchmark: &Entry<Benchmark>,
    form: ToolForm,
    data: Option<&Path>,
    folder: &Path,
) -> Result<(Vec<SampleRecord>, Metrics), EvalError> {
    let old: Metrics = read_json(&folder.join("metrics.json"))?;
    let dataset = load(benchmark, data)?;
    let grader = Grader::start(&benchmark.value.scorer, form)?;
    let mut by_seed = Vec::new();
    for seed in &old.seeds {
        let samples = dataset.asked_under(seed.seed);
        let samples: HashMap<&str, &Sample> = samples.iter().map(|s| (s.id.as_str(), s)).collect();
        let path = folder.join(seed.seed.to_string()).join("samples.jsonl");
        let records = read_log::<SampleRecord>(&path)?;
        let records = records.into_par_iter().map(|record| match samples.get(record.id.as_str()) {
            Some(sample) => grader.graded(record, sample),
            None => {
                let error = Some(format!("{} has no sample of this id", benchmark.id));
                SampleRecord { answer: None, score: None, error, ..record }
            }
        });
        by_seed.push(Graded { seed: seed.seed, records: records.collect() });
    }
    let facts = Facts {
        benchmark: &benchmark.id,
        weights_sha256: &old.weights_sha256,
        data_sha256: &dataset.sha256,
        settings: &old.sampling,
        complete: old.complete,
        samples: &dataset.samples,
        breakdown: &benchmark.value.evaluate.breakdown,
    };
    let metrics = tally(&facts, &by_seed)?;
    Ok((by_seed.into_iter().next().map(|g| g.records).unwrap_or_default(), metrics))
}
