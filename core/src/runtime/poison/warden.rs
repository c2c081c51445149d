//! Watches the records of one core: which one user code fails on, which go aside.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use thalweg_checkpoint::store::{checksum, checksum_of};
use thalweg_net::RecordView;
use thalweg_state::{Encoder, State};

use super::book::{Failure, Suspect};
use super::letters::{Letter, Letters};
use super::{Head, Identity, Ledger};
use crate::error::Kind;
use crate::operator::chain_text;
use crate::record::Record;
use crate::sink::SinkContext;
use crate::source::position;
use crate::time::{MIN, Timestamp};
use crate::{Error, Result};

/// Behind so many checkpoints of an attempt nobody watches any longer. What made the attempt before
/// fail lies not far behind the checkpoint that it went on from; should it be farther, it fails
/// once more, and the next attempt begins nearer to it.
const WATCHED_CHECKPOINTS: u32 = 10;

/// Knows the records that have failed, on one core in one attempt.
pub(crate) struct Warden {
    ledger: Arc<Ledger>,
    core: usize,
    attempt: u64,
    /// Tasks whose records are handed on one at a time.
    heads: Vec<Head>,
    /// Names of all tasks.
    names: OnceCell<Vec<(Head, Rc<str>)>>,
    known: RefCell<BTreeMap<Identity, Suspect>>,
    checkpoints_left: Cell<u32>,
    /// The task that runs.
    running: Cell<Option<Head>>,
    /// The record that user code has.
    noted: Cell<Option<Identity>>,
    /// Its core's worker owns it, and it its core, which owns this.
    letters: OnceCell<Weak<Letters>>,
    scratch: RefCell<(Encoder, Vec<u8>)>,
}

/// A poison record that was found.
pub(crate) enum Found<'a> {
    /// On a page, with its key.
    Slot { key: &'a [u8] },
    /// In front of this position of its split.
    Source { position: &'a [u8] },
}

impl Warden {
    pub(crate) fn new(ledger: Arc<Ledger>, core: usize, attempt: u64) -> Self {
        let (heads, known) = ledger.known();
        Self {
            ledger,
            core,
            attempt,
            heads,
            names: OnceCell::new(),
            known: RefCell::new(known),
            checkpoints_left: Cell::new(WATCHED_CHECKPOINTS),
            running: Cell::new(None),
            noted: Cell::new(None),
            letters: OnceCell::new(),
            scratch: RefCell::default(),
        }
    }

    /// Opens the output, once the tasks are made.
    pub(crate) fn open(&self, cx: SinkContext, names: Vec<(Head, Rc<str>)>) -> Result<Rc<Letters>> {
        let letters = Rc::new(Letters::open(self.ledger.config(), cx)?);
        let opened = self.letters.set(Rc::downgrade(&letters)).is_ok();
        let named = self.names.set(names).is_ok();
        assert!(opened && named, "a warden is opened once");
        Ok(letters)
    }

    /// A task runs.
    #[inline]
    pub(crate) fn enter(&self, head: Head) {
        self.running.set(Some(head));
    }

    /// Whether records of a task are handed on one at a time.
    #[inline]
    pub(crate) fn watches(&self, head: Head) -> bool {
        self.checkpoints_left.get() > 0 && self.heads.contains(&head)
    }

    /// A checkpoint of this attempt is complete.
    pub(crate) fn committed(&self) {
        self.checkpoints_left.set(self.checkpoints_left.get().saturating_sub(1));
    }

    /// Which record of a page this is; `None` if it cannot be told from others.
    pub(crate) fn identify<T: Record>(
        &self,
        head: Head,
        part: u32,
        record: RecordView<'_, T>,
    ) -> Option<Identity> {
        let (encoder, archive) = &mut *self.scratch.borrow_mut();
        archive.clear();
        encoder.encode(&record.record(), archive).ok()?;
        let (timestamp, key) = (record.head().timestamp.to_le_bytes(), record.key());
        let key_bytes = (key.len() as u64).to_le_bytes();
        let digest = checksum_of(&[&timestamp, &key_bytes, key, archive]);
        Some(Identity { head, part, digest })
    }

    /// Which record of a source this is, by where its split stands behind it.
    pub(crate) fn identify_position(&self, head: Head, split: u32, position: &[u8]) -> Identity {
        Identity { head, part: split, digest: checksum(position) }
    }

    /// The bytes of a position.
    pub(crate) fn encode<S: State>(&self, split: &S) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        self.scratch.borrow_mut().0.encode(split, &mut bytes).ok()?;
        Some(bytes)
    }

    /// What is known of a record, if it is poison.
    pub(crate) fn poison(&self, record: Identity) -> Option<(Identity, Suspect)> {
        let known = self.known.borrow();
        let suspect = known.get(&record).filter(|suspect| suspect.is_poison)?;
        Some((record, suspect.clone()))
    }

    /// User code gets this record.
    pub(crate) fn note(&self, record: Option<Identity>) {
        self.noted.set(record);
    }

    /// What user code has now, for as long as it does not fail on account of a record.
    pub(crate) fn take_note(&self) -> Option<Identity> {
        self.noted.take()
    }

    /// User code has taken the record.
    pub(crate) fn passed(&self) {
        let Some(record) = self.noted.take() else { return };
        if self.known.borrow_mut().remove(&record).is_some() {
            self.ledger.passed(&record, self.core);
        }
    }

    /// Writes a poison record to its output.
    pub(crate) fn set_aside(
        &self,
        identity: Identity,
        suspect: Suspect,
        found: &Found<'_>,
        timestamp: Timestamp,
    ) -> Result<()> {
        let name = Some(self.name(identity.head));
        let Suspect { failures, operator, error, .. } = suspect;
        let mut letter = Letter {
            operator,
            core: self.core,
            input: None,
            source: None,
            split: None,
            position: None,
            identity: format!("{:016x}", identity.digest),
            failures,
            error,
            timestamp: (timestamp != MIN).then_some(timestamp),
            key: None,
            record: None,
        };
        match found {
            Found::Slot { key } => {
                letter.input = name;
                letter.key = (!key.is_empty()).then(|| hex(key));
                letter.record = Some(hex(&self.scratch.borrow().1));
            }
            Found::Source { position } => {
                let told = position::describe(identity.part, position);
                letter.source = name;
                letter.split = Some(identity.part);
                letter.position = Some(told.unwrap_or_else(|| hex(position)));
            }
        }
        let letters = self.letters.get().and_then(Weak::upgrade);
        letters.expect("a warden is open before a task runs").write(letter)
    }

    /// The attempt has failed on this core.
    pub(crate) fn failed(&self, error: &Error) {
        // What went wrong outside, or in the engine, is no record's doing.
        if !matches!(error.kind(), Kind::User | Kind::Panic | Kind::State) {
            return;
        }
        let Some(head) = self.running.get() else { return };
        let (attempt, core, record) = (self.attempt, self.core, self.noted.take());
        let (operator, text) = (error.operator().unwrap_or_default(), chain_text(error));
        let failure = Failure { attempt, core, head, record, operator, error: &text };
        if let (Some(failures), Some(record)) = (self.ledger.failed(failure), record) {
            let (name, digest) = (self.name(record.head), record.digest);
            let output = self.ledger.config().output.display();
            tracing::warn!(
                operator,
                failures,
                "record {digest:016x} of \"{name}\" is poison: from now on it goes to {output}"
            );
        }
    }

    fn name(&self, head: Head) -> String {
        let mut names = self.names.get().into_iter().flatten();
        names.find(|(of, _)| *of == head).map_or_else(String::new, |(_, name)| name.to_string())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
