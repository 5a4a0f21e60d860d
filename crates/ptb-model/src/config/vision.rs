//! The tower for images that stands beside some models' text. It is never computed here; servers that load the
//! whole model need its sizes.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::raw::Outer;
use super::size;
use crate::error::Fault;

/// Sizes of the tower and of what joins it to the text, by their names in `config.json`; those that the file names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Default)]
pub struct Vision {
    tower: Option<Vec<(&'static str, usize)>>,
    head: Option<bool>,
    joint: Vec<(&'static str, usize)>,
}

type Row<'a> = (&'static str, Option<u64>, usize);

fn checked(rows: &[Row<'_>]) -> Result<Vec<(&'static str, usize)>, Fault> {
    let named = rows.iter().filter(|(_, value, _)| value.is_some());
    named.map(|(key, value, max)| Ok((*key, size(key, *value, *max)?))).collect()
}

impl Vision {
    /// The smallest tower that the libraries build: four patches that become four tokens.
    pub(crate) fn smallest() -> Self {
        let tower = [
            ("hidden_size", 16),
            ("intermediate_size", 32),
            ("num_hidden_layers", 1),
            ("num_attention_heads", 2),
            ("image_size", 28),
            ("patch_size", 14),
        ];
        let joint = vec![("mm_tokens_per_image", 4)];
        Self { tower: Some(tower.into()), head: Some(false), joint }
    }

    pub(crate) fn image_size(&self) -> Option<usize> {
        let tower = self.tower.iter().flatten();
        tower.into_iter().find(|(key, _)| *key == "image_size").map(|(_, size)| *size)
    }

    pub(super) fn checked(outer: &Outer) -> Result<Self, Fault> {
        let tower = outer.vision_config.as_ref().map(|v| {
            checked(&[
                ("hidden_size", v.hidden_size, 1 << 14),
                ("intermediate_size", v.intermediate_size, 1 << 16),
                ("num_hidden_layers", v.num_hidden_layers, 1 << 8),
                ("num_attention_heads", v.num_attention_heads, 1 << 8),
                ("num_channels", v.num_channels, 16),
                ("image_size", v.image_size, 1 << 13),
                ("patch_size", v.patch_size, 1 << 10),
            ])
        });
        let joint = checked(&[
            ("mm_tokens_per_image", outer.mm_tokens_per_image, 1 << 14),
            ("boi_token_index", outer.boi_token_index, 1 << 22),
            ("eoi_token_index", outer.eoi_token_index, 1 << 22),
            ("image_token_index", outer.image_token_index, 1 << 22),
        ])?;
        let head = outer.vision_config.as_ref().and_then(|v| v.vision_use_head);
        Ok(Self { tower: tower.transpose()?, head, joint })
    }

    pub(super) fn write(&self, file: &mut Map<String, Value>) {
        for (key, value) in &self.joint {
            file.insert((*key).to_owned(), json!(value));
        }
        let Some(tower) = &self.tower else { return };
        let mut section = Map::new();
        section.insert("model_type".to_owned(), json!("siglip_vision_model"));
        for (key, value) in tower {
            section.insert((*key).to_owned(), json!(value));
        }
        if let Some(head) = self.head {
            section.insert("vision_use_head".to_owned(), json!(head));
        }
        file.insert("vision_config".to_owned(), Value::Object(section));
    }
}
