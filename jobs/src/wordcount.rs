//! `wordcount`: how often each word stands in some files.

use std::path::PathBuf;

use clap::Parser;
use serde::Serialize;
use thalweg::Result;
use thalweg::prelude::*;

/// Count the words of text files; writes each word with its count so far.
#[derive(Debug, Clone, Parser)]
#[command(name = "wordcount")]
pub struct Options {
    /// Text files; a file is read by one core.
    #[arg(long, value_name = "FILE", num_args = 1.., required = true)]
    pub input: Vec<PathBuf>,
    /// Directory for the counts.
    #[arg(long, value_name = "DIR")]
    pub output: PathBuf,
    /// Replaces the parts in the output directory.
    #[arg(long)]
    pub overwrite: bool,
}

/// A word and how often it was seen so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Count {
    /// The word, in lower case.
    pub word: String,
    /// How often.
    pub count: u64,
}

/// Builds the job.
///
/// # Errors
/// Bad arguments.
pub fn wordcount(flow: &Dataflow, args: &Args) -> Result<()> {
    let options: Options = args.parse()?;
    flow.source("lines", FileSource::lines(&options.input))
        .flat_map(|line| words(&line.text))
        .name("words")
        .key_by(|word| word.clone())
        .flat_map_with_state(
            "count",
            ValueSpec::new("count"),
            |word: &String, _, count: &mut u64| {
                *count += 1;
                Some(Count { word: word.clone(), count: *count })
            },
        )
        .sink("counts", FileSink::json_lines(&options.output).overwrite(options.overwrite));
    Ok(())
}

/// The words of a line: runs of letters and digits, in lower case.
fn words(line: &str) -> Vec<String> {
    let words = line.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_runs_of_letters_and_digits() {
        assert_eq!(words("To be, or NOT 2 be!"), ["to", "be", "or", "not", "2", "be"]);
        assert!(words(" -- ").is_empty());
    }
}
