//! What the user may choose: the edition, and where weights come from.

use ptb_core::registry::{Registry, RegistryError};

/// Choices of one report.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Options {
    /// Edition whose scores are reported; absent means the one that the runs name (`main` when there are
    /// no runs).
    pub edition: Option<String>,
    /// Where weights come from.
    pub weights: WeightsChoice,
}

/// Where weights come from. A single benchmark weighs 1 whatever is chosen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum WeightsChoice {
    /// The report's edition, then a benchmark's `[weight]`, then the experiment's baselines.
    #[default]
    Default,
    /// All benchmarks weigh the same.
    Equal,
    /// The experiment's baselines, whatever edition and `[weight]` say.
    Baselines,
    /// The table of this edition, then as [`WeightsChoice::Default`] for benchmarks outside it.
    Edition(String),
}

impl WeightsChoice {
    /// A preset by name: `equal`, `baselines`, or an edition of the registry that has weights.
    pub fn parse(name: &str, registry: &Registry) -> Result<Self, RegistryError> {
        match name {
            "equal" => Ok(Self::Equal),
            "baselines" => Ok(Self::Baselines),
            _ => {
                let known = || {
                    let weighted = registry.editions().filter(|e| !e.value.weights.is_empty());
                    let names: Vec<&str> =
                        weighted.map(|e| e.id.as_str()).chain(["equal", "baselines"]).collect();
                    format!("known: {}", names.join(", "))
                };
                match registry.edition(name) {
                    Ok(edition) if !edition.value.weights.is_empty() => {
                        Ok(Self::Edition(name.to_owned()))
                    }
                    _ => Err(RegistryError::Unknown {
                        kind: "weights",
                        name: name.to_owned(),
                        hint: Some(known()),
                    }),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_words_or_editions_with_a_table() {
        let registry = Registry::load(&[]).unwrap();
        let parse = |name| WeightsChoice::parse(name, &registry);
        assert_eq!(parse("equal").unwrap(), WeightsChoice::Equal);
        assert_eq!(parse("baselines").unwrap(), WeightsChoice::Baselines);
        assert_eq!(parse("main").unwrap(), WeightsChoice::Edition("main".to_owned()));
        let e = parse("mian").unwrap_err().to_string();
        assert_eq!(e, "unknown weights `mian`; hint: known: main, v1, v1.2, equal, baselines");
    }
}
