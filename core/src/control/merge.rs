//! Segments of a core that become one: read side by side from the store and written as they come.

use std::io::{self, Read, Write};

use thalweg_checkpoint::manifest::FileInfo;
use thalweg_checkpoint::paths::Pack;
use thalweg_checkpoint::store::Checked;
use thalweg_checkpoint::{Created, Store, StoreError, fail_point};
use thalweg_state::segment::{MergeError, Merged, merge};

use super::work::check_same;

/// Memory through which all segments are read together.
const READ_BYTES: usize = 16 << 20;

/// What of it one segment has at the most.
const PIECE_BYTES: usize = 1 << 20;

/// Segments of a core that become one.
#[derive(Debug)]
pub struct Merge {
    core: usize,
    path: String,
    segments: Vec<FileInfo>,
    is_bottom: bool,
}

/// The segment that they have become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergedFile {
    /// Where it is.
    pub file: FileInfo,
    /// How it came about.
    pub merged: Merged,
}

type Opened = Checked<Box<dyn Read>>;

impl Merge {
    pub(super) fn new(
        job: &str,
        pack: Pack,
        core: usize,
        segments: Vec<FileInfo>,
        is_bottom: bool,
    ) -> Self {
        Self { core, path: pack.path(job), segments, is_bottom }
    }

    /// The core.
    pub(super) fn core(&self) -> usize {
        self.core
    }

    /// Merges them; gives up when `goes_on` says no.
    pub(super) fn carry_out(
        &self,
        store: &dyn Store,
        goes_on: &dyn Fn() -> bool,
    ) -> Result<MergedFile, StoreError> {
        let piece = (READ_BYTES / self.segments.len().max(1)).min(PIECE_BYTES);
        let open = |file| open(store, file, piece);
        let mut inputs = self.segments.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        let mut done = None;
        let created = store.create_streamed(&self.path, &mut |out| {
            let mut out = Checked::new(Until { out, goes_on });
            let merged = self.write(&mut inputs, &mut out)?;
            fail_point!("merge-read");
            done = Some((merged, out.count(), out.checksum()));
            Ok(())
        })?;
        let path = self.path.clone();
        let Some((merged, bytes, checksum)) = done else {
            return Err(StoreError::failed(format!("cannot write {path}: nobody filled it"), ""));
        };
        if created == Created::Exists {
            check_same(store, &path, checksum)?;
        }
        fail_point!("merge-written");
        let file = FileInfo { path, offset: 0, bytes, checksum };
        Ok(MergedFile { file, merged })
    }

    /// Merges into `out`, and sees to it that what was read is what was meant.
    fn write(&self, inputs: &mut [Opened], out: &mut dyn Write) -> io::Result<Merged> {
        let damaged = |place: usize, what: &str, hint: &str| {
            failed(&self.segments[place], what, hint).into_io()
        };
        let merged =
            merge(inputs.iter_mut(), self.is_bottom, out).map_err(|error| match error {
                MergeError::Input { place, error } => damaged(place, &error.found, error.hint),
                MergeError::Apart(error) => StoreError::failed(
                    format!("cannot merge segments: {}", error.found),
                    error.hint,
                )
                .into_io(),
                MergeError::Output(error) => error,
            })?;
        for (place, (input, file)) in inputs.iter_mut().zip(&self.segments).enumerate() {
            // What stands behind the last block is in the checksum, too.
            io::copy(input, &mut io::sink())?;
            if let Some(what) = input.complaint(file) {
                return Err(damaged(place, &what, ""));
            }
        }
        Ok(merged)
    }
}

fn failed(file: &FileInfo, what: &str, hint: &str) -> StoreError {
    let FileInfo { path, offset, .. } = file;
    StoreError::failed(format!("cannot merge {path} from {offset} on: {what}"), hint)
}

fn open(store: &dyn Store, file: &FileInfo, piece: usize) -> Result<Opened, StoreError> {
    let opened = store.read_by(&file.path, file.offset, piece)?;
    let opened = opened.ok_or_else(|| failed(file, "it is gone", ""))?;
    Ok(Checked::new(Box::new(opened.take(file.bytes))))
}

/// A writer until somebody says no.
struct Until<'a> {
    out: &'a mut dyn Write,
    goes_on: &'a dyn Fn() -> bool,
}

