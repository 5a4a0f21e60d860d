//! Which block holds which text: a trie over whole blocks of prompts, compared token by token.
//!
//! A row walks down the trie as far as its prompt is known, computes the rest itself, and leaves its whole
//! prompt blocks behind for others. Blocks that no row uses stay until their memory is needed, the
//! longest unused leaf first. Reuse cannot change a text: a block's content depends on its tokens alone.

use std::collections::{BTreeSet, HashMap};

use super::pool::{BlockId, Pool};
use crate::compute::kernel::BLOCK;

const ROOT: usize = 0;

#[derive(Default)]
struct Node {
    parent: usize,
    tokens: Box<[u32]>,
    children: HashMap<Box<[u32]>, usize>,
    block: BlockId,
    /// Rows that hold it.
    users: usize,
    /// False while the row that made it has not computed it yet.
    ready: bool,
    last_used: u64,
}

/// A row's blocks in order of position; the first `nodes.len()` of them belong to the trie.
#[derive(Debug, Default)]
pub(crate) struct Table {
    nodes: Vec<usize>,
    blocks: Vec<BlockId>,
    /// Blocks it was promised and does not hold yet.
    promised: usize,
}

impl Table {
    pub(crate) fn blocks(&self) -> &[BlockId] {
        &self.blocks
    }
}

/// The trie and the memory below it.
pub(crate) struct Cache {
    pub(crate) pool: Pool,
    nodes: Vec<Node>,
    vacant: Vec<usize>,
    /// Nodes without users and children, by last use.
    idle: BTreeSet<(u64, usize)>,
    clock: u64,
    /// Distinct blocks that rows hold.
    held: usize,
    /// Blocks promised to rows and not held yet.
    promised: usize,
    share: bool,
}

impl Cache {
    /// With `share` off every row computes its own blocks (for tests and comparisons).
    pub(crate) fn new(pool: Pool, share: bool) -> Self {
        Self {
            pool,
            nodes: vec![Node { ready: true, ..Node::default() }],
            vacant: Vec::new(),
            idle: BTreeSet::new(),
            clock: 0,
            held: 0,
            promised: 0,
            share,
        }
    }

    /// Promises a row all blocks it can come to need, or nothing. A promise kept for everyone means that
    /// no row is ever thrown out in the middle.
    pub(crate) fn admit(&mut self, positions: usize) -> Option<Table> {
        let needed = positions.div_ceil(BLOCK);
        if self.held + self.promised + needed > self.pool.capacity() {
            return None;
        }
        self.promised += needed;
        Some(Table { promised: needed, ..Table::default() })
    }

    /// Takes over computed blocks of the prompt's beginning; gives the first position left to compute.
    /// The last token is never taken over: its logits are wanted.
    pub(crate) fn adopt(&mut self, table: &mut Table, prompt: &[u32]) -> usize {
        while table.nodes.len() == table.blocks.len() {
            let Some(node) = self.next(table, prompt).filter(|n| self.nodes[*n].ready) else {
                break;
            };
            if self.nodes[node].users == 0 {
                self.idle.remove(&(self.nodes[node].last_used, node));
                self.held += 1;
            }
            self.nodes[node].users += 1;
            self.promised -= 1;
            table.promised -= 1;
            table.nodes.push(node);
            table.blocks.push(self.nodes[node].block);
        }
        table.nodes.len() * BLOCK
    }

    /// True when another row is just computing the block that this one needs next.
    pub(crate) fn must_wait(&self, table: &Table, prompt: &[u32]) -> bool {
        table.nodes.len() == table.blocks.len()
            && self.next(table, prompt).is_some_and(|n| !self.nodes[n].ready)
    }

    fn next(&self, table: &Table, prompt: &[u32]) -> Option<usize> {
        let tokens = self.shareable(table.nodes.len(), prompt)?;
        let at = table.nodes.last().copied().unwrap_or(ROOT);
        self.nodes[at].children.get(tokens).copied()
    }

