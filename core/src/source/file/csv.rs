//! Lines of comma-separated values, by column name.
//!
//! A record is one line: a quoted field cannot hold a line's end. A field may stand in double
//! quotes, within which a doubled quote is one; nothing may stand between the closing quote and the
//! comma. Blanks are kept. Columns are found by their names in the header, in any order; more of
//! them than the record has fields are ignored.

use std::marker::PhantomData;

use csv::{ByteRecord, DeserializeErrorKind, ErrorKind};
use serde::de::{DeserializeOwned, Deserializer, Error as _, Visitor};

use super::parser::{LineParser, text_of};
use crate::{BoxError, Result};

/// How much of a value an error shows, in characters.
const SHOWN_MAX: usize = 40;

/// Reads each line as a record of type `T`; empty lines are skipped.
#[derive(Debug)]
pub struct Csv<T> {
    columns: ByteRecord,
    /// Fields of `T` without a column.
    missing: Vec<&'static str>,
    row: ByteRecord,
    out: PhantomData<fn() -> T>,
}

impl<T> Csv<T> {
    pub(super) fn new() -> Self {
        let (columns, row) = (ByteRecord::new(), ByteRecord::new());
        Self { columns, missing: Vec::new(), row, out: PhantomData }
    }
}

impl<T> Clone for Csv<T> {
    fn clone(&self) -> Self {
        let missing = self.missing.clone();
        Self { columns: self.columns.clone(), missing, row: self.row.clone(), out: PhantomData }
    }
}

impl<T: DeserializeOwned + 'static> LineParser for Csv<T> {
    type Out = T;
    type State = Vec<String>;

    fn header(&mut self, first: Option<&[u8]>) -> Result<bool, BoxError> {
        let first = first.ok_or("the header is missing: the file is empty")?;
        text_of(first)?;
        split(first, &mut self.columns)?;
        self.look_for_fields();
        if self.missing.is_empty() {
            return Ok(true);
        }
        // A field with a default may be missing. Serde tells which may, once there are values for
        // the others: zeros pass for most types, and if not, the first row decides.
        self.row = self.columns.iter().map(|_| &b"0"[..]).collect();
        match self.row.deserialize::<T>(Some(&self.columns)) {
            Err(error) if is_missing(&error) => Err(self.no_column()),
            _ => Ok(true),
        }
    }

    #[inline]
    fn parse(&mut self, line: &[u8]) -> Result<Option<T>, BoxError> {
        if line.is_empty() {
            return Ok(None);
        }
        split(line, &mut self.row)?;
        if self.row.len() != self.columns.len() {
            return Err(self.unequal());
        }
        self.row.deserialize(Some(&self.columns)).map(Some).map_err(|error| self.told(&error))
    }

    fn snapshot(&self) -> Vec<String> {
        self.columns.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect()
    }

    fn restore(&mut self, columns: Vec<String>) {
        self.columns = columns.iter().map(String::as_bytes).collect();
        self.look_for_fields();
    }
}

impl<T: DeserializeOwned> Csv<T> {
    fn look_for_fields(&mut self) {
        let fields = fields_of::<T>();
        let missing = |field: &&&str| !self.columns.iter().any(|name| name == field.as_bytes());
        self.missing = fields.iter().filter(missing).copied().collect();
    }

    #[cold]
    fn no_column(&self) -> BoxError {
        let names: Vec<_> = self.columns.iter().map(String::from_utf8_lossy).collect();
        let (missing, names) = (self.missing.join(", "), cut(&names.join(",")));
        format!("the header has no column {missing}: it is {names:?}").into()
    }

    #[cold]
    fn unequal(&self) -> BoxError {
        format!("row has {} columns instead of {}", self.row.len(), self.columns.len()).into()
    }

