//! clap's errors in the form of ours: one line of what is wrong, one line of what to do.

use clap::error::ErrorKind;

use crate::Error;
use crate::error::Kind;

/// The error for words that clap refuses; help that was asked for comes as [`Kind::Help`].
pub(crate) fn refused(attempt: &str, error: &clap::Error, help: &str) -> Error {
    let text = error.render().to_string();
    match error.kind() {
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayVersion
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => Error::new(Kind::Help, text),
        _ => {
            let (message, tip) = parts(&text);
            let hint = tip.unwrap_or_else(|| format!("`{help}` lists what there is"));
            Error::usage(format!("{attempt}{message}")).with_hint(hint)
        }
    }
}

/// What is wrong, in one line, and clap's first tip.
fn parts(text: &str) -> (String, Option<String>) {
    let lines = text.lines().map(str::trim);
    let message: Vec<&str> = lines.clone().take_while(|line| !line.is_empty()).collect();
    let message = message.join(" ");
    let message = message.trim_start_matches("error: ").to_owned();
    let tip = lines.clone().find_map(|line| line.strip_prefix("tip: ")).map(|tip| {
        match tip.rsplit_once("exists: ") {
            Some((_, meant)) => format!("did you mean {meant}?"),
            None => tip.to_owned(),
        }
    });
    (message, tip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_similar_flag_becomes_a_question_and_a_list_one_line() {
        let clap = clap::Command::new("job")
            .arg(clap::Arg::new("users").long("users").required(true))
            .arg(clap::Arg::new("out").long("out").required(true));
        let error = clap.clone().try_get_matches_from(["job", "--user", "3"]).unwrap_err();
        let error = refused("cannot go: ", &error, "job --help");
        assert_eq!(error.hint(), Some("did you mean '--users'?"));
        let error = clap.try_get_matches_from(["job"]).unwrap_err();
        let error = refused("", &error, "job --help");
        let text = "the following required arguments were not provided: --users <users> \
                    --out <out>";
        assert_eq!(error.to_string(), text);
        assert_eq!(error.hint(), Some("`job --help` lists what there is"));
    }
}
