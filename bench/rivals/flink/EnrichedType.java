import java.io.IOException;
import org.apache.flink.api.common.serialization.SerializerConfig;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeutils.SimpleTypeSerializerSnapshot;
import org.apache.flink.api.common.typeutils.TypeSerializer;
import org.apache.flink.api.common.typeutils.TypeSerializerSnapshot;
import org.apache.flink.api.common.typeutils.base.TypeSerializerSingleton;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;

/**
 * Writes an {@link Enriched} field by field, without the reflection of Flink's own POJO serializer.
 *
 * <p>Few jobs have such a serializer; it is the most that one can do for this exchange.
 */
public final class EnrichedType extends TypeInformation<Enriched> {
    @Override
    public TypeSerializer<Enriched> createSerializer(SerializerConfig config) {
        return new Serializer();
    }

    /** The serializer: fields in order, fixed width. */
    public static final class Serializer extends TypeSerializerSingleton<Enriched> {
        @Override
        public void serialize(Enriched from, DataOutputView to) throws IOException {
            to.writeLong(from.user);
            to.writeLong(from.card);
            to.writeLong(from.ts);
            to.writeLong(from.amount);
            to.writeDouble(from.dollars);
            to.writeInt(from.merchant);
            to.writeShort(from.hour);
            to.writeShort(from.category);
        }

        @Override
        public Enriched deserialize(Enriched to, DataInputView from) throws IOException {
            to.user = from.readLong();
            to.card = from.readLong();
            to.ts = from.readLong();
            to.amount = from.readLong();
            to.dollars = from.readDouble();
            to.merchant = from.readInt();
            to.hour = from.readShort();
            to.category = from.readShort();
            return to;
        }

        @Override
        public Enriched deserialize(DataInputView from) throws IOException {
            return deserialize(new Enriched(), from);
        }

        @Override
        public void copy(DataInputView from, DataOutputView to) throws IOException {
            to.write(from, getLength());
        }

        @Override
        public Enriched copy(Enriched from, Enriched to) {
            to.user = from.user;
            to.card = from.card;
            to.ts = from.ts;
            to.amount = from.amount;
            to.dollars = from.dollars;
            to.merchant = from.merchant;
            to.hour = from.hour;
            to.category = from.category;
            return to;
        }

        @Override
        public Enriched copy(Enriched from) {
            return copy(from, new Enriched());
        }

        @Override
        public Enriched createInstance() {
            return new Enriched();
        }

        @Override
        public boolean isImmutableType() {
            return false;
        }

        @Override
        public int getLength() {
            return 48;
        }

        @Override
        public TypeSerializerSnapshot<Enriched> snapshotConfiguration() {
            return new Snapshot();
        }
    }

    /** Names the serializer in a checkpoint, of which there are none here. */
    public static final class Snapshot extends SimpleTypeSerializerSnapshot<Enriched> {
        public Snapshot() {
            super(Serializer::new);
        }
    }

    @Override
    public Class<Enriched> getTypeClass() {
        return Enriched.class;
    }

    @Override
    public boolean isBasicType() {
        return false;
    }

    @Override
    public boolean isTupleType() {
        return false;
    }

    @Override
    public boolean isKeyType() {
        return false;
    }

    @Override
    public int getArity() {
        return 1;
    }

    @Override
    public int getTotalFields() {
        return 1;
    }

    @Override
    public boolean canEqual(Object other) {
        return other instanceof EnrichedType;
    }

    @Override
    public boolean equals(Object other) {
        return canEqual(other);
    }

    @Override
    public int hashCode() {
        return EnrichedType.class.hashCode();
    }

    @Override
    public String toString() {
        return "Enriched";
    }
}
