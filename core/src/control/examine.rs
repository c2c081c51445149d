//! Looking at a complete checkpoint off line: every file against its manifest, and what is in it.
//!
//! A damaged file never ends the examination: all that is wrong is collected. Segments are read
//! block by block and never held; of a core's image and of one block there is one at a time.

use std::io::Read;

use thalweg_checkpoint::coordinator::ChannelCounts;
use thalweg_checkpoint::manifest::{CoreEntry, FileInfo, Manifest};
use thalweg_checkpoint::store::Checked;
use thalweg_checkpoint::{Image, Store};
use thalweg_state::group::{MAX_PARALLELISM_LIMIT, key_group};
use thalweg_state::segment::{
    BlockReader, Census, SegmentError, SegmentHead, SegmentHeader, SegmentStream,
};

use crate::runtime::Outline;

/// Bytes that are asked for at once.
const PIECE: usize = 256 << 10;

/// How much of a checkpoint is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// The parts of cores: positions, records in flight, sealed output.
    Parts,
    /// Segments, too: every byte that a restore needs.
    All,
    /// Segments, and what they hold is counted.
    Counted,
}

/// A file that is not what the manifest says, or is not sound in itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bad {
    /// Its path in the store.
    pub path: String,
    /// What is wrong with it.
    pub what: String,
}

/// What was seen of a checkpoint.
#[derive(Debug, Default)]
pub struct Examined {
    /// Files that were looked at.
    pub files: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// Everything that is wrong.
    pub bad: Vec<Bad>,
    /// The parts of cores that could be read.
    pub cores: Vec<Outline>,
    /// What the state consists of, if it was to be counted.
    pub census: Option<Census>,
}

/// Looks at the files of a checkpoint; `watch` hears how many bytes were read at a time.
pub fn examine(
    store: &dyn Store,
    manifest: &Manifest,
    depth: Depth,
    watch: &mut dyn FnMut(u64),
) -> Examined {
    let groups = manifest.job.max_parallelism;
    let census = (depth == Depth::Counted).then(|| Census::new(groups)).flatten();
    let examined = Examined { census, ..Examined::default() };
    let mut reading = Reading { store, manifest, examined, watch, block: Vec::new() };
    if !(1..=MAX_PARALLELISM_LIMIT).contains(&groups) {
        reading.bad("the manifest", format!("no job has {groups} key groups"));
        return reading.examined;
    }
    for entry in &manifest.cores {
        reading.part(entry);
        if depth != Depth::Parts {
            reading.segments(entry);
        }
    }
    // A part that cannot be read knows nothing of its channels.
    if reading.examined.cores.len() == manifest.cores.len() {
        let counts = reading.examined.cores.iter().flat_map(|core| &core.counts);
        if let Err(what) = ChannelCounts::check_conservation(counts) {
            reading.bad("all parts together", what);
        }
    }
    reading.examined
}

struct Reading<'a> {
    store: &'a dyn Store,
    manifest: &'a Manifest,
    examined: Examined,
    watch: &'a mut dyn FnMut(u64),
    /// The block that is being read.
    block: Vec<u8>,
}

type Opened = Checked<Box<dyn Read>>;

