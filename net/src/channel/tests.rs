//! Claims about the two ends of a channel, alone and wired to each other.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;
use crate::batch::{Head, PageWriter};
use crate::error::ChannelError;
use crate::frame::{Body, ChannelId, Frame};
use crate::pool::Buffer;
use crate::recorded;

const ID: ChannelId = ChannelId(3);
const BUFFER: usize = 256;

type Output = OutputChannel<Vec<u8>>;

fn output(credits: usize) -> Output {
    OutputChannel::new(ID, BUFFER, credits, 4096)
}

fn write(channel: &mut Output, record: &[u8]) -> Result<(), ChannelError> {
    let has_credit = channel.write(Head::default(), b"key", &record.to_vec())?;
    assert_eq!(has_credit, channel.has_credit(), "{channel:?}");
    Ok(())
}

fn frame(sequence: u64, body: Body) -> Frame {
    Frame { channel: ID, sequence, body }
}

fn data(watermarks: &[i64], watermark: i64) -> Body {
    let mut writer = PageWriter::<u64>::new(Buffer::new(1024));
    for stamp in watermarks {
        let head = Head { watermark: *stamp, ..Head::default() };
        writer.push(head, &[], &0).unwrap();
    }
    Body::Data { page: writer.seal(), watermark }
}

#[test]
fn records_and_watermarks_leave_in_order_and_numbered() {
    let mut channel = output(4);
    write(&mut channel, b"a").unwrap();
    channel.watermark(10);
    write(&mut channel, b"b").unwrap();
    channel.watermark(20);
    assert!(channel.is_dirty());
    channel.flush();
    assert!(!channel.is_dirty());
    channel.end();
    let first = channel.next_frame().unwrap();
    assert_eq!((first.channel, first.sequence), (ID, 0));
    let Body::Data { page, watermark } = first.body else { panic!("{first:?}") };
    assert_eq!(watermark, 20);
    let stamps: Vec<_> = page.heads().map(|head| head.watermark).collect();
    assert_eq!(stamps, [i64::MIN, 10]);
    assert_eq!(page.typed::<Vec<u8>>().record(1), b"b");
    let last = channel.next_frame().unwrap();
    assert!(matches!((last.sequence, last.body), (1, Body::End)));
    assert!(channel.next_frame().is_none());
    assert_eq!((channel.written(), channel.sent()), (2, 2));
}

#[test]
fn watermarks_merge_while_they_wait() {
    let mut channel = output(4);
    for watermark in [1, 2, 3] {
        channel.watermark(watermark);
        channel.flush();
    }
    assert!(matches!(channel.peek(), Some(Body::Watermark(3))));
    write(&mut channel, b"a").unwrap();
    channel.flush();
    channel.watermark(4);
    channel.flush();
    assert_eq!(channel.queued(), 2);
    assert!(matches!(channel.frames().last(), Some(Body::Data { watermark: 4, .. })));
}

#[test]
#[should_panic(expected = "watermark 1 after 2")]
fn a_watermark_that_goes_back_is_a_broken_invariant() {
    let mut channel = output(1);
    channel.watermark(2);
    channel.watermark(1);
}

#[test]
fn an_idle_channel_keeps_its_watermark_until_it_is_active_or_ends() {
    let mut channel = output(4);
    channel.idle();
    channel.watermark(5);
    channel.flush();
    assert!(!channel.is_dirty());
    assert_eq!(channel.queued(), 1);
    channel.active();
    assert_eq!(channel.queued(), 0, "idle and active cancel while they wait");
    channel.flush();
    assert!(matches!(channel.next_frame().unwrap().body, Body::Watermark(5)));
    channel.idle();
    channel.next_frame().unwrap();
    write(&mut channel, b"a").unwrap();
    assert!(!channel.is_idle(), "a record makes it active");
    channel.idle();
    channel.watermark(i64::MAX);
    channel.end();
    let kinds: Vec<_> = channel.frames().map(std::mem::discriminant).collect();
    let expected = [Body::Active, data(&[], 0), Body::Idle, Body::Watermark(0), Body::End];
    assert_eq!(kinds, expected.map(|body| std::mem::discriminant(&body)));
}

