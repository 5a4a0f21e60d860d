//! Metrics again, from kept completions alone: neither weights nor engine are needed.

use std::collections::{HashMap, HashSet};
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
    let file = folder.join("metrics.json");
    let old: Metrics = read_json(&file)?;
    let seeds: HashSet<u64> = old.seeds.iter().map(|s| s.seed).collect();
    if seeds.len() < old.seeds.len() {
        let reason = "it names a seed twice".to_owned();
        return Err(EvalError::Damaged { path: file, reason });
    }
    let dataset = load(benchmark, data)?;
    let grader = Grader::start(&benchmark.value.scorer, form)?;
    let (mut by_seed, mut first, mut complete) = (Vec::new(), None, true);
    for seed in &old.seeds {
        let samples = dataset.asked_under(seed.seed);
        let samples_by_id: HashMap<&str, &Sample> =
            samples.iter().map(|s| (s.id.as_str(), s)).collect();
        let path = folder.join(seed.seed.to_string()).join("samples.jsonl");
        let records = read_log::<SampleRecord>(&path)?;
        whole(&records, &samples_by_id, &old, dataset.samples.len())
            .map_err(|reason| EvalError::Damaged { path, reason })?;
        let graded = |record: SampleRecord| match samples_by_id.get(record.id.as_str()) {
            Some(sample) => grader.graded(record, sample),
            None => record,
        };
        let records: Vec<SampleRecord> = records.into_par_iter().map(graded).collect();
        complete &= records.len() == dataset.samples.len();
        by_seed.push(Graded::new(seed.seed, &records, &dataset.samples));
        first.get_or_insert(records);
    }
    let facts = Facts {
        benchmark,
        weights_sha256: &old.weights_sha256,
        data_sha256: &dataset.sha256,
        settings: &old.sampling,
        complete,
        samples: &dataset.samples,
        grader: old.grader.clone(),
    };
    let metrics = tally(&facts, &by_seed)?;
    Ok((first.unwrap_or_default(), metrics))
}

/// Whether these are the records of all samples that were asked, each once: with some left out, or twice there, the
/// mean would be another.
fn whole(
    records: &[SampleRecord],
    samples: &HashMap<&str, &Sample>,
    old: &Metrics,
    all: usize,
) -> Result<(), String> {
    let ids: HashSet<&str> = records.iter().map(|r| r.id.as_str()).collect();
    if ids.len() < records.len() {
        return Err("a sample is there twice".to_owned());
    }
    if let Some(id) = ids.iter().find(|id| !samples.contains_key(*id)) {
        let id = id.escape_debug().take(60).collect::<String>();
        return Err(format!("the benchmark's data have no sample `{id}`"));
    }
    let asked = if old.complete { all } else { old.n.max(1) };
    if ids.len() < asked {
        return Err(format!("it has {} of {asked} samples", ids.len()));
    }
    Ok(())
}
