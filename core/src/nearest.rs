//! Did you mean …? The word of a list that a mistyped word stands for.

/// The candidate nearest to `word`, if one is near enough to be meant: at most a third of it is mistyped.
pub(crate) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let rated = candidates.into_iter().map(|candidate| (distance(word, candidate), candidate));
    let (typos, best) = rated.min()?;
    (typos <= (word.len().max(best.len()) / 3).max(1)).then_some(best)
}

/// Insertions, deletions, substitutions and swaps of neighbours that make one word of the other.
fn distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    let mut rows = vec![vec![0; other.len() + 1]; one.len() + 1];
    for i in 0..=one.len() {
        for j in 0..=other.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let differs = usize::from(one[i - 1] != other[j - 1]);
                let edited = (rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                let swapped =
                    i > 1 && j > 1 && one[i - 1] == other[j - 2] && one[i - 2] == other[j - 1];
                let swap = if swapped { rows[i - 2][j - 2] + 1 } else { usize::MAX };
                edited.min(rows[i - 1][j - 1] + differs).min(swap)
            };
        }
    }
    rows[one.len()][other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_finds_its_word_and_a_strange_word_finds_none() {
        let jobs = ["fraud", "fraud-p", "wordcount"];
        assert_eq!(nearest("fruad", jobs), Some("fraud"));
        assert_eq!(nearest("wordcont", jobs), Some("wordcount"));
        assert_eq!(nearest("nexmark", jobs), None);
    }
}
