//! Records as bytes of a part.

use std::cell::RefCell;
use std::io::Write;
use std::rc::Rc;

use serde::Serialize;

use crate::error::Kind;
use crate::{BoxError, Error, Result};

/// What a part holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    JsonLines,
    Csv,
}

impl Format {
    pub(super) fn suffix(self) -> &'static str {
        match self {
            Format::JsonLines => "jsonl",
            Format::Csv => "csv",
        }
    }
}

/// Appends records to blocks of bytes.
pub(super) enum Encoder {
    JsonLines,
    /// The writer knows whether the header was written; between two calls it holds nothing.
    Csv(Box<csv::Writer<Lent>>, Lent),
}

/// A block that the CSV writer has for the time of a call.
#[derive(Clone, Default)]
pub(super) struct Lent(Rc<RefCell<Vec<u8>>>);

impl Write for Lent {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Encoder {
    /// For one part: a CSV part begins with its own header.
    pub(super) fn new(format: Format) -> Self {
        match format {
            Format::JsonLines => Encoder::JsonLines,
            Format::Csv => {
                let lent = Lent::default();
                Encoder::Csv(Box::new(csv::Writer::from_writer(lent.clone())), lent)
            }
        }
    }

    /// Appends a record as a line.
    #[inline]
    pub(super) fn encode<T: Serialize>(&mut self, record: &T, block: &mut Vec<u8>) -> Result<()> {
        match self {
            Encoder::JsonLines => {
                serde_json::to_writer(&mut *block, record)
                    .map_err(|e| refused("JSON", e.into()))?;
                block.push(b'\n');
            }
            Encoder::Csv(writer, lent) => {
                lent.0.swap(&RefCell::new(std::mem::take(block)));
                let written = writer.serialize(record);
                let flushed = writer.flush();
                *block = lent.0.take();
                written.map_err(|error| refused("CSV", error.into()))?;
                flushed.map_err(|error| refused("CSV", error.into()))?;
            }
        }
        Ok(())
    }
}

#[cold]
fn refused(format: &str, error: BoxError) -> Error {
    Error::new(Kind::User, format!("cannot write a record as {format}")).with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Row {
        user: u64,
        name: &'static str,
    }

    #[test]
    fn a_record_is_a_line_and_only_csv_has_a_header() {
        let rows = [Row { user: 1, name: "a,\"b\"" }, Row { user: 2, name: "c" }];
        for (format, expected) in [
            (
                Format::JsonLines,
                "{\"user\":1,\"name\":\"a,\\\"b\\\"\"}\n{\"user\":2,\"name\":\"c\"}\n",
            ),
            (Format::Csv, "user,name\n1,\"a,\"\"b\"\"\"\n2,c\n"),
        ] {
            let (mut encoder, mut block) = (Encoder::new(format), Vec::new());
            rows.iter().for_each(|row| encoder.encode(row, &mut block).unwrap());
            assert_eq!(String::from_utf8(block).unwrap(), expected);
        }
    }

    #[test]
    fn a_record_that_has_no_such_form_is_an_error_of_the_job() {
        let record = std::collections::BTreeMap::from([((1, 2), 3)]);
        let mut block = Vec::new();
        let error = Encoder::new(Format::JsonLines).encode(&record, &mut block).unwrap_err();
        assert_eq!(error.kind(), Kind::User);
    }
}
