//! The way of records from one core to another: a ring of 16 KiB buffers, filled in place.
//!
//! The producer writes each record once, straight into the open buffer, and hands the buffer
//! over by advancing `filled`; the consumer reads it where it is and gives it back by advancing
//! `emptied`. Of `C` buffers, number `n` lies at slot `n % C`: the producer owns `filled …
//! emptied + C - 1`, the consumer `emptied … filled - 1`.

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Buffers of an edge between two cores.
pub const BUFFERS_BETWEEN: u64 = 16;

/// Buffers of the edge of a core to itself, which are read as soon as they are full.
pub const BUFFERS_OWN: u64 = 4;

/// Records in one buffer.
pub const BUFFER_RECORDS: usize = 256;

/// A mapped purchase on its way to the core that owns its user: one line of the cache.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Record {
    /// The hash of the user, computed once at the source.
    pub hash: u64,
    /// Who bought.
    pub user: u64,
    /// Event time in milliseconds.
    pub ts: i64,
    /// Cents.
    pub amount: i64,
    /// When the record was due, in nanoseconds of the run's clock; 0 where nothing is paced.
    pub due_ns: u64,
    /// The card.
    pub card: u64,
    /// The price in dollars.
    pub dollars: f64,
    /// Where it was bought.
    pub merchant: u32,
    /// Hour of the day, 0 to 23.
    pub hour: u8,
    /// The merchant's category.
    pub category: u8,
}

type Buffer = UnsafeCell<[MaybeUninit<Record>; BUFFER_RECORDS]>;

/// A counter that shares no line with another.
#[derive(Default)]
#[repr(align(128))]
struct Counter(AtomicU64);

struct Shared {
    filled: Counter,
    emptied: Counter,
    is_closed: AtomicBool,
    lengths: Box<[UnsafeCell<u32>]>,
    buffers: Box<[Buffer]>,
    mask: u64,
}

// SAFETY: each buffer and its length belong to one side at a time, as the module's rule says; the
// counters hand them over with release and acquire.
unsafe impl Sync for Shared {}
// SAFETY: nothing in it is bound to a thread.
unsafe impl Send for Shared {}

/// The filling end.
pub struct Sender {
    shared: Arc<Shared>,
    next: *mut Record,
    end: *mut Record,
    filled: u64,
    emptied: u64,
    announced: u64,
}

/// The reading end.
pub struct Receiver {
    shared: Arc<Shared>,
    filled: u64,
    emptied: u64,
}

// SAFETY: the pointers go into the shared buffers, which move with the sender.
unsafe impl Send for Sender {}

/// Makes one edge of so many buffers, a power of two. Their pages are touched here.
pub fn edge(buffer_count: u64) -> (Sender, Receiver) {
    assert!(
        buffer_count.is_power_of_two() && buffer_count > 1,
        "an edge of {buffer_count} buffers"
    );
    let empty = || UnsafeCell::new([const { MaybeUninit::zeroed() }; BUFFER_RECORDS]);
    let shared = Arc::new(Shared {
        filled: Counter::default(),
        emptied: Counter::default(),
        is_closed: AtomicBool::new(false),
        lengths: (0..buffer_count).map(|_| UnsafeCell::new(0)).collect(),
        buffers: (0..buffer_count).map(|_| empty()).collect(),
        mask: buffer_count - 1,
    });
    let next = shared.buffers[0].get().cast::<Record>();
    // SAFETY: one past the end of the first buffer.
    let end = unsafe { next.add(BUFFER_RECORDS) };
    let sender =
        Sender { shared: Arc::clone(&shared), next, end, filled: 0, emptied: 0, announced: 0 };
    (sender, Receiver { shared, filled: 0, emptied: 0 })
}

impl Sender {
    /// Whether a whole buffer's worth of records fits without waiting.
    #[inline]
    pub fn has_room(&mut self) -> bool {
        // The open buffer and the one after it: a buffer's worth never needs a third.
        if self.filled - self.emptied < self.shared.mask {
            return true;
        }
        self.emptied = self.shared.emptied.0.load(Ordering::Acquire);
        self.filled - self.emptied < self.shared.mask
    }

    /// Writes one record. The caller has seen [`has_room`](Self::has_room) since the last
    /// [`BUFFER_RECORDS`] records.
    #[inline(always)]
    pub fn push(&mut self, record: Record) {
        // SAFETY: `next` is inside the open buffer, which is ours: a full one is handed
        // over at once, and the one behind it was free.
        unsafe {
            self.next.write(record);
            self.next = self.next.add(1);
        }
        if self.next == self.end {
            self.hand_over();
        }
    }

    /// Hands the open buffer over although it is not full, if it holds anything and another
    /// is free. Returns whether it was handed over.
    #[inline]
    pub fn flush(&mut self) -> bool {
        if self.open_len() == 0 || !self.has_room() {
            return false;
        }
        self.hand_over();
        true
    }