#[test]
fn a_channel_without_credit_says_so_and_still_finishes_its_record() {
    let mut channel = output(2);
    let mut written = 0;
    while channel.has_credit() {
        write(&mut channel, &[7; 40]).unwrap();
        channel.check();
        written += 1;
    }
    assert_eq!(channel.counts().borrowed, 0);
    assert_eq!(written, 4, "two buffers of two records");
    write(&mut channel, &[7; 40]).unwrap();
    assert_eq!(channel.counts().borrowed, 1);
    assert!(!channel.has_credit(), "room on a borrowed page is no credit");
    channel.flush();
    while let Some(frame) = channel.next_frame() {
        let Body::Data { page, .. } = frame.body else { panic!("{frame:?}") };
        channel.home(page.into_buffer());
        channel.check();
    }
    let counts = channel.counts();
    assert_eq!((counts.free, counts.borrowed, counts.borrowed_bytes), (2, 0, 0));
    assert!(channel.has_credit());
}

#[test]
fn a_record_larger_than_a_buffer_gets_one_of_its_own() {
    let mut channel = output(2);
    write(&mut channel, b"small").unwrap();
    write(&mut channel, &[1; 1500]).unwrap();
    write(&mut channel, b"small").unwrap();
    assert_eq!(channel.counts().borrowed_bytes, 2048);
    assert!(!channel.has_credit(), "more is borrowed than the credits stand for");
    channel.flush();
    let sizes: Vec<_> = std::iter::from_fn(|| channel.next_frame())
        .map(|frame| match frame.body {
            Body::Data { page, .. } => page.into_buffer(),
            body => panic!("{body:?}"),
        })
        .collect();
    assert_eq!(sizes.iter().map(Buffer::capacity).collect::<Vec<_>>(), [256, 2048, 256]);
    for buffer in sizes {
        channel.home(buffer);
        channel.check();
    }
    assert_eq!(channel.counts().free, 2);
}

#[test]
fn a_record_may_fill_the_overdraft_and_not_more() {
    let mut channel = output(2);
    write(&mut channel, &[1; 3900]).unwrap();
    assert_eq!(channel.counts().borrowed_bytes, 4096);
    channel.check();
    let mut channel = output(2);
    let limit = 4096;
    let error = write(&mut channel, &[1; 5000]).unwrap_err();
    assert_eq!(error, ChannelError::RecordTooLarge { channel: ID, limit });
    channel.check();
    assert_eq!(channel.counts().borrowed, 0);
}

#[test]
fn a_call_that_floods_the_channel_fails_at_the_overdraft() {
    let mut channel = output(2);
    let error = loop {
        if let Err(error) = write(&mut channel, &[1; 150]) {
            break error;
        }
        channel.check();
    };
    let limit = 4096 + 2 * BUFFER as u64;
    assert_eq!(error, ChannelError::OverdraftExhausted { channel: ID, owed: limit, limit });
}

#[test]
#[should_panic(expected = "after its end")]
fn nothing_is_written_after_the_end() {
    let mut channel = output(1);
    channel.end();
    let _ = write(&mut channel, b"a");
}

#[test]
#[should_panic(expected = "came home unsent")]
fn a_buffer_that_was_never_sent_cannot_come_home() {
    output(1).home(Buffer::new(BUFFER));
}

#[test]
fn a_gap_a_repetition_and_a_stranger_are_refused() {
    let mut channel = InputChannel::new(ID, 2);
    channel.receive(frame(0, Body::Idle)).unwrap();
    for found in [0, 2] {
        let error = channel.receive(frame(found, Body::Active)).unwrap_err();
        assert_eq!(error, ChannelError::SequenceGap { channel: ID, expected: 1, found });
    }
    let stranger = Frame { channel: ChannelId(9), sequence: 1, body: Body::Idle };
    let error = channel.receive(stranger).unwrap_err();
    assert_eq!(error, ChannelError::WrongChannel { channel: ID, found: ChannelId(9) });
}

