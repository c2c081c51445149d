//! `docs/config.md`, made from the table of keys.

use std::fmt::Write as _;

use super::keys::{Effect, KEYS, Key};
use super::layers::variable_of_key;

/// The page, as it stands in `docs/config.md`.
pub fn page() -> String {
    let mut page = String::from(OPENING);
    for section in KEYS {
        let title = section.first().map_or("", |key| key.name.split('.').next().unwrap_or(""));
        let _ = writeln!(page, "\n## {title}");
        for key in *section {
            let _ = write!(page, "\n### `{}`\n\n{}", key.name, explain(key));
        }
    }
    page
}

/// What there is to know about a key: for the page and for `config explain`.
pub fn explain(key: &Key) -> String {
    let mut text = format!("{}\n\n", key.about);
    let auto = key.auto.filter(|auto| *auto != key.default);
    let auto = auto.map(|auto| format!(", or `{auto}`")).unwrap_or_default();
    let _ = writeln!(text, "- takes: {}{auto}", key.shape.wanted());
    let _ = writeln!(text, "- default: `{}`", key.default);
    let _ = writeln!(text, "- environment: `{}`", variable_of_key(key.name));
    if !key.aliases.is_empty() {
        let names: Vec<_> = key.aliases.iter().map(|alias| format!("`{}`", alias.name)).collect();
        let _ = writeln!(text, "- in Flink: {}", names.join(", "));
    }
    let _ = match key.effect {
        Effect::Works => Ok(()),
        Effect::NotYet(why) | Effect::Nothing(why) => writeln!(text, "- no effect: {why}"),
        Effect::Refused(why) => writeln!(text, "- refused: {why}"),
    };
    text
}

const OPENING: &str = "\
# Configuration: which keys are there, and where may they be set?

Made from `core/src/config/keys.rs`; a test fails when this page is not up to date, and
`THALWEG_WRITE_DOCS=1 cargo test -p thalweg config` writes it.

Layers, later wins: defaults, `thalweg.toml` in the working directory (or the file of `--config`),
`thalweg.d/*.toml` beside it in order of their names, environment variables, `-D key=value`, and flags
like `-p`. `thalweg config show --origin` says where each value comes from; an unknown key or a value
that does not fit is an error in every layer, with exit code 2.

```toml
[runtime]
idle = \"spin\"

[network]
buffer-size = \"32KiB\"
```

Durations have a unit (`100us`, `250ms`, `10s`, `5m`, `1h`); only under a Flink name a bare number is
milliseconds. Sizes are bytes or powers of 1024 (`64KiB`, `2G`, `64 mb`). Flink's names are accepted in
every layer and logged as `alias of`. A key without effect in this version is checked all the same, and
a line says so when it is set.
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docs_config_md_is_what_the_table_says() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/config.md");
        if std::env::var_os("THALWEG_WRITE_DOCS").is_some() {
            std::fs::write(path, page()).unwrap();
        }
        let found = std::fs::read_to_string(path).unwrap_or_default();
        assert!(found == page(), "docs/config.md is not up to date: see its first lines");
    }
}
