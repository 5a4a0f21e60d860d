//! Value forms of experiment files: one or many, a name or a table. Written by hand instead of with
//! serde's untagged enums, which would hide what is wrong behind "did not match any variant".

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use ptb_core::names::nearest;
use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// One value or a list of them: a list is an axis.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Axis<T>(pub(crate) Vec<T>);

impl<'de, T: Scalar + Deserialize<'de>> Deserialize<'de> for Axis<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form<T>(PhantomData<T>);
        impl<'de, T: Scalar + Deserialize<'de>> Visitor<'de> for Form<T> {
            type Value = Axis<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{} or a list of them", T::EXPECTED)
            }
            fn visit_str<E: Error>(self, v: &str) -> Result<Axis<T>, E> {
                let unexpected = || E::invalid_type(serde::de::Unexpected::Str(v), &self);
                T::from_str(v).ok_or_else(unexpected).map(|v| Axis(vec![v]))
            }
            fn visit_i64<E: Error>(self, v: i64) -> Result<Axis<T>, E> {
                let unexpected = || E::invalid_type(serde::de::Unexpected::Signed(v), &self);
                T::from_f64(v as f64).ok_or_else(unexpected).map(|v| Axis(vec![v]))
            }
            fn visit_f64<E: Error>(self, v: f64) -> Result<Axis<T>, E> {
                let unexpected = || E::invalid_type(serde::de::Unexpected::Float(v), &self);
                T::from_f64(v).ok_or_else(unexpected).map(|v| Axis(vec![v]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Axis<T>, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(seq)).map(Axis)
            }
        }
        deserializer.deserialize_any(Form(PhantomData))
    }
}

/// A value that can stand alone where a list may.
pub(crate) trait Scalar: Sized {
    const EXPECTED: &'static str;
    fn from_str(_: &str) -> Option<Self> {
        None
    }
    fn from_f64(_: f64) -> Option<Self> {
        None
    }
}

impl Scalar for String {
    const EXPECTED: &'static str = "a name";
    fn from_str(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }
}

impl Scalar for f64 {
    const EXPECTED: &'static str = "a number";
    fn from_f64(number: f64) -> Option<Self> {
        Some(number)
    }
}

/// An agent as an experiment names it: `"claude/claude-opus-4-6"`, a folder, or a table.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AgentRef {
    pub(crate) scaffold: String,
    pub(crate) models: Vec<String>,
    /// Its options, each with the values that it takes.
    pub(crate) options: BTreeMap<String, Axis<Choice>>,
}

impl AgentRef {
    fn named(scaffold: &str) -> Self {
        let (models, options) = (Vec::new(), BTreeMap::new());
        Self { scaffold: scaffold.to_owned(), models, options }
    }
}

/// What is chosen for an option: a word or a number, kept as it is written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Choice(pub(crate) String);

impl Scalar for Choice {
    const EXPECTED: &'static str = "a word or a number";
    fn from_str(text: &str) -> Option<Self> {
        Some(Self(text.to_owned()))
    }
    fn from_f64(number: f64) -> Option<Self> {
        Some(Self(number.to_string()))
    }
}

impl<'de> Deserialize<'de> for Choice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Axis(values) = Axis::<Self>::deserialize(deserializer)?;
        match <[Self; 1]>::try_from(values) {
            Ok([one]) => Ok(one),
            Err(_) => Err(D::Error::custom("a list within a list")),
        }
    }
}

#[derive(Deserialize)]
struct AgentTable {
    scaffold: Option<String>,
    model: Option<Axis<String>>,
    /// Whatever else is there is an option, which the scaffold's file knows or not.
    #[serde(flatten)]
    options: BTreeMap<String, Axis<Choice>>,
}

impl Scalar for AgentRef {
    const EXPECTED: &'static str = "an agent (a name, a folder, or a table with `scaffold`)";
    fn from_str(text: &str) -> Option<Self> {
        Some(Self::named(text))
    }
}

impl<'de> Deserialize<'de> for AgentRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;
        impl<'de> Visitor<'de> for Form {
            type Value = AgentRef;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(AgentRef::EXPECTED)
            }
            fn visit_str<E: Error>(self, v: &str) -> Result<AgentRef, E> {
                Ok(AgentRef::named(v))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<AgentRef, A::Error> {
                let table = AgentTable::deserialize(MapAccessDeserializer::new(map))?;
                let AgentTable { scaffold, model, options } = table;
                let is_slip = |name: &&String| nearest(name, ["scaffold"]).is_some();
                if let Some(slip) = options.keys().find(is_slip).filter(|_| scaffold.is_none()) {
                    return Err(A::Error::unknown_field(slip, &["scaffold", "model"]));
                }
                let scaffold = scaffold.ok_or_else(|| A::Error::missing_field("scaffold"))?;
                let models = model.map(|m| m.0).unwrap_or_default();
                Ok(AgentRef { scaffold, models, options })
            }
        }
        deserializer.deserialize_any(Form)
    }
}
