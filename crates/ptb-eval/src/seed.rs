//! One seed's completions while they come in.

use std::collections::HashMap;

use ptb_core::files::FileError;
use ptb_tasks::data::Sample;

use crate::error::EvalError;
use crate::prepare::{Plan, SeedPlan};
use crate::store::{SampleRecord, Store};

/// The completions of one seed that are there, and where further ones are kept.
#[derive(Debug)]
pub(crate) struct SeedWork {
    /// By the place of their samples. Most places of most seeds are empty most of the time.
    records: Vec<Option<Box<SampleRecord>>>,
    missing: usize,
    pub(crate) store: Store,
}

impl SeedWork {
    /// Takes up what is there from before.
    pub(crate) fn open(plan: &Plan, seed: &SeedPlan) -> Result<Self, EvalError> {
        let wanted = seed.pairs().map(|(s, asked)| (s.id.clone(), plan.key(seed, (s, asked))));
        let wanted: HashMap<String, String> = wanted.collect();
        let dir = plan.spec.out.join(seed.seed.to_string());
        let (store, mut kept) = Store::open(&dir, &wanted)?;
        let records: Vec<_> = seed.pairs().map(|(s, _)| kept.remove(&s.id).map(Box::new)).collect();
        let missing = records.iter().filter(|r| r.is_none()).count();
        Ok(Self { records, missing, store })
    }

    /// How many completions it still needs.
    pub(crate) fn missing(&self) -> usize {
        self.missing
    }

    /// Places of the samples without a completion.
    pub(crate) fn missing_places(&self) -> impl Iterator<Item = usize> {
        let missing = |(i, record): (usize, &Option<_>)| record.is_none().then_some(i);
        self.records.iter().enumerate().filter_map(missing)
    }

    /// Keeps the completion of the sample at `place`.
    pub(crate) fn keep(&mut self, place: usize, record: SampleRecord) -> Result<(), FileError> {
        self.store.append(&record)?;
        if self.records[place].replace(Box::new(record)).is_none() {
            self.missing -= 1;
        }
        Ok(())
    }

    /// Puts records back, which were taken out.
    pub(crate) fn put_back(&mut self, records: impl Iterator<Item = SampleRecord>) {
        self.records = records.map(|record| Some(Box::new(record))).collect();
    }

    /// Takes out all records, each with its sample.
    pub(crate) fn take_pairs<'a>(&mut self, seed: &'a SeedPlan) -> Vec<(SampleRecord, &'a Sample)> {
        let records = self.records.drain(..).zip(&*seed.samples);
        records.filter_map(|(record, sample)| Some((*record?, sample))).collect()
    }
}