#[test]
fn watermarks_merge_behind_watermarks_and_pages() {
    let mut channel = InputChannel::new(ID, 2);
    channel.receive(frame(0, Body::Watermark(1))).unwrap();
    channel.receive(frame(1, Body::Watermark(2))).unwrap();
    channel.receive(frame(2, data(&[2, 2], 3))).unwrap();
    channel.receive(frame(3, Body::Watermark(4))).unwrap();
    assert_eq!((channel.queued(), channel.queued_pages(), channel.received()), (2, 1, 4));
    assert!(matches!(channel.pop().unwrap().body, Body::Watermark(2)));
    assert!(matches!(channel.front().unwrap(), Body::Data { watermark: 4, .. }));
}

#[test]
fn a_watermark_that_goes_back_is_refused_wherever_it_stands() {
    for body in [Body::Watermark(4), data(&[4], 6), data(&[5, 7], 6), data(&[], 4)] {
        let mut channel = InputChannel::new(ID, 2);
        channel.receive(frame(0, Body::Watermark(5))).unwrap();
        let error = channel.receive(frame(1, body)).unwrap_err();
        assert!(matches!(error, ChannelError::WatermarkRegressed { last: 5, .. }), "{error}");
    }
}

#[test]
fn a_flood_of_pages_is_refused() {
    let mut channel = InputChannel::with_overdraft(ID, 2, 1024);
    for sequence in 0..4 {
        channel.receive(frame(sequence, data(&[], 0))).unwrap();
    }
    let error = channel.receive(frame(4, data(&[], 0))).unwrap_err();
    assert_eq!(error, ChannelError::Overrun { channel: ID, queued: 4, bytes: 4096 });
}

#[test]
fn a_channel_has_ended_when_its_end_is_processed_and_takes_nothing_after_it() {
    let mut channel = InputChannel::new(ID, 2);
    channel.receive(frame(0, data(&[], 0))).unwrap();
    channel.receive(frame(1, Body::End)).unwrap();
    let error = channel.receive(frame(2, Body::Watermark(9))).unwrap_err();
    assert_eq!(error, ChannelError::AfterEnd { channel: ID });
    channel.pop().unwrap();
    assert!(!channel.ended());
    channel.pop().unwrap();
    assert!(channel.ended());
}

#[derive(Clone, Debug)]
enum Action {
    Write(usize),
    Watermark(i64),
    Flush,
    Idle,
    Active,
    Send,
    Process,
    Restart,
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        4 => (0_usize..600).prop_map(Action::Write),
        2 => (0_i64..5).prop_map(Action::Watermark),
        1 => Just(Action::Flush),
        1 => Just(Action::Idle),
        1 => Just(Action::Active),
        3 => Just(Action::Send),
        3 => Just(Action::Process),
        1 => Just(Action::Restart),
    ]
}

/// What a receiver learns, in order: each record with the watermark that it saw before it.
#[derive(Default)]
struct Gate {
    watermark: Option<i64>,
    idle: bool,
    lengths: Vec<usize>,
}

/// Both ends as a checkpoint brings them back: what is recorded is read into new ones.
fn restarted(sender: &mut Output, receiver: &InputChannel, gate: &Gate) -> (Output, InputChannel) {
    let copy = |body: &Body| {
        let mut bytes = Vec::new();
        recorded::record(body, &mut bytes);
        recorded::read::<Vec<u8>>(&mut &bytes[..], BUFFER).unwrap()
    };
    let state = sender.freeze();
    let mut output = output(3);
    output.restore(state, sender.frames().map(copy).collect());
    let mut input = InputChannel::with_overdraft(ID, 3, 4096);
    let watermark = gate.watermark.unwrap_or(i64::MIN);
    input.restore(watermark, receiver.ended(), receiver.frames().map(copy).collect());
    assert_eq!(input.watermark(), receiver.watermark().max(watermark));
    (output, input)
}

