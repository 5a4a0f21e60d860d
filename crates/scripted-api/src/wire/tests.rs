//! Each protocol, read back.
