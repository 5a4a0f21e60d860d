//! Memory for keys and values: blocks of 64 positions, shared between rows that begin alike.

mod pool;
mod prefix;

pub(crate) use pool::{BlockId, KvShape, Pool};
pub(crate) use prefix::{Cache, Table};