impl Gate {
    fn process(&mut self, input: &mut InputChannel) -> Option<Buffer> {
        let Received { body, restored } = input.pop()?;
        match body {
            Body::Data { page, watermark } => {
                assert!(!self.idle, "a record on an idle channel");
                for (index, head) in page.heads().enumerate() {
                    assert!(Some(head.watermark) >= self.watermark);
                    self.watermark = Some(head.watermark);
                    self.lengths.push(page.typed::<Vec<u8>>().record(index).len());
                }
                assert!(Some(watermark) >= self.watermark);
                self.watermark = Some(watermark);
                return Some(page.into_buffer()).filter(|_| !restored);
            }
            Body::Watermark(watermark) => {
                assert!(Some(watermark) > self.watermark);
                self.watermark = Some(watermark);
            }
            Body::Idle => assert!(!std::mem::replace(&mut self.idle, true)),
            Body::Active => assert!(std::mem::replace(&mut self.idle, false)),
            Body::End => panic!("no end was sent"),
        }
        None
    }
}

#[test]
fn what_was_recorded_frame_by_frame_merges_when_it_is_brought_back() {
    let mut input = InputChannel::new(ID, 2);
    let recorded = [Body::Watermark(1), Body::Watermark(4), Body::Idle, Body::Active];
    input.restore(0, false, recorded.into_iter().chain([Body::Watermark(6), Body::End]).collect());
    let kinds: Vec<_> = input.frames().map(|body| format!("{body:?}")).collect();
    assert_eq!(kinds, ["Watermark(6)", "End"]);
    assert_eq!((input.watermark(), input.queued(), input.merged()), (6, 2, 0));
}

#[test]
fn what_a_checkpoint_brought_back_merges_with_what_comes() {
    let mut input = InputChannel::new(ID, 2);
    input.restore(0, false, VecDeque::from([data(&[1], 2), Body::Watermark(3), Body::Idle]));
    for (sequence, body) in (0..).zip([Body::Active, Body::Watermark(7), Body::Idle, Body::Idle]) {
        input.receive(frame(sequence, body)).unwrap();
    }
    let kinds: Vec<_> = input.frames().map(|body| format!("{body:?}")).collect();
    assert_eq!(kinds[1..], ["Idle"], "{kinds:?}");
    assert_eq!((input.watermark(), input.queued(), input.merged()), (7, 2, 3));
}

proptest! {
    #[test]
    fn nothing_is_lost_whatever_the_interleaving(
        actions in prop::collection::vec(action(), 1..300)
    ) {
        let (mut sender, mut receiver) = (output(3), InputChannel::with_overdraft(ID, 3, 4096));
        let (mut gate, mut lengths, mut restored) = (Gate::default(), Vec::new(), 0);
        for action in actions {
            match action {
                Action::Write(bytes) if sender.has_credit() => {
                    write(&mut sender, &vec![0; bytes]).unwrap();
                    lengths.push(bytes);
                }
                Action::Write(_) => {}
                Action::Watermark(by) => {
                    sender.watermark(sender.current_watermark().max(0) + by);
                }
                Action::Flush => sender.flush(),
                Action::Idle => sender.idle(),
                Action::Active => sender.active(),
                Action::Send => {
                    if let Some(frame) = sender.next_frame() {
                        receiver.receive(frame).unwrap();
                    }
                }
                Action::Process => {
                    if let Some(buffer) = gate.process(&mut receiver) {
                        sender.home(buffer);
                    }
                }
                Action::Restart => {
                    (sender, receiver) = restarted(&mut sender, &receiver, &gate);
                    restored = receiver.queued();
                }
            }
            sender.check();
            let most = 4 * (receiver.queued_pages() + 1) as usize + restored;
            prop_assert!(receiver.queued() <= most);
        }
        sender.active();
        sender.flush();
        let mut frames: VecDeque<_> = std::iter::from_fn(|| sender.next_frame()).collect();
        while let Some(frame) = frames.pop_front() {
            receiver.receive(frame).unwrap();
        }
        while receiver.queued() > 0 {
            if let Some(buffer) = gate.process(&mut receiver) {
                sender.home(buffer);
            }
        }
        sender.check();
        prop_assert_eq!(gate.lengths, lengths);
        let watermark = sender.current_watermark();
        prop_assert_eq!(gate.watermark.unwrap_or(i64::MIN), watermark);
        let counts = sender.counts();
        prop_assert_eq!((counts.free, counts.borrowed), (counts.granted, 0));
    }
}
