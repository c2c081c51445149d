import java.util.concurrent.atomic.AtomicLongArray;

/**
 * Counts what reaches the sinks: a rate over all records, and one over those after a warm-up.
 *
 * <p>The warm-up ends when the last sink has had its share of it. What the sinks had at that moment
 * is known to within STRIDE records each.
 */
final class Meter {
    static final int STRIDE = 1024;
    /** Counters this many longs apart do not share a cache line. */
    private static final int APART = 16;

    /** The meter of the job that runs in this process. */
    static volatile Meter current;

    private final AtomicLongArray counts;
    private final int sinks;
    private final long share;
    private int warm;
    private long firstNs = Long.MAX_VALUE;
    private long warmNs;
    private long warmCount;
    private long lastNs;
    private long count;
    private long verdictSum;
    private long verdictXor;
    private long unorderedSum;
    private long unorderedXor;

    Meter(int sinks, long warmUp) {
        this.sinks = sinks;
        share = Math.max(1, warmUp / sinks / STRIDE) * STRIDE;
        counts = new AtomicLongArray(sinks * APART);
    }

    void progress(int sink, long count) {
        counts.lazySet(sink * APART, count);
        if (count == STRIDE || count == share) {
            mark(count);
        }
    }

    private synchronized void mark(long count) {
        long now = System.nanoTime();
        firstNs = Math.min(firstNs, now);
        if (count == share) {
            warm += 1;
            if (warm == sinks) {
                warmNs = now;
                for (int sink = 0; sink < sinks; sink += 1) {
                    warmCount += counts.get(sink * APART);
                }
            }
        }
    }

    synchronized void finish(int sink, Digests.Writer writer) {
        lastNs = Math.max(lastNs, System.nanoTime());
        count += writer.count;
        verdictSum += writer.verdictSum;
        verdictXor ^= writer.verdictXor;
        unorderedSum += writer.unorderedSum;
        unorderedXor ^= writer.unorderedXor;
    }

    /** One line of JSON, after the job has ended. */
    synchronized String report(long records, String exchanged, long collectingMs) {
        if (count != records) {
            throw new IllegalStateException(count + " of " + records + " records in the sinks");
        }
        return String.format(
                "{\"engine\":\"flink\",\"records\":%d,\"records_per_second\":%.0f,"
                        + "\"whole_records_per_second\":%.0f,\"exchanged\":\"%s\","
                        + "\"collecting_ms\":%d,"
                        + "\"unordered\":\"%016x\",\"unordered_xor\":\"%016x\","
                        + "\"verdicts\":\"%016x\",\"verdicts_xor\":\"%016x\"}",
                count, rate(count - warmCount, lastNs - warmNs), rate(count, lastNs - firstNs),
                exchanged, collectingMs, unorderedSum, unorderedXor, verdictSum, verdictXor);
    }

    private static double rate(long records, long ns) {
        return records * 1e9 / ns;
    }
}
