//! In what layers differ: rotary positions and windows, one by one.

use super::family::{Family, Pattern};
use super::raw::Raw;
use super::{Layer, Rope, Scaling, positive, rope, size};
use crate::error::Fault;

const FULL: &str = "full_attention";
const SLIDING: &str = "sliding_attention";

/// How each of `count` layers attends.
pub(super) fn of(
    family: &Family,
    raw: &Raw,
    count: usize,
    positions: usize,
) -> Result<Vec<Layer>, Fault> {
    if family.pattern == Pattern::Window {
        return windows(family, raw, count, positions);
    }
    let other = raw.layer_types.iter().flatten().find(|kind| *kind != FULL);
    if let Some(kind) = other {
        return Err(Fault::value("layer_types", kind, format!("`{FULL}`")));
    }
    let nested = raw.rope_parameters.as_ref();
    if nested.is_some_and(|p| p.full_attention.is_some() || p.sliding_attention.is_some()) {
        return Err(Fault::value("rope_parameters", "one for each kind of layer", "one for all"));
    }
    let rope = full(family, raw, nested, positions)?;
    let turned = match family.pattern {
        Pattern::NoRope => turned(raw, count)?,
        _ => vec![true; count],
    };
    Ok(turned.iter().map(|t| Layer { rope: t.then_some(rope), window: None }).collect())
}

/// Rotary positions of layers that see everything. The two forms must agree where both are there.
fn full(
    family: &Family,
    raw: &Raw,
    newer: Option<&rope::Raw>,
    positions: usize,
) -> Result<Rope, Fault> {
    let older = raw.rope_scaling.as_ref();
    let named = newer.and_then(|p| p.rope_theta).or(older.and_then(|p| p.rope_theta));
    let theta = rope::theta(named, raw.rope_theta, family.absent.rope_theta)?;
    let scaling = |p: Option<&rope::Raw>| p.map(|p| p.scaling(positions)).transpose();
    let scaling = match (scaling(newer)?, scaling(older)?) {
        (Some(newer), Some(older)) if newer != older => {
            let found = format!("{older:?}");
            let expected = format!("{newer:?}, as in `rope_parameters`");
            return Err(Fault::value("rope_scaling", found, expected));
        }
        (newer, older) => newer.or(older).unwrap_or(Scaling::None),
    };
    Ok(Rope { theta, scaling })
}

/// Which layers turn queries and keys.
fn turned(raw: &Raw, count: usize) -> Result<Vec<bool>, Fault> {
    const KEY: &str = "no_rope_layers";
    if let Some(listed) = &raw.no_rope_layers {
        if listed.len() < count {
            let found = format!("a list of {}", listed.len());
            return Err(Fault::value(KEY, found, format!("one entry for each of {count} layers")));
        }
        if let Some(other) = listed.iter().find(|x| **x > 1) {
            return Err(Fault::value(KEY, other, "0 or 1"));
        }
        return Ok(listed.iter().take(count).map(|x| *x == 1).collect());
    }
    let every = raw.no_rope_layer_interval.unwrap_or(4);
    let every = size("no_rope_layer_interval", Some(every), 1 << 20)?;
    Ok((1..=count).map(|n| !n.is_multiple_of(every)).collect())
}

fn windows(
    family: &Family,
    raw: &Raw,
    count: usize,
    positions: usize,
) -> Result<Vec<Layer>, Fault> {
    let nested = raw.rope_parameters.as_ref();
    if nested.is_some_and(rope::Raw::is_flat) {
        let expected = format!("`{FULL}` and `{SLIDING}`");
        return Err(Fault::value("rope_parameters", "one for all layers", expected));
    }
    let of_full = nested.and_then(|p| p.full_attention.as_deref());
    let of_sliding = nested.and_then(|p| p.sliding_attention.as_deref());
    let all = full(family, raw, of_full, positions)?;
    let sees = sliding(raw, count)?;
    let mut local = Rope { theta: all.theta, scaling: Scaling::None };
    let mut window = None;
    if sees.contains(&true) {
        window = Some(size("sliding_window", Some(raw.sliding_window.unwrap_or(4096)), 1 << 24)?);
        let theta = match (of_sliding.and_then(|p| p.rope_theta), raw.rope_local_base_freq) {
            (Some(a), Some(b)) if a != b => {
                let expected = format!("{a}, as in `rope_parameters`");
                return Err(Fault::value("rope_local_base_freq", b, expected));
            }
            (a, b) => a.or(b).unwrap_or(10_000.0),
        };
        local.theta = positive("rope_local_base_freq", theta, 1e12)?;
        if let Some(p) = of_sliding
            && p.scaling(positions)? != Scaling::None
        {
            let key = format!("rope_parameters.{SLIDING}.rope_type");
            return Err(Fault::value(&key, "another", "`default`"));
        }
    }
    let layer = |sliding: &bool| match sliding {
        true => Layer { rope: Some(local), window },
        false => Layer { rope: Some(all), window: None },
    };
    Ok(sees.iter().map(layer).collect())
}

/// Which layers look back over a window.
fn sliding(raw: &Raw, count: usize) -> Result<Vec<bool>, Fault> {
    let Some(kinds) = &raw.layer_types else {
        let every = raw.sliding_window_pattern.unwrap_or(6);
        let every = size("sliding_window_pattern", Some(every), 1 << 20)?;
        return Ok((1..=count).map(|n| !n.is_multiple_of(every)).collect());
    };
    if kinds.len() != count {
        let found = format!("a list of {}", kinds.len());
        return Err(Fault::value("layer_types", found, format!("one for each of {count} layers")));
    }
    let sliding = |kind: &String| match kind.as_str() {
        FULL => Ok(false),
        SLIDING => Ok(true),
        other => Err(Fault::value("layer_types", other, format!("`{FULL}` or `{SLIDING}`"))),
    };
    kinds.iter().map(sliding).collect()
}
