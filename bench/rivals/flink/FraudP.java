import java.lang.management.ManagementFactory;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.PipelineOptions;
import org.apache.flink.configuration.StateBackendOptions;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.util.Collector;

/**
 * The workload fraud-p as a Flink job: one process, two slots, state on the heap, no checkpoints.
 *
 * <p>Source and map run in one task, the keyed function and the sink in another; between them each
 * record is serialised into a buffer. Objects are reused, so nothing but the boxed key is allocated
 * per record.
 */
public final class FraudP {
    static final long HOUR_MS = 3_600_000;
    private static final long HOURLY_MAX = 5;

    /** What is remembered of one user. */
    public static final class Profile {
        public long hourStart;
        public long txCount1h;
        public long total1h;
        public long txTotal;
        public double avg30d;
    }

    /** What is said of a purchase. */
    public static final class Verdict {
        public long user;
        public long ts;
        public long amount;
        public long txCount1h;
        public boolean fraud;
    }

    private static final class Judge extends KeyedProcessFunction<Long, Enriched, Verdict> {
        private transient ValueState<Profile> profiles;
        private transient Verdict verdict;

        @Override
        public void open(OpenContext context) {
            profiles = getRuntimeContext()
                    .getState(new ValueStateDescriptor<>("profile", Types.POJO(Profile.class)));
            verdict = new Verdict();
        }

        @Override
        public void processElement(Enriched purchase, Context context, Collector<Verdict> out)
                throws Exception {
            Profile profile = profiles.value();
            if (profile == null) {
                profile = new Profile();
            }
            judge(purchase, profile, verdict);
            profiles.update(profile);
            out.collect(verdict);
        }
    }

    private static void judge(Enriched purchase, Profile profile, Verdict verdict) {
        long hour = purchase.ts - purchase.ts % HOUR_MS;
        if (hour > profile.hourStart) {
            profile.hourStart = hour;
            profile.txCount1h = 0;
            profile.total1h = 0;
        }
        profile.txCount1h += 1;
        profile.total1h += purchase.amount;
        double amount = purchase.amount;
        verdict.user = purchase.user;
        verdict.ts = purchase.ts;
        verdict.amount = purchase.amount;
        verdict.txCount1h = profile.txCount1h;
        verdict.fraud = profile.txCount1h > HOURLY_MAX
                || (profile.txTotal > 0 && amount > profile.avg30d * 10.0);
        profile.avg30d = profile.txTotal == 0
                ? amount
                : profile.avg30d + (amount - profile.avg30d) * 0.05;
        profile.txTotal += 1;
    }

    /** Takes records, records to warm up with, parallelism, and "pojo" or "custom". */
    public static void main(String[] args) throws Exception {
        long records = Long.parseLong(args[0]);
        long warmUp = Long.parseLong(args[1]);
        int parallelism = Integer.parseInt(args[2]);
        TypeInformation<Enriched> exchanged =
                args[3].equals("custom") ? new EnrichedType() : Types.POJO(Enriched.class);

        Configuration configuration = new Configuration();
        configuration.set(StateBackendOptions.STATE_BACKEND, "hashmap");
        configuration.set(PipelineOptions.OBJECT_REUSE, true);
        var environment =
                StreamExecutionEnvironment.createLocalEnvironment(parallelism, configuration);
        var meter = new Meter(parallelism, warmUp);
        Meter.current = meter;
        environment
                .fromSource(new Purchases(records, parallelism),
                        WatermarkStrategy.noWatermarks(), "purchases",
                        Types.POJO(Purchases.Purchase.class))
                .map(new Purchases.Enrich())
                .returns(exchanged)
                .keyBy(purchase -> purchase.user, Types.LONG)
                .process(new Judge())
                .returns(Types.POJO(Verdict.class))
                .sinkTo(new Digests());
        environment.execute("fraud-p");

        long collecting = 0;
        for (var collector : ManagementFactory.getGarbageCollectorMXBeans()) {
            collecting += collector.getCollectionTime();
        }
        System.out.println(meter.report(records, args[3], collecting));
    }
}