    /// The tokens of a prompt's block if it is whole and does not hold the last token.
    fn shareable<'a>(&self, index: usize, prompt: &'a [u32]) -> Option<&'a [u32]> {
        let end = (index + 1) * BLOCK;
        if !self.share || end >= prompt.len() {
            return None;
        }
        prompt.get(index * BLOCK..end)
    }

    /// Makes sure that the row has blocks for the positions below `end`.
    pub(crate) fn extend(&mut self, table: &mut Table, prompt: &[u32], end: usize) {
        while table.blocks.len() * BLOCK < end && table.promised > 0 {
            let Some(block) = self.take() else { return };
            self.held += 1;
            self.promised -= 1;
            table.promised -= 1;
            let index = table.blocks.len();
            if table.nodes.len() == index
                && let Some(tokens) = self.shareable(index, prompt)
            {
                let parent = table.nodes.last().copied().unwrap_or(ROOT);
                table.nodes.push(self.insert(parent, tokens, block));
            }
            table.blocks.push(block);
        }
    }

    fn insert(&mut self, parent: usize, tokens: &[u32], block: BlockId) -> usize {
        let tokens: Box<[u32]> = tokens.into();
        let node = Node { parent, tokens: tokens.clone(), block, users: 1, ..Node::default() };
        let id = match self.vacant.pop() {
            Some(id) => {
                self.nodes[id] = node;
                id
            }
            None => {
                self.nodes.push(node);
                self.nodes.len() - 1
            }
        };
        self.nodes[parent].children.insert(tokens, id);
        id
    }

    /// A free block, or one that no row has used for the longest time.
    fn take(&mut self) -> Option<BlockId> {
        if let Some(block) = self.pool.take() {
            return Some(block);
        }
        let (_, node) = self.idle.pop_first()?;
        self.remove(node);
        self.pool.take()
    }

    /// Takes a node without users and children out of the trie.
    fn remove(&mut self, id: usize) {
        let node = std::mem::take(&mut self.nodes[id]);
        self.pool.give_back(node.block);
        self.vacant.push(id);
        self.nodes[node.parent].children.remove(&node.tokens);
        self.note_idle(node.parent);
    }

    fn note_idle(&mut self, id: usize) {
        let node = &self.nodes[id];
        if id != ROOT && node.users == 0 && node.children.is_empty() {
            self.idle.insert((node.last_used, id));
        }
    }

    /// Says that a row's positions below `end` are computed: others may take its blocks over.
    pub(crate) fn computed(&mut self, table: &Table, end: usize) {
        for node in table.nodes.iter().take(end / BLOCK).rev() {
            if self.nodes[*node].ready {
                break;
            }
            self.nodes[*node].ready = true;
        }
    }

    /// Ends a row: its own blocks are free, shared ones stay while there is room.
    pub(crate) fn release(&mut self, table: Table) {
        self.promised -= table.promised;
        for block in &table.blocks[table.nodes.len()..] {
            self.held -= 1;
            self.pool.give_back(*block);
        }
        self.clock += 1;
        for id in table.nodes.into_iter().rev() {
            let node = &mut self.nodes[id];
            node.users -= 1;
            node.last_used = self.clock;
            if node.users > 0 {
                continue;
            }
            self.held -= 1;
            // A row that ended early leaves blocks that hold nothing; nobody else can have them.
            if node.ready { self.note_idle(id) } else { self.remove(id) }
        }
    }

    /// Distinct blocks that rows hold.
    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        self.held
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::KvShape;
    use proptest::prelude::*;

    fn cache(capacity: usize) -> Cache {
        let config = ptb_model::RandomModel::mini(1).config();
        Cache::new(Pool::new(KvShape::new(&config), capacity), true)
    }

    fn whole(cache: &mut Cache, prompt: &[u32], more: usize) -> Option<(Table, usize)> {
        let mut table = cache.admit(prompt.len() + more)?;
        let start = cache.adopt(&mut table, prompt);
        cache.extend(&mut table, prompt, prompt.len() + more);
        cache.computed(&table, prompt.len());
        Some((table, start))
    }

    #[test]
    fn a_known_beginning_is_taken_over_but_never_the_last_token() {
        let mut cache = cache(100);
        let prompt: Vec<u32> = (0..256).collect();
        let (first, start) = whole(&mut cache, &prompt, 10).unwrap();
        assert_eq!(start, 0);
        let (second, start) = whole(&mut cache, &prompt, 10).unwrap();
        assert_eq!(start, 192, "the fourth block holds the last token");
        assert_eq!(first.blocks()[..3], second.blocks()[..3]);
        assert_ne!(first.blocks()[3], second.blocks()[3]);
        let mut other = prompt.clone();
        other[100] = 7;
        let (third, start) = whole(&mut cache, &other, 10).unwrap();
        assert_eq!(start, 64);
        assert_eq!(cache.held(), 5 + 2 + 4);
        for table in [first, second, third] {
            cache.release(table);
        }
        assert_eq!(cache.held(), 0);
        assert_eq!(whole(&mut cache, &prompt, 0).unwrap().1, 192, "kept after its rows ended");
    }

    #[test]
    fn unfinished_blocks_make_others_wait_and_vanish_with_their_row() {
        let mut cache = cache(100);
        let prompt: Vec<u32> = (0..200).collect();
        let mut first = cache.admit(200).unwrap();
        cache.extend(&mut first, &prompt, 200);
        let mut second = cache.admit(200).unwrap();
        assert_eq!(cache.adopt(&mut second, &prompt), 0);
        assert!(cache.must_wait(&second, &prompt));
        cache.computed(&first, 64);
        assert_eq!(cache.adopt(&mut second, &prompt), 64);
        assert!(cache.must_wait(&second, &prompt));
        cache.release(first);
        assert!(!cache.must_wait(&second, &prompt));
    }

    proptest! {
        #[test]
        fn promises_are_kept(seeds in prop::collection::vec((0u32..4, 1usize..400, 0usize..3), 1..60)) {
            let mut cache = cache(12);
            let mut live: Vec<Table> = Vec::new();
            for (kind, length, pick) in seeds {
                let prompt: Vec<u32> = (0..length as u32).map(|i| i / 64 * (1 + kind / 2) + kind % 2).collect();
                match whole(&mut cache, &prompt, 5) {
                    Some((table, _)) => {
                        prop_assert_eq!(table.blocks().len(), (length + 5).div_ceil(64));
                        prop_assert_eq!(table.promised, 0);
                        live.push(table);
                    }
                    None if !live.is_empty() => cache.release(live.swap_remove(pick % live.len())),
                    None => prop_assert!((length + 5).div_ceil(64) > 12),
                }
                let mut distinct: Vec<_> = live.iter().flat_map(|t| t.blocks.clone()).collect();
                distinct.sort_unstable();
                distinct.dedup();
                prop_assert_eq!(distinct.len(), cache.held());
            }
            live.into_iter().for_each(|t| cache.release(t));
            prop_assert_eq!((cache.held(), cache.promised), (0, 0));
        }
    }
}
