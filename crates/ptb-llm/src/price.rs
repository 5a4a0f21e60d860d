//! What tokens cost.

use std::collections::BTreeMap;

use ptb_core::userfile::{UserFile, UserFileError};
use serde::{Deserialize, Serialize};

use crate::Usage;
use crate::protocol::Tokens;

/// The list that comes with this program.
const BUILT_IN: &str = include_str!("../../../registry/prices.toml");

/// What a model's tokens cost, in US dollars for a million of them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Of a prompt.
    pub input: f64,
    /// Of a prompt, where the server has read it before.
    pub cached_input: f64,
    /// Of a prompt, where the server writes it into a cache for five minutes; `None` where that costs what a prompt costs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write_5m: Option<f64>,
    /// Of a prompt, where the server writes it into a cache for an hour; `None` where that costs what a prompt costs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write_1h: Option<f64>,
    /// Of what is generated, reasoning included.
    pub output: f64,
}

impl Price {
    /// What so many tokens cost, in US dollars.
    pub fn of(&self, usage: &Usage) -> f64 {
        self.of_tokens(&Tokens::from(*usage))
    }

    /// What so many tokens cost, told by kind, in US dollars. Tools of the provider that cost by use are not in it.
    pub fn of_tokens(&self, tokens: &Tokens) -> f64 {
        let millionths = tokens.fresh_input() as f64 * self.input
            + tokens.cached_input as f64 * self.cached_input
            + tokens.cache_write_5m as f64 * self.cache_write_5m.unwrap_or(self.input)
            + tokens.cache_write_1h as f64 * self.cache_write_1h.unwrap_or(self.input)
            + tokens.output as f64 * self.output;
        millionths / 1e6
    }

    fn is_sound(&self) -> bool {
        let writes = [self.cache_write_5m, self.cache_write_1h].into_iter().flatten();
        let mut all = [self.input, self.cached_input, self.output].into_iter().chain(writes);
        all.all(|p| p.is_finite() && p >= 0.0)
    }
}

/// Prices by model name: a table `[models]` with a line for each,
/// `"gpt-5-mini" = { input = 0.25, cached_input = 0.025, output = 2.00 }`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Prices(BTreeMap<String, Price>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    models: BTreeMap<String, Price>,
}

impl Prices {
    /// Reads a list of prices.
    ///
    /// # Errors
    /// When it is not one, with file, line and hint; a price below zero, or none at all, is an error too.
    pub fn parse(file: &UserFile) -> Result<Self, UserFileError> {
        let File { models } = file.parse()?;
        match models.iter().find(|(_, price)| !price.is_sound()) {
            None => Ok(Self(models)),
            Some((name, _)) => {
                let message = format!("the price of {name} is no amount of money");
                let hint = "give US dollars per million tokens, 0 or more".to_owned();
                Err(file.error_at(name, message, Some(hint)))
            }
        }
    }

    /// The prices that come with this program.
    ///
    /// # Errors
    /// None that a test does not find before a release.
    pub fn built_in() -> Result<Self, UserFileError> {
        Self::parse(&UserFile::new("registry/prices.toml", BUILT_IN))
    }

    /// A model's price: that of its name, else that of its name without the date at its end
    /// (`gpt-5-mini-2025-08-07`, `claude-haiku-4-5-20251001`).
    pub fn of(&self, model: &str) -> Option<Price> {
        self.0.get(model).or_else(|| self.0.get(without_date(model)?)).copied()
    }

    /// All names and prices.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Price)> {
        self.0.iter().map(|(name, price)| (name.as_str(), *price))
    }
}

