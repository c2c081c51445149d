import java.util.List;
import java.util.concurrent.CompletableFuture;
import org.apache.flink.api.common.functions.MapFunction;
import org.apache.flink.api.connector.source.Boundedness;
import org.apache.flink.api.connector.source.ReaderOutput;
import org.apache.flink.api.connector.source.Source;
import org.apache.flink.api.connector.source.SourceReader;
import org.apache.flink.api.connector.source.SourceReaderContext;
import org.apache.flink.api.connector.source.SourceSplit;
import org.apache.flink.api.connector.source.SplitEnumerator;
import org.apache.flink.api.connector.source.SplitEnumeratorContext;
import org.apache.flink.core.io.InputStatus;
import org.apache.flink.core.io.SimpleVersionedSerializer;

/**
 * The synthetic purchases: reader s of S emits the events s, s+S, s+2S, ….
 *
 * <p>A reader knows its share by its index, so no splits are handed out. Without checkpoints
 * nothing is ever restored, and what would serialise a split is never called with one.
 */
public final class Purchases implements Source<Purchases.Purchase, Purchases.None, Integer> {
    private static final long GAMMA = 0x9E37_79B9_7F4A_7C15L;
    private static final long T0_MS = 1_699_999_200_000L;
    private static final long USERS = 1_000_000;
    private static final long SEED = 42;

    private final long records;
    private final int splits;

    Purchases(long records, int splits) {
        this.records = records;
        this.splits = splits;
    }

    /** A purchase as it is generated. */
    public static final class Purchase {
        public long user;
        public long card;
        public long ts;
        public long amount;
        public int merchant;

        void set(long index) {
            long r0 = mix(SEED + (2 * index + 1) * GAMMA);
            long r1 = mix(SEED + (2 * index + 2) * GAMMA);
            long base = 100 + ((r1 >>> 2) & 0x3FFF);
            user = ((r0 >>> 32) * USERS) >>> 32;
            card = user * 4 + (r1 & 3);
            ts = T0_MS + index * 9 / 10;
            amount = ((r1 >>> 16) & 0x3FF) == 0 ? base * 50 : base;
            merchant = (int) (((r1 >>> 32) * 10_000) >>> 32);
        }

        private static long mix(long z) {
            z = (z ^ (z >>> 30)) * 0xBF58_476D_1CE4_E5B9L;
            z = (z ^ (z >>> 27)) * 0x94D0_49BB_1331_11EBL;
            return z ^ (z >>> 31);
        }
    }

    /** Adds hour of the day, category and dollars. */
    static final class Enrich implements MapFunction<Purchase, Enriched> {
        private transient Enriched out;

        @Override
        public Enriched map(Purchase purchase) {
            if (out == null) {
                out = new Enriched();
            }
            out.user = purchase.user;
            out.card = purchase.card;
            out.ts = purchase.ts;
            out.amount = purchase.amount;
            out.dollars = purchase.amount / 100.0;
            out.merchant = purchase.merchant;
            out.hour = (short) (purchase.ts / FraudP.HOUR_MS % 24);
            out.category = (short) (purchase.merchant & 31);
            return out;
        }
    }

    /** Emits one reader's share. */
    private static final class Reader implements SourceReader<Purchase, None> {
        private final Purchase purchase = new Purchase();
        private final long end;
        private final long step;
        private long next;

        Reader(long first, long step, long end) {
            this.next = first;
            this.step = step;
            this.end = end;
        }

        @Override
        public InputStatus pollNext(ReaderOutput<Purchase> output) {
            if (next >= end) {
                return InputStatus.END_OF_INPUT;
            }
            purchase.set(next);
            next += step;
            output.collect(purchase);
            return InputStatus.MORE_AVAILABLE;
        }

        @Override
        public CompletableFuture<Void> isAvailable() {
            return CompletableFuture.completedFuture(null);
        }

        @Override
        public void start() {}

        @Override
        public List<None> snapshotState(long checkpoint) {
            return List.of();
        }

        @Override
        public void addSplits(List<None> splits) {}

        @Override
        public void notifyNoMoreSplits() {}

        @Override
        public void close() {}
    }

    @Override
    public SourceReader<Purchase, None> createReader(SourceReaderContext context) {
        return new Reader(context.getIndexOfSubtask(), splits, records);
    }

    @Override
    public Boundedness getBoundedness() {
        return Boundedness.CONTINUOUS_UNBOUNDED;
    }

    /** A split: there is none. */
    public static final class None implements SourceSplit {
        @Override
        public String splitId() {
            return "none";
        }
    }

    private static final class Enumerator implements SplitEnumerator<None, Integer> {
        @Override
        public void start() {}

        @Override
        public void handleSplitRequest(int subtask, String host) {}

        @Override
        public void addSplitsBack(List<None> splits, int subtask) {}

        @Override
        public void addReader(int subtask) {}

        @Override
        public Integer snapshotState(long checkpoint) {
            return 0;
        }

        @Override
        public void close() {}
    }

    private static final class Nothing<T> implements SimpleVersionedSerializer<T> {
        @Override
        public int getVersion() {
            return 1;
        }

        @Override
        public byte[] serialize(T value) {
            return new byte[0];
        }

        @Override
        public T deserialize(int version, byte[] bytes) {
            throw new IllegalStateException("there are no checkpoints to restore");
        }
    }

    @Override
    public SplitEnumerator<None, Integer> createEnumerator(SplitEnumeratorContext<None> context) {
        return new Enumerator();
    }

    @Override
    public SplitEnumerator<None, Integer> restoreEnumerator(
            SplitEnumeratorContext<None> context, Integer checkpoint) {
        return new Enumerator();
    }

    @Override
    public SimpleVersionedSerializer<None> getSplitSerializer() {
        return new Nothing<>();
    }

    @Override
    public SimpleVersionedSerializer<Integer> getEnumeratorCheckpointSerializer() {
        return new Nothing<>();
    }
}
