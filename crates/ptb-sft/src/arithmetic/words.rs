//! Numbers in English words.

/// A number below 100 in English words, as `forty-two`.
pub fn in_words(n: u64) -> String {
    const SMALL: [&str; 20] = [
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
        "thirteen",
        "fourteen",
        "fifteen",
        "sixteen",
        "seventeen",
        "eighteen",
        "nineteen",
    ];
    const TENS: [&str; 10] =
        ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];
    let word = |list: &'static [&'static str], i: u64| {
        usize::try_from(i).ok().and_then(|i| list.get(i)).copied().unwrap_or_default()
    };
    match (n, n % 10) {
        (0..20, _) => word(&SMALL, n).to_owned(),
        (_, 0) => word(&TENS, n / 10).to_owned(),
        (_, ones) => format!("{}-{}", word(&TENS, n / 10), word(&SMALL, ones)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_written_as_the_description_has_them() {
        let of = |n| in_words(n);
        assert_eq!(
            [of(0), of(13), of(20), of(42), of(99)],
            ["zero", "thirteen", "twenty", "forty-two", "ninety-nine"]
        );
        let all: std::collections::HashSet<String> = (0..100).map(in_words).collect();
        assert_eq!(all.len(), 100);
    }
}