/// A name without `-2025-08-07` or `-20250807` at its end.
pub(crate) fn without_date(name: &str) -> Option<&str> {
    ["-dddd-dd-dd", "-dddddddd"].iter().find_map(|form| {
        let start = name.len().checked_sub(form.len())?;
        let (rest, date) = (name.get(..start)?, name.get(start..)?);
        let fits = |(have, want): (u8, u8)| match want {
            b'd' => have.is_ascii_digit(),
            other => have == other,
        };
        date.bytes().zip(form.bytes()).all(fits).then_some(rest)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Prices, UserFileError> {
        Prices::parse(&UserFile::new("prices.toml", text))
    }

    fn price(input: f64, cached_input: f64, output: f64) -> Price {
        Price { input, cached_input, output, cache_write_5m: None, cache_write_1h: None }
    }

    #[test]
    fn dated_names_have_their_models_price_and_others_do_not() {
        let prices = Prices::built_in().unwrap();
        let mini = price(0.25, 0.025, 2.0);
        for name in ["gpt-5-mini", "gpt-5-mini-2025-08-07", "gpt-5-mini-20250807"] {
            assert_eq!(prices.of(name), Some(mini), "{name}");
        }
        assert_ne!(prices.of("gpt-5-2025-08-07"), Some(mini));
        for name in
            ["gpt-5-mini-huge", "gpt-5-mini-2025-08", "gpt-5-mini2025-08-07", "", "-2025-08-07"]
        {
            assert_eq!(prices.of(name), None, "{name}");
        }
        // An older version with a price of its own keeps it.
        let text = "[models]\nm = { input = 1, cached_input = 1, output = 1 }\n\
                    \"m-2024-05-13\" = { input = 5, cached_input = 5, output = 5 }\n";
        assert_eq!(parse(text).unwrap().of("m-2024-05-13").unwrap().input, 5.0);
        assert_eq!(parse(text).unwrap().of("m-2024-05-14").unwrap().input, 1.0);
    }

    #[test]
    fn every_listed_price_is_plausible() {
        let prices = Prices::built_in().unwrap();
        assert!(prices.iter().count() > 10);
        for (name, price) in prices.iter() {
            assert!(price.cached_input < price.input && price.input < price.output, "{name}");
            assert!(price.input >= 0.01 && price.output <= 100.0, "{name}");
        }
    }

    #[test]
    fn tokens_cost_by_what_they_are() {
        let price = price(1.0, 0.1, 10.0);
        let usage =
            Usage { input: 1_000_000, cached_input: 400_000, output: 200_000, reasoning: 150_000 };
        assert!((price.of(&usage) - (0.6 + 0.04 + 2.0)).abs() < 1e-12);
        // More cached than read is a server's mistake.
        let usage = Usage { input: 10, cached_input: 20, ..Usage::default() };
        assert!((price.of(&usage) - 1e-6).abs() < 1e-15);
    }

    #[test]
    fn cache_writes_cost_by_how_long_they_last() {
        let tokens = Tokens {
            input: 1_000_000,
            cached_input: 500_000,
            cache_write_5m: 100_000,
            cache_write_1h: 200_000,
            output: 10_000,
            reasoning: 0,
        };
        let opus = Prices::built_in().unwrap().of("claude-opus-4-6").unwrap();
        // 200,000 fresh at 5, 500,000 read at 0.50, 100,000 written at 6.25, 200,000 at 10; 10,000 out at 25.
        assert!((opus.of_tokens(&tokens) - (1.0 + 0.25 + 0.625 + 2.0 + 0.25)).abs() < 1e-9);
        // Where writing has no price of its own it costs what a prompt costs.
        assert!((price(5.0, 0.5, 25.0).of_tokens(&tokens) - 3.0).abs() < 1e-9);
    }

    #[test]
    fn anthropics_cache_writes_cost_a_quarter_more_and_twice_as_much() {
        for (name, price) in Prices::built_in().unwrap().iter() {
            let (five, hour) = match name.starts_with("claude-") {
                true => (Some(price.input * 1.25), Some(price.input * 2.0)),
                false => (None, None),
            };
            assert_eq!((price.cache_write_5m, price.cache_write_1h), (five, hour), "{name}");
        }
    }

    #[test]
    fn a_wrong_list_names_line_and_key() {
        let line = |rest: &str| format!("# prices\n[models]\n\"m\" = {{ {rest} }}\n");
        let e = parse(&line("input = 1, cached_imput = 1, output = 1")).unwrap_err();
        assert!(e.to_string().starts_with("prices.toml:3:"), "{e}");
        assert_eq!(e.hint(), Some("did you mean `cached_input`?"));
        let bad = line("input = 1, cached_input = 1, output = 1, cache_write_1h = -1");
        assert!(parse(&bad).unwrap_err().to_string().contains("no amount"));
        for bad in ["-1", "nan", "inf"] {
            let e = parse(&line(&format!("input = {bad}, cached_input = 1, output = 1")));
            assert!(e.unwrap_err().to_string().contains("the price of m is no amount"), "{bad}");
        }
        assert!(parse("[model]").is_err());
        assert!(parse("").is_err());
    }
}
