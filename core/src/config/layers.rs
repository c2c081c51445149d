//! The layers: defaults, files, environment, flags; later ones win.
//!
//! Each layer resolves Flink's names to ours before it is merged, so an alias in a later layer wins
//! over the key in an earlier one. Every value remembers which layer it came from.

use std::path::{Path, PathBuf};

use figment::providers::{Format, Toml};
use figment::value::{Dict, Map, Tag, Value as Raw};
use figment::{Figment, Metadata, Profile, Provider};

use super::keys::{Alias, Key, Reads, find, find_alias, keys};
use super::value::Shape;
use crate::error::Kind;
use crate::nearest::nearest;
use crate::{Error, Result};

/// Where a configuration comes from besides its defaults.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The directory whose `thalweg.toml` and `thalweg.d/*.toml` are read.
    pub directory: Option<PathBuf>,
    /// A file to read instead of `thalweg.toml`; the `thalweg.d` beside it is read too.
    pub file: Option<PathBuf>,
    /// Environment variables: those named `THALWEG_SECTION__KEY` count.
    pub environment: Vec<(String, String)>,
    /// `key=value` of `-D`, in their order.
    pub definitions: Vec<String>,
    /// What other flags say: the flag, the key, the value.
    pub flags: Vec<(&'static str, &'static str, String)>,
}

/// The merged layers.
pub(super) struct Layers {
    pub(super) figment: Figment,
    /// What the user should know: aliases.
    pub(super) notices: Vec<String>,
}

impl Layers {
    pub(super) fn read(sources: &Sources) -> Result<Self> {
        let defaults = keys().map(|key| (key, key.default.to_owned())).collect();
        let defaults = Layer { origin: "default".into(), values: defaults };
        let mut layers = Self { figment: Figment::from(defaults), notices: Vec::new() };
        for file in files(sources)? {
            layers.add_file(&file)?;
        }
        for (name, value) in &sources.environment {
            if let Some(key) = key_of_variable(name) {
                let origin = format!("environment {name}");
                layers.add(origin, vec![(key, value.clone())])?;
            }
        }
        for definition in &sources.definitions {
            let (key, value) = definition.split_once('=').ok_or_else(|| {
                Error::usage(format!("cannot use -D {definition}: there is no \"=\""))
                    .with_hint("write -D key=value, for example -D runtime.idle=spin")
            })?;
            layers.add("-D".into(), vec![(key.trim().into(), value.trim().into())])?;
        }
        for (flag, key, value) in &sources.flags {
            layers.add((*flag).into(), vec![((*key).into(), value.clone())])?;
        }
        Ok(layers)
    }

    fn add_file(&mut self, path: &Path) -> Result<()> {
        let origin = path.display().to_string();
        let data = Toml::file_exact(path).data().map_err(|error| {
            Error::usage(format!("cannot read the configuration {origin}"))
                .with_source(std::io::Error::other(in_one_line(&error.to_string())))
                .with_hint("a configuration is TOML: [section], then key = \"value\" lines")
        })?;
        let mut flat = Vec::new();
        for (_, dict) in data {
            flatten("", dict, &mut flat);
        }
        self.add(origin, flat)
    }

    /// Resolves names, checks values, and puts the layer on top.
    fn add(&mut self, origin: String, flat: Vec<(String, String)>) -> Result<()> {
        let mut values = Vec::new();
        for (name, text) in flat {
            let (key, text) = match (find(&name), find_alias(&name)) {
                (Some(key), _) => (key, text),
                (None, Some((key, alias))) => {
                    self.notices.push(format!("{name} ({origin}) is an alias of {}", key.name));
                    (key, read_alias(key, alias, &text))
                }
                (None, None) => return Err(unknown(&name, &origin)),
            };
            check(key, &name, &text, &origin)?;
            values.push((key, text));
        }
        let layer = Layer { origin, values };
        self.figment = std::mem::take(&mut self.figment).merge(layer);
        Ok(())
    }
}

/// One layer for figment: our own names only, values as text.
struct Layer {
    origin: String,
    values: Vec<(&'static Key, String)>,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.origin.clone())
    }

    fn data(&self) -> figment::Result<Map<Profile, Dict>> {
        let mut dict = Dict::new();
        for (key, text) in &self.values {
            let (section, name) = key.name.split_once('.').unwrap_or(("", key.name));
            let empty = || Raw::Dict(Tag::Default, Dict::new());
            if let Raw::Dict(_, section) = dict.entry(section.into()).or_insert_with(empty) {
                section.insert(name.into(), Raw::from(text.clone()));
            }
        }
        Ok(Profile::Default.collect(dict))
    }
}

/// A parser's message without the picture of the line that it complains about.
fn in_one_line(text: &str) -> String {
    let is_picture = |line: &&str| {
        line.split_once('|')
            .is_some_and(|(number, _)| number.trim().chars().all(|char| char.is_ascii_digit()))
    };
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !is_picture(line));
    lines.collect::<Vec<_>>().join(": ")
}