    #[cold]
    fn told(&self, error: &csv::Error) -> BoxError {
        if is_missing(error) {
            return self.no_column();
        }
        let ErrorKind::Deserialize { err, .. } = error.kind() else {
            return error.to_string().into();
        };
        let what = match err.kind() {
            DeserializeErrorKind::Message(text) => text.clone(),
            kind => kind.to_string(),
        };
        let field = err.field().and_then(|field| usize::try_from(field).ok());
        match field.and_then(|at| Some((self.columns.get(at)?, self.row.get(at)?))) {
            None => what.into(),
            Some((name, value)) => {
                let (name, value) = (String::from_utf8_lossy(name), String::from_utf8_lossy(value));
                format!("column {name} is {:?}: {what}", cut(&value)).into()
            }
        }
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn is_missing(error: &csv::Error) -> bool {
    let ErrorKind::Deserialize { err, .. } = error.kind() else { return false };
    matches!(err.kind(), DeserializeErrorKind::Message(text) if text.starts_with("missing field"))
}

/// Splits a line at its commas.
#[inline]
fn split(line: &[u8], row: &mut ByteRecord) -> Result<(), BoxError> {
    row.clear();
    if line.contains(&b'"') {
        return split_quoted(line, row);
    }
    line.split(|byte| *byte == b',').for_each(|field| row.push_field(field));
    Ok(())
}

fn split_quoted(line: &[u8], row: &mut ByteRecord) -> Result<(), BoxError> {
    let mut rest = Some(line);
    while let Some(text) = rest {
        let Some(quoted) = text.strip_prefix(b"\"") else {
            let end = text.iter().position(|byte| *byte == b',');
            row.push_field(&text[..end.unwrap_or(text.len())]);
            rest = end.map(|end| &text[end + 1..]);
            continue;
        };
        let Some((field, behind)) = unquote(quoted) else {
            let field = row.len() + 1;
            return Err(format!("the quotes of field {field} do not end at a comma").into());
        };
        row.push_field(&field);
        rest = behind;
    }
    Ok(())
}

/// A quoted field, whose first quote is gone, and what stands behind its comma.
fn unquote(text: &[u8]) -> Option<(Vec<u8>, Option<&[u8]>)> {
    let mut field = Vec::new();
    let mut rest = text;
    loop {
        let end = rest.iter().position(|byte| *byte == b'"')?;
        field.extend_from_slice(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.first() {
            Some(b'"') => field.push(b'"'),
            Some(b',') => return Some((field, Some(&rest[1..]))),
            Some(_) => return None,
            None => return Some((field, None)),
        }
        rest = &rest[1..];
    }
}

/// The names of a struct's fields; none for other types.
fn fields_of<T: DeserializeOwned>() -> &'static [&'static str] {
    let mut fields: &'static [&'static str] = &[];
    // Fails in any case: it is asked for its fields only.
    let _ = T::deserialize(FieldProbe(&mut fields));
    fields
}

struct FieldProbe<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for FieldProbe<'_> {
    type Error = serde::de::value::Error;

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Self::Error> {
        Err(Self::Error::custom("only the fields are asked for"))
    }
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        *self.0 = fields;
        self.deserialize_any(visitor)
    }
    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        option unit unit_struct newtype_struct seq tuple tuple_struct
        map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Row {
        user: u64,
        dollars: f64,
        #[serde(default)]
        note: String,
        paid: Option<bool>,
    }

    fn parse(header: &str, line: &str) -> Result<Row, String> {
        let mut csv = Csv::<Row>::new();
        csv.header(Some(header.as_bytes())).map_err(|error| error.to_string())?;
        let row = csv.parse(line.as_bytes()).map_err(|error| error.to_string())?;
        row.ok_or_else(|| "empty".to_owned())
    }

    #[test]
    fn columns_are_found_by_name_in_any_order() {
        let expected = Row { user: 7, dollars: 1.5, note: "a, \"b\"".into(), paid: Some(true) };
        assert_eq!(
            parse("paid,note,more,dollars,user", "true,\"a, \"\"b\"\"\",x,1.5,7"),
            Ok(expected)
        );
    }

    #[test]
    fn a_field_with_a_default_needs_no_column() {
        let expected = Row { user: 7, dollars: 1.5, note: String::new(), paid: None };
        assert_eq!(parse("user,dollars", "7,1.5"), Ok(expected));
        assert_eq!(parse("user,dollars", ""), Err("empty".to_owned()));
    }

    #[test]
    fn a_header_without_a_needed_column_is_refused_before_any_row() {
        let error = parse("usr,dollars", "7,1.5").unwrap_err();
        assert_eq!(error, "the header has no column user, note, paid: it is \"usr,dollars\"");
        let error = Csv::<Row>::new().header(None).unwrap_err();
        assert_eq!(error.to_string(), "the header is missing: the file is empty");
    }

    #[test]
    fn errors_name_the_column_and_the_value() {
        let header = "user,dollars,note,paid";
        for (line, expected) in [
            ("x,1,,", "column user is \"x\": invalid digit found in string"),
            ("1,x,,", "column dollars is \"x\": invalid float literal"),
            (
                "1,1,\u{e9},perhaps",
                "column paid is \"perhaps\": provided string was not `true` or `false`",
            ),
            ("1,1", "row has 2 columns instead of 4"),
            ("1,1,,,", "row has 5 columns instead of 4"),
            ("1,\"1,,", "the quotes of field 2 do not end at a comma"),
            ("1,\"1\"x,,", "the quotes of field 2 do not end at a comma"),
        ] {
            assert_eq!(parse(header, line), Err(expected.to_owned()), "{line}");
        }
    }

    #[test]
    fn the_header_is_part_of_the_position() {
        let mut csv = Csv::<Row>::new();
        csv.header(Some(b"dollars,user")).unwrap();
        let mut again = Csv::<Row>::new();
        again.restore(csv.snapshot());
        assert_eq!(again.parse(b"1.5,7").unwrap().map(|row| row.user), Some(7));
    }
}
