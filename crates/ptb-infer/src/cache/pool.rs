//! The blocks themselves: allocated when first needed, up to a budget, used again when freed.

use ptb_model::Config;

use crate::compute::kernel::{BLOCK, KvBlock, NR};

/// Index of a block in the pool.
pub(crate) type BlockId = usize;

/// How a block is laid out: `[layer][head]`, each with transposed keys and then values.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KvShape {
    layers: usize,
    heads: usize,
    dim: usize,
    value_panels: usize,
}

impl KvShape {
    pub(crate) fn new(config: &Config) -> Self {
        let dim = config.head_dim;
        let value_panels = dim.div_ceil(NR);
        Self { layers: config.num_layers, heads: config.num_kv_heads, dim, value_panels }
    }

    /// Vectors of one head in one layer.
    fn head_len(self) -> usize {
        2 * self.dim + BLOCK * self.value_panels
    }

    fn block_len(self) -> usize {
        self.layers * self.heads * self.head_len()
    }

    /// Bytes of a block.
    pub(crate) fn block_bytes(self) -> usize {
        self.block_len() * NR * size_of::<f32>()
    }
}

/// All blocks.
pub(crate) struct Pool {
    shape: KvShape,
    capacity: usize,
    blocks: Vec<Box<[[f32; NR]]>>,
    free: Vec<BlockId>,
}

impl Pool {
    pub(crate) fn new(shape: KvShape, capacity: usize) -> Self {
        Self { shape, capacity, blocks: Vec::new(), free: Vec::new() }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// A block of zeros, or none within the budget. Zeros matter: an unseen position weighs zero, and
    /// zero times what another row may have left there must be zero, too.
    pub(crate) fn take(&mut self) -> Option<BlockId> {
        if let Some(id) = self.free.pop() {
            self.blocks[id].fill([0.0; NR]);
            return Some(id);
        }
        if self.blocks.len() == self.capacity {
            return None;
        }
        self.blocks.push(vec![[0.0; NR]; self.shape.block_len()].into_boxed_slice());
        Some(self.blocks.len() - 1)
    }

    pub(crate) fn give_back(&mut self, id: BlockId) {
        self.free.push(id);
    }

    /// Stores one position's key and value of one head.
    pub(crate) fn write(
        &mut self,
        id: BlockId,
        slot: usize,
        (layer, head): (usize, usize),
        key: &[f32],
        value: &[f32],
    ) {
        let at = (layer * self.shape.heads + head) * self.shape.head_len();
        let place = &mut self.blocks[id][at..at + self.shape.head_len()];
        let (keys, values) = place.split_at_mut(2 * self.shape.dim);
        let (panel, lane) = (slot / NR, slot % NR);
        for (to, k) in keys[panel * self.shape.dim..].iter_mut().zip(key) {
            to[lane] = *k;
        }
        for (p, v) in value.chunks(NR).enumerate() {
            values[p * BLOCK + slot][..v.len()].copy_from_slice(v);
        }
    }

    /// One head's keys and values in one layer.
    pub(crate) fn view(&self, id: BlockId, layer: usize, head: usize) -> KvBlock<'_> {
        let at = (layer * self.shape.heads + head) * self.shape.head_len();
        let place = &self.blocks[id][at..at + self.shape.head_len()];
        let (keys, values) = place.split_at(2 * self.shape.dim);
        KvBlock { keys, values }
    }
}
