# Turns the lines of `run` into a table and a line of JSON; without `rounds` it shows each line.
#
# A line: round, engine, records/s; busy and all ticks of the machine before, then after; minutes
# and seconds, user then system, of processor time of the children before, then after.

function seconds(at) { return $at * 60 + $(at + 1) + $(at + 2) * 60 + $(at + 3) }

# The share of the machine's processor time that others took during the run.
function others() { return ($6 - $4 - (seconds(12) - seconds(8)) * 100) / ($7 - $5) }

function sort(values, count,    i, j, value) {
    for (i = 2; i <= count; i++) {
        value = values[i]
        for (j = i - 1; j >= 1 && values[j] > value; j--) values[j + 1] = values[j]
        values[j + 1] = value
    }
}

function median(values, count) {
    sort(values, count)
    return (values[int((count + 1) / 2)] + values[int(count / 2) + 1]) / 2
}

function quoted(text) { return "\"" text "\"" }

# One engine's rates, or thalweg's over them, round by round.
function summary(engine, is_ratio,    values, round, text, unit) {
    for (round = 1; round <= rounds; round++) {
        values[round] = rate[engine, round]
        if (is_ratio) values[round] = rate["thalweg", round] / values[round]
        text = text (round > 1 ? "," : "") sprintf(is_ratio ? "%.3f" : "%d", values[round])
    }
    middle = median(values, rounds)
    unit = is_ratio ? 1 : 1000000
    printf "%-18s %8.2f %8.2f %8.2f", (is_ratio ? "thalweg/" engine : engine " M/s"), \
        middle / unit, values[1] / unit, values[rounds] / unit > "/dev/stderr"
    return sprintf(is_ratio ? "{\"median\":%.3f,\"runs\":[%s]" : "{\"median\":%d,\"runs\":[%s]", \
        middle, text)
}

function noise(engine,    values, round, text) {
    for (round = 1; round <= rounds; round++) {
        values[round] = taken[engine, round]
        text = text (round > 1 ? "," : "") sprintf("%.2f", values[round])
    }
    printf " %7.0f %%\n", median(values, rounds) * 100 > "/dev/stderr"
    return ",\"others\":[" text "]}"
}

rounds == "" {
    printf "round %d: %s %.2f M/s, others took %.0f %%\n", $1, $2, $3 / 1e6, others() * 100
}

{ rate[$2, $1] = $3; taken[$2, $1] = others() }

END {
    if (rounds == "") exit
    printf "%-18s %8s %8s %8s %9s\n", "", "median", "min", "max", "others" > "/dev/stderr"
    json = "{\"bench\":\"rivals\",\"started\":" quoted(started) ",\"machine\":" quoted(machine) \
        ",\"kernel\":" quoted(kernel) ",\"version\":" quoted(commit) \
        ",\"configuration\":{\"records\":" records ",\"parallelism\":2,\"rounds\":" rounds \
        ",\"flink_exchanged\":" quoted(exchanged) "},\"records_per_second\":{"
    count = split("thalweg flink timely", engines, " ")
    for (i = 1; i <= count; i++) {
        json = json (i > 1 ? "," : "") quoted(engines[i]) ":" summary(engines[i], 0)
        json = json noise(engines[i])
    }
    json = json "},\"ratios\":{"
    for (i = 2; i <= count; i++) {
        json = json (i > 2 ? "," : "") quoted("thalweg/" engines[i]) ":" summary(engines[i], 1) "}"
        print "" > "/dev/stderr"
    }
    print json "}}"
}