impl Reading<'_> {
    fn bad(&mut self, path: &str, what: impl Into<String>) {
        let bad = Bad { path: path.to_owned(), what: what.into() };
        // Several parts lie in one file: that it is missing is said once.
        if !self.examined.bad.contains(&bad) {
            self.examined.bad.push(bad);
        }
    }

    /// Reads a core's image.
    fn part(&mut self, entry: &CoreEntry) {
        let (core, checkpoint) = (entry.core, self.manifest.checkpoint);
        let outline = self.file(&entry.part, |reading, opened| {
            let mut bytes = Vec::new();
            while reading.piece(opened, PIECE as u64, &mut bytes)? > 0 {}
            let image = Image::decode(&bytes).map_err(|error| error.to_string())?;
            if (image.core, image.checkpoint) != (core, checkpoint) {
                let (core, checkpoint) = (image.core, image.checkpoint);
                return Err(format!("it is of core {core} at checkpoint {checkpoint}"));
            }
            Outline::read(&image).map_err(|error| error.to_string())
        });
        self.examined.cores.extend(outline);
    }

    /// Reads the segments of a core.
    fn segments(&mut self, entry: &CoreEntry) {
        let mut last = None;
        for named in &entry.files {
            let number = self.file(named, |reading, opened| reading.segment(entry, last, opened));
            last = number.or(last);
        }
        if let Some(census) = &mut self.examined.census {
            census.end_core();
        }
    }

    /// Reads a segment block by block; returns its number.
    fn segment(
        &mut self,
        entry: &CoreEntry,
        last: Option<u64>,
        opened: &mut Opened,
    ) -> Result<u64, String> {
        let plain = |error: SegmentError| error.found;
        let block = std::mem::take(&mut self.block);
        let mut stream = SegmentStream::open(opened, block).map_err(plain)?;
        (self.watch)(SegmentHead::BYTES as u64);
        let SegmentHeader { core, number, .. } = stream.head().header;
        if core != entry.core {
            return Err(format!("it is a segment of core {core}"));
        }
        if let Some(last) = last.filter(|last| *last >= number) {
            return Err(format!("its number is {number}, behind {last}"));
        }
        while let Some(read) = stream.next_block().map_err(plain)? {
            self.count(entry, &read).map_err(|what| stream.of_block(&what))?;
            (self.watch)(stream.block().len() as u64);
        }
        self.block = stream.into_block();
        Ok(number)
    }

    /// Checks a block, and counts it.
    fn count(&mut self, entry: &CoreEntry, read: &BlockReader<'_>) -> Result<(), String> {
        let groups = self.manifest.job.max_parallelism;
        let first = entry.first_key_group;
        let ours = first..first.saturating_add(entry.key_group_count);
        for op in read.ops() {
            let group = u32::from(key_group(op.key_hash, groups));
            if !ours.contains(&group) {
                let name = read.name();
                return Err(format!("column {name} has a key of key group {group}"));
            }
        }
        match &mut self.examined.census {
            Some(census) => census.block(read).map_err(|error| error.found),
            None => Ok(()),
        }
    }

    /// Opens a file, has it read, and compares it with what the manifest says.
    fn file<T>(
        &mut self,
        named: &FileInfo,
        read: impl FnOnce(&mut Self, &mut Opened) -> Result<T, String>,
    ) -> Option<T> {
        self.examined.files += 1;
        let mut opened = match self.open(named) {
            Ok(opened) => opened,
            Err(what) => {
                self.bad(&named.path, what);
                return None;
            }
        };
        let mut result = read(self, &mut opened);
        let end = self.drain(&mut opened);
        let complaint = end.err().or_else(|| opened.complaint(named));
        // Whoever was cut short by damage says where, behind what is wrong with the whole.
        if let Some(whole) = complaint {
            result = Err(match result {
                Ok(_) => whole,
                Err(inside) => format!("{whole}; {inside}"),
            });
        }
        self.examined.bytes += opened.count();
        match result {
            Ok(value) => Some(value),
            Err(what) => {
                self.bad(&named.path, what);
                None
            }
        }
    }

    /// Opens a file of the right length.
    fn open(&self, named: &FileInfo) -> Result<Opened, String> {
        let failed = |error: thalweg_checkpoint::StoreError| error.what;
        let missing = || "it is missing".to_owned();
        let size = self.store.size(&named.path).map_err(failed)?.ok_or_else(missing)?;
        let bytes = named.bytes_in(size);
        if bytes != named.bytes {
            return Err(named.complaint(bytes, named.checksum).unwrap_or_default());
        }
        let opened = self.store.read(&named.path, named.offset).map_err(failed)?;
        Ok(Checked::new(Box::new(opened.ok_or_else(missing)?.take(named.bytes))))
    }

    /// Reads what a reader has left over.
    fn drain(&mut self, opened: &mut Opened) -> Result<(), String> {
        let mut piece = std::mem::take(&mut self.block);
        loop {
            piece.clear();
            if self.piece(opened, PIECE as u64, &mut piece)? == 0 {
                self.block = piece;
                return Ok(());
            }
        }
    }

    /// Appends some bytes, `most` of them at the most; 0: the file has ended.
    fn piece(&mut self, opened: &mut Opened, most: u64, to: &mut Vec<u8>) -> Result<u64, String> {
        let read = opened.by_ref().take(most.min(PIECE as u64)).read_to_end(to);
        let read = read.map_err(|error| format!("it cannot be read: {error}"))? as u64;
        (self.watch)(read);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use thalweg_checkpoint::manifest::{self, JobIdentity};
    use thalweg_checkpoint::paths::Pack;
    use thalweg_checkpoint::store::checksum;
    use thalweg_checkpoint::{LocalStore, MemoryStore};
    use thalweg_state::segment::{BlockWriter, Column, ColumnKind, SegmentHeader};

    use super::*;

    fn segment(core: u32, number: u64, keys: &[u64]) -> Vec<u8> {
        let column = Column {
            name: "\"a\"/\"b\"".into(),
            kind: ColumnKind::Rows,
            fingerprint: 1,
            hash_of_key: false,
        };
        let mut writer = BlockWriter::new(column);
        keys.iter().for_each(|key| writer.put_bytes(*key, &key.to_be_bytes(), b"value"));
        let mut blocks = Vec::new();
        writer.finish(&mut blocks);
        SegmentHeader { core, number, epoch: number }.segment(&blocks)
    }

    fn store(store: &MemoryStore, number: u64, bytes: &[u8]) -> FileInfo {
        let path = Pack { attempt: 1, node: 0, number }.path("job");
        store.create(&path, bytes).unwrap();
        FileInfo { path, offset: 0, bytes: bytes.len() as u64, checksum: checksum(bytes) }
    }

    /// A checkpoint of one core with four key groups.
    fn checkpoint(segments: &[Vec<u8>]) -> (MemoryStore, Manifest) {
        let memory = MemoryStore::new();
        let image = Image { core: 0, checkpoint: 3, sections: Vec::new() };
        let part = store(&memory, 0, &image.encode());
        let named = |(at, bytes): (usize, &Vec<u8>)| store(&memory, at as u64 + 1, bytes);
        let files = segments.iter().enumerate().map(named).collect();
        let core = CoreEntry { core: 0, first_key_group: 0, key_group_count: 3, part, files };
        let (name, id) = ("a".to_owned(), "job".to_owned());
        let job = JobIdentity {
            name,
            id,
            graph_digest: 1,
            parallelism: 1,
            max_parallelism: 4,
            operators: Vec::new(),
        };
        let manifest = Manifest {
            format: manifest::FORMAT,
            checkpoint: 3,
            kind: manifest::Kind::Checkpoint,
            attempt: 1,
            term: 1,
            started_ms: 0,
            completed_ms: 0,
            job,
            cores: vec![core],
            splits: Vec::new(),
        };
        (memory, manifest)
    }

    fn all(store: &MemoryStore, manifest: &Manifest) -> Examined {
        examine(store, manifest, Depth::Counted, &mut |_| ())
    }

    #[test]
    fn every_byte_is_read_once_and_counted() {
        let many: Vec<u64> = (0..40_000).map(|key| key * 4).collect();
        let (store, manifest) = checkpoint(&[segment(0, 1, &many), segment(0, 2, &[0, 1])]);
        let mut watched = 0;
        let seen = examine(&store, &manifest, Depth::Counted, &mut |bytes| watched += bytes);
        assert_eq!(seen.bad, []);
        assert_eq!((seen.files, seen.bytes, watched), (3, manifest.bytes(), manifest.bytes()));
        let census = seen.census.unwrap();
        let (name, column) = census.columns().next().unwrap();
        assert_eq!((name, column.total().entries), ("\"a\"/\"b\"", 40_001));
        let parts = examine(&store, &manifest, Depth::Parts, &mut |_| ());
        assert_eq!((parts.files, parts.cores.len()), (1, 1));
    }

    /// The complaint about the only bad file.
    fn complaint(segments: &[Vec<u8>]) -> String {
        let (store, manifest) = checkpoint(segments);
        let seen = all(&store, &manifest);
        assert_eq!(seen.bad.len(), 1, "{:?}", seen.bad);
        seen.bad[0].what.clone()
    }

    /// Their checksums fit: somebody has stored the wrong file.
    #[test]
    fn files_that_do_not_go_together_are_found() {
        let other = complaint(&[segment(1, 1, &[0])]);
        assert_eq!(other, "it is a segment of core 1");
        let order = complaint(&[segment(0, 2, &[0]), segment(0, 2, &[1])]);
        assert_eq!(order, "its number is 2, behind 2");
        let foreign = complaint(&[segment(0, 2, &[3])]);
        assert!(foreign.ends_with("column \"a\"/\"b\" has a key of key group 3"), "{foreign}");
        assert!(foreign.starts_with("block 1 of 1 at byte 48: "), "{foreign}");
    }

    #[test]
    fn all_bad_files_are_named_with_what_is_wrong() {
        let (store, mut manifest) = checkpoint(&[segment(0, 1, &[0]), segment(0, 2, &[1])]);
        let core = &mut manifest.cores[0];
        core.part.checksum ^= 1;
        store.delete(&core.files[0].path).unwrap();
        core.files[1].bytes += 1;
        let seen = all(&store, &manifest);
        let said: Vec<_> = seen.bad.iter().map(|bad| bad.what.as_str()).collect();
        assert!(said[0].starts_with("its checksum is "), "{said:?}");
        assert_eq!(said[1], "it is missing");
        assert!(said[2] == "it has 118 bytes of 119" && said.len() == 3, "{said:?}");
        manifest.job.max_parallelism = 0;
        assert_eq!(all(&store, &manifest).bad.len(), 1);
    }

    /// The manifest's checksum may fit, too: whoever edits a file can make one.
    #[test]
    fn no_flipped_byte_and_no_end_makes_it_panic() {
        let whole = segment(0, 1, &[0, 1, 2]);
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 0xff;
            let (store, manifest) = checkpoint(&[flipped]);
            assert_eq!(all(&store, &manifest).bad.len(), 1, "byte {at}");
            let (store, manifest) = checkpoint(&[whole[..at].to_vec()]);
            assert_eq!(all(&store, &manifest).bad.len(), 1, "{at} bytes");
        }
    }

    #[test]
    fn a_directory_in_a_files_place_is_a_bad_file() {
        let folder = std::env::temp_dir().join(format!("thalweg-examine-{}", std::process::id()));
        let (_, manifest) = checkpoint(&[]);
        std::fs::create_dir_all(folder.join(&manifest.cores[0].part.path)).unwrap();
        let store = LocalStore::existing(&folder).unwrap();
        let seen = examine(&store, &manifest, Depth::All, &mut |_| ());
        assert!(seen.bad[0].what.contains("it is no file"), "{:?}", seen.bad);
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(LocalStore::existing(&folder).is_err() && !folder.exists());
    }
}
