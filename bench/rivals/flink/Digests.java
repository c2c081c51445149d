import org.apache.flink.api.connector.sink2.Sink;
import org.apache.flink.api.connector.sink2.SinkWriter;
import org.apache.flink.api.connector.sink2.WriterInitContext;

/** A sink that reads every field of every verdict and keeps only their digest. */
public final class Digests implements Sink<FraudP.Verdict> {
    private static final long[] KEYS = {
        0xA076_1D64_78BD_642FL, 0xE703_7ED1_A0B4_28DBL, 0x8EBC_6AF0_9C88_C6E3L,
        0x5899_65CC_7537_4CC3L, 0x1D8E_4E27_C47D_124FL, 0xEB44_ACCA_B455_D165L,
        0x9C6A_1F3B_2D5E_8F47L, 0x2F0B_4D8A_E3C7_9615L, 0xD6E8_FEB8_6659_FD93L,
        0xC2B2_AE3D_27D4_EB4FL,
    };

    @Override
    public SinkWriter<FraudP.Verdict> createWriter(WriterInitContext context) {
        return new Writer(Meter.current, context.getTaskInfo().getIndexOfThisSubtask());
    }

    /** The digest of one subtask. */
    static final class Writer implements SinkWriter<FraudP.Verdict> {
        private final Meter meter;
        private final int index;
        long count;
        long verdictSum;
        long verdictXor;
        long unorderedSum;
        long unorderedXor;

        Writer(Meter meter, int index) {
            this.meter = meter;
            this.index = index;
        }

        @Override
        public void write(FraudP.Verdict v, Context context) {
            long when = fold(v.user ^ KEYS[0], v.ts ^ KEYS[1]);
            long purchase = fold(when ^ KEYS[2], v.amount ^ KEYS[3]);
            long judged = (v.txCount1h << 1) | (v.fraud ? 1 : 0);
            long hour = ((v.ts / FraudP.HOUR_MS) << 32) | v.txCount1h;
            long place = fold(fold(v.user ^ KEYS[6], hour ^ KEYS[7]) ^ KEYS[8], KEYS[9]);
            long verdict = fold(purchase ^ KEYS[4], judged ^ KEYS[5]);
            long unordered = purchase + place;
            verdictSum += verdict;
            verdictXor ^= verdict;
            unorderedSum += unordered;
            unorderedXor ^= unordered;
            count += 1;
            if (count % Meter.STRIDE == 0) {
                meter.progress(index, count);
            }
        }

        @Override
        public void flush(boolean endOfInput) {
            if (endOfInput) {
                meter.finish(index, this);
            }
        }

        @Override
        public void close() {}

        private static long fold(long a, long b) {
            // The unsigned high half from the signed one, which is what the virtual machine has.
            long high = Math.multiplyHigh(a, b) + ((a >> 63) & b) + ((b >> 63) & a);
            return (a * b) ^ high;
        }
    }
}