/// The files in the order in which they count.
fn files(sources: &Sources) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let directory = match &sources.file {
        Some(file) if !file.is_file() => {
            let text = format!("cannot read the configuration {}: no such file", file.display());
            return Err(Error::new(Kind::NotFound, text).with_hint("--config names a TOML file"));
        }
        Some(file) => {
            files.push(file.clone());
            file.parent().map(Path::to_owned)
        }
        None => {
            let usual = sources.directory.as_ref().map(|directory| directory.join("thalweg.toml"));
            files.extend(usual.filter(|file| file.is_file()));
            sources.directory.clone()
        }
    };
    let Some(parts) = directory.map(|directory| directory.join("thalweg.d")) else {
        return Ok(files);
    };
    if parts.is_dir() {
        let attempt = || format!("cannot list {}", parts.display());
        let entries = std::fs::read_dir(&parts).map_err(|error| Error::io(attempt(), error))?;
        let mut more = Vec::new();
        for entry in entries {
            let path = entry.map_err(|error| Error::io(attempt(), error))?.path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                more.push(path);
            }
        }
        more.sort();
        files.extend(more);
    }
    Ok(files)
}

/// `THALWEG_CHECKPOINT__MIN_PAUSE` is `checkpoint.min-pause`; names without `__` are no keys.
fn key_of_variable(name: &str) -> Option<String> {
    let rest = name.strip_prefix("THALWEG_").filter(|rest| rest.contains("__"))?;
    let levels: Vec<_> = rest.split("__").collect();
    Some(levels.join(".").to_ascii_lowercase().replace('_', "-"))
}

/// The name of the variable that sets `key`.
pub(super) fn variable_of_key(key: &str) -> String {
    let name = key.replace('.', "__").replace('-', "_").to_ascii_uppercase();
    format!("THALWEG_{name}")
}

fn flatten(prefix: &str, dict: Dict, flat: &mut Vec<(String, String)>) {
    for (name, value) in dict {
        let name = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
        match value {
            Raw::Dict(_, inner) => flatten(&name, inner, flat),
            other => flat.push((name, text_of(&other))),
        }
    }
}

fn text_of(value: &Raw) -> String {
    match value {
        Raw::String(_, text) => text.clone(),
        Raw::Bool(_, flag) => flag.to_string(),
        Raw::Char(_, char) => char.to_string(),
        Raw::Array(_, items) => items.iter().map(text_of).collect::<Vec<_>>().join(","),
        Raw::Num(_, number) => match (number.to_i128(), number.to_u128(), number.to_f64()) {
            (Some(whole), ..) => whole.to_string(),
            (_, Some(whole), _) => whole.to_string(),
            (_, _, Some(float)) => float.to_string(),
            _ => String::new(),
        },
        Raw::Dict(..) | Raw::Empty(..) => String::new(),
    }
}

/// An alias's value in our words: a bare number of a duration is milliseconds, words are lower
/// case.
fn read_alias(key: &Key, alias: &Alias, text: &str) -> String {
    let bare = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let word = text.to_ascii_lowercase().replace('_', "-");
    match (alias.reads, key.shape) {
        (Reads::Buffers, _) if bare => format!("{}KiB", text.parse().unwrap_or(0u64) * 32),
        (Reads::Words(words), _) => {
            let own = words.iter().find(|(flink, _)| *flink == word);
            own.map_or(word.clone(), |(_, own)| (*own).to_owned())
        }
        // Flink switches checkpoints off by an interval of nothing.
        (_, Shape::Duration) if bare && text.parse() == Ok(0u64) && key.auto == Some("off") => {
            "off".into()
        }
        (_, Shape::Duration) if bare => format!("{text}ms"),
        (_, Shape::Choice(_) | Shape::Flag) => word,
        _ => text.to_owned(),
    }
}

fn check(key: &Key, name: &str, text: &str, origin: &str) -> Result<()> {
    if key.auto == Some(text) {
        return Ok(());
    }
    key.shape.parse(text).map(drop).map_err(|wanted| {
        let or = key.auto.map(|auto| format!(", or {auto}")).unwrap_or_default();
        Error::usage(format!("cannot set {name} to \"{text}\" ({origin}): it takes {wanted}{or}"))
            .with_hint(format!("`thalweg config explain {}` says what it does", key.name))
    })
}

fn unknown(name: &str, origin: &str) -> Error {
    let aliases = keys().flat_map(|key| key.aliases).map(|alias| alias.name);
    let names = keys().map(|key| key.name).chain(aliases);
    let hint = match nearest(name, names) {
        Some(meant) => format!("did you mean \"{meant}\"?"),
        None => "`thalweg config show` lists all keys".to_owned(),
    };
    Error::usage(format!("unknown key \"{name}\" ({origin})")).with_hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_names_a_key_by_two_underscores() {
        let key = key_of_variable("THALWEG_CHECKPOINT__MIN_PAUSE");
        assert_eq!(key.as_deref(), Some("checkpoint.min-pause"));
        assert_eq!(key_of_variable("THALWEG_LOG"), None);
        assert_eq!(key_of_variable("PATH__X"), None);
        for key in keys() {
            assert_eq!(key_of_variable(&variable_of_key(key.name)).as_deref(), Some(key.name));
        }
    }
}
