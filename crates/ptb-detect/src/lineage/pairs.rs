//! Which tensor of one model is which of another: by name, by the end of a name, or by content.

use std::collections::{BTreeMap, BTreeSet};

use ptb_model::{Checkpoint, ModelError, TensorInfo};

const EMBEDDING: &str = "model.embed_tokens.weight";
const HEAD: &str = "lm_head.weight";
/// Elements by which tensors of unknown names are compared.
const SAMPLE: usize = 1 << 14;
/// Cosine above which two tensors are one, trained on.
const ALIKE: f64 = 0.5;

/// A tensor of the model with its counterparts.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pair {
    pub(super) model: String,
    pub(super) base: String,
    pub(super) suspect: Option<String>,
    /// Elements that all have: rows of added tokens are left out.
    pub(super) elements: u64,
    pub(super) matrix: bool,
}

/// Pairs, and tensors of the base that the model does not have, nor any of that shape.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    pub(super) pairs: Vec<Pair>,
    pub(super) missing: Vec<String>,
}

pub(super) fn pairs(
    model: &Checkpoint,
    base: &Checkpoint,
    suspect: Option<&Checkpoint>,
) -> Result<Pairs, ModelError> {
    let mut wanted: BTreeSet<&str> = base.tensors().keys().map(String::as_str).collect();
    // A head of its own is compared with the embedding that the others use for it.
    if model.tensors().contains_key(HEAD) && base.tensors().contains_key(EMBEDDING) {
        wanted.insert(HEAD);
    }
    let in_model = counterparts(&wanted, base, model)?;
    let in_suspect = match suspect {
        Some(suspect) => counterparts(&wanted, base, suspect)?,
        None => BTreeMap::new(),
    };
    let mut found = Pairs::default();
    for name in wanted {
        let Some((of_base, info)) = resolve(base, name) else { continue };
        if !info.dtype.is_weight() {
            continue;
        }
        let own = in_model.get(name).and_then(|own| model.tensors().get(own).map(|i| (own, i)));
        let other =
            in_suspect.get(name).and_then(|own| suspect?.tensors().get(own).map(|i| (own, i)));
        let Some((own, common)) = own.and_then(|(own, i)| Some((own, common(info, i)?))) else {
            found.missing.push(name.to_owned());
            continue;
        };
        let other = other.and_then(|(other, i)| Some((other, common_elements(common, info, i)?)));
        let elements = other.map_or(common, |(_, n)| n);
        found.pairs.push(Pair {
            model: own.clone(),
            base: of_base.to_owned(),
            suspect: other.map(|(other, _)| other.clone()),
            elements,
            matrix: info.shape.len() >= 2,
        });
    }
    Ok(found)
}

fn common_elements(common_so_far: u64, a: &TensorInfo, b: &TensorInfo) -> Option<u64> {
    common(a, b).map(|n| n.min(common_so_far))
}

/// Elements that two tensors share: all, or the rows that both have.
fn common(a: &TensorInfo, b: &TensorInfo) -> Option<u64> {
    if !b.dtype.is_weight()
        || a.shape.len() != b.shape.len()
        || a.shape.get(1..) != b.shape.get(1..)
    {
        return None;
    }
    let rows = *a.shape.first().unwrap_or(&1).min(b.shape.first().unwrap_or(&1)) as u64;
    let width: u64 = a.shape.iter().skip(1).map(|d| *d as u64).product();
    // Only tables of tokens grow and shrink; another tensor of another size is another tensor.
    let table = a.shape.len() == 2 && rows >= 256;
    (a.shape == b.shape || table).then_some(rows * width)
}

/// A tensor by its name; of a model with tied embeddings, the embedding for the head.
fn resolve<'c>(checkpoint: &'c Checkpoint, name: &str) -> Option<(&'c str, &'c TensorInfo)> {
    let tensors = checkpoint.tensors();
    let found = tensors.get_key_value(name);
    let found = found.or_else(|| tensors.get_key_value(EMBEDDING).filter(|_| name == HEAD));
    found.map(|(name, info)| (name.as_str(), info))
}

/// What each wanted tensor of the base is called in another model.
fn counterparts(
    wanted: &BTreeSet<&str>,
    base: &Checkpoint,
    other: &Checkpoint,
) -> Result<BTreeMap<String, String>, ModelError> {
    let mut found = BTreeMap::new();
    let mut free: BTreeSet<&str> = other.tensors().keys().map(String::as_str).collect();
    let mut open = Vec::new();
    for name in wanted {
        match resolve(other, name) {
            Some((own, _)) => {
                free.remove(own);
                found.insert((*name).to_owned(), own.to_owned());
            }
            None => open.push(*name),
        }
    }
    // Wrappers put something before a name.
    open.retain(|name| {
        let dotted = format!(".{name}");
        let wrapped = free.iter().find(|own| own.ends_with(&dotted)).copied();
        if let Some(own) = wrapped {
            free.remove(own);
            found.insert((*name).to_owned(), own.to_owned());
        }
        wrapped.is_none()
    });
    for name in open {
        let best = alike(base, name, other, &free)?;
        if let Some(own) = best {
            free.remove(own);
            found.insert(name.to_owned(), own.to_owned());
        }
    }
    Ok(found)
}

/// The free tensor of the same shape that is most like one of the base.
fn alike<'f>(
    base: &Checkpoint,
    name: &str,
    other: &Checkpoint,
    free: &BTreeSet<&'f str>,
) -> Result<Option<&'f str>, ModelError> {
    let Some((name, info)) = resolve(base, name).filter(|(_, i)| i.dtype.is_weight()) else {
        return Ok(None);
    };
    let (mut room, mut ours, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
    base.read_part(name, 0, SAMPLE, &mut room, &mut ours)?;
    let mut best = (ALIKE, None);
    for own in free {
        let same =
            other.tensors().get(*own).is_some_and(|i| i.dtype.is_weight() && i.shape == info.shape);
        if !same {
            continue;
        }
        other.read_part(own, 0, SAMPLE, &mut room, &mut theirs)?;
        let cosine = cosine(&ours, &theirs);
        if cosine > best.0 {
            best = (cosine, Some(*own));
        }
    }
    Ok(best.1)
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
    };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt().max(f64::MIN_POSITIVE)
}