impl Write for Until<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match (self.goes_on)() {
            true => self.out.write(bytes),
            false => Err(StoreError::failed("the attempt is over: nobody needs it", "").into_io()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use thalweg_checkpoint::MemoryStore;
    use thalweg_checkpoint::store::checksum;
    use thalweg_state::segment::{
        BlockWriter, Column, ColumnKind, SegmentHeader, SegmentReader, merge_in_memory,
    };

    use super::*;

    fn segment(number: u64, keys: std::ops::Range<u64>) -> Vec<u8> {
        let column = Column {
            name: "\"a\"/\"b\"".into(),
            kind: ColumnKind::Rows,
            fingerprint: 1,
            hash_of_key: false,
        };
        let (mut writer, mut blocks) = (BlockWriter::new(column), Vec::new());
        keys.for_each(|key| writer.put_bytes(key, &key.to_be_bytes(), &number.to_be_bytes()));
        writer.finish(&mut blocks);
        SegmentHeader { core: 0, number, epoch: number }.segment(&blocks)
    }

    fn pack(number: u64) -> Pack {
        Pack { attempt: 1, node: 0, number }
    }

    /// A pack of these segments, the second of which is sorted, and the merge of all of them.
    fn stored() -> (MemoryStore, Merge) {
        let store = MemoryStore::new();
        let sorted = merge_in_memory(&[&segment(2, 5..20)], false).unwrap();
        let (mut bytes, mut files) = (Vec::new(), Vec::new());
        for segment in [segment(1, 0..10), sorted, segment(3, 9..12)] {
            let (path, checksum) = (pack(0).path("job"), checksum(&segment));
            let (offset, length) = (bytes.len() as u64, segment.len() as u64);
            files.push(FileInfo { path, offset, bytes: length, checksum });
            bytes.extend(segment);
        }
        store.create(&files[0].path, &bytes).unwrap();
        (store, Merge::new("job", pack(1), 0, files, true))
    }

    #[test]
    fn what_is_stored_is_what_the_answer_says() {
        let (store, merge) = stored();
        let MergedFile { file, merged } = merge.carry_out(&store, &|| true).unwrap();
        assert_eq!((merged.streamed, merged.sorted), (1, 2));
        let bytes = store.get(&file.path).unwrap().unwrap();
        assert_eq!(file.complaint(bytes.len() as u64, checksum(&bytes)), None);
        let block = SegmentReader::new(&bytes).unwrap().blocks().next().unwrap().unwrap();
        let newest: Vec<_> = block.ops().map(|op| (op.key_hash, op.value.unwrap()[7])).collect();
        let by = |key| {
            if key < 5 {
                1
            } else if (9..12).contains(&key) {
                3
            } else {
                2
            }
        };
        assert_eq!(newest, (0..20).map(|key| (key, by(key))).collect::<Vec<_>>());
    }

    #[test]
    fn a_name_with_the_same_bytes_is_ours_and_with_others_is_not() {
        let (store, merge) = stored();
        let first = merge.carry_out(&store, &|| true).unwrap();
        assert_eq!(merge.carry_out(&store, &|| true), Ok(first.clone()));
        store.overwrite(&first.file.path, b"another's");
        let error = merge.carry_out(&store, &|| true).unwrap_err().to_string();
        assert!(error.contains("another file has its name") && error.contains("--job-id"));
    }

    #[test]
    fn a_segment_that_is_not_the_one_that_was_meant_is_named_and_nothing_is_written() {
        let (store, mut merge) = stored();
        let fails = |merge: &Merge| {
            let error = merge.carry_out(&store, &|| true).unwrap_err().to_string();
            assert_eq!(store.size(&merge.path), Ok(None), "{error}");
            error
        };
        let from = merge.segments[1].offset;
        merge.segments[1].checksum ^= 1;
        let error = fails(&merge);
        let named = format!("cannot merge job/att-1/node-0/0.pack from {from} on: its checksum is");
        assert!(error.starts_with(&named), "{error}");
        merge.segments[1].bytes -= 1;
        let error = fails(&merge);
        assert!(error.contains("block 1 at byte 48: 1 bytes of it are missing"), "{error}");
        merge.segments.swap(0, 1);
        assert!(fails(&merge).contains("segment 1 of core 0 comes behind segment 2"));
        merge.segments[2].path = "job/gone".to_owned();
        assert_eq!(
            fails(&merge),
            format!("cannot merge job/gone from {} on: it is gone", merge.segments[2].offset)
        );
    }

    #[test]
    fn a_merge_that_nobody_needs_any_more_is_given_up() {
        let (store, merge) = stored();
        let error = merge.carry_out(&store, &|| false).unwrap_err();
        assert_eq!(error.what, "the attempt is over: nobody needs it");
        assert_eq!(store.size(&merge.path), Ok(None));
    }
}
