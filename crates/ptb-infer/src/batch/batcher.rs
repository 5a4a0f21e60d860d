//! Rows, and what each step computes for them.

use std::sync::Arc;

use ptb_model::Tokenizer;

use super::row::{Job, Refusal, Request, Row};
use crate::cache::{Cache, KvShape, Pool};
use crate::compute::kernel::BLOCK;
use crate::compute::step::{Scratch, Slice, step};
use crate::compute::weights::Weights;

/// How much is done at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BatcherOptions {
    /// Rows in the batch.
    pub(crate) max_rows: usize,
    /// Prompt tokens in a step, beside one token for each answering row.
    pub(crate) step_tokens: usize,
    /// Memory for keys and values, in bytes.
    pub(crate) kv_bytes: u64,
    /// Whether rows share the blocks of common beginnings.
    pub(crate) share_prefixes: bool,
}

/// The machine: a model, a cache, rows.
pub(crate) struct Batcher {
    weights: Weights,
    tokenizer: Arc<Tokenizer>,
    eos: Vec<u32>,
    cache: Cache,
    rows: Vec<Row>,
    scratch: Scratch,
    options: BatcherOptions,
}

/// What a step will do for one row.
struct Plan {
    row: usize,
    count: usize,
    logits: bool,
}

impl Batcher {
    pub(crate) fn new(
        weights: Weights,
        tokenizer: Arc<Tokenizer>,
        eos: Vec<u32>,
        options: BatcherOptions,
    ) -> Self {
        let shape = KvShape::new(&weights.config);
        let bytes = shape.block_bytes().max(1) as u64;
        let capacity = usize::try_from(options.kv_bytes / bytes).unwrap_or(usize::MAX).max(1);
        let cache = Cache::new(Pool::new(shape, capacity), options.share_prefixes);
        let scratch = Scratch::default();
        Self { weights, tokenizer, eos, cache, rows: Vec::new(), scratch, options }
    }

    /// What a request must satisfy; kept apart so that the server can answer at once.
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            vocab: self.weights.config.vocab_size,
            context: self.weights.config.max_positions,
            room: self.cache.pool.capacity().saturating_mul(BLOCK),
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.rows.is_empty()
    }

    /// Takes a checked request into the batch, or gives it back while there is no room.
    pub(crate) fn admit(&mut self, job: Job) -> Result<(), Job> {
        if self.rows.len() >= self.options.max_rows {
            return Err(job);
        }
        let request = &job.request;
        match self.cache.admit(request.prompt.len() + request.max_tokens) {
            None => Err(job),
            Some(table) => {
                let vocab = self.weights.config.vocab_size;
                self.rows.push(Row::new(job, table, vocab, Arc::clone(&self.tokenizer)));
                Ok(())
            }
        }
    }

    /// Computes one step and hands out what came of it.
    pub(crate) fn step(&mut self) {
        self.drop_cancelled();
        let plans = self.plan();
        if plans.is_empty() {
            return;
        }
        let slices: Vec<Slice<'_>> = plans
            .iter()
            .map(|plan| {
                let row = &self.rows[plan.row];
                Slice {
                    tokens: &row.tokens[row.computed..row.computed + plan.count],
                    start: row.computed,
                    table: row.table.blocks(),
                    logits: plan.logits,
                }
            })
            .collect();
        let logits = step(&self.weights, &mut self.cache.pool, &slices, &mut self.scratch);
        let mut logits = logits.chunks_exact(self.weights.config.vocab_size);
        let mut ended = Vec::new();
        for plan in plans {
            let row = &mut self.rows[plan.row];
            row.computed += plan.count;
            self.cache.computed(&row.table, row.computed);
            if plan.logits
                && let Some(logits) = logits.next()
                && row.advance(logits, &self.eos)
            {
                ended.push(plan.row);
            }
        }
        self.remove(ended);
    }

    /// Every answering row computes its newest token; prompts share the rest of the step, oldest first.
    fn plan(&mut self) -> Vec<Plan> {
        let mut plans = Vec::new();
        let mut budget = self.options.step_tokens.max(BLOCK);
        for (index, row) in self.rows.iter_mut().enumerate() {
            let left = row.tokens.len() - row.computed;
            let prompt = row.prompt();
            if row.computed >= prompt.len() {
                self.cache.extend(&mut row.table, &[], row.tokens.len());
                plans.push(Plan { row: index, count: left, logits: true });
                continue;
            }
            row.computed = row.computed.max(self.cache.adopt(&mut row.table, &prompt));
            let left = row.tokens.len() - row.computed;
            // Parts of a prompt are whole blocks, so that blocks are shared as soon as they are there.
            let count = if left <= budget { left } else { budget / BLOCK * BLOCK };
            if count == 0 || self.cache.must_wait(&row.table, &prompt) {
                continue;
            }
            budget -= count;
            self.cache.extend(&mut row.table, &prompt, row.computed + count);
            plans.push(Plan { row: index, count, logits: count == left });
        }
        plans
    }

    fn drop_cancelled(&mut self) {
        let gone = self.rows.iter().enumerate().filter(|(_, row)| row.is_cancelled());
        let gone = gone.map(|(index, _)| index).collect();
        self.remove(gone);
    }

    /// Removes rows by ascending index.
    fn remove(&mut self, indices: Vec<usize>) {
        for index in indices.into_iter().rev() {
            let row = self.rows.remove(index);
            self.cache.release(row.table);
        }
    }

    /// Blocks that rows hold, for tests.
    #[cfg(test)]
    pub(crate) fn held_blocks(&self) -> usize {
        self.cache.held()
    }
}

/// Sizes that a request must fit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    vocab: usize,
    pub(crate) context: usize,
    room: usize,
}

impl Limits {
    /// Says why a request cannot be served, whatever else runs.
    pub(crate) fn check(self, request: &Request) -> Result<(), Refusal> {
        if request.prompt.is_empty() {
            return Err(Refusal::Empty);
        }
        if request.max_tokens == 0 {
            return Err(Refusal::NoTokens);
        }
        if let Some(id) = request.prompt.iter().find(|t| **t as usize >= self.vocab) {
            return Err(Refusal::Token { id: *id, vocab: self.vocab });
        }
        let (prompt, max_tokens) = (request.prompt.len(), request.max_tokens);
        let wanted = prompt.saturating_add(max_tokens);
        if wanted > self.context {
            return Err(Refusal::Context { wanted, prompt, max_tokens, context: self.context });
        }
        if wanted > self.room {
            return Err(Refusal::Cache { wanted, room: self.room });
        }
        Ok(())
    }
}