    /// Whether a buffer was handed over since this was last asked.
    #[inline]
    pub fn has_news(&mut self) -> bool {
        std::mem::replace(&mut self.announced, self.filled) != self.filled
    }

    /// Whether nothing waits in the open buffer.
    pub fn is_flushed(&self) -> bool {
        self.open_len() == 0
    }

    /// Says that no record follows. Everything was flushed before.
    pub fn close(&mut self) {
        assert!(self.is_flushed(), "an edge was closed with {} records unsent", self.open_len());
        self.shared.is_closed.store(true, Ordering::Release);
    }

    #[inline(always)]
    fn open_len(&self) -> usize {
        BUFFER_RECORDS - (self.end as usize - self.next as usize) / size_of::<Record>()
    }

    #[inline(never)]
    fn hand_over(&mut self) {
        debug_assert!(self.filled - self.emptied < self.shared.mask, "no free buffer behind");
        let slot = (self.filled & self.shared.mask) as usize;
        // SAFETY: the length of the open buffer is ours until the store below.
        unsafe { *self.shared.lengths[slot].get() = self.open_len() as u32 };
        self.filled += 1;
        self.shared.filled.0.store(self.filled, Ordering::Release);
        let slot = (self.filled & self.shared.mask) as usize;
        self.next = self.shared.buffers[slot].get().cast();
        // SAFETY: one past the end of that buffer.
        self.end = unsafe { self.next.add(BUFFER_RECORDS) };
    }
}

impl Receiver {
    /// The next filled buffer, if there is one. It stays until [`give_back`](Self::give_back).
    #[inline]
    pub fn peek(&mut self) -> Option<&[Record]> {
        if self.filled == self.emptied {
            self.filled = self.shared.filled.0.load(Ordering::Acquire);
            if self.filled == self.emptied {
                return None;
            }
        }
        let slot = (self.emptied & self.shared.mask) as usize;
        // SAFETY: the buffer is ours, and the producer wrote this many records into it.
        unsafe {
            let len = *self.shared.lengths[slot].get() as usize;
            let start = self.shared.buffers[slot].get().cast::<Record>();
            Some(std::slice::from_raw_parts(start, len))
        }
    }

    /// Gives the buffer last peeked at back to the producer.
    #[inline]
    pub fn give_back(&mut self) {
        assert!(self.emptied < self.filled, "buffer {} was not read", self.emptied);
        self.emptied += 1;
        self.shared.emptied.0.store(self.emptied, Ordering::Release);
    }

    /// Whether the producer has closed the edge and all of it was read.
    pub fn is_done(&mut self) -> bool {
        self.shared.is_closed.load(Ordering::Acquire) && self.peek().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(user: u64) -> Record {
        let (ts, amount, due_ns, card, dollars) = (0, 0, 0, 0, 0.0);
        let (merchant, hour, category) = (0, 0, 0);
        Record { hash: 0, user, ts, amount, due_ns, card, dollars, merchant, hour, category }
    }

    #[test]
    fn a_record_is_one_line_and_a_buffer_16_kib() {
        assert_eq!(size_of::<Record>(), 64);
        assert_eq!(size_of::<Buffer>(), 16 << 10);
    }

    #[test]
    fn an_edge_without_free_buffers_has_no_room_until_one_comes_back() {
        let (mut sender, mut receiver) = edge(BUFFERS_BETWEEN);
        let mut sent = 0;
        while sender.has_room() {
            sender.push(record(sent));
            sent += 1;
        }
        assert_eq!(sent, (BUFFERS_BETWEEN - 1) * BUFFER_RECORDS as u64);
        assert_eq!(receiver.peek().map(<[Record]>::len), Some(BUFFER_RECORDS));
        assert!(!sender.has_room());
        receiver.give_back();
        assert!(sender.has_room());
    }

    #[test]
    fn records_arrive_in_order_and_complete() {
        const COUNT: u64 = 100_000;
        let (mut sender, mut receiver) = edge(BUFFERS_BETWEEN);
        let producer = move || {
            let mut sent = 0;
            while sent < COUNT {
                if sender.has_room() {
                    sender.push(record(sent));
                    sent += 1;
                    if sent % 777 == 0 {
                        sender.flush();
                    }
                }
            }
            while !sender.is_flushed() {
                sender.flush();
            }
            sender.close();
        };
        std::thread::scope(|scope| {
            scope.spawn(producer);
            let mut expected = 0;
            while !receiver.is_done() {
                let Some(records) = receiver.peek() else {
                    continue;
                };
                for record in records {
                    assert_eq!(record.user, expected);
                    expected += 1;
                }
                receiver.give_back();
            }
            assert_eq!(expected, COUNT);
        });
    }
}
