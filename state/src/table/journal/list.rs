//! The list of entries that changed, by their hashes.

/// Hashes of a chunk.
const CHUNK: usize = 4096;

/// Empty chunks that are kept at least: 2 MiB. Otherwise as many as the last list had.
const SPARE_LEAST: usize = (2 << 20) / (CHUNK * size_of::<u64>());

/// How many hashes ahead of its use a line is asked for, and the one behind it if need be.
const FAR: usize = 24;
const NEAR: usize = 10;

/// Hashes that come soon.
#[derive(Clone, Copy, Default)]
pub(super) struct Soon {
    pub(super) far: Option<u64>,
    pub(super) near: Option<u64>,
}

/// Empty chunks for the lists to come.
pub(super) struct Spare {
    chunks: Vec<Vec<u64>>,
    /// How many are kept.
    most: usize,
}

impl Default for Spare {
    fn default() -> Self {
        Self { chunks: Vec::new(), most: SPARE_LEAST }
    }
}

impl Spare {
    /// Keeps as many from now on as a list has.
    pub(super) fn keep_for(&mut self, list: &Changed) {
        self.most = list.0.len().max(SPARE_LEAST);
    }

    fn give(&mut self, mut chunk: Vec<u64>) {
        if self.chunks.len() > self.most {
            self.chunks.pop();
        }
        if chunk.capacity() >= CHUNK && self.chunks.len() < self.most {
            chunk.clear();
            self.chunks.push(chunk);
        }
    }

    /// Memory of the chunks.
    pub(super) fn bytes(&self) -> usize {
        self.chunks.len() * CHUNK * size_of::<u64>()
    }
}

/// Hashes of entries that changed, in chunks: no growth copies more than one of them.
#[derive(Default)]
pub(super) struct Changed(Vec<Vec<u64>>);

impl Changed {
    #[inline]
    pub(super) fn push(&mut self, hash: u64, spare: &mut Spare) {
        match self.0.last_mut() {
            Some(chunk) if chunk.len() < CHUNK => chunk.push(hash),
            first => {
                // A state that changes little takes little; the second chunk is a whole one.
                let whole = first.is_some();
                let mut chunk = spare.chunks.pop().unwrap_or_default();
                if whole {
                    chunk.reserve_exact(CHUNK);
                }
                chunk.push(hash);
                self.0.push(chunk);
            }
        }
    }

    /// Takes the last hash, and tells those that come soon.
    #[inline]
    pub(super) fn pop(&mut self, spare: &mut Spare) -> Option<(u64, Soon)> {
        let chunk = self.0.last_mut()?;
        let hash = chunk.pop()?;
        let soon = |ahead| chunk.len().checked_sub(ahead).map(|at| chunk[at]);
        let soon = Soon { far: soon(FAR), near: soon(NEAR) };
        if chunk.is_empty() {
            self.shed(spare);
        }
        Some((hash, soon))
    }

    /// Drops a chunk.
    pub(super) fn shed(&mut self, spare: &mut Spare) {
        if let Some(chunk) = self.0.pop() {
            spare.give(chunk);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many hashes it has.
    pub(super) fn len(&self) -> usize {
        self.0.last().map_or(0, |last| (self.0.len() - 1) * CHUNK + last.len())
    }

    /// Memory of the chunks.
    pub(super) fn bytes(&self) -> usize {
        self.0.iter().map(|chunk| chunk.capacity() * size_of::<u64>()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hash_comes_back_once_and_chunks_are_kept_for_the_next_list() {
        let mut spare = Spare::default();
        for count in [100, 10_000, 1_000_000, 100] {
            let mut list = Changed::default();
            (0..count).for_each(|hash| list.push(hash, &mut spare));
            assert_eq!((list.len(), list.is_empty()), (count as usize, false));
            spare.keep_for(&list);
            let mut next = count;
            while let Some((hash, soon)) = list.pop(&mut spare) {
                next -= 1;
                assert_eq!(hash, next);
                assert!(soon.far.is_none_or(|far| far == hash - FAR as u64));
                assert!(soon.near.is_none_or(|near| near == hash - NEAR as u64));
            }
            assert!(next == 0 && list.is_empty());
            let (kept, whole) = (spare.bytes(), (count as usize / CHUNK).min(SPARE_LEAST));
            assert!(kept >= whole * CHUNK * size_of::<u64>(), "{kept} bytes after {count}");
        }
    }

    #[test]
    fn what_is_shed_is_gone() {
        let (mut list, mut spare) = (Changed::default(), Spare::default());
        (0..300_000_u64).for_each(|hash| list.push(hash, &mut spare));
        (0..300_000_usize.div_ceil(CHUNK)).for_each(|_| list.shed(&mut spare));
        assert!(list.is_empty() && list.pop(&mut spare).is_none());
        list.shed(&mut spare);
    }
}
