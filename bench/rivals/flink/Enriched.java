/** A purchase with what the rule looks at: 48 bytes. */
public final class Enriched {
    public long user;
    public long card;
    public long ts;
    public long amount;
    public double dollars;
    public int merchant;
    public short hour;
    public short category;
}
